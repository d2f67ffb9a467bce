//! Archives for `ADD`: what counts as one, and unpacking it as docker does.

use std::io::Read;

use karman_sys::fs::Dir;

use super::feed::feed;
use super::layer::Budget;
use super::{Form, Limits, Ownership, Place, UnpackError, Warnings, clean};
use crate::decompress::decompress;
use crate::tarball::{Entry, TarReader};
use crate::walk::show;

/// Takes the entries of an archive.
pub trait TreeSink {
    /// Makes one entry. `path` is cleaned: relative, without `.` and `..`, empty for the root; so is the target of a
    /// hard link in `entry`. The data of a file is read from `data`. Missing parents are the sink's to make, and
    /// symbolic links on the way its to follow inside its root. A later entry of the same path wins; a directory is
    /// merged with a directory.
    ///
    /// # Errors
    /// Whatever makes the entry impossible; extraction ends with it.
    fn entry(
        &mut self,
        path: &[u8],
        entry: &Entry,
        data: &mut dyn Read,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// An archive that has been extracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extracted {
    /// Entries read.
    pub entries: u64,
    /// Bytes of the uncompressed archive.
    pub size: u64,
}

/// Whether `ADD` unpacks a file that begins at `input`: a tar with at least one entry, plain or compressed with gzip,
/// bzip2, xz or zstd (moby's `archive.IsArchivePath`: the first header can be read).
pub fn is_archive(input: impl Read + Send) -> bool {
    let Ok(plain) = decompress(input) else { return false };
    matches!(TarReader::new(plain).next_entry(), Ok(Some(_)))
}

/// Hands the entries of an archive, plain or compressed, to a sink. Whiteout names mean nothing here.
///
/// # Errors
/// When the archive is malformed or too large, or the sink fails.
pub fn extract_archive(
    input: impl Read + Send,
    sink: &mut dyn TreeSink,
    limits: Limits,
) -> Result<Extracted, UnpackError> {
    let (entries, total) = feed(input, limits, |pieces| {
        let mut tar = TarReader::new(pieces);
        let mut budget = Budget::new(limits);
        while let Some(mut entry) = tar.next_entry()? {
            budget.take(&entry)?;
            entry.path = clean(&entry.path).join(&b'/');
            if let crate::tarball::EntryKind::HardLink(target) = &mut entry.kind {
                *target = clean(target).join(&b'/');
            }
            sink.entry(&entry.path, &entry, &mut tar)
                .map_err(|source| UnpackError::Sink { path: show(&entry.path), source })?;
        }
        Ok(budget.entries)
    })?;
    Ok(Extracted { entries, size: total.size })
}

/// A sink that makes plain files below a directory, which may hold files already.
pub struct DirSink<'a> {
    place: Place<'a>,
}

impl<'a> DirSink<'a> {
    /// A sink below `root`. The root's own mode, owner and time stay as they are, as docker leaves an existing
    /// destination.
    #[must_use]
    pub fn new(root: &'a Dir, ownership: Ownership) -> Self {
        Self { place: Place::new(root, Form::Plain, ownership, None) }
    }

    /// Sets the times of directories and returns what had to be left out.
    ///
    /// # Errors
    /// When a time cannot be set.
    pub fn finish(self) -> Result<Warnings, UnpackError> {
        self.place.finish()
    }
}

impl TreeSink for DirSink<'_> {
    fn entry(
        &mut self,
        path: &[u8],
        entry: &Entry,
        data: &mut dyn Read,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if path.is_empty() {
            return Ok(());
        }
        Ok(self.place.put(entry, data)?)
    }
}
