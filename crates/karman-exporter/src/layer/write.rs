//! A snapshot as a layer, and a layer in another compression.

use std::collections::BTreeSet;
use std::io::{self, Write};

use karman_control::Compression;
use karman_oci::{Descriptor, Digest};
use karman_sys::fs::{Dir, Stat};

use super::{LayerEncoder, LayerError, layer_media_type};
use crate::blobs::{BlobSource, BlobStore};
use crate::decompress::decompress;
use crate::tarball::{Header, Kind, Meta, TarWriter};
use crate::time::TimePolicy;
use crate::walk::{Data, Item, Mode, What, show, walk};
use crate::xattr;

/// How a layer is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerOptions<'a> {
    /// Compression and level.
    pub compression: Compression,
    /// Times of the entries.
    pub times: TimePolicy<'a>,
    /// Whether the media type is OCI's (else Docker's, where it has one).
    pub oci_media_types: bool,
    /// Compressing threads; the bytes do not depend on it.
    pub threads: usize,
}

/// What a layer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Entries of every kind, markers included.
    pub entries: u64,
    /// Regular files, hard links not counted.
    pub files: u64,
    /// Whiteouts and opaque markers.
    pub whiteouts: u64,
    /// Names that a layer cannot express (they begin with `.wh.`) and that were left out.
    pub reserved: u64,
}

/// A layer in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerBlob {
    /// The digest of the uncompressed layer.
    pub diff_id: Digest,
    /// Media type, digest and size of the blob.
    pub descriptor: Descriptor,
    /// Bytes of the uncompressed layer.
    pub uncompressed_size: u64,
    /// What it holds; all zero when it was only compressed again.
    pub counts: Counts,
}

/// Makes a layer of an overlay upper directory and stores its blob.
///
/// # Errors
/// When the directory cannot be read or changes meanwhile, or the blob cannot be stored.
pub fn write_layer(
    dir: &Dir,
    options: &LayerOptions<'_>,
    store: &dyn BlobStore,
) -> Result<LayerBlob, LayerError> {
    let encoder = LayerEncoder::new(store, options.compression, options.threads)?;
    let mut tar = TarWriter::new(encoder);
    let mut counts = Counts::default();
    write_entries(
        &mut tar,
        &[dir],
        Mode::Layer,
        options.times,
        &mut Below::default(),
        &mut counts,
    )?;
    Ok(finish(tar.finish().map_err(LayerError::Write)?, options, counts)?.0)
}

/// Stores a layer blob in another compression.
///
/// # Errors
/// When the blob cannot be read or holds another layer than `diff_id`, or the new one cannot be stored.
pub fn recompress(
    source: &dyn BlobSource,
    digest: &Digest,
    diff_id: &Digest,
    options: &LayerOptions<'_>,
    store: &dyn BlobStore,
) -> Result<LayerBlob, LayerError> {
    let failed = |source| LayerError::Source { digest: *digest, source };
    let input = source.open_blob(digest).map_err(failed)?;
    let mut input =
        decompress(input).map_err(|source| LayerError::Decompress { digest: *digest, source })?;
    let mut encoder = LayerEncoder::new(store, options.compression, options.threads)?;
    io::copy(&mut input, &mut encoder).map_err(failed)?;
    let (blob, tar) = finish(encoder, options, Counts::default())?;
    if tar != *diff_id {
        let (actual, expected) = (tar, *diff_id);
        return Err(LayerError::DiffId { digest: *digest, actual, expected });
    }
    Ok(blob)
}

/// The blob, and the digest of the tar that went in.
pub(crate) fn finish(
    encoder: LayerEncoder,
    options: &LayerOptions<'_>,
    counts: Counts,
) -> Result<(LayerBlob, Digest), LayerError> {
    let done = encoder.finish()?;
    let kind = layer_media_type(options.compression.kind, options.oci_media_types);
    let mut descriptor = Descriptor::new(kind, done.digest, done.size);
    descriptor.annotations = done.annotations;
    let uncompressed_size = done.uncompressed_size;
    let blob = LayerBlob { diff_id: done.diff_id, descriptor, uncompressed_size, counts };
    Ok((blob, done.tar))
}

/// Where in an archive entries go.
#[derive(Debug, Default)]
pub(crate) struct Below {
    /// The directory they are put into; empty for the root.
    pub(crate) prefix: Vec<u8>,
    /// Paths that are written once although several trees have them.
    pub(crate) once: BTreeSet<Vec<u8>>,
    /// Those of `once` that were written.
    done: BTreeSet<Vec<u8>>,
}

impl Below {
    /// Whether an entry was written before.
    fn is_skipped(&mut self, path: &[u8]) -> bool {
        self.once.contains(path) && !self.done.insert(path.to_vec())
    }
}

/// Appends all entries of a layer or of merged layers to an archive.
pub(crate) fn write_entries<W: Write>(
    tar: &mut TarWriter<W>,
    layers: &[&Dir],
    mode: Mode,
    times: TimePolicy<'_>,
    below: &mut Below,
    counts: &mut Counts,
) -> Result<(), LayerError> {
    walk(layers, mode, |mut item| {
        if below.is_skipped(&item.path) {
            return Ok(());
        }
        let prefix = below.prefix.as_slice();
        if !prefix.is_empty() {
            item.path = [prefix, b"/", &item.path].concat();
            if let What::Link(target) = &mut item.what {
                *target = [prefix, b"/", target].concat();
            }
        }
        let path = item.path.clone();
        if mode == Mode::Layer && item.name().starts_with(crate::tarball::WHITEOUT_PREFIX) {
            // As an entry it would delete something when the layer is unpacked.
            counts.reserved += 1;
            return Ok(());
        }
        append(tar, item, times, counts)
            .map_err(|source| LayerError::Entry { path: show(&path), source })
    })
}

fn append<W: Write>(
    tar: &mut TarWriter<W>,
    item: Item,
    times: TimePolicy<'_>,
    counts: &mut Counts,
) -> io::Result<()> {
    counts.entries += 1;
    let mtime = times.apply(item.stat.mtime);
    let meta = meta(&item, mtime);
    let header = |kind| Header { path: &item.path, kind, meta: &meta };
    match &item.what {
        What::Opaque => {
            counts.whiteouts += 1;
            tar.append_opaque(&item.path, mtime)
        }
        What::Whiteout => {
            counts.whiteouts += 1;
            tar.append_whiteout(item.parent(), item.name(), times.epoch)
        }
        What::Dir => tar.append_bytes(&header(Kind::Dir), &[]),
        What::Link(target) => tar.append_bytes(&header(Kind::HardLink(target)), &[]),
        What::Symlink(text) => tar.append_bytes(&header(Kind::Symlink(text)), &[]),
        What::Special => tar.append_bytes(&header(special(&item.stat)), &[]),
        What::File(data) => {
            counts.files += 1;
            let header = header(Kind::File(item.stat.size));
            match data {
                Data::Bytes(bytes) => tar.append_bytes(&header, bytes),
                Data::Open(file) => tar.append_reader(&header, &mut &*file),
                Data::Later(_) => Err(io::Error::other("the data was not read")),
            }
        }
    }
}

fn meta(item: &Item, mtime: i64) -> Meta {
    let stat = &item.stat;
    let mode = if matches!(item.what, What::Symlink(_)) { 0o777 } else { stat.permissions() };
    let xattrs = item.xattrs.iter().filter_map(|(name, value)| xattr::portable(name, value));
    Meta { mode, uid: stat.uid, gid: stat.gid, mtime, xattrs: xattrs.collect() }
}

/// A device or a pipe.
pub(crate) fn special(stat: &Stat) -> Kind<'static> {
    let (major, minor) = (rustix::fs::major(stat.rdev), rustix::fs::minor(stat.rdev));
    match stat.kind() {
        karman_sys::fs::FileKind::Fifo => Kind::Fifo,
        karman_sys::fs::FileKind::Block => Kind::Block(major, minor),
        _ => Kind::Char(major, minor),
    }
}
