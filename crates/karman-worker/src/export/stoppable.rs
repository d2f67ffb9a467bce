//! Writing that ends when somebody interrupts the build. Compressing a large layer takes minutes, and a copy to a slow
//! disk too.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use karman_exporter::blobs::{BlobSink, BlobSource, BlobStore};
use karman_oci::Digest;

use crate::engine::Engine;

/// A store, a blob being written or a stream that refuses to be written after [`Engine::cancel`].
pub(crate) struct Stoppable<T> {
    engine: Engine,
    inner: T,
}

impl<T> Stoppable<T> {
    pub(crate) fn new(engine: &Engine, inner: T) -> Self {
        Self { engine: engine.clone(), inner }
    }
}

impl<W: Write> Write for Stoppable<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.engine.interrupted() {
            // Not `ErrorKind::Interrupted`, after which writers try again.
            return Err(io::Error::other("interrupted"));
        }
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl BlobSink for Stoppable<Box<dyn BlobSink>> {
    fn commit(self: Box<Self>, expected: Option<Digest>) -> io::Result<(Digest, u64)> {
        self.inner.commit(expected)
    }
}

impl<S: BlobStore> BlobSource for Stoppable<&S> {
    fn open_blob(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        self.inner.open_blob(digest)
    }

    fn blob_path(&self, digest: &Digest) -> Option<PathBuf> {
        self.inner.blob_path(digest)
    }
}

impl<S: BlobStore> BlobStore for Stoppable<&S> {
    fn begin(&self) -> io::Result<Box<dyn BlobSink>> {
        Ok(Box::new(Stoppable::new(&self.engine, self.inner.begin()?)))
    }

    fn has_blob(&self, digest: &Digest) -> io::Result<bool> {
        self.inner.has_blob(digest)
    }
}
