//! Changes to a filesystem without running anything in it.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Actions in order over a base; the result is one layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileOp {
    /// Input index of the filesystem changed; `None` is scratch.
    pub base: Option<usize>,
    /// What is done, in order.
    pub actions: Vec<FileAction>,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileAction {
    /// Copies files of an input.
    Copy(Box<Copy>),
    /// Makes a directory.
    Mkdir(Mkdir),
    /// Makes a file.
    Mkfile(Mkfile),
    /// Removes a path.
    Remove(Remove),
    /// Makes a symbolic link.
    Symlink(Symlink),
}

/// Copies files of an input, with the options of BuildKit's `FileActionCopy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// Input index of the source; `None` is scratch.
    pub from: Option<usize>,
    /// Source path or pattern, absolute inside the input.
    pub src: String,
    /// Destination, absolute; a trailing slash makes it a directory.
    pub dest: String,
    /// New owner; `None` keeps the source's where it comes from an image, else root.
    pub owner: Option<Owner>,
    /// New permissions, octal (`0644`) or symbolic (`u=rwX,go=rX`).
    pub mode: Option<String>,
    /// Whether a symbolic link named as source is followed.
    pub follow_symlinks: bool,
    /// Whether a directory's contents are copied instead of the directory.
    pub contents_only: bool,
    /// Whether a local archive is unpacked instead of copied.
    pub unpack: bool,
    /// Whether missing parents of the destination are made.
    pub create_dest_path: bool,
    /// Whether `src` may hold wildcards.
    pub allow_wildcard: bool,
    /// Whether a wildcard that matches nothing is fine.
    pub allow_empty_wildcard: bool,
    /// Patterns, relative to `src`, of which one must match; empty for all.
    #[serde(default)]
    pub include: Vec<String>,
    /// Patterns, relative to `src`, of what is left out.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Paths below `src` that must exist.
    #[serde(default)]
    pub required: Vec<String>,
    /// Whether an existing destination of another type is replaced.
    #[serde(default)]
    pub replace: bool,
    /// Seconds since 1970 given to everything copied; `None` keeps the source's times.
    #[serde(default)]
    pub created: Option<i64>,
}

/// Makes a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mkdir {
    /// Where, absolute.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Whether missing parents are made.
    pub parents: bool,
    /// Owner; root where there is none.
    pub owner: Option<Owner>,
    /// Seconds since 1970; `None` is the time of the build.
    #[serde(default)]
    pub created: Option<i64>,
}

/// Makes a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mkfile {
    /// Where, absolute.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// The contents.
    pub data: Data,
    /// Owner; root where there is none.
    pub owner: Option<Owner>,
    /// Seconds since 1970; `None` is the time of the build.
    #[serde(default)]
    pub created: Option<i64>,
}

/// Removes a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remove {
    /// What, absolute.
    pub path: String,
    /// Whether its absence is fine.
    pub allow_missing: bool,
    /// Whether `path` may hold wildcards.
    pub allow_wildcard: bool,
}

/// Makes a symbolic link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Symlink {
    /// What it points to.
    pub target: String,
    /// Where it is, absolute.
    pub path: String,
    /// Owner; root where there is none.
    pub owner: Option<Owner>,
    /// Seconds since 1970; `None` is the time of the build.
    #[serde(default)]
    pub created: Option<i64>,
}

/// Who owns a file. Names are looked up in the filesystem that is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The user.
    pub user: Option<Principal>,
    /// The group; `None` is the user's own group by name, or the same number.
    pub group: Option<Principal>,
}

/// A user or a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Principal {
    /// By number.
    Id(u32),
    /// By name.
    Name(String),
}

/// Bytes, written as hexadecimal digits where text is needed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Data(pub Vec<u8>);

impl Serialize for Data {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use std::fmt::Write as _;
        let hex = self.0.iter().fold(String::with_capacity(self.0.len() * 2), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        });
        s.serialize_str(&hex)
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let hex = String::deserialize(d)?;
        let pair = |at: usize| hex.get(at..at + 2).and_then(|p| u8::from_str_radix(p, 16).ok());
        if hex.len() % 2 != 0 {
            return Err(D::Error::custom("an odd number of hexadecimal digits"));
        }
        let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(pair).collect();
        bytes.map(Data).ok_or_else(|| D::Error::custom("not hexadecimal digits"))
    }
}
