//! Sources: how files enter the graph.

use karman_oci::Digest;
use serde::{Deserialize, Serialize};

/// Files from outside the graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceOp {
    /// An image of a registry or of the local store.
    Image(ImageSource),
    /// An image of an OCI layout directory or archive.
    OciLayout(OciLayoutSource),
    /// A directory of the caller.
    Local(LocalSource),
    /// A git repository at a commit.
    Git(GitSource),
    /// One file by HTTP.
    Http(HttpSource),
    /// A root filesystem made from a signed Debian or Ubuntu archive.
    Debootstrap(DebootstrapSource),
}

/// An image by reference. In a graph that is solved the digest is always set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ImageSource {
    /// The full reference, as `karman_oci::Reference` prints it.
    pub reference: String,
    /// The digest of the platform's manifest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub manifest: Option<Digest>,
}

/// An image of an OCI layout. In a graph that is solved the digest is always set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OciLayoutSource {
    /// The session's name for the layout.
    pub name: String,
    /// The digest of the platform's manifest.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub manifest: Option<Digest>,
}

/// A directory of the caller, read in place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LocalSource {
    /// The session's name for the directory.
    pub name: String,
    /// `.dockerignore` patterns in order; what they exclude does not exist for the build.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub exclude: Vec<String>,
}

/// A git repository at a commit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct GitSource {
    /// Remote URL without fragment and credentials.
    pub url: String,
    /// Branch, tag, `refs/…` or commit; empty for the remote's `HEAD`.
    pub reference: String,
    /// Directory inside the repository; empty for all of it.
    pub subdir: String,
    /// Whether `.git` stays.
    pub keep_git_dir: bool,
    /// A commit (or a prefix of one) that the reference must have.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub checksum: Option<String>,
    /// Whether submodules are left out.
    #[serde(default)]
    pub skip_submodules: bool,
}

/// One file by HTTP(S).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HttpSource {
    /// Where it is.
    pub url: String,
    /// What it must be.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub checksum: Option<Digest>,
    /// The name the file gets in the result; else the server's or the URL's last part.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub filename: Option<String>,
    /// Permission bits; BuildKit's default is 0600.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mode: Option<u32>,
}

/// A root filesystem from a signed archive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DebootstrapSource {
    /// The whole source as written: `debootstrap://debian/trixie?…`.
    pub source: String,
}

/// A remote (`scheme://host/path`, `user@host:path`) without password and query, either of which
/// may be a token, for messages and progress names. A fragment stays: it is a reference.
pub fn shown_remote(text: &str) -> String {
    let (rest, fragment) = text.split_once('#').map_or((text, None), |(r, f)| (r, Some(f)));
    let remote = rest.split('?').next().unwrap_or(rest);
    let mut shown = match remote.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = match rest.find('/') {
                Some(at) => rest.split_at(at),
                None => (rest, ""),
            };
            let host = authority.rsplit('@').next().unwrap_or(authority);
            format!("{scheme}://{host}{path}")
        }
        None => remote.to_owned(),
    };
    if let Some(fragment) = fragment {
        shown.push('#');
        shown.push_str(fragment);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::shown_remote;

    #[test]
    fn credentials_and_tokens_are_not_shown() {
        for (text, want) in [
            ("https://u:p@h/a.git?token=x#v1", "https://h/a.git#v1"),
            ("https://token@h/a.git", "https://h/a.git"),
            ("https://u:p@h", "https://h"),
            ("git@h:a/b#main:dir", "git@h:a/b#main:dir"),
            ("./dir", "./dir"),
        ] {
            assert_eq!(shown_remote(text), want, "{text}");
        }
    }
}
