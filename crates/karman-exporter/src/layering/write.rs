//! One layer of a cut.

use std::io;

use karman_sys::fs::Dir;

use super::tree::{EntryKind, FinalEntry, FinalTree};
use crate::blobs::BlobStore;
use crate::layer::{Counts, LayerBlob, LayerEncoder, LayerError, LayerOptions, finish};
use crate::tarball::{Header, Kind, TarWriter};
use crate::walk::show;

/// Writes the layer of some entries of a tree (indexes, ascending). `dirs` are the tree's layers, topmost first.
///
/// Directories on the way are written the same in every image, except those that are among the entries: the layers
/// that name them come last.
///
/// # Errors
/// When a file cannot be read or has changed, or the blob cannot be stored.
pub fn write_group(
    tree: &FinalTree,
    entries: &[u32],
    dirs: &[&Dir],
    options: &LayerOptions<'_>,
    store: &dyn BlobStore,
) -> Result<LayerBlob, LayerError> {
    let encoder = LayerEncoder::new(store, options.compression, options.threads)?;
    let mut tar = TarWriter::new(encoder);
    let mut counts = Counts::default();
    let mut way: Vec<&[u8]> = Vec::new();
    for at in entries {
        let entry = &tree.entries[*at as usize];
        let failed = |source| LayerError::Entry { path: show(&entry.path), source };
        counts.entries += add_parents(&mut tar, tree, entry, &mut way).map_err(failed)?;
        counts.entries += 1;
        match entry.kind {
            EntryKind::File(_) => {
                counts.files += 1;
                let mut file = tree.open(dirs, entry)?;
                tar.append_reader(&entry.header(), &mut file).map_err(failed)?;
            }
            EntryKind::Dir => {
                tar.append_bytes(&entry.header(), &[]).map_err(failed)?;
                way.push(&entry.path);
            }
            _ => tar.append_bytes(&entry.header(), &[]).map_err(failed)?,
        }
    }
    Ok(finish(tar.finish().map_err(LayerError::Write)?, options, counts)?.0)
}

/// Writes the directories above an entry that the archive has not yet; `way` is the way to the last entry.
fn add_parents<'t, W: io::Write>(
    tar: &mut TarWriter<W>,
    tree: &FinalTree,
    entry: &'t FinalEntry,
    way: &mut Vec<&'t [u8]>,
) -> io::Result<u64> {
    let path = entry.path.as_slice();
    while way.last().is_some_and(|dir| !is_below(path, dir)) {
        way.pop();
    }
    let from = way.last().map_or(0, |dir| dir.len() + 1);
    let meta = tree.plain_dir();
    let mut count = 0;
    for (at, _) in path.iter().enumerate().skip(from).filter(|(_, byte)| **byte == b'/') {
        let dir = &path[..at];
        tar.append_bytes(&Header { path: dir, kind: Kind::Dir, meta: &meta }, &[])?;
        way.push(dir);
        count += 1;
    }
    Ok(count)
}

fn is_below(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.first() == Some(&b'/'))
}
