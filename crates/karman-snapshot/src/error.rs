//! What can go wrong with snapshots, views and copies.

use std::path::{Path, PathBuf};

use karman_content::StoreError;
use karman_sys::fs::FsError;

use crate::snapshots::SnapshotId;

/// The result of a snapshot operation.
pub type Result<T> = std::result::Result<T, SnapshotError>;

/// A failed snapshot operation. Paths are paths inside the root filesystem unless they say otherwise.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file operation failed.
    #[error("access `{}`", path.display())]
    Files {
        /// The directory or file that was worked on.
        path: PathBuf,
        /// The operation and the kernel's answer.
        #[source]
        source: FsError,
    },
    /// The store has no such snapshot, or lost it in a power failure.
    #[error("snapshot `{0}` is not in the store")]
    NoSnapshot(SnapshotId),
    /// The record of a snapshot in the index cannot be read.
    #[error("the record of snapshot `{id}` is damaged")]
    Record {
        /// The snapshot.
        id: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// A path passes through more symbolic links than allowed.
    #[error("too many symbolic links on the way to `{}`", .0.display())]
    TooManyLinks(PathBuf),
    /// Directories are nested deeper than allowed.
    #[error("directories nested too deeply at `{}`", .0.display())]
    TooDeep(PathBuf),
    /// The source of a copy does not exist.
    #[error("`{}` not found", .0.display())]
    NotFound(PathBuf),
    /// The directory a file should be put into does not exist.
    #[error("directory `{}` does not exist", .0.display())]
    NoParent(PathBuf),
    /// A directory is needed where something else is.
    #[error("cannot copy to non-directory `{}`", .0.display())]
    NotADirectory(PathBuf),
    /// A file would replace a directory.
    #[error("cannot replace directory `{}` with a file", .0.display())]
    IsADirectory(PathBuf),
    /// A device with the number 0:0 would be taken for a deletion.
    #[error("`{}` is a character device 0:0, which a layer cannot hold", .0.display())]
    WhiteoutDevice(PathBuf),
    /// The root itself cannot be removed or replaced.
    #[error("the root directory cannot be replaced")]
    Root,
}

/// Adds the path worked on.
pub(crate) trait On<T> {
    fn on(self, path: impl AsRef<Path>) -> Result<T>;
}

impl<T> On<T> for std::result::Result<T, FsError> {
    fn on(self, path: impl AsRef<Path>) -> Result<T> {
        self.map_err(|source| SnapshotError::Files { path: path.as_ref().to_owned(), source })
    }
}
