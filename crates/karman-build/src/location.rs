//! What the text of a context names.

use karman_diag::nearest;
use karman_llb::GitSource;

use crate::error::{Problem, Step};
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

/// What a context may begin with.
const SCHEMES: [&str; 8] =
    ["docker-image", "oci-layout", "debootstrap", "https", "http", "git", "ssh", "target"];
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
        match unknown_scheme(text) {
            Some(scheme) => {
                let near = nearest(scheme, SCHEMES).map(|known| format!("did you mean `{known}`?"));
                Err(Problem::Usage(format!("unsupported context source {scheme}"), near))
            }
            None => Ok(Self::Path(text.to_owned())),
        }
    }
}

/// The scheme of a text that begins with one.
fn unknown_scheme(text: &str) -> Option<&str> {
    let (scheme, _) = text.split_once("://")?;
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let begins = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
    (begins && scheme.chars().all(fine)).then_some(scheme)
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

    #[test]
    fn an_unknown_scheme_is_no_path() {
        let read = |text: &str| Location::parse(text, false, |_| false);
        for (text, want, hint) in [
            ("docker-images://a", "docker-images", Some("did you mean `docker-image`?")),
            ("ftp://h/x", "ftp", None),
        ] {
            let Err(Problem::Usage(message, near)) = read(text) else { panic!("{text}") };
            assert_eq!(message, format!("unsupported context source {want}"));
            assert_eq!(near.as_deref(), hint, "{text}");
        }
        assert!(matches!(read("./a://b"), Ok(Location::Path(_))));
    }
}
