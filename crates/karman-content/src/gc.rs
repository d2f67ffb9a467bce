//! Garbage collection: the caller says what is live, leases add what is in use.

use std::fs::File;

use karman_oci::Digest;
use rusqlite::params;
use rustix::fs::FlockOperation;

use crate::blob::{BlobInfo, KIND};
use crate::error::Result;
use crate::lease::{GC_LOCK, LiveLeases};
use crate::lock::lock_file;
use crate::store::{Store, now};

/// A file in `blobs/` without a row is kept this long: its writer may be about to index it.
const UNINDEXED_FOR_SECS: i64 = 3600;

/// While it is held no lease grows, so that what nobody protects now can be taken out of the index.
#[derive(Debug)]
pub struct GcGuard {
    /// What running processes protect.
    pub leases: LiveLeases,
    store: Store,
    _lock: File,
}

impl Drop for GcGuard {
    fn drop(&mut self) {
        self.store.inner.uses.collecting(false);
    }
}

/// What a collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GcReport {
    /// Things removed.
    pub removed: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Things that were not live but are leased.
    pub leased: usize,
}

impl Store {
    /// Stops leases of other processes from growing and reads them. Hold it only to choose; delete files after it is
    /// dropped. What is live must be found out while it is held, or a process that ends meanwhile is missed.
    pub fn gc_guard(&self) -> Result<GcGuard> {
        let lock = lock_file(&self.inner.locks, GC_LOCK, FlockOperation::LockExclusive)
            .map_err(|error| self.files(error))?;
        let leases = self.live_leases()?;
        self.inner.uses.collecting(true);
        Ok(GcGuard { leases, store: self.clone(), _lock: lock })
    }

    /// Removes the blobs for which `live` says no and no lease says yes (kind `blob`, id the digest's text).
    pub fn gc_blobs(&self, mut live: impl FnMut(&BlobInfo) -> bool) -> Result<GcReport> {
        let mut report = GcReport::default();
        let mut doomed: Vec<Digest> = Vec::new();
        let guard = self.gc_guard()?;
        for blob in self.blobs()? {
            if live(&blob) {
                continue;
            }
            if guard.leases.protects(KIND, &blob.digest.to_string(), blob.created) {
                report.leased += 1;
                continue;
            }
            report.bytes += blob.size;
            doomed.push(blob.digest);
        }
        self.inner.index.write("delete", |db| {
            let mut statement = db.prepare_cached("DELETE FROM blob WHERE digest = ?1")?;
            for digest in &doomed {
                statement.execute(params![digest.to_string()])?;
            }
            Ok(())
        })?;
        // The files go while the guard is held too: a blob written again in between would lose its new file.
        for digest in &doomed {
            match self.inner.blobs.unlink(digest.hex()) {
                Err(error) if !error.is_not_found() => return Err(self.files(error)),
                _ => report.removed += 1,
            }
        }
        self.remove_unindexed()?;
        drop(guard);
        Ok(report)
    }

    /// Removes files without a row, left by a crash between renaming and indexing.
    fn remove_unindexed(&self) -> Result<()> {
        let files = |error| self.files(error);
        let known: std::collections::HashSet<String> =
            self.blobs()?.into_iter().map(|blob| blob.digest.hex()).collect();
        let old = now() / 1_000_000_000 - UNINDEXED_FOR_SECS;
        for entry in self.inner.blobs.read_dir().map_err(files)? {
            if entry.name.to_str().is_some_and(|name| known.contains(name)) {
                continue;
            }
            let stat = self.inner.blobs.try_stat(&entry.name).map_err(files)?;
            if stat.is_some_and(|stat| stat.ctime.sec < old) {
                self.inner.blobs.unlink(&entry.name).map_err(files)?;
            }
        }
        Ok(())
    }
}
