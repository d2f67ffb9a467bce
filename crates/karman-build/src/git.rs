//! Git URLs as contexts: `https://host/x.git#ref:subdir`, `git@host:x`, `github.com/a/b`.
//!
//! Reference: <https://docs.docker.com/build/concepts/context/#git-repositories> and BuildKit's
//! `util/gitutil`.

use karman_llb::GitSource;

use crate::error::{Problem, Step};

/// Reads a context as a git repository; `None` is one that is none. An HTTP URL is git where its
/// path ends in `.git`.
pub(crate) fn parse_git(text: &str, keep_git_dir: bool) -> Step<Option<GitSource>> {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (remote, query) = rest.split_once('?').unwrap_or((rest, ""));
    let Some(url) = remote_url(remote) else { return Ok(None) };
    refuse_password(&url)?;
    let fragment = percent_decode(fragment);
    let (reference, subdir) = fragment.split_once(':').unwrap_or((&fragment, ""));
    let mut git = GitSource {
        url,
        reference: reference.to_owned(),
        subdir: subdir.to_owned(),
        keep_git_dir,
        checksum: None,
        skip_submodules: false,
    };
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        read_query(&mut git, &percent_decode(key), percent_decode(value))
            .map_err(|why| Problem::usage(format!("git context `{}`: {why}", shown(text))))?;
    }
    if let (Some(checksum), true) = (&git.checksum, git.reference.is_empty()) {
        git.reference.clone_from(checksum);
    }
    Ok(Some(git))
}

/// A URL without credentials and query, which may hold a token, for messages.
pub(crate) fn shown(text: &str) -> String {
    let (rest, fragment) = text.split_once('#').map_or((text, None), |(r, f)| (r, Some(f)));
    let remote = without_credentials(rest.split('?').next().unwrap_or(rest));
    match fragment {
        Some(fragment) => format!("{remote}#{fragment}"),
        None => remote,
    }
}

fn without_credentials(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let host = authority.rsplit('@').next().unwrap_or(authority);
            format!("{scheme}://{host}/{path}")
        }
        None => text.to_owned(),
    }
}

fn remote_url(remote: &str) -> Option<String> {
    if let Some(rest) = remote.strip_prefix("github.com/") {
        return Some(format!("https://github.com/{rest}"));
    }
    let is_git = match remote.split_once("://") {
        Some((scheme, path)) => match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" => path.contains('/') && path.ends_with(".git"),
            "ssh" | "git" => true,
            _ => false,
        },
        None => is_scp(remote),
    };
    is_git.then(|| remote.to_owned())
}

/// `user@host:path`.
fn is_scp(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    let is_name = |t: &str| {
        !t.is_empty()
            && t.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    is_name(user) && is_name(host)
}

/// A password would become part of cache keys and logs.
fn refuse_password(url: &str) -> Step<()> {
    let authority = url.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, _)) if user.contains(':') => Err(Problem::usage_hint(
            format!("git context `{}` holds a password", shown(url)),
            "leave it out of the URL and pass it as a secret: `--secret id=GIT_AUTH_TOKEN`",
        )),
        _ => Ok(()),
    }
}

fn read_query(git: &mut GitSource, key: &str, value: String) -> Result<(), String> {
    let flag = |value: &str| match value {
        "" | "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        other => Err(format!("invalid {key} value: {other:?}")),
    };
    if value.is_empty() && !matches!(key, "submodules" | "keep-git-dir") {
        return Err(format!("query {key:?} has no value"));
    }
    match key {
        "ref" => settle("ref", &mut git.reference, value),
        "tag" => settle("ref", &mut git.reference, prefixed("refs/tags/", value)),
        "branch" => settle("ref", &mut git.reference, prefixed("refs/heads/", value)),
        "subdir" => settle("subdir", &mut git.subdir, value),
        "checksum" | "commit" => {
            git.checksum = Some(value);
            Ok(())
        }
        "keep-git-dir" => flag(&value).map(|keep| git.keep_git_dir = keep),
        "submodules" => flag(&value).map(|with| git.skip_submodules = !with),
        _ => Err(format!("unexpected query {key:?}")),
    }
}

fn prefixed(prefix: &str, name: String) -> String {
    if name.starts_with(prefix) { name } else { format!("{prefix}{name}") }
}

/// Sets a field that another part of the URL may have set, to the same value only.
fn settle(what: &str, field: &mut String, value: String) -> Result<(), String> {
    if !field.is_empty() && *field != value {
        return Err(format!("{what} conflicts: {field:?} vs {value:?}"));
    }
    *field = value;
    Ok(())
}

/// Resolves `%XX`; what is malformed, or does not give UTF-8, stays.
fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
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
    fn credentials_and_tokens_are_not_shown() {
        assert_eq!(shown("https://u:p@h/a.git?token=x#v1"), "https://h/a.git#v1");
        assert_eq!(shown("git@h:a/b"), "git@h:a/b");
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
