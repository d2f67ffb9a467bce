//! Advisory locks by name, for cache mounts and for work that one process should do.

use std::fs::File;

use karman_oci::Digest;
use karman_sys::fs::{Dir, FsError};
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::error::Result;
use crate::process::flock;
use crate::store::Store;

/// Who else may hold the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Others that share it.
    Shared,
    /// Nobody.
    Exclusive,
}

/// A held lock, released when dropped or when the process ends.
#[derive(Debug)]
pub struct NamedLock {
    _file: File,
}

impl Store {
    /// Waits for the lock `name`.
    pub fn lock(&self, name: &str, mode: LockMode) -> Result<NamedLock> {
        let operation = match mode {
            LockMode::Shared => FlockOperation::LockShared,
            LockMode::Exclusive => FlockOperation::LockExclusive,
        };
        let file = lock_file(&self.inner.locks, &file_name(name), operation)
            .map_err(|error| self.files(error))?;
        Ok(NamedLock { _file: file })
    }

    /// Takes the lock `name` if that is possible at once.
    pub fn try_lock(&self, name: &str, mode: LockMode) -> Result<Option<NamedLock>> {
        let operation = match mode {
            LockMode::Shared => FlockOperation::NonBlockingLockShared,
            LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        match lock_file(&self.inner.locks, &file_name(name), operation) {
            Ok(file) => Ok(Some(NamedLock { _file: file })),
            Err(error) if error.errno() == Some(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(self.files(error)),
        }
    }
}

/// Opens (creating it) and locks a file that stays when the lock is released.
pub(crate) fn lock_file(
    locks: &Dir,
    name: &str,
    operation: FlockOperation,
) -> std::result::Result<File, FsError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let fd = rustix::fs::openat(locks, name, flags, Mode::from_raw_mode(0o600))
        .map_err(|errno| FsError::new("open", name, errno))?;
    let file = File::from(fd);
    flock(&file, operation).map_err(|errno| FsError::new("lock", name, errno))?;
    Ok(file)
}

/// Names come from Dockerfiles (cache mount ids): any text must give a valid file name.
fn file_name(name: &str) -> String {
    format!("name-{}", &Digest::sha256_of(name.as_bytes()).hex()[..32])
}
