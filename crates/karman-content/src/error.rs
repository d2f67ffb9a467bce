//! What can go wrong with the store.

use std::path::PathBuf;

use karman_oci::Digest;
use karman_sys::fs::FsError;
use rustix::io::Errno;

/// The result of a store operation.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A failed store operation.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed.
    #[error("access the store at `{}`", dir.display())]
    Files {
        /// The directory of the store that was worked in.
        dir: PathBuf,
        /// The operation and the kernel's answer.
        #[source]
        source: FsError,
    },
    /// The index did not do what was asked.
    #[error("{op} in the index `{}`", path.display())]
    Index {
        /// What was tried.
        op: &'static str,
        /// The database file.
        path: PathBuf,
        /// SQLite's answer.
        #[source]
        source: rusqlite::Error,
    },
    /// The store was written by a newer version of this program.
    #[error("store `{}` has version {found}, this program knows versions up to {known}", root.display())]
    Newer {
        /// The store.
        root: PathBuf,
        /// Its version.
        found: u32,
        /// The newest version known here.
        known: u32,
    },
    /// The version file has no number in it.
    #[error("`{}` is not a store: its version file says `{text}`", root.display())]
    NotAStore {
        /// The directory.
        root: PathBuf,
        /// The start of the version file.
        text: String,
    },
    /// The content written is not the content that was promised.
    #[error("content has digest `{found}`, expected `{expected}`")]
    DigestMismatch {
        /// What was promised.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// The store has no such blob.
    #[error("blob `{0}` is not in the store")]
    NoBlob(Digest),
    /// A blob on disk is not what its name says.
    #[error("blob `{digest}` in the store is damaged ({size} bytes on disk, {expected} expected)")]
    Damaged {
        /// The name of the blob.
        digest: Digest,
        /// Bytes on disk.
        size: u64,
        /// Bytes it had when it was committed.
        expected: u64,
    },
    /// The content of a blob is not what its name says any more. It was taken out of the store.
    #[error("blob `{0}` in the store was damaged and is removed")]
    Corrupt(Digest),
    /// A lease id with a line break or tab, which its file could not hold.
    #[error("`{0}` cannot be the id of a leased thing")]
    LeaseId(String),
}

impl StoreError {
    /// Something a person can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Newer { .. } => Some("use a newer karman, or another store with `--root`"),
            Self::NotAStore { .. } => Some("choose an empty directory with `--root`"),
            Self::Damaged { .. } => {
                Some("`karman cache verify --repair` removes it; it is made or pulled again then")
            }
            Self::NoBlob(_) => Some(
                "build or pull the image again; `karman cache verify --repair` forgets images that are not complete",
            ),
            Self::Corrupt(_) => Some(
                "run the command again: it is made or pulled again; `karman cache verify` looks for more damage",
            ),
            error if error.is_full() => {
                Some("make space on this file system, or take some back with `karman cache prune`")
            }
            _ => None,
        }
    }

    /// Whether the disk, or a quota on it, is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Files { source, .. } => {
                matches!(source.errno(), Some(Errno::NOSPC | Errno::DQUOT))
            }
            Self::Index { source, .. } => {
                source.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
            }
            _ => false,
        }
    }
}
