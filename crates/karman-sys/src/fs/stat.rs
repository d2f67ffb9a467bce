//! What the kernel knows about a file.

use std::os::fd::AsFd;
use std::path::Path;

use super::error::{At, Result};

/// A point in time as file systems store it: seconds since 1970 and nanoseconds (`0..1_000_000_000`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds since 1970-01-01 00:00:00 UTC, negative before.
    pub sec: i64,
    /// Nanoseconds after `sec`.
    pub nsec: u32,
}

impl Time {
    /// A whole second.
    #[must_use]
    pub const fn from_secs(sec: i64) -> Self {
        Self { sec, nsec: 0 }
    }

    /// Now, by the wall clock.
    #[must_use]
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Self { sec: now.tv_sec, nsec: u32::try_from(now.tv_nsec).unwrap_or(0) }
    }

    /// Now, by the clock the kernel dates files with: nothing written later carries an earlier time.
    #[must_use]
    pub fn coarse_now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        Self { sec: now.tv_sec, nsec: u32::try_from(now.tv_nsec).unwrap_or(0) }
    }

    /// Nanoseconds since 1970, saturating at the ends of `i64` (years 1677 and 2262).
    #[must_use]
    pub fn as_nanos(self) -> i64 {
        self.sec.saturating_mul(1_000_000_000).saturating_add(i64::from(self.nsec))
    }
}

/// The type of a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device; number 0:0 is an overlay whiteout.
    Char,
    /// A block device.
    Block,
}

impl FileKind {
    /// The kind encoded in the type bits of `st_mode`; an unknown type counts as a file.
    #[must_use]
    pub const fn from_mode(mode: u32) -> Self {
        match mode & S_IFMT {
            S_IFDIR => Self::Dir,
            S_IFLNK => Self::Symlink,
            S_IFIFO => Self::Fifo,
            S_IFSOCK => Self::Socket,
            S_IFCHR => Self::Char,
            S_IFBLK => Self::Block,
            _ => Self::File,
        }
    }

    /// The type bits of `st_mode` for this kind.
    #[must_use]
    pub const fn mode_bits(self) -> u32 {
        match self {
            Self::File => S_IFREG,
            Self::Dir => S_IFDIR,
            Self::Symlink => S_IFLNK,
            Self::Fifo => S_IFIFO,
            Self::Socket => S_IFSOCK,
            Self::Char => S_IFCHR,
            Self::Block => S_IFBLK,
        }
    }
}

const S_IFMT: u32 = 0o170_000;
const S_IFSOCK: u32 = 0o140_000;
const S_IFLNK: u32 = 0o120_000;
const S_IFREG: u32 = 0o100_000;
const S_IFBLK: u32 = 0o060_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFIFO: u32 = 0o010_000;

/// The permission, set-id and sticky bits of `st_mode`.
pub(super) const PERMISSIONS: u32 = 0o7777;

/// The facts of one inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Device number of the file system.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// `st_mode`: type bits and permissions.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Blocks of 512 bytes in use on disk.
    pub blocks: u64,
    /// Number of hard links.
    pub nlink: u64,
    /// Last change of the content.
    pub mtime: Time,
    /// Last change of the inode.
    pub ctime: Time,
    /// Device number of a character or block device.
    pub rdev: u64,
}

impl Stat {
    /// The file type.
    #[must_use]
    pub const fn kind(&self) -> FileKind {
        FileKind::from_mode(self.mode)
    }

    /// Permission, set-id and sticky bits (`0o7777`).
    #[must_use]
    pub const fn permissions(&self) -> u32 {
        self.mode & PERMISSIONS
    }

    /// Whether it is a directory.
    #[must_use]
    pub const fn is_dir(&self) -> bool {
        matches!(self.kind(), FileKind::Dir)
    }

    /// Whether it is a regular file.
    #[must_use]
    pub const fn is_file(&self) -> bool {
        matches!(self.kind(), FileKind::File)
    }

    /// Whether it is a symbolic link.
    #[must_use]
    pub const fn is_symlink(&self) -> bool {
        matches!(self.kind(), FileKind::Symlink)
    }

    /// Whether overlayfs takes it for a whiteout (character device 0:0).
    #[must_use]
    pub const fn is_whiteout(&self) -> bool {
        matches!(self.kind(), FileKind::Char) && self.rdev == 0
    }
}

/// The number of a device as [`Stat::rdev`] has it.
#[must_use]
pub fn device_number(major: u32, minor: u32) -> u64 {
    rustix::fs::makedev(major, minor)
}

/// The facts of an open file.
pub fn stat_fd(fd: impl AsFd) -> Result<Stat> {
    rustix::fs::fstat(fd).map(from_raw).at("stat", Path::new("."))
}

#[expect(clippy::unnecessary_cast, reason = "the field widths differ between architectures")]
pub(super) fn from_raw(raw: rustix::fs::Stat) -> Stat {
    Stat {
        dev: raw.st_dev as u64,
        ino: raw.st_ino as u64,
        mode: raw.st_mode as u32,
        uid: raw.st_uid,
        gid: raw.st_gid,
        size: raw.st_size as u64,
        blocks: raw.st_blocks as u64,
        nlink: raw.st_nlink as u64,
        mtime: Time { sec: raw.st_mtime as i64, nsec: raw.st_mtime_nsec as u32 },
        ctime: Time { sec: raw.st_ctime as i64, nsec: raw.st_ctime_nsec as u32 },
        rdev: raw.st_rdev as u64,
    }
}

/// Whether a path names a pipe that lies about in a file system. Opening one waits for a writer who may never come.
/// Pipes of the caller's shell (`<(…)`) have names below `/dev` and `/proc` and are none.
pub fn is_stray_pipe(path: &std::path::Path) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    let borrowed = path.starts_with("/dev") || path.starts_with("/proc");
    !borrowed && std::fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo())
}
