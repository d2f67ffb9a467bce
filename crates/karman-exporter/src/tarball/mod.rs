//! Tar, both ways: a canonical writer and a reader for what others wrote.
//!
//! The writer emits POSIX ustar headers and, only where ustar has no room, one PAX header before them with its records
//! sorted by key: `path`, `linkpath`, `size`, `uid`, `gid`, `mtime`, `SCHILY.xattr.*`. Owners are numeric with empty
//! names. An archive ends with two zero blocks and nothing after them.

mod header;
mod number;
mod pax;
mod read;
mod sparse;
mod write;

pub use header::{Header, Kind, Meta};
pub use read::{Entry, EntryKind, ReadError, TarReader};
pub use write::TarWriter;

/// The unit of a tar archive in bytes.
pub const BLOCK: usize = 512;

/// The prefix of a whiteout's name (image-spec `layer.md`).
pub const WHITEOUT_PREFIX: &[u8] = b".wh.";

/// The name of an opaque marker (image-spec `layer.md`).
pub const OPAQUE_MARKER: &[u8] = b".wh..wh..opq";

/// The PAX key prefix of extended attributes.
pub(crate) const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";
