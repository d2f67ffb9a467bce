//! Where blobs come from and go to: the store of `karman-content`, or a directory in the shape of an OCI layout.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use karman_oci::{Digest, Hasher};
use karman_sys::fs::{Dir, Draft, atomic_write};

/// The most bytes of a manifest, an index or a config that are read into memory.
pub const MAX_DOCUMENT: u64 = 16 << 20;

/// What a blob is called before its digest is known.
const DRAFT: &str = "blob";

/// Blobs that can be read.
pub trait BlobSource: Send + Sync {
    /// Opens a blob at its beginning.
    ///
    /// # Errors
    /// `NotFound` when it is not there.
    fn open_blob(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>>;

    /// The file that holds exactly the blob's bytes, where there is one, for linking and sharing extents.
    fn blob_path(&self, digest: &Digest) -> Option<PathBuf>;
}

/// Blobs that can be read and added. Adding is atomic, and adding twice is no error.
pub trait BlobStore: BlobSource {
    /// Starts a new blob.
    ///
    /// # Errors
    /// When the store cannot be written.
    fn begin(&self) -> io::Result<Box<dyn BlobSink>>;

    /// Whether the blob is there.
    ///
    /// # Errors
    /// When the store cannot be read.
    fn has_blob(&self, digest: &Digest) -> io::Result<bool>;
}

/// A blob being written. Dropped without a commit it leaves nothing.
pub trait BlobSink: Write + Send {
    /// Makes the blob part of the store and returns its digest and its size in bytes.
    ///
    /// # Errors
    /// `InvalidData` when `expected` is another digest, in which case nothing is stored.
    fn commit(self: Box<Self>, expected: Option<Digest>) -> io::Result<(Digest, u64)>;
}

/// Stores bytes as a blob.
///
/// # Errors
/// When the store cannot be written.
pub fn put(store: &dyn BlobStore, bytes: &[u8]) -> io::Result<Digest> {
    let digest = Digest::sha256_of(bytes);
    if !store.has_blob(&digest)? {
        let mut sink = store.begin()?;
        sink.write_all(bytes)?;
        sink.commit(Some(digest))?;
    }
    Ok(digest)
}

/// Reads a document (manifest, index, config) and verifies its digest.
///
/// # Errors
/// `InvalidData` when it is larger than [`MAX_DOCUMENT`] or its bytes have another digest.
pub fn document(source: &dyn BlobSource, digest: &Digest) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.open_blob(digest)?.take(MAX_DOCUMENT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_DOCUMENT || Digest::sha256_of(&bytes) != *digest {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not what its name says"));
    }
    Ok(bytes)
}

impl BlobSource for karman_content::Store {
    fn open_blob(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        Self::open_blob(self, digest).map(|file| Box::new(file) as _).map_err(io::Error::other)
    }

    fn blob_path(&self, digest: &Digest) -> Option<PathBuf> {
        Some(Self::blob_path(self, digest))
    }
}

impl BlobStore for karman_content::Store {
    fn begin(&self) -> io::Result<Box<dyn BlobSink>> {
        self.writer().map(|writer| Box::new(writer) as _).map_err(io::Error::other)
    }

    fn has_blob(&self, digest: &Digest) -> io::Result<bool> {
        self.contains(digest).map_err(io::Error::other)
    }
}

impl BlobSink for karman_content::BlobWriter {
    fn commit(self: Box<Self>, expected: Option<Digest>) -> io::Result<(Digest, u64)> {
        Self::commit(*self, expected).map_err(io::Error::other)
    }
}

/// A directory with `blobs/sha256/<hex>` in it, as in an OCI layout.
#[derive(Debug)]
pub struct BlobDir {
    path: PathBuf,
    dir: Dir,
}

impl BlobDir {
    /// Opens the directory `root`, which must exist, and makes `blobs/sha256` in it.
    ///
    /// # Errors
    /// When the directories cannot be opened or made.
    pub fn open(root: &Path) -> io::Result<Self> {
        let dir = Dir::open(root).map_err(io::Error::other)?;
        let dir = dir.ensure_dir("blobs", 0o755).map_err(io::Error::other)?;
        let dir = dir.ensure_dir("sha256", 0o755).map_err(io::Error::other)?;
        Ok(Self { path: root.join("blobs/sha256"), dir })
    }

    /// Puts a file that another source holds under its name here: by sharing extents or linking where possible,
    /// otherwise by a copy that is verified.
    ///
    /// # Errors
    /// When reading or writing fails, or the bytes are not what the digest says.
    pub fn add_from(&self, source: &dyn BlobSource, digest: &Digest) -> io::Result<()> {
        if self.has_blob(digest)? {
            return Ok(());
        }
        if let Some(path) = source.blob_path(digest)
            && std::fs::hard_link(path, self.path.join(digest.hex())).is_ok()
        {
            return Ok(());
        }
        let mut sink = self.begin()?;
        io::copy(&mut source.open_blob(digest)?, &mut sink)?;
        sink.commit(Some(*digest)).map(drop)
    }

    /// Replaces a small file beside `blobs` in one step.
    pub(crate) fn write_beside(root: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
        let dir = Dir::open(root).map_err(io::Error::other)?;
        let durability = karman_sys::fs::Durability::Process;
        atomic_write(&dir, name, bytes, 0o644, durability).map_err(io::Error::other)
    }
}

impl BlobSource for BlobDir {
    fn open_blob(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        match self.dir.open_file(digest.hex()) {
            Ok(file) => Ok(Box::new(file)),
            Err(error) if error.is_not_found() => {
                Err(io::Error::new(io::ErrorKind::NotFound, error))
            }
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn blob_path(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.path.join(digest.hex()))
    }
}

impl BlobStore for BlobDir {
    fn begin(&self) -> io::Result<Box<dyn BlobSink>> {
        let (draft, file) = Draft::file(&self.dir, DRAFT, 0o644).map_err(io::Error::other)?;
        Ok(Box::new(DirSink { draft, file, hasher: Hasher::new(), size: 0 }))
    }

    fn has_blob(&self, digest: &Digest) -> io::Result<bool> {
        self.dir.exists(digest.hex()).map_err(io::Error::other)
    }
}

struct DirSink {
    draft: Draft,
    file: File,
    hasher: Hasher,
    size: u64,
}

impl Write for DirSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlobSink for DirSink {
    fn commit(self: Box<Self>, expected: Option<Digest>) -> io::Result<(Digest, u64)> {
        let Self { draft, hasher, size, .. } = *self;
        let digest = hasher.finish();
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            let text = format!("blob is `{digest}`, not `{expected}`");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        draft.place(digest.hex()).map_err(io::Error::other)?;
        Ok((digest, size))
    }
}
