//! Git URLs as contexts: `https://host/x.git#ref:subdir`, `git@host:x`, `github.com/a/b`.
//!
//! Reference: <https://docs.docker.com/build/concepts/context/#git-repositories> and BuildKit's
//! `util/gitutil`.

use karman_dockerfile::lower::parse_git_ref;
use karman_llb::{GitSource, shown_remote};

use crate::error::{Problem, Step};

/// Reads a context as a git repository; `None` is one that is none. Besides what `ADD` takes,
/// `github.com/…` needs no scheme here.
pub(crate) fn parse_git(text: &str, keep_git_dir: bool) -> Step<Option<GitSource>> {
    let github = text.strip_prefix("github.com/");
    let asked = github.map_or_else(|| text.to_owned(), with_git_suffix);
    let parsed = parse_git_ref(&asked)
        .map_err(|why| Problem::usage(format!("git context `{}`: {why}", shown_remote(text))))?;
    let Some(git) = parsed else { return Ok(None) };
    refuse_password(&git.url)?;
    let url = match github {
        Some(_) => git.url.strip_suffix(".git").unwrap_or(&git.url).to_owned(),
        None => git.url,
    };
    Ok(Some(GitSource {
        url,
        reference: git.reference,
        subdir: git.subdir,
        keep_git_dir: git.keep_git_dir.unwrap_or(keep_git_dir),
        checksum: git.checksum,
        skip_submodules: git.submodules == Some(false),
    }))
}

/// `a/b#ref` as `https://github.com/a/b.git#ref`, which is how a repository is told from a file.
fn with_git_suffix(path: &str) -> String {
    let (remote, rest) = path.split_at(path.find(['#', '?']).unwrap_or(path.len()));
    format!("https://github.com/{}.git{rest}", remote.trim_end_matches(".git"))
}

/// A password would become part of cache keys and logs.
fn refuse_password(url: &str) -> Step<()> {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => Err(Problem::usage_hint(
            format!("git context `{}` holds a password", shown_remote(url)),
            "leave it out of the URL and pass it as a secret: `--secret id=GIT_AUTH_TOKEN`",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> String {
        match parse_git(text, false) {
            Ok(None) => "none".to_owned(),
            Ok(Some(g)) => format!("{} {} {}", g.url, g.reference, g.subdir),
            Err(Problem::Usage(message, _)) => message,
            Err(other) => format!("{other:?}"),
        }
    }

    #[test]
    fn contexts_are_git_as_docker_says() {
        for (text, want) in [
            ("https://h/a.git", "https://h/a.git  "),
            ("https://h/a.git#v1:sub/dir", "https://h/a.git v1 sub/dir"),
            ("https://h/a.git?branch=b&subdir=s", "https://h/a.git refs/heads/b s"),
            ("https://h/a.git?tag=v1", "https://h/a.git refs/tags/v1 "),
            ("https://h/a.git?commit=abc", "https://h/a.git abc "),
            ("git@github.com:a/b.git#main", "git@github.com:a/b.git main "),
            ("ssh://git@h/a", "ssh://git@h/a  "),
            ("git://h/a#:x%20y", "git://h/a  x y"),
            ("github.com/a/b#dev", "https://github.com/a/b dev "),
            ("https://h/a.tar.gz", "none"),
            ("./dir", "none"),
            ("dir.git", "none"),
            ("https://h/a.git?x=1", "git context `https://h/a.git`: unexpected query \"x\""),
            ("https://u:p@h/a.git", "git context `https://h/a.git` holds a password"),
        ] {
            assert_eq!(read(text), want, "{text}");
        }
    }
}
