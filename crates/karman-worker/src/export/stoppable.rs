//! Writing that ends when somebody interrupts the build. Compressing a large layer takes minutes, and a copy to a slow
//! disk too.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use karman_control::{Cause, SolveError};
use karman_exporter::blobs::{BlobSink, BlobSource, BlobStore};
use karman_oci::Digest;

use crate::engine::Engine;

/// A store or a stream that refuses to be written after [`Engine::cancel`].
pub(crate) struct Stoppable<'e, T> {
    engine: &'e Engine,
    inner: T,
}

impl<'e, T> Stoppable<'e, T> {
    pub(crate) fn new(engine: &'e Engine, inner: T) -> Self {
        Self { engine, inner }
    }
}

/// What everything that was interrupted ends with.
pub(crate) fn interrupted() -> SolveError {
    SolveError::new(Cause::Interrupted, "the build was interrupted")
}

fn check(engine: &Engine) -> io::Result<()> {
    // Not `ErrorKind::Interrupted`, after which writers try again.
    if engine.interrupted() { Err(io::Error::other("interrupted")) } else { Ok(()) }
}

impl<W: Write> Write for Stoppable<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        check(self.engine)?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<S: BlobStore> BlobSource for Stoppable<'_, &S> {
    fn open_blob(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        self.inner.open_blob(digest)
    }

    fn blob_path(&self, digest: &Digest) -> Option<PathBuf> {
        self.inner.blob_path(digest)
    }
}

impl<S: BlobStore> BlobStore for Stoppable<'_, &S> {
    fn begin(&self) -> io::Result<Box<dyn BlobSink>> {
        Ok(Box::new(Sink { engine: self.engine.clone(), inner: self.inner.begin()? }))
    }

    fn has_blob(&self, digest: &Digest) -> io::Result<bool> {
        self.inner.has_blob(digest)
    }
}

/// A blob being written.
struct Sink {
    engine: Engine,
    inner: Box<dyn BlobSink>,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        check(&self.engine)?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl BlobSink for Sink {
    fn commit(self: Box<Self>, expected: Option<Digest>) -> io::Result<(Digest, u64)> {
        self.inner.commit(expected)
    }
}
