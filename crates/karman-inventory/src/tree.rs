//! The trait a root filesystem is read through.

use std::io;

use crate::model::Kind;

/// A file or directory that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The names could not be listed.
    #[error("list the files of the image")]
    List(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A file could not be read.
    #[error("read `{path}`")]
    Read {
        /// Which file.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// There are more paths than any image has.
    #[error("the image has more than {limit} paths")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The databases of packages and distributions are larger than those of any image.
    #[error("the databases of packages in the image have more than {limit} {what}")]
    Databases {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// The bytes of an open file.
pub trait Content {
    /// Reads into `buf` from `offset`; 0 at the end. May give less than asked for.
    ///
    /// # Errors
    /// When the file cannot be read.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;
}

impl Content for Vec<u8> {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(self.len());
        let size = buf.len().min(self.len() - from);
        buf[..size].copy_from_slice(&self[from..from + size]);
        Ok(size)
    }
}

/// A merged root filesystem. Reading it twice gives the same.
pub trait Tree: Sync {
    /// Everything below the root, parents before their children; the root itself is left out.
    ///
    /// # Errors
    /// When the names cannot be read.
    fn nodes(&self) -> Result<Vec<Node>, TreeError>;

    /// Opens a regular file, by a node that this tree gave.
    ///
    /// # Errors
    /// When it cannot be opened.
    fn open(&self, node: &Node) -> Result<Box<dyn Content + '_>, TreeError>;
}

/// One path of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// The path as [`path_text`] writes it, with a leading `/`.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a regular file.
    pub size: u64,
    /// The text of a symbolic link.
    pub target: Option<String>,
    /// Major and minor number of a device.
    pub device: Option<(u32, u32)>,
    /// The attribute `security.capability`.
    pub capability: Option<Vec<u8>>,
    /// Equal for hard links of one file.
    pub inode: Option<(u64, u64)>,
    /// The layer it is from, counted from the lowest.
    pub layer: usize,
    /// For the tree's own use.
    pub handle: usize,
}

/// A path as text. Bytes that are not UTF-8 become `\xNN`; nothing else is changed.
pub fn path_text(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// Reads a file from its beginning, at most `limit` bytes of it.
pub(crate) fn read_limited(
    tree: &dyn Tree,
    node: &Node,
    limit: usize,
) -> Result<Vec<u8>, TreeError> {
    let failed = |source| TreeError::Read { path: node.path.clone(), source };
    let content = tree.open(node)?;
    let mut bytes = vec![0; limit.min(usize::try_from(node.size).unwrap_or(limit))];
    let mut filled = 0;
    while filled < bytes.len() {
        match content.read_at(filled as u64, &mut bytes[filled..]).map_err(failed)? {
            0 => break,
            n => filled += n,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_bytes_of_paths_are_written_out() {
        assert_eq!(path_text(b"/a/\xff\xc3\xa4"), "/a/\\xffä");
    }

    #[test]
    fn content_past_its_end_is_empty() {
        let content = vec![1, 2, 3];
        let mut buf = [0; 8];
        assert_eq!(content.read_at(2, &mut buf).ok(), Some(1));
        assert_eq!(content.read_at(u64::MAX, &mut buf).ok(), Some(0));
    }
}
