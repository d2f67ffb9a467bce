//! Advisory locks between processes (`flock(2)`), which end with the process that holds them.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use rustix::io::Errno;

use crate::OsError;

/// How a lock is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// With other shared holders.
    Shared,
    /// With nobody.
    Exclusive,
}

/// A held lock; dropping it releases.
#[derive(Debug)]
pub struct FileLock {
    _file: OwnedFd,
}

impl FileLock {
    /// Waits for the lock on the file `path`, which is made when missing.
    ///
    /// # Errors
    /// When the file cannot be opened or the filesystem has no locks.
    pub fn acquire(path: &Path, mode: LockMode) -> Result<Self, OsError> {
        let file = open_lock_file(path)?;
        let operation = match mode {
            LockMode::Shared => FlockOperation::LockShared,
            LockMode::Exclusive => FlockOperation::LockExclusive,
        };
        loop {
            match flock(&file, operation) {
                Err(Errno::INTR) => {}
                other => return Ok(other.map(|()| Self { _file: file })?),
            }
        }
    }

    /// Takes the lock if it is free; none when somebody else holds it.
    ///
    /// # Errors
    /// When the file cannot be opened or the filesystem has no locks.
    pub fn try_acquire(path: &Path, mode: LockMode) -> Result<Option<Self>, OsError> {
        let file = open_lock_file(path)?;
        let operation = match mode {
            LockMode::Shared => FlockOperation::NonBlockingLockShared,
            LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        };
        match flock(&file, operation) {
            Err(Errno::WOULDBLOCK) => Ok(None),
            other => Ok(other.map(|()| Some(Self { _file: file }))?),
        }
    }
}

fn open_lock_file(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    open(path, flags, Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusive_excludes() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lock");
        let held = FileLock::acquire(&path, LockMode::Exclusive).expect("locks");
        assert!(FileLock::try_acquire(&path, LockMode::Shared).expect("opens").is_none());
        drop(held);
        assert!(FileLock::try_acquire(&path, LockMode::Shared).expect("opens").is_some());
    }
}
