//! The frontend image that a file asks for, where it is not one for Dockerfiles.
//!
//! BuildKit runs the image that `# syntax=` names; `// syntax=` and a JSON object with a `syntax` key
//! do the same in files of other languages. Karman has the Dockerfile frontend only, so an error in such
//! a file says what is going on.

use crate::text::PhysicalLines;

/// How the repositories of Docker's frontend, and of copies of it, are called.
const OWN_PREFIX: &str = "dockerfile";

/// The foreign frontend that `source` asks for.
pub(super) fn foreign_frontend(source: &str, directive: Option<&str>) -> Option<String> {
    let image =
        directive.map(str::to_owned).or_else(|| slashes(source)).or_else(|| json(source))?;
    let image = image.split(' ').next()?;
    let repository = image.rsplit('/').next()?;
    (!repository.starts_with(OWN_PREFIX)).then(|| image.to_owned())
}

/// `// syntax=image` in the first line below a `#!`.
fn slashes(source: &str) -> Option<String> {
    let mut lines = PhysicalLines::new(source).map(|line| line.text);
    let first = lines.next()?;
    let line = if first.starts_with("#!") { lines.next()? } else { first };
    let (key, value) = line.strip_prefix("//")?.split_once('=')?;
    key.trim().eq_ignore_ascii_case("syntax").then(|| value.trim().to_owned())
}

/// `{"syntax": "image", …}`.
fn json(source: &str) -> Option<String> {
    let text = source.trim_start_matches('\u{feff}').trim_start();
    if !text.starts_with('{') {
        return None;
    }
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(text).ok()?;
    object.get("syntax")?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::foreign_frontend;

    #[test]
    fn only_other_frontends_are_foreign() {
        for (source, directive, want) in [
            ("", Some("docker/dockerfile:1"), None),
            ("", Some("docker.io/docker/dockerfile-upstream:master-labs"), None),
            ("", Some("mirror.example/docker/dockerfile:1.7@sha256:00"), None),
            ("", Some("tonistiigi/dockerfile-pack --x"), None),
            ("", Some("mopy/frontend:v1 --x"), Some("mopy/frontend:v1")),
            ("// syntax = a/buildpack\nx", None, Some("a/buildpack")),
            ("#!/usr/bin/env x\n//syntax=a/b\n", None, Some("a/b")),
            ("\n//syntax=a/b\n", None, None),
            ("{\"syntax\": \"a/b\", \"x\": 1}\n", None, Some("a/b")),
            ("{\"syntax\": 1}", None, None),
            ("FROM a\n", None, None),
        ] {
            assert_eq!(foreign_frontend(source, directive).as_deref(), want, "{source:?}");
        }
    }
}
