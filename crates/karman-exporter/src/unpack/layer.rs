//! A layer blob to a layer snapshot.

use std::io::Read;

use karman_oci::Digest;
use karman_sys::fs::Dir;

use super::feed::{Pieces, feed};
use super::place::split;
use super::{Form, Limits, Lower, Ownership, Place, UnpackError, Warnings, clean};
use crate::tarball::{Entry, OPAQUE_MARKER, TarReader, WHITEOUT_PREFIX};
use crate::walk::show;

/// The prefix of the names aufs keeps its own notes under.
const AUFS_PREFIX: &[u8] = b".wh..wh.";

/// How a layer is unpacked.
#[derive(Default, Clone, Copy)]
pub struct UnpackOptions<'a> {
    /// The digest the uncompressed layer must have.
    pub expected: Option<Digest>,
    /// The layers below, if there are any.
    pub lower: Option<&'a dyn Lower>,
    /// What the layer may cost.
    pub limits: Limits,
    /// Whose the files are.
    pub ownership: Ownership,
}

/// A layer that has been unpacked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unpacked {
    /// The digest of the uncompressed layer.
    pub diff_id: Digest,
    /// Bytes of the uncompressed layer.
    pub size: u64,
    /// Entries read.
    pub entries: u64,
    /// What had to be left out.
    pub warnings: Warnings,
}

/// Unpacks a layer (plain or compressed) into `into`, which should be empty, as an overlay upper directory.
///
/// The digest is known, and compared, only at the end: after an error `into` holds untrusted leftovers and must be
/// thrown away.
///
/// # Errors
/// When the layer is malformed, too large or not the one expected, or the directory cannot be written.
pub fn unpack_layer(
    input: impl Read + Send,
    into: &Dir,
    options: &UnpackOptions<'_>,
) -> Result<Unpacked, UnpackError> {
    let limits = options.limits;
    let ((entries, warnings), total) = feed(input, limits, |pieces| {
        let mut place = Place::new(into, Form::Overlay, options.ownership, options.lower);
        let entries = unpack(pieces, &mut place, limits)?;
        Ok((entries, place.finish()?))
    })?;
    if let Some(expected) = options.expected.filter(|expected| *expected != total.diff_id) {
        return Err(UnpackError::DiffId { actual: total.diff_id, expected });
    }
    Ok(Unpacked { diff_id: total.diff_id, size: total.size, entries, warnings })
}

fn unpack(pieces: &mut Pieces, place: &mut Place<'_>, limits: Limits) -> Result<u64, UnpackError> {
    let mut tar = TarReader::new(pieces);
    let mut budget = Budget::new(limits);
    while let Some(entry) = tar.next_entry()? {
        budget.take(&entry)?;
        match marker(&entry)? {
            Marker::None => place.put(&entry, &mut tar)?,
            Marker::Ignored => {}
            Marker::Opaque(dir) => {
                place.enter(&dir)?;
                place.opaque()?;
            }
            Marker::Whiteout(dir, name) => {
                place.enter(&dir)?;
                place.whiteout(&name)?;
            }
        }
    }
    // The digest is of all bytes, those behind the archive too.
    tar.drain()?;
    Ok(budget.entries)
}

/// Counts entries and the sizes they claim.
pub(super) struct Budget {
    limits: Limits,
    pub(super) entries: u64,
    bytes: u64,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, entries: 0, bytes: 0 }
    }

    pub(super) fn take(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(entry.size);
        if self.entries > self.limits.entries {
            return Err(UnpackError::Limit { what: "entries", limit: self.limits.entries });
        }
        if self.bytes > self.limits.bytes {
            return Err(UnpackError::Limit { what: "bytes", limit: self.limits.bytes });
        }
        Ok(())
    }
}

enum Marker {
    None,
    Ignored,
    Opaque(Vec<Vec<u8>>),
    Whiteout(Vec<Vec<u8>>, Vec<u8>),
}

fn marker(entry: &Entry) -> Result<Marker, UnpackError> {
    let invalid = || UnpackError::Whiteout { path: show(&entry.path) };
    // A name such as `.wh..` must not be cleaned before it is looked at: it is no directory entry.
    let Some((dir, name)) = split(&entry.path) else { return Ok(Marker::None) };
    if clean(&entry.path).iter().any(|part| part.starts_with(AUFS_PREFIX) && part != OPAQUE_MARKER)
    {
        return Ok(Marker::Ignored);
    }
    if dir.iter().any(|part| part.starts_with(WHITEOUT_PREFIX)) {
        return Err(invalid());
    }
    if name == OPAQUE_MARKER {
        return Ok(Marker::Opaque(dir));
    }
    match name.strip_prefix(WHITEOUT_PREFIX) {
        None => Ok(Marker::None),
        Some(b"" | b"." | b"..") => Err(invalid()),
        Some(hidden) => Ok(Marker::Whiteout(dir, hidden.to_vec())),
    }
}
