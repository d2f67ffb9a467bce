//! Which image a command is about: a name in the local store, a layout, a reference.

use std::path::{Path, PathBuf};

use karman_oci::Platform;
use karman_worker::ImageSpec;

use crate::env::Environment;

const LAYOUT: &str = "oci-layout://";
const REGISTRY: &str = "docker-image://";

/// Flags of commands that read images.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct PlatformArg {
    /// Platform of the image, such as linux/arm64; the host's own otherwise
    #[arg(long, value_name = "PLATFORM", value_parser = Platform::parse)]
    platform: Option<Platform>,
}

impl PlatformArg {
    /// The platform asked for.
    pub(crate) fn get(&self) -> Platform {
        self.platform.clone().unwrap_or_else(Platform::host)
    }
}

/// Reads `NAME`, `PATH`, `oci-layout://PATH[:TAG][@DIGEST]` or `docker-image://REF`. A text that
/// begins with `/`, `./` or `../` is a path.
pub(crate) fn parse(text: &str, env: &Environment) -> ImageSpec {
    if let Some(reference) = text.strip_prefix(REGISTRY) {
        return ImageSpec::Registry(reference.to_owned());
    }
    let is_path = ["/", "./", "../"].iter().any(|start| text.starts_with(start));
    let Some(rest) = text.strip_prefix(LAYOUT).or(is_path.then_some(text)) else {
        return ImageSpec::Local(text.to_owned());
    };
    let exists = |path: &str| env.absolute(Path::new(path)).exists();
    let (path, wanted) = split(rest, &exists);
    ImageSpec::Layout { name: text.to_owned(), path: absolute(env, path), wanted }
}

fn absolute(env: &Environment, path: &str) -> PathBuf {
    env.absolute(Path::new(path))
}

/// A path that exists is one, whatever characters it has.
fn split<'t>(text: &'t str, exists: &dyn Fn(&str) -> bool) -> (&'t str, Option<String>) {
    if exists(text) {
        return (text, None);
    }
    if let Some((path, digest)) = text.split_once('@') {
        // The digest says all: a tag before it is for people.
        let (path, _) = split(path, exists);
        return (path, Some(format!("@{digest}")));
    }
    match text.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
        _ => (text, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_tags_and_digests_fall_apart() {
        let none = |_: &str| false;
        assert_eq!(split("/a/b", &none), ("/a/b", None));
        assert_eq!(split("/a:1/b", &none), ("/a:1/b", None));
        assert_eq!(split("/a/b:1", &none), ("/a/b", Some("1".to_owned())));
        assert_eq!(split("/a/b:1", &|_| true), ("/a/b:1", None));
        for text in ["b@sha256:0", "b:1@sha256:0"] {
            assert_eq!(split(text, &none), ("b", Some("@sha256:0".to_owned())));
        }
    }
}
