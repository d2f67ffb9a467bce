//! What the text of a context names.

use karman_llb::GitSource;

use crate::error::Step;
use crate::git::parse_git;
use crate::spec::STDIN;

/// A source of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    /// Standard input.
    Stdin,
    /// A local path.
    Path(String),
    /// A git repository.
    Git(GitSource),
    /// A file by HTTP.
    Http(String),
    /// `docker-image://`, without the scheme.
    Image(String),
    /// `oci-layout://`, without the scheme.
    Layout(String),
    /// `debootstrap://`, with the scheme.
    Debootstrap(String),
    /// `target:`, without the scheme.
    Target(String),
}

/// bake's prefix for paths below the working directory.
const CWD: &str = "cwd://";

impl Location {
    /// Reads a context as written. `is_dir` tells whether a text is a local directory: docker
    /// prefers one to a git repository of that name.
    pub(crate) fn parse(
        text: &str,
        keep_git_dir: bool,
        is_dir: impl Fn(&str) -> bool,
    ) -> Step<Self> {
        if let Some(rest) = text.strip_prefix("docker-image://") {
            return Ok(Self::Image(rest.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("oci-layout://") {
            return Ok(Self::Layout(rest.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("target:") {
            return Ok(Self::Target(rest.to_owned()));
        }
        if text == STDIN {
            return Ok(Self::Stdin);
        }
        if text.starts_with("debootstrap://") {
            return Ok(Self::Debootstrap(text.to_owned()));
        }
        if let Some(rest) = text.strip_prefix(CWD) {
            let path = if rest.is_empty() { "." } else { rest };
            return Ok(Self::Path(path.to_owned()));
        }
        if is_dir(text) {
            return Ok(Self::Path(text.to_owned()));
        }
        if let Some(git) = parse_git(text, keep_git_dir)? {
            return Ok(Self::Git(git));
        }
        if is_http(text) {
            return Ok(Self::Http(text.to_owned()));
        }
        Ok(Self::Path(text.to_owned()))
    }
}

/// Whether a text is an HTTP URL.
pub(crate) fn is_http(text: &str) -> bool {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_are_told_apart() {
        let read = |text: &str| {
            let found = Location::parse(text, false, |t| t == "github.com/a");
            found.unwrap_or_else(|e| panic!("{text}: {e:?}"))
        };
        assert_eq!(read("-"), Location::Stdin);
        assert_eq!(read("cwd://"), Location::Path(".".into()));
        assert_eq!(read("cwd://a"), Location::Path("a".into()));
        assert_eq!(read("github.com/a"), Location::Path("github.com/a".into()));
        assert!(matches!(read("github.com/b/c"), Location::Git(_)));
        assert!(matches!(read("HTTPS://h/x.tar"), Location::Http(_)));
        assert_eq!(read("docker-image://a"), Location::Image("a".into()));
        assert_eq!(read("target:a"), Location::Target("a".into()));
        assert!(matches!(read("debootstrap://debian/trixie"), Location::Debootstrap(_)));
        assert_eq!(read("a"), Location::Path("a".into()));
    }
}
