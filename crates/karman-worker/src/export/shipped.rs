//! Whether a layer is still what was shipped: its bytes are made once more and go nowhere.

use std::io;
use std::path::PathBuf;

use karman_control::{Cause, SolveError};
use karman_exporter::blobs::{BlobSink, BlobSource, BlobStore};
use karman_exporter::layer::write_layer;
use karman_oci::Digest;
use karman_snapshot::SnapshotId;

use super::blobs::{BUCKET, Blob, LayerRecipe, open_layer, options};
use crate::engine::Engine;
use crate::error::{OrFail as _, store as store_error};

/// Whether a layer that was made here still gives the bytes that it was shipped with; `None` where it was
/// not shipped. Writes nothing.
pub(crate) fn is_as_shipped(engine: &Engine, id: &SnapshotId) -> Result<Option<bool>, SolveError> {
    let store = engine.store();
    let rows = store.list(BUCKET, format!("{id} ")).map_err(store_error)?;
    let Some((key, row)) = rows.first().and_then(|r| Some((std::str::from_utf8(&r.key).ok()?, r)))
    else {
        return Ok(None);
    };
    let shipped: Blob =
        serde_json::from_slice(&row.value).or_fail(Cause::Store, "read a record")?;
    let Some(recipe) = LayerRecipe::plain(key) else { return Ok(None) };
    let (dir, windows) = open_layer(engine, id)?;
    let options = options(engine, &recipe, windows.pairs());
    // A layer that cannot be read is not what it was.
    Ok(Some(
        write_layer(&dir, &options, &Nowhere).is_ok_and(|made| made.diff_id == shipped.diff_id),
    ))
}

/// Takes blobs and keeps nothing.
struct Nowhere;

impl BlobSource for Nowhere {
    fn open_blob(&self, _: &Digest) -> io::Result<Box<dyn io::Read + Send + '_>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn blob_path(&self, _: &Digest) -> Option<PathBuf> {
        None
    }
}

impl BlobStore for Nowhere {
    fn begin(&self) -> io::Result<Box<dyn BlobSink>> {
        Ok(Box::new(Counted(0)))
    }

    fn has_blob(&self, _: &Digest) -> io::Result<bool> {
        Ok(false)
    }
}

/// Counts what it is given.
struct Counted(u64);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlobSink for Counted {
    fn commit(self: Box<Self>, _: Option<Digest>) -> io::Result<(Digest, u64)> {
        // Nobody asks for the digest of a blob that is not kept.
        Ok((Digest::sha256_of(b""), self.0))
    }
}
