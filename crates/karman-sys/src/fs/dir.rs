//! An open directory and the operations on the names in it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, IFlags, Mode, OFlags, RenameFlags, ResolveFlags, ioctl_getflags, ioctl_setflags,
};
use rustix::io::Errno;

use super::error::{At, FsError, Result};
use super::stat::{self, FileKind, PERMISSIONS, Stat};

/// How often a resolution is repeated when the kernel reports a concurrent rename (`EAGAIN`).
const RESOLVE_RETRIES: usize = 64;

const DIR_FLAGS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// An open directory.
#[derive(Debug)]
pub struct Dir {
    pub(super) fd: OwnedFd,
}

impl Dir {
    /// Opens a directory by a path the caller trusts (links are followed).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        open_dir(CWD, path, OFlags::empty()).at("open directory", path)
    }

    /// Opens a directory by name; a symbolic link in its place is an error (`ENOTDIR`).
    pub fn open_dir(&self, name: impl AsRef<Path>) -> Result<Self> {
        let name = name.as_ref();
        open_dir(&self.fd, name, OFlags::NOFOLLOW).at("open directory", name)
    }

    /// Opens a second, independent description of this directory.
    pub fn reopen(&self) -> Result<Self> {
        self.open_dir(".")
    }

    /// Opens `rel` with this directory as the root: absolute links and `..` stay inside (`RESOLVE_IN_ROOT`).
    pub fn open_in_root(&self, rel: impl AsRef<Path>) -> Result<File> {
        self.resolve(rel.as_ref(), ResolveFlags::IN_ROOT).map(File::from)
    }

    /// Like [`Dir::open_in_root`], for a directory.
    pub fn open_dir_in_root(&self, rel: impl AsRef<Path>) -> Result<Self> {
        self.resolve_with(rel.as_ref(), ResolveFlags::IN_ROOT, DIR_FLAGS).map(|fd| Self { fd })
    }

    /// Opens a file below this directory; leaving it, or passing through any symbolic link, is an error.
    pub fn open_beneath(&self, rel: impl AsRef<Path>) -> Result<File> {
        self.resolve(rel.as_ref(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
            .map(File::from)
    }

    /// Opens a directory below this one; leaving it, or passing through any symbolic link, is an error.
    pub fn open_dir_beneath(&self, rel: impl AsRef<Path>) -> Result<Self> {
        let rel = rel.as_ref();
        let rel = if rel.as_os_str().is_empty() { Path::new(".") } else { rel };
        let flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        self.resolve_with(rel, flags, DIR_FLAGS).map(|fd| Self { fd })
    }

    /// Opens a regular file for reading; a link in its place is an error, and a pipe does not block.
    pub fn open_file(&self, name: impl AsRef<Path>) -> Result<File> {
        let name = name.as_ref();
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        rustix::fs::openat(&self.fd, name, flags, Mode::empty()).at("open", name).map(File::from)
    }

    /// Creates a file for writing; an existing name is an error (`EEXIST`). The process umask applies to `mode`.
    pub fn create_file(&self, name: impl AsRef<Path>, mode: u32) -> Result<File> {
        let name = name.as_ref();
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, name, flags, permissions(mode))
            .at("create", name)
            .map(File::from)
    }

    /// Creates a directory. The process umask applies to `mode`.
    pub fn mkdir(&self, name: impl AsRef<Path>, mode: u32) -> Result<()> {
        let name = name.as_ref();
        rustix::fs::mkdirat(&self.fd, name, permissions(mode)).at("create directory", name)
    }

    /// Creates a directory unless there is one already, and opens it.
    pub fn ensure_dir(&self, name: impl AsRef<Path>, mode: u32) -> Result<Self> {
        let name = name.as_ref();
        match self.mkdir(name, mode) {
            Err(error) if !error.is_exists() => Err(error),
            _ => self.open_dir(name),
        }
    }

    /// Creates a special file; `mode` are the permissions, `rdev` the device number. Character device 0 is a whiteout.
    pub fn mknod(
        &self,
        name: impl AsRef<Path>,
        kind: FileKind,
        mode: u32,
        rdev: u64,
    ) -> Result<()> {
        let name = name.as_ref();
        let kind = rustix::fs::FileType::from_raw_mode(kind.mode_bits());
        rustix::fs::mknodat(&self.fd, name, kind, permissions(mode), rdev)
            .at("create special file", name)
    }

    /// Creates an overlay whiteout (character device 0:0), which needs no privilege.
    pub fn whiteout(&self, name: impl AsRef<Path>) -> Result<()> {
        self.mknod(name, FileKind::Char, 0, 0)
    }

    /// Creates a symbolic link `name` that says `target`.
    pub fn symlink(&self, target: impl AsRef<Path>, name: impl AsRef<Path>) -> Result<()> {
        let name = name.as_ref();
        rustix::fs::symlinkat(target.as_ref(), &self.fd, name).at("create symbolic link", name)
    }

    /// Creates a second name, in `to`, for the file `name` here (for the link itself if it is a symbolic link).
    pub fn link(
        &self,
        name: impl AsRef<Path>,
        to: &Self,
        new_name: impl AsRef<Path>,
    ) -> Result<()> {
        let new_name = new_name.as_ref();
        rustix::fs::linkat(&self.fd, name.as_ref(), &to.fd, new_name, AtFlags::empty())
            .at("link", new_name)
    }

    /// Removes a name that is not a directory.
    pub fn unlink(&self, name: impl AsRef<Path>) -> Result<()> {
        let name = name.as_ref();
        rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()).at("remove", name)
    }

    /// Removes an empty directory.
    pub fn rmdir(&self, name: impl AsRef<Path>) -> Result<()> {
        let name = name.as_ref();
        rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR).at("remove directory", name)
    }

    /// Renames `name` to `new_name` in `to`, replacing what is there.
    pub fn rename(
        &self,
        name: impl AsRef<Path>,
        to: &Self,
        new_name: impl AsRef<Path>,
    ) -> Result<()> {
        let name = name.as_ref();
        rustix::fs::renameat(&self.fd, name, &to.fd, new_name.as_ref()).at("rename", name)
    }

    /// Renames `name` to `new_name` in `to`; an existing `new_name` is an error (`EEXIST`).
    pub fn rename_new(
        &self,
        name: impl AsRef<Path>,
        to: &Self,
        new_name: impl AsRef<Path>,
    ) -> Result<()> {
        let name = name.as_ref();
        let flags = RenameFlags::NOREPLACE;
        rustix::fs::renameat_with(&self.fd, name, &to.fd, new_name.as_ref(), flags)
            .at("rename", name)
    }

    /// The facts of a name; a symbolic link is not followed.
    pub fn stat(&self, name: impl AsRef<Path>) -> Result<Stat> {
        let name = name.as_ref();
        self.raw_stat(name).at("stat", name)
    }

    /// Like [`Dir::stat`], with `None` for a name that does not exist.
    pub fn try_stat(&self, name: impl AsRef<Path>) -> Result<Option<Stat>> {
        let name = name.as_ref();
        match self.raw_stat(name) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(FsError::new("stat", name, errno)),
        }
    }

    /// The facts of this directory.
    pub fn stat_self(&self) -> Result<Stat> {
        stat::stat_fd(&self.fd)
    }

    /// The text of a symbolic link.
    pub fn read_link(&self, name: impl AsRef<Path>) -> Result<OsString> {
        let name = name.as_ref();
        let text = rustix::fs::readlinkat(&self.fd, name, Vec::new()).at("read link", name)?;
        Ok(OsString::from_vec(text.into_bytes()))
    }

    /// Whether the name exists, whatever it is.
    pub fn exists(&self, name: impl AsRef<Path>) -> Result<bool> {
        self.try_stat(name).map(|stat| stat.is_some())
    }

    /// Asks the file system to place new subdirectories far from each other (ext2's `TOPDIR` flag), each
    /// with room for many files. Ext4 otherwise puts them side by side, where creating files after a mass
    /// deletion is several times slower for minutes. A file system without the flag is left as it is.
    pub fn spread_subdirectories(&self) -> Result<()> {
        let flags = match ioctl_getflags(self) {
            Ok(flags) if !flags.contains(IFlags::TOPDIR) => flags,
            Ok(_) | Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                return Ok(());
            }
            Err(errno) => return Err(FsError::new("get flags", ".", errno)),
        };
        match ioctl_setflags(self, flags | IFlags::TOPDIR) {
            // Some file systems know the call and not the flag; it only costs speed.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL | Errno::NOTTY) => Ok(()),
            Err(errno) => Err(FsError::new("set flags", ".", errno)),
        }
    }

    /// Writes this directory's entries to disk.
    pub fn sync(&self) -> Result<()> {
        rustix::fs::fsync(&self.fd).at("sync", Path::new("."))
    }

    /// Writes the whole file system this directory is on to disk.
    pub fn sync_filesystem(&self) -> Result<()> {
        rustix::fs::syncfs(&self.fd).at("sync file system", Path::new("."))
    }

    fn raw_stat(&self, name: &Path) -> rustix::io::Result<Stat> {
        rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW).map(stat::from_raw)
    }

    fn resolve(&self, rel: &Path, how: ResolveFlags) -> Result<OwnedFd> {
        self.resolve_with(rel, how, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK)
    }

    fn resolve_with(&self, rel: &Path, how: ResolveFlags, flags: OFlags) -> Result<OwnedFd> {
        let how = how | ResolveFlags::NO_MAGICLINKS;
        for _ in 0..RESOLVE_RETRIES {
            match rustix::fs::openat2(&self.fd, rel, flags, Mode::empty(), how) {
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result.at("open", rel),
            }
        }
        Err(FsError::new("open", rel, Errno::AGAIN))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for Dir {
    /// Takes a descriptor that must be an open directory.
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

/// Opens for reading, or, where the directory may be passed but not read, as a mere path.
fn open_dir(at: impl AsFd, path: &Path, extra: OFlags) -> rustix::io::Result<Dir> {
    let flags = DIR_FLAGS | extra;
    let fd = match rustix::fs::openat(at.as_fd(), path, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | extra;
            rustix::fs::openat(at, path, flags, Mode::empty())?
        }
        result => result?,
    };
    Ok(Dir { fd })
}

pub(super) fn permissions(mode: u32) -> Mode {
    Mode::from_raw_mode(mode & PERMISSIONS)
}

/// Whether a name can be one directory entry: not empty, not `.` or `..`, no `/`.
pub(super) fn is_single(name: &OsStr) -> bool {
    let bytes = name.as_encoded_bytes();
    !bytes.is_empty() && bytes != b"." && bytes != b".." && !bytes.contains(&b'/')
}
