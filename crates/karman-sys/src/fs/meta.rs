//! Owner, mode and times of files, without following links.

use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::dir::{Dir, permissions};
use super::error::{At, Result};
use super::stat::{PERMISSIONS, Time};

/// A numeric owner and group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Owner {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// The owner a file created by this process gets (in a directory without the set-group-id bit).
#[must_use]
pub fn process_owner() -> Owner {
    static OWNER: OnceLock<Owner> = OnceLock::new();
    *OWNER.get_or_init(|| Owner {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    })
}

/// The file mode creation mask at the first call; all bits when it cannot be read, which only costs extra `chmod`s.
///
/// Read from `/proc/self/status` since reading it with `umask(2)` would change it for other threads.
#[must_use]
pub fn process_umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok()).unwrap_or(PERMISSIONS)
    })
}

impl Dir {
    /// Sets owner and group of a name; of the link itself for a symbolic link.
    pub fn chown(&self, name: impl AsRef<Path>, owner: Owner) -> Result<()> {
        let name = name.as_ref();
        let (uid, gid) = ids(owner);
        rustix::fs::chownat(&self.fd, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .at("change owner of", name)
    }

    /// Sets the permissions (`0o7777`) of a name. A symbolic link has none: nothing happens.
    pub fn chmod(&self, name: impl AsRef<Path>, mode: u32) -> Result<()> {
        let name = name.as_ref();
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&self.fd, name, flags, Mode::empty()).at("open", name)?;
        // fchmod refuses a path descriptor; its /proc link leads to the same inode and to no other.
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        match rustix::fs::chmod(path.as_str(), permissions(mode)) {
            Err(Errno::OPNOTSUPP) => Ok(()),
            result => result.at("change mode of", name),
        }
    }

    /// Sets modification and access time of a name; of the link itself for a symbolic link.
    pub fn utimens(&self, name: impl AsRef<Path>, mtime: Time) -> Result<()> {
        let name = name.as_ref();
        rustix::fs::utimensat(&self.fd, name, &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW)
            .at("set times of", name)
    }

    /// Sets the owner of this directory.
    pub fn chown_self(&self, owner: Owner) -> Result<()> {
        Self::chown_fd(&self.fd, owner)
    }

    /// Sets the permissions of this directory.
    pub fn chmod_self(&self, mode: u32) -> Result<()> {
        Self::chmod_fd(&self.fd, mode)
    }

    /// Sets the times of this directory.
    pub fn utimens_self(&self, mtime: Time) -> Result<()> {
        Self::utimens_fd(&self.fd, mtime)
    }

    /// Sets the owner of an open file.
    pub fn chown_fd(fd: impl AsFd, owner: Owner) -> Result<()> {
        let (uid, gid) = ids(owner);
        rustix::fs::fchown(fd, uid, gid).at("change owner of", Path::new("."))
    }

    /// Sets the permissions of an open file.
    pub fn chmod_fd(fd: impl AsFd, mode: u32) -> Result<()> {
        rustix::fs::fchmod(fd, permissions(mode)).at("change mode of", Path::new("."))
    }

    /// Sets modification and access time of an open file.
    pub fn utimens_fd(fd: impl AsFd, mtime: Time) -> Result<()> {
        rustix::fs::futimens(fd, &timestamps(mtime)).at("set times of", Path::new("."))
    }
}

fn ids(owner: Owner) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
}

fn timestamps(time: Time) -> Timestamps {
    let spec = Timespec { tv_sec: time.sec, tv_nsec: i64::from(time.nsec) };
    Timestamps { last_access: spec, last_modification: spec }
}
