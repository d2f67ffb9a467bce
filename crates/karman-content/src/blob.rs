//! Blobs: written to a temporary name, verified, renamed, indexed.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use karman_oci::{Digest, Hasher};
use karman_sys::fs::{Dir, FsError, stat_fd};
use rusqlite::{OptionalExtension, params};
use rustix::fs::FlockOperation;

use crate::error::{Result, StoreError};
use crate::index::{BLOBS, signed, unsigned};
use crate::lease::GC_LOCK;
use crate::lock::lock_file;
use crate::store::{Store, now};

/// The kind under which blobs are leased.
pub(crate) const KIND: &str = "blob";
/// Small writes are gathered: hashing and writing go in pieces of this size.
const BUFFER: usize = 256 * 1024;

/// A blob and its times (nanoseconds since 1970).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its name.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// When it came into the store.
    pub created: i64,
    /// When it was last opened or written again.
    pub last_used: i64,
}

/// How [`Store::import_file`] takes a file in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImportMode {
    /// The file is copied.
    Copy,
    /// The file gets a second name in the store if it is on the same file system, and is copied otherwise. Nobody may
    /// change it in place afterwards.
    Link,
}

impl Store {
    /// Starts a new blob.
    pub fn writer(&self) -> Result<BlobWriter> {
        let name = self.temp_name("blob");
        let file = self.inner.tmp.create_file(&name, 0o600).map_err(|error| self.files(error))?;
        Ok(BlobWriter {
            store: self.clone(),
            name,
            file,
            buffer: Vec::with_capacity(BUFFER),
            hasher: Hasher::new(),
            size: 0,
            durable: false,
        })
    }

    /// Stores some bytes.
    pub fn put_blob(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::sha256_of(bytes);
        if !self.contains(&digest)? {
            let mut writer = self.writer()?;
            writer.write_all(bytes).map_err(|error| writer.write_error(error))?;
            writer.commit(Some(digest))?;
        }
        Ok(digest)
    }

    /// Takes in a file and verifies it. Returns its digest and size.
    pub fn import_file(
        &self,
        path: &Path,
        mode: ImportMode,
        expected: Option<Digest>,
    ) -> Result<(Digest, u64)> {
        let files = |source| StoreError::Files { dir: path.to_owned(), source };
        let open = || File::open(path).map_err(|error| files(FsError::io("open", path, error)));
        if mode == ImportMode::Link
            && let (Some(parent), Some(name)) = (path.parent(), path.file_name())
        {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            let from = Dir::open(parent).map_err(files)?;
            let temp = self.temp_name("blob");
            // Another file system, no right to link, too many links: copying is always possible.
            if from.link(name, &self.inner.tmp, &temp).is_ok() {
                return self.commit_linked(&temp, expected);
            }
        }
        let mut writer = self.writer()?;
        io::copy(&mut open()?, &mut writer)
            .map_err(|error| files(FsError::io("copy", path, error)))?;
        writer.commit(expected)
    }

    /// Opens a blob for reading. Counts as a use.
    ///
    /// # Errors
    /// [`StoreError::NoBlob`] if it is not there, [`StoreError::Damaged`] if its size is wrong. The content is not read;
    /// see [`Store::verify`].
    pub fn open_blob(&self, digest: &Digest) -> Result<File> {
        let expected = self.indexed_size(digest)?.ok_or(StoreError::NoBlob(*digest))?;
        let file = match self.inner.blobs.open_file(digest.hex()) {
            Err(error) if error.is_not_found() => return Err(StoreError::NoBlob(*digest)),
            file => file.map_err(|error| self.files(error))?,
        };
        let size = stat_fd(&file).map_err(|error| self.files(error))?.size;
        if size != expected {
            return Err(StoreError::Damaged { digest: *digest, size, expected });
        }
        self.inner.index.touch(BLOBS, digest.to_string().as_bytes())?;
        Ok(file)
    }

    /// A whole blob in memory, verified, if it is not larger than `limit` bytes ([`StoreError::Damaged`] otherwise).
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when a bit is wrong. The blob is gone then, so that it is made or fetched again.
    pub fn read_blob(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>> {
        let file = self.open_blob(digest)?;
        let mut bytes = Vec::new();
        let read = file.take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| self.files(FsError::io("read", digest.hex(), error)))?;
        if bytes.len() as u64 > limit {
            return Err(StoreError::Damaged {
                digest: *digest,
                size: bytes.len() as u64,
                expected: limit,
            });
        }
        if Digest::sha256_of(&bytes) != *digest {
            self.discard_blob(digest)?;
            return Err(StoreError::Corrupt(*digest));
        }
        Ok(bytes)
    }

    /// The path of a blob's file, whether it exists or not.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.inner.root.join("blobs/sha256").join(digest.hex())
    }

    /// Whether the store has the blob, complete.
    pub fn contains(&self, digest: &Digest) -> Result<bool> {
        self.blob_size(digest).map(|size| size.is_some())
    }

    /// The size of a blob in bytes, `None` if the store does not have it (or not complete).
    pub fn blob_size(&self, digest: &Digest) -> Result<Option<u64>> {
        let Some(size) = self.indexed_size(digest)? else { return Ok(None) };
        let stat = self.inner.blobs.try_stat(digest.hex()).map_err(|error| self.files(error))?;
        Ok(stat.filter(|stat| stat.size == size).map(|stat| stat.size))
    }

    /// Reads a blob and compares it with its name.
    ///
    /// # Errors
    /// [`StoreError::DigestMismatch`] when a bit is wrong.
    pub fn verify(&self, digest: &Digest) -> Result<()> {
        let (found, _) = self.hash(&mut self.open_blob(digest)?, &digest.hex())?;
        if found == *digest {
            Ok(())
        } else {
            Err(StoreError::DigestMismatch { expected: *digest, found })
        }
    }

    /// All blobs, by digest.
    pub fn blobs(&self) -> Result<Vec<BlobInfo>> {
        self.inner.index.with("list", |db| {
            let mut statement = db.prepare_cached(
                "SELECT digest, size, created, last_used FROM blob ORDER BY digest",
            )?;
            let rows = statement.query_map([], |row| {
                let text: String = row.get(0)?;
                let digest = Digest::parse(&text).map_err(|error| {
                    rusqlite::Error::FromSqlConversionFailure(
                        0,
                        rusqlite::types::Type::Text,
                        error.into(),
                    )
                })?;
                Ok(BlobInfo {
                    digest,
                    size: unsigned(row.get(1)?),
                    created: row.get(2)?,
                    last_used: row.get(3)?,
                })
            })?;
            rows.collect()
        })
    }

    fn indexed_size(&self, digest: &Digest) -> Result<Option<u64>> {
        // First protected, then looked up: what is found stays.
        self.keep(KIND, &digest.to_string())?;
        self.row_size(digest)
    }

    pub(crate) fn row_size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.inner.index.with("read", |db| {
            db.prepare_cached("SELECT size FROM blob WHERE digest = ?1")?
                .query_row(params![digest.to_string()], |row| row.get(0).map(unsigned))
                .optional()
        })
    }

    fn commit_linked(&self, temp: &str, expected: Option<Digest>) -> Result<(Digest, u64)> {
        let result = self
            .inner
            .tmp
            .open_file(temp)
            .map_err(|error| self.files(error))
            .and_then(|mut file| self.hash(&mut file, temp))
            .and_then(|(digest, size)| self.install(temp, digest, size, expected));
        if result.is_err() {
            // The sweep removes it if this does not.
            let _ = self.inner.tmp.unlink(temp);
        }
        result
    }

    fn hash(&self, file: &mut File, name: &str) -> Result<(Digest, u64)> {
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; BUFFER];
        let mut size = 0;
        loop {
            let read = match file.read(&mut buffer) {
                Ok(0) => return Ok((hasher.finish(), size)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(|error| self.files(FsError::io("read", name, error)))?,
            };
            hasher.update(&buffer[..read]);
            size += read as u64;
        }
    }

    /// Gives a complete temporary file its name and its row.
    fn install(
        &self,
        temp: &str,
        digest: Digest,
        size: u64,
        expected: Option<Digest>,
    ) -> Result<(Digest, u64)> {
        if let Some(expected) = expected.filter(|expected| *expected != digest) {
            return Err(StoreError::DigestMismatch { expected, found: digest });
        }
        self.keep(KIND, &digest.to_string())?;
        let inner = &self.inner;
        // A collection that is removing an old blob of this name would remove the new file.
        let _gc = lock_file(&inner.locks, GC_LOCK, FlockOperation::LockShared)
            .map_err(|error| self.files(error))?;
        inner.tmp.rename(temp, &inner.blobs, digest.hex()).map_err(|error| self.files(error))?;
        let now = now();
        inner.index.write("write", |db| {
            db.prepare_cached(
                "INSERT INTO blob (digest, size, created, last_used) VALUES (?1, ?2, ?3, ?3)
                 ON CONFLICT (digest) DO UPDATE SET size = ?2, last_used = ?3",
            )?
            .execute(params![digest.to_string(), signed(size), now])
        })?;
        Ok((digest, size))
    }
}

/// A blob being written; dropping it uncommitted deletes what was written.
pub struct BlobWriter {
    store: Store,
    name: String,
    file: File,
    buffer: Vec<u8>,
    hasher: Hasher,
    size: u64,
    durable: bool,
}

impl BlobWriter {
    /// Makes [`BlobWriter::commit`] sync the blob to disk. Without it a power failure can lose a recent blob; it is
    /// noticed by its size when it is opened.
    pub fn durable(&mut self) {
        self.durable = true;
    }

    /// Bytes written so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.size + self.buffer.len() as u64
    }

    /// Verifies, names and indexes the blob. Returns its digest and size.
    ///
    /// # Errors
    /// [`StoreError::DigestMismatch`] if it is not `expected`; nothing is left then.
    pub fn commit(mut self, expected: Option<Digest>) -> Result<(Digest, u64)> {
        self.drain().map_err(|error| self.write_error(error))?;
        if self.durable {
            self.file.sync_data().map_err(|error| self.write_error(error))?;
        }
        let digest = std::mem::take(&mut self.hasher).finish();
        let installed = self.store.install(&self.name, digest, self.size, expected)?;
        if self.durable {
            self.store.inner.blobs.sync().map_err(|error| self.store.files(error))?;
        }
        self.name.clear();
        Ok(installed)
    }

    fn drain(&mut self) -> io::Result<()> {
        self.hasher.update(&self.buffer);
        self.file.write_all(&self.buffer)?;
        self.size += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn write_error(&self, error: io::Error) -> StoreError {
        self.store.files(FsError::io("write", &self.name, error))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.drain()?;
        }
        if bytes.len() >= BUFFER {
            self.hasher.update(bytes);
            self.file.write_all(bytes)?;
            self.size += bytes.len() as u64;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain()
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            // The sweep removes it if this does not.
            let _ = self.store.inner.tmp.unlink(&self.name);
        }
    }
}
