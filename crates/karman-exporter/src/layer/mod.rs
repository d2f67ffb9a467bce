//! Layers: from a snapshot directory to a blob in the store, in one pass.
//!
//! ```text
//! walk (reads ahead) → tar bytes → sha256 (diff-id)
//!                                → chunks → gzip members on all cores | eStargz | zstd | as is → store (sha256 of the blob)
//! ```
//!
//! The bytes depend on the tree and the options only, never on the number of threads. Memory is bounded by the read
//! ahead of the walk and `2 × threads + 2` chunks of [`CHUNK`] bytes with their compressed forms.

mod encode;
mod estargz;
mod gzip;
mod write;

pub use encode::{Encoded, LayerEncoder};
pub use estargz::{TOC_DIGEST, UNCOMPRESSED_SIZE};
pub(crate) use write::{Below, finish, special, write_entries};
pub use write::{Counts, LayerBlob, LayerOptions, recompress, write_layer};

use std::io;

use karman_control::{Compression, CompressionKind};
use karman_oci::{Digest, media_type};

use crate::decompress::DecompressError;
use crate::walk::WalkError;

/// The uncompressed size of a gzip member. Larger ones compress hardly better (0.2 % from 1 to 4 MiB); smaller layers
/// would keep only one core busy.
pub const CHUNK: usize = 1 << 20;

/// The default gzip level. On two cores and 153 MB of Python files and programs, level 4 of zlib-rs made 119 MB/s at a
/// ratio of 0.329; level 6 made 55 MB/s at 0.322, level 3 106 MB/s at 0.335.
pub const DEFAULT_GZIP_LEVEL: i32 = 4;

/// The default zstd level (the library's own).
pub const DEFAULT_ZSTD_LEVEL: i32 = 3;

/// A layer that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The snapshot could not be read.
    #[error("read layer snapshot")]
    Walk(#[from] WalkError),
    /// The blob could not be compressed or stored.
    #[error("write layer blob")]
    Write(#[source] io::Error),
    /// An entry could not be archived: its data changed, or the blob could not be stored.
    #[error("archive `{path}`")]
    Entry {
        /// The path in the layer.
        path: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The level does not exist.
    #[error("compression level {level} does not exist for {kind} ({want})")]
    Level {
        /// The level asked for.
        level: i32,
        /// The compression.
        kind: &'static str,
        /// The levels that exist.
        want: &'static str,
    },
    /// The blob to compress again could not be read.
    #[error("read blob `{digest}`")]
    Source {
        /// The blob.
        digest: Digest,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The blob to compress again is not in a compression we know.
    #[error("decompress blob `{digest}`")]
    Decompress {
        /// The blob.
        digest: Digest,
        /// The cause.
        #[source]
        source: DecompressError,
    },
    /// The blob to compress again holds another layer.
    #[error("blob `{digest}` holds layer `{actual}`, not `{expected}`")]
    DiffId {
        /// The blob.
        digest: Digest,
        /// The layer it holds.
        actual: Digest,
        /// The layer it should hold.
        expected: Digest,
    },
}

/// The level that a compression asks for, its default filled in.
///
/// # Errors
/// When the level does not exist.
pub fn level(compression: Compression) -> Result<i32, LayerError> {
    let (kind, default) = match compression.kind {
        CompressionKind::Gzip => ("gzip", DEFAULT_GZIP_LEVEL),
        CompressionKind::Estargz => ("estargz", DEFAULT_GZIP_LEVEL),
        CompressionKind::Zstd => ("zstd", DEFAULT_ZSTD_LEVEL),
        CompressionKind::Uncompressed => return Ok(0),
    };
    match compression.wrong_level() {
        None => Ok(compression.level.unwrap_or(default)),
        Some((level, want)) => Err(LayerError::Level { level, kind, want }),
    }
}

/// The media type of a layer. Docker has types for gzip and plain layers only; zstd keeps the OCI type.
#[must_use]
pub fn layer_media_type(kind: CompressionKind, oci: bool) -> &'static str {
    match (kind, oci) {
        (CompressionKind::Gzip | CompressionKind::Estargz, true) => media_type::OCI_LAYER_GZIP,
        (CompressionKind::Gzip | CompressionKind::Estargz, false) => media_type::DOCKER_LAYER_GZIP,
        (CompressionKind::Zstd, _) => media_type::OCI_LAYER_ZSTD,
        (CompressionKind::Uncompressed, true) => media_type::OCI_LAYER,
        (CompressionKind::Uncompressed, false) => DOCKER_LAYER,
    }
}

/// Docker's plain layer.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
