//! Which processes have the store open: each holds a lock on a file of its own.

use std::ffi::{OsStr, OsString};
use std::fs::File;

use karman_sys::fs::{Dir, FsError, Time};
use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// A lock file gets its final name after it is locked. One that did not within this time is left over from a crash.
const UNNAMED_FOR: i64 = 60;

/// The number of hexadecimal digits of a process token.
const TOKEN_DIGITS: usize = 16;

const PREFIX: &str = "proc-";

/// This process's (more exactly: this open store's) lock, released by the kernel at the latest.
#[derive(Debug)]
pub(crate) struct ProcessLock {
    token: String,
    _file: File,
}

impl ProcessLock {
    pub(crate) fn acquire(locks: &Dir) -> Result<Self, FsError> {
        let token = random_hex(TOKEN_DIGITS / 2)?;
        let file = locked_file(locks, &format!("{PREFIX}{token}"), b"")?;
        Ok(Self { token, _file: file })
    }

    /// The name of this process in temporary names.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Removes the lock file; the lock goes with the descriptor.
    pub(crate) fn release(&self, locks: &Dir) {
        // A leftover is removed by the next sweep.
        let _ = locks.unlink(format!("{PREFIX}{}", self.token));
    }
}

/// Creates a file that is locked before it can be seen under its name.
pub(crate) fn locked_file(locks: &Dir, name: &str, content: &[u8]) -> Result<File, FsError> {
    let hidden = format!(".new-{name}");
    let mut file = locks.create_file(&hidden, 0o600)?;
    std::io::Write::write_all(&mut file, content)
        .map_err(|error| FsError::io("write", &hidden, error))?;
    flock(&file, FlockOperation::LockExclusive)
        .map_err(|errno| FsError::new("lock", &hidden, errno))?;
    locks.rename(&hidden, locks, name)?;
    Ok(file)
}

/// Opens `name` if somebody else holds its lock; a file nobody holds is removed.
pub(crate) fn open_if_held(locks: &Dir, name: &OsStr) -> Result<Option<File>, FsError> {
    let file = match locks.open_file(name) {
        Err(error) if error.is_not_found() => return Ok(None),
        file => file?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => Ok(Some(file)),
        Err(errno) => Err(FsError::new("lock", name, errno)),
        Ok(()) => match locks.unlink(name) {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(None),
        },
    }
}

/// Finds out, once per token, whether temporary names belong to a living process.
pub(crate) struct Liveness<'a> {
    locks: &'a Dir,
    known: std::collections::HashMap<OsString, bool>,
}

impl<'a> Liveness<'a> {
    pub(crate) fn new(locks: &'a Dir) -> Self {
        Self { locks, known: std::collections::HashMap::new() }
    }

    /// Whether the process named by the start of `name` has the store open. Foreign names belong to nobody.
    pub(crate) fn owns(&mut self, name: &OsStr) -> Result<bool, FsError> {
        let token = name.to_str().and_then(|name| name.get(..TOKEN_DIGITS)).unwrap_or("");
        let lock = OsString::from(format!("{PREFIX}{token}"));
        if let Some(alive) = self.known.get(&lock) {
            return Ok(*alive);
        }
        let alive = open_if_held(self.locks, &lock)?.is_some();
        self.known.insert(lock, alive);
        Ok(alive)
    }
}

/// Removes lock files of dead processes, and those that never got their name.
pub(crate) fn sweep_locks(locks: &Dir) -> Result<(), FsError> {
    for entry in locks.read_dir()? {
        let Some(name) = entry.name.to_str() else { continue };
        let unnamed = name.starts_with(".new-");
        if unnamed {
            let young = Time::now().sec - UNNAMED_FOR;
            if locks.try_stat(name)?.is_none_or(|stat| stat.mtime.sec > young) {
                continue;
            }
        }
        if unnamed || name.starts_with(PREFIX) || name.starts_with("lease-") {
            open_if_held(locks, &entry.name)?;
        }
    }
    Ok(())
}

/// `flock`, repeated when a signal interrupts it.
pub(crate) fn flock(file: &File, operation: FlockOperation) -> rustix::io::Result<()> {
    loop {
        match rustix::fs::flock(file, operation) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Random bytes as twice as many hexadecimal digits.
pub(crate) fn random_hex(bytes: usize) -> Result<String, FsError> {
    let mut buffer = vec![0_u8; bytes];
    let mut filled = 0;
    while filled < bytes {
        let flags = rustix::rand::GetRandomFlags::empty();
        filled += rustix::rand::getrandom(&mut buffer[filled..], flags)
            .map_err(|errno| FsError::new("read random bytes", "", errno))?;
    }
    Ok(buffer.iter().map(|byte| format!("{byte:02x}")).collect())
}
