//! Unpacking: layer blobs to layer snapshots, and archives for `ADD`.
//!
//! Archives are hostile. Names are cleaned as Go's `filepath.Clean` does with the root above which nothing is
//! (`../../x` is `x`). Directories are entered one component at a time from an open descriptor with `O_NOFOLLOW`;
//! symbolic links on the way are followed by this code, inside the root only, and only [`place::MAX_LINKS`] of them.
//! Nothing is ever written through a name: an existing file is removed first. Sizes, numbers and the ratio of
//! decompression are limited by [`Limits`].

mod archive;
mod error;
mod feed;
mod layer;
mod lower;
mod place;
mod put;

pub use archive::{DirSink, Extracted, TreeSink, extract_archive, is_archive};
pub use error::UnpackError;
pub use layer::{UnpackOptions, Unpacked, unpack_layer};
pub use lower::{Found, Lower, LowerLayers};

pub(crate) use place::{Form, Place};

/// What a layer may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Uncompressed bytes, and also the sum of the sizes of files (holes included).
    pub bytes: u64,
    /// Entries.
    pub entries: u64,
    /// Uncompressed bytes for one compressed byte, looked at after [`RATIO_FLOOR`] bytes.
    pub ratio: u64,
}

/// 64 GiB: several times the largest images in the field (CUDA images have some 20 GiB).
pub const DEFAULT_MAX_BYTES: u64 = 64 << 30;

/// Ten times a full desktop distribution.
pub const DEFAULT_MAX_ENTRIES: u64 = 10_000_000;

/// gzip cannot exceed 1032; a zstd layer of zero bytes can, so there is a floor below which nobody minds.
pub const DEFAULT_MAX_RATIO: u64 = 2000;

/// Below this many uncompressed bytes (1 GiB) the ratio does not matter.
pub const RATIO_FLOOR: u64 = 1 << 30;

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: DEFAULT_MAX_BYTES, entries: DEFAULT_MAX_ENTRIES, ratio: DEFAULT_MAX_RATIO }
    }
}

/// Whose the unpacked files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ownership {
    /// As the archive says; an owner that cannot be set is an error.
    #[default]
    Exact,
    /// As the archive says where that is possible; where it is not, a warning.
    BestEffort,
    /// All belongs to this process.
    Process,
}

/// Something left out while unpacking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The path in the tree.
    pub path: String,
    /// What is missing.
    pub missing: Missing,
}

/// What a warning is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A device: a user namespace may not make it.
    Device,
    /// The owner.
    Owner,
    /// An extended attribute.
    Attribute,
}

/// Warnings kept; further ones are only counted.
pub const MAX_WARNINGS: usize = 100;

/// The warnings of one unpacking.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Warnings {
    /// The first [`MAX_WARNINGS`].
    pub first: Vec<Warning>,
    /// How many there were.
    pub total: u64,
}

impl Warnings {
    fn add(&mut self, path: &[u8], missing: Missing) {
        self.total += 1;
        if self.first.len() < MAX_WARNINGS {
            self.first.push(Warning { path: crate::walk::show(path), missing });
        }
    }
}

/// The components of a name from an archive, cleaned: no empty ones, no `.`, and `..` resolved inside the root.
pub(crate) fn clean(name: &[u8]) -> Vec<Vec<u8>> {
    let mut out: Vec<Vec<u8>> = Vec::new();
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(out.pop()),
            part => out.push(part.to_vec()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn names_are_cleaned_inside_the_root() {
        for (name, want) in [
            ("../../x", "x"),
            ("/a//b/./c/", "a/b/c"),
            ("a/../../b", "b"),
            ("./", ""),
            ("a/..", ""),
        ] {
            assert_eq!(clean(name.as_bytes()).join(&b'/'), want.as_bytes(), "{name}");
        }
    }
}
