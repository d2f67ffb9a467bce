//! Git URLs as `ADD` and contexts take them: `https://host/x.git#ref:subdir`, `git@host:x?branch=b`.
//!
//! Reference: <https://docs.docker.com/build/concepts/context/#url-queries> and BuildKit's
//! `util/gitutil`.

/// A git source.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GitRef {
    /// The remote without query and fragment.
    pub url: String,
    /// Branch, tag, `refs/…` or commit; empty for the remote's `HEAD`.
    pub reference: String,
    /// Directory inside the repository; empty for all of it.
    pub subdir: String,
    /// A commit (or a prefix of one) that the reference must have.
    pub checksum: Option<String>,
    /// Whether `.git` stays, where the URL says so.
    pub keep_git_dir: Option<bool>,
    /// Whether submodules are fetched, where the URL says so.
    pub submodules: Option<bool>,
}

/// Why a git URL is wrong, in BuildKit's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message says it")]
pub enum GitRefError {
    #[error("query {key:?} has no value")]
    NoValue { key: String },
    #[error("query {key:?} has multiple values")]
    Repeated { key: String },
    #[error("unexpected query {key:?}")]
    Unexpected { key: String },
    #[error("invalid {key} value: {value:?}")]
    Flag { key: String, value: String },
    #[error("{what} conflicts: {first:?} vs {second:?}")]
    Conflict { what: &'static str, first: String, second: String },
    #[error("branch conflicts with tag")]
    BranchAndTag,
}

/// Reads a source of `ADD`; `None` is one that is no git URL. HTTP URLs are git where their path
/// ends in `.git`; `github.com/…` without a scheme is a local path here.
///
/// # Errors
/// When the query has unknown, repeated or contradicting keys.
pub fn parse_git_ref(text: &str) -> Result<Option<GitRef>, GitRefError> {
    parse_source(text, false)
}

/// As [`parse_git_ref`]; where `is_known_git` an HTTP URL is git whatever its path.
pub(super) fn parse_source(text: &str, is_known_git: bool) -> Result<Option<GitRef>, GitRefError> {
    if text.starts_with("./") || text.starts_with("../") {
        return Ok(None);
    }
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (remote, query) = rest.split_once('?').unwrap_or((rest, ""));
    let is_git = match remote.split_once("://") {
        Some((scheme, path)) => match scheme.to_lowercase().as_str() {
            "http" | "https" => is_known_git || (path.contains('/') && path.ends_with(".git")),
            "ssh" | "git" => true,
            _ => false,
        },
        None => is_scp(remote),
    };
    if !is_git {
        return Ok(None);
    }
    let fragment = percent_decode(fragment);
    let (reference, subdir) = fragment.split_once(':').unwrap_or((&fragment, ""));
    let mut git = GitRef {
        url: remote.to_owned(),
        reference: reference.to_owned(),
        subdir: subdir.to_owned(),
        ..GitRef::default()
    };
    read_query(&mut git, query)?;
    Ok(Some(git))
}

/// `user@host:path`.
fn is_scp(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, _)) = rest.split_once(':') else { return false };
    let is_name = |t: &str, dots: bool| {
        let fits =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_') || (dots && c == '.');
        !t.is_empty() && t.chars().all(fits)
    };
    is_name(user, false) && is_name(host, true) && !host.contains('_')
}

fn read_query(git: &mut GitRef, query: &str) -> Result<(), GitRefError> {
    let (mut tag, mut branch) = (String::new(), String::new());
    let mut seen: Vec<String> = Vec::new();
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = percent_decode(&key.replace('+', " "));
        let value = percent_decode(&value.replace('+', " "));
        if seen.contains(&key) {
            return Err(GitRefError::Repeated { key });
        }
        seen.push(key.clone());
        if value.is_empty() && !matches!(key.as_str(), "submodules" | "keep-git-dir") {
            return Err(GitRefError::NoValue { key });
        }
        match key.as_str() {
            "ref" => settle("ref", &mut git.reference, value)?,
            "subdir" => settle("subdir", &mut git.subdir, value)?,
            "tag" => tag = value,
            "branch" => branch = value,
            "checksum" | "commit" => git.checksum = Some(value),
            "keep-git-dir" => git.keep_git_dir = Some(flag(&key, &value)?),
            "submodules" => git.submodules = Some(flag(&key, &value)?),
            _ => return Err(GitRefError::Unexpected { key }),
        }
    }
    if !tag.is_empty() && !branch.is_empty() {
        return Err(GitRefError::BranchAndTag);
    }
    for (name, prefix) in [(tag, "refs/tags/"), (branch, "refs/heads/")] {
        if !name.is_empty() {
            let full = if name.starts_with(prefix) { name } else { format!("{prefix}{name}") };
            settle("ref", &mut git.reference, full)?;
        }
    }
    if let (Some(checksum), true) = (&git.checksum, git.reference.is_empty()) {
        git.reference.clone_from(checksum);
    }
    Ok(())
}

/// Sets a field that another part of the URL may have set, to the same value only.
fn settle(what: &'static str, field: &mut String, value: String) -> Result<(), GitRefError> {
    if !field.is_empty() && *field != value {
        return Err(GitRefError::Conflict { what, first: field.clone(), second: value });
    }
    *field = value;
    Ok(())
}

fn flag(key: &str, value: &str) -> Result<bool, GitRefError> {
    if value.is_empty() {
        return Ok(true);
    }
    let bad = || GitRefError::Flag { key: key.to_owned(), value: value.to_owned() };
    super::mount_fields::go_bool(value).ok_or_else(bad)
}

/// Resolves `%XX`; what is malformed, or does not give UTF-8, stays.
pub(super) fn percent_decode(text: &str) -> String {
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

    fn shown(text: &str) -> String {
        match parse_git_ref(text) {
            Ok(None) => "local".to_owned(),
            Ok(Some(g)) => format!("{} {} {}", g.url, g.reference, g.subdir),
            Err(e) => e.to_string(),
        }
    }

    #[test]
    fn urls_are_read_as_buildkit_reads_them() {
        for (text, want) in [
            ("https://h/a.git", "https://h/a.git  "),
            ("https://h/a.git#v1:sub/dir", "https://h/a.git v1 sub/dir"),
            ("https://h/a.git#:sub", "https://h/a.git  sub"),
            ("https://h/a.git?branch=b&subdir=s", "https://h/a.git refs/heads/b s"),
            ("https://h/a.git?tag=v1", "https://h/a.git refs/tags/v1 "),
            ("https://h/a.git?commit=abc", "https://h/a.git abc "),
            ("https://h/a.git?x=1", "unexpected query \"x\""),
            ("https://h/a.git?ref=", "query \"ref\" has no value"),
            ("https://h/a.git?ref=a&ref=b", "query \"ref\" has multiple values"),
            ("https://h/a.git?ref=a#b", "ref conflicts: \"b\" vs \"a\""),
            ("https://h/a.git?branch=a&tag=b", "branch conflicts with tag"),
            ("https://h/a.tar.gz", "local"),
            ("git@github.com:a/b.git#main", "git@github.com:a/b.git main "),
            ("ssh://git@h/a", "ssh://git@h/a  "),
            ("git://h/a", "git://h/a  "),
            ("github.com/a/b", "local"),
            ("./git@h:a", "local"),
            ("a/b@c:d", "local"),
            ("file.git", "local"),
        ] {
            assert_eq!(shown(text), want, "{text}");
        }
    }
}
