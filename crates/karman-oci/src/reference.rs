//! Image references with Docker's normalisation (`distribution/reference`).

use std::fmt;

use crate::Digest;

/// The registry that short names mean.
const DEFAULT_HOST: &str = "docker.io";
/// The namespace of Docker's official images.
const OFFICIAL: &str = "library/";
/// The longest repository name (distribution spec, and Docker's `NameTotalLengthMax`).
const MAX_NAME: usize = 255;
/// The longest tag (distribution spec: `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`).
const MAX_TAG: usize = 128;

/// A fully spelled image reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Registry host with its port, such as `docker.io` or `127.0.0.1:5000`.
    pub host: String,
    /// Repository, such as `library/ubuntu`.
    pub repository: String,
    /// Tag; `None` only where a digest pins the image.
    pub tag: Option<String>,
    /// Digest that pins the image.
    pub digest: Option<Digest>,
}

/// Why a text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid reference format: `{text}`: {reason}")]
pub struct ReferenceError {
    text: String,
    reason: &'static str,
}

impl Reference {
    /// Reads a reference as people write it: `ubuntu`, `ghcr.io/a/b:1`, `host:5000/x@sha256:…`.
    /// Without tag and digest the tag is `latest`.
    ///
    /// # Errors
    /// When a part breaks the grammar of `distribution/reference`.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        let bad = |reason| ReferenceError { text: text.chars().take(300).collect(), reason };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                (rest, Some(Digest::parse(digest).map_err(|_| bad("the digest is malformed"))?))
            }
            None => (text, None),
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
            _ => (rest, None),
        };
        if tag.is_some_and(|t| !is_tag(t)) {
            return Err(bad("the tag is malformed"));
        }
        let (host, path) = split_host(name);
        if !is_host(host) {
            return Err(bad("the registry host is malformed"));
        }
        if path.chars().any(|c| c.is_ascii_uppercase()) {
            return Err(bad("repository name must be lowercase"));
        }
        let official = host == DEFAULT_HOST && !path.contains('/');
        let repository = if official { format!("{OFFICIAL}{path}") } else { path.to_owned() };
        // The whole name counts, so that a short one can be written out in full.
        if repository.len() > MAX_NAME || !path.split('/').all(is_component) {
            return Err(bad("the repository name is malformed"));
        }
        let tag = tag.map(str::to_owned);
        let tag = if tag.is_none() && digest.is_none() { Some("latest".to_owned()) } else { tag };
        Ok(Self { host: host.to_owned(), repository, tag, digest })
    }

    /// The name without tag and digest: `docker.io/library/ubuntu`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }

    /// As people write it: without the default host and namespace.
    pub fn familiar(&self) -> String {
        let looks_like_host = split_host(&self.repository).1 != self.repository;
        let mut out = if self.host == DEFAULT_HOST && !looks_like_host {
            let official =
                self.repository.strip_prefix(OFFICIAL).filter(|name| !name.contains('/'));
            official.unwrap_or(&self.repository).to_owned()
        } else {
            self.name()
        };
        self.push_suffix(&mut out);
        out
    }

    /// The same image pinned to a digest.
    #[must_use]
    pub fn with_digest(mut self, digest: Digest) -> Self {
        self.digest = Some(digest);
        self
    }

    fn push_suffix(&self, out: &mut String) {
        if let Some(tag) = &self.tag {
            out.push(':');
            out.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            out.push('@');
            out.push_str(&digest.to_string());
        }
    }
}

/// The first part is a host when it has a dot or a port, is `localhost`, or has upper case.
fn split_host(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some(("index.docker.io", path)) => (DEFAULT_HOST, path),
        Some((first, path))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.chars().any(|c| c.is_ascii_uppercase()) =>
        {
            (first, path)
        }
        _ => (DEFAULT_HOST, name),
    }
}

fn is_host(host: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    !host.is_empty() && host.len() <= MAX_NAME && host.chars().all(fine)
}

fn is_tag(tag: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    tag.len() <= MAX_TAG
        && tag.starts_with(word)
        && tag.chars().all(|c| word(c) || matches!(c, '.' | '-'))
}

/// `[a-z0-9]+` joined by `.`, `_`, `__` or any number of `-`.
fn is_component(part: &str) -> bool {
    let alnum = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = part.split(alnum).filter(|s| !s.is_empty());
    part.starts_with(alnum)
        && part.ends_with(alnum)
        && separators
            .into_iter()
            .all(|s| matches!(s, "." | "_" | "__") || s.bytes().all(|b| b == b'-'))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = self.name();
        self.push_suffix(&mut out);
        f.write_str(&out)
    }
}

impl std::str::FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_has_room_for_its_namespace() {
        let longest = "a".repeat(MAX_NAME - OFFICIAL.len());
        let parsed = Reference::parse(&longest).unwrap();
        assert_eq!(Reference::parse(&parsed.to_string()), Ok(parsed));
        assert!(Reference::parse(&format!("{longest}a")).is_err());
    }

    #[test]
    fn short_names_are_spelled_out() {
        for (text, want) in [
            ("ubuntu", "docker.io/library/ubuntu:latest"),
            ("ubuntu:24.04", "docker.io/library/ubuntu:24.04"),
            ("a/b", "docker.io/a/b:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("127.0.0.1:5000/x:1", "127.0.0.1:5000/x:1"),
            ("ghcr.io/a/b/c:v1.2", "ghcr.io/a/b/c:v1.2"),
        ] {
            assert_eq!(
                Reference::parse(text).map(|r| r.to_string()).as_deref(),
                Ok(want),
                "{text}"
            );
        }
        let digest = Digest::sha256_of(b"x");
        let pinned = format!("nova@{digest}");
        assert_eq!(Reference::parse(&pinned).map(|r| r.familiar()), Ok(pinned));
    }

    #[test]
    fn familiar_names_mean_the_same_image() {
        for (text, familiar) in [
            ("docker.io/library/x", "x:latest"),
            ("docker.io/library/o/library/x", "library/o/library/x:latest"),
            ("docker.io/localhost/x", "docker.io/localhost/x:latest"),
            ("docker.io/a.b/x:1", "docker.io/a.b/x:1"),
            ("docker.io/docker.io/library/x", "docker.io/docker.io/library/x:latest"),
            ("docker.io/library/localhost", "localhost:latest"),
        ] {
            let reference = Reference::parse(text).expect(text);
            assert_eq!(reference.familiar(), familiar);
            assert_eq!(Reference::parse(familiar), Ok(reference));
        }
    }

    #[test]
    fn malformed_names_are_refused() {
        for text in ["", "UPPER", "a//b", "a:", "a:b:c", "-a", "a/../b", "a@sha256:12", "a b"] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }
}
