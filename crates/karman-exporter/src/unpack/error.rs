//! Why an archive cannot be unpacked.

use std::io;

use karman_oci::Digest;
use karman_sys::fs::FsError;

use crate::decompress::DecompressError;
use crate::tarball::ReadError;

/// An archive that could not be unpacked. What was unpacked so far is left for the caller to remove.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// The compression cannot be undone.
    #[error("decompress archive")]
    Decompress(#[from] DecompressError),
    /// The archive is malformed or ends early.
    #[error(transparent)]
    Archive(#[from] ReadError),
    /// A file operation failed.
    #[error("unpack `{path}`")]
    File {
        /// The path in the tree.
        path: String,
        /// The cause.
        #[source]
        source: FsError,
    },
    /// The data of a file could not be read or written.
    #[error("unpack the data of `{path}`")]
    Data {
        /// The path in the tree.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A hard link to something that is not there.
    #[error("hard link `{path}` to `{target}`, which does not exist")]
    LinkTarget {
        /// The new name.
        path: String,
        /// The missing file.
        target: String,
    },
    /// A whiteout of no name, of `.` or of `..`.
    #[error("whiteout `{path}` names nothing that can be deleted")]
    Whiteout {
        /// The name of the entry.
        path: String,
    },
    /// Symbolic links in a circle, or too many.
    #[error("too many symbolic links on the way to `{path}`")]
    Links {
        /// The path in the tree.
        path: String,
    },
    /// More nested directories than we enter.
    #[error("`{path}` is nested deeper than {limit} directories")]
    Depth {
        /// The path in the tree, shortened.
        path: String,
        /// The limit.
        limit: usize,
    },
    /// The archive is larger than allowed.
    #[error("archive has more than {limit} {what}")]
    Limit {
        /// Entries or bytes.
        what: &'static str,
        /// How many are allowed.
        limit: u64,
    },
    /// The layer is not the one expected.
    #[error("layer is `{actual}`, not `{expected}`")]
    DiffId {
        /// What was unpacked.
        actual: Digest,
        /// What should have been.
        expected: Digest,
    },
    /// The sink of an extraction failed.
    #[error("place `{path}`")]
    Sink {
        /// The path in the archive.
        path: String,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
