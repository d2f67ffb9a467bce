//! A zip archive of records, such as OSV's `PyPI/all.zip`.
//!
//! The archive is not trusted: entries, their sizes and the sum of them are bounded while they are
//! unpacked, whatever the directory of the archive announces, and every checksum is verified. Names
//! are only looked at for `.json`; nothing is written anywhere.

use std::io::Read as _;

use flate2::bufread::DeflateDecoder;
use rawzip::{CompressionMethod, ZipArchive, ZipFileHeaderRecord, ZipSliceArchive};

use super::wire::{AdvisoryError, MAX_ADVISORY_BYTES};

/// The largest archive. OSV's of PyPI has some tens of megabytes.
pub const MAX_ARCHIVE_BYTES: usize = 1 << 30;
/// The most entries.
pub const MAX_ARCHIVE_ENTRIES: u64 = 500_000;
/// The most that all entries may unpack to, in bytes.
pub const MAX_UNPACKED_BYTES: u64 = 4 << 30;

/// Why an archive of advisories cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Not a zip archive, or a broken one.
    #[error("failed to read the zip archive")]
    Zip(#[source] rawzip::Error),
    /// Larger than [`MAX_ARCHIVE_BYTES`].
    #[error("an archive of {0} bytes is too large; at most {MAX_ARCHIVE_BYTES} are read")]
    TooLarge(usize),
    /// More than [`MAX_ARCHIVE_ENTRIES`].
    #[error("the archive has more than {MAX_ARCHIVE_ENTRIES} entries")]
    TooManyEntries,
    /// Together larger than [`MAX_UNPACKED_BYTES`].
    #[error("the archive unpacks to more than {MAX_UNPACKED_BYTES} bytes")]
    TooMuch,
    /// Compressed with something that OSV does not use.
    #[error("`{entry}` is compressed with method {method}; stored and deflated entries are read")]
    Method {
        /// The entry.
        entry: String,
        /// The number of the method.
        method: u16,
    },
    /// An entry that does not unpack to what the archive says.
    #[error("failed to unpack `{entry}`")]
    Entry {
        /// The entry.
        entry: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// An entry that is no advisory.
    #[error("failed to read `{entry}`")]
    Advisory {
        /// The entry.
        entry: String,
        /// The cause.
        #[source]
        source: AdvisoryError,
    },
}

/// Calls `take` with every `*.json` of the archive, in its order.
pub(super) fn read(
    zip: &[u8],
    mut take: impl FnMut(&[u8]) -> Result<(), AdvisoryError>,
) -> Result<(), ArchiveError> {
    if zip.len() > MAX_ARCHIVE_BYTES {
        return Err(ArchiveError::TooLarge(zip.len()));
    }
    let archive = ZipArchive::from_slice(zip).map_err(ArchiveError::Zip)?;
    let mut entries = archive.entries();
    let (mut seen, mut total) = (0, 0);
    let mut json = Vec::new();
    while let Some(entry) = entries.next_entry().map_err(ArchiveError::Zip)? {
        seen += 1;
        if seen > MAX_ARCHIVE_ENTRIES {
            return Err(ArchiveError::TooManyEntries);
        }
        if entry.is_dir() || !entry.file_path().as_ref().ends_with(b".json") {
            continue;
        }
        let name = || String::from_utf8_lossy(entry.file_path().as_ref()).into_owned();
        unpack(&archive, &entry, &name, &mut json)?;
        total += json.len() as u64;
        if total > MAX_UNPACKED_BYTES {
            return Err(ArchiveError::TooMuch);
        }
        take(&json).map_err(|source| ArchiveError::Advisory { entry: name(), source })?;
    }
    Ok(())
}

/// Unpacks one entry into `out`, at most one byte more than an advisory may have: `take` complains
/// about that one.
fn unpack(
    archive: &ZipSliceArchive<&[u8]>,
    entry: &ZipFileHeaderRecord<'_>,
    name: &dyn Fn() -> String,
    out: &mut Vec<u8>,
) -> Result<(), ArchiveError> {
    let local = archive.get_entry(entry.wayfinder()).map_err(ArchiveError::Zip)?;
    let limit = MAX_ADVISORY_BYTES as u64 + 1;
    out.clear();
    let done = match entry.compression_method() {
        CompressionMethod::STORE => {
            local.verifying_reader(local.data()).take(limit).read_to_end(out)
        }
        CompressionMethod::DEFLATE => {
            let reader = local.verifying_reader(DeflateDecoder::new(local.data()));
            reader.take(limit).read_to_end(out)
        }
        other => {
            return Err(ArchiveError::Method { entry: name(), method: other.as_u16() });
        }
    };
    done.map(|_| ()).map_err(|source| ArchiveError::Entry { entry: name(), source })
}
