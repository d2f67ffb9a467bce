//! Comparing what the index says with what is on disk.

use karman_oci::Digest;
use rusqlite::params;
use rustix::fs::FlockOperation;

use crate::blob::BlobInfo;
use crate::error::{Result, StoreError};
use crate::lease::GC_LOCK;
use crate::lock::lock_file;
use crate::store::Store;

/// SQLite lists no more problems than this; the first ones tell enough.
const MAX_PROBLEMS: u32 = 20;

impl Store {
    /// What SQLite finds wrong with the index file; nothing where it is sound.
    ///
    /// # Errors
    /// When the index cannot be read at all.
    pub fn check_index(&self) -> Result<Vec<String>> {
        self.inner.index.with("check", |db| {
            let mut statement = db.prepare(&format!("PRAGMA integrity_check({MAX_PROBLEMS})"))?;
            let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
            let lines: rusqlite::Result<Vec<String>> = lines.collect();
            Ok(lines?.into_iter().filter(|line| line != "ok").collect())
        })
    }

    /// What is wrong with a blob that the index has, in words for people. A blob that another process removes
    /// meanwhile is no blob any more, and nothing is wrong with it.
    ///
    /// # Errors
    /// When the index cannot be read.
    pub fn check_blob(&self, blob: &BlobInfo) -> Result<Option<String>> {
        let fault = match self.verify(&blob.digest) {
            Ok(()) => return Ok(None),
            Err(StoreError::NoBlob(_)) => "its file is missing".to_owned(),
            Err(StoreError::Damaged { size, expected, .. }) => {
                format!("it has {size} bytes instead of {expected}")
            }
            Err(StoreError::DigestMismatch { found, .. }) => {
                format!("its content has the digest {found}")
            }
            // A sector that the disk cannot read.
            Err(StoreError::Files { source, .. }) => source.to_string(),
            Err(error) => return Err(error),
        };
        let gone = self.row_size(&blob.digest)?.is_none();
        Ok((!gone).then_some(fault))
    }

    /// Takes a damaged blob out of the store, so that it is made or fetched again when it is next wanted. Whoever has
    /// it open keeps what is open. One that is not there is no error.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn discard_blob(&self, digest: &Digest) -> Result<()> {
        let inner = &self.inner;
        // Nobody may put a sound file under this name between the two steps.
        let lock = || lock_file(&inner.locks, GC_LOCK, FlockOperation::LockExclusive);
        let _gc = match inner.uses.is_collecting() {
            true => None,
            false => Some(lock().map_err(|error| self.files(error))?),
        };
        inner.index.write("delete", |db| {
            db.execute("DELETE FROM blob WHERE digest = ?1", params![digest.to_string()])
        })?;
        match inner.blobs.unlink(digest.hex()) {
            Err(error) if !error.is_not_found() => Err(self.files(error)),
            _ => Ok(()),
        }
    }
}
