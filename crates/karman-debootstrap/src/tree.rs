//! A root filesystem being written: every path is resolved by the kernel inside its root.
//!
//! Paths are relative and free of `.` and `..` (see [`clean`]); symbolic links on the way are followed
//! as if the root were `/` (`openat2` with `RESOLVE_IN_ROOT`), so that `bin/sh` lands in `usr/bin` and a
//! link to `/etc` or `../..` cannot leave the tree.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

/// Deeper paths are refused.
const MAX_COMPONENTS: usize = 128;
/// Longer paths are refused; the kernel's limit.
const MAX_PATH: usize = 4095;

/// Owner, mode and time of an entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970.
    pub(crate) mtime: u64,
}

/// An operation on the root filesystem failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation} `{path}` in the root filesystem")]
pub struct TreeError {
    /// What was attempted.
    pub operation: &'static str,
    /// The path inside the root filesystem.
    pub path: String,
    /// What the kernel says.
    #[source]
    pub source: io::Error,
}

pub(crate) type Result<T> = std::result::Result<T, TreeError>;

/// A root filesystem.
pub(crate) struct Tree {
    root: Rc<OwnedFd>,
    /// The directory of the last path: archives come directory by directory.
    last: Option<(Vec<u8>, Rc<OwnedFd>)>,
    /// Directories some package has described, by device and inode, with their paths and times.
    described: HashMap<(u64, u64), (Vec<u8>, u64)>,
}

/// A path of an archive as a path of a [`Tree`]: without leading `./` and trailing `/`, empty for the
/// root itself. `None` if it is absolute, has `..` or NUL, or is too long.
pub(crate) fn clean(path: &[u8]) -> Option<Vec<u8>> {
    if path.len() > MAX_PATH || path.starts_with(b"/") || path.contains(&0) {
        return None;
    }
    let parts: Vec<&[u8]> =
        path.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    let legal = parts.len() <= MAX_COMPONENTS
        && parts.iter().all(|part| *part != b".." && part.len() <= 255);
    legal.then(|| parts.join(&b'/'))
}

impl Tree {
    /// Opens an existing directory as a root filesystem.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let root = rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|source| failed("open", path.as_os_str().as_encoded_bytes(), source))?;
        Ok(Self { root: Rc::new(root), last: None, described: HashMap::new() })
    }

    /// Makes a directory. One that exists keeps its owner, mode and time, as with dpkg, unless it was
    /// only made because something below it came first.
    pub(crate) fn put_dir(&mut self, path: &[u8], meta: &Meta) -> Result<()> {
        if !self.is_dir(path)? {
            let (parent, name) = self.parent(path)?;
            self.clear(&parent, name, path)?;
            rustix::fs::mkdirat(&*parent, name, Mode::RWXU)
                .map_err(|source| failed("make directory", path, source))?;
        }
        let dir = self.open_dir(path)?;
        let key =
            identity(&rustix::fs::fstat(&dir).map_err(|source| failed("stat", path, source))?);
        if self.described.contains_key(&key) {
            return Ok(());
        }
        apply(&dir, path, meta)?;
        self.described.insert(key, (path.to_vec(), meta.mtime));
        Ok(())
    }

    /// Writes a file, replacing what is there unless that is a directory.
    pub(crate) fn put_file(
        &mut self,
        path: &[u8],
        meta: &Meta,
        content: &mut dyn Read,
    ) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || rustix::fs::openat(&*parent, name, flags, Mode::RUSR | Mode::WUSR);
        let file = match create() {
            Err(Errno::EXIST) => {
                self.clear(&parent, name, path)?;
                create()
            }
            other => other,
        };
        let mut file = std::fs::File::from(file.map_err(|source| failed("create", path, source))?);
        io::copy(content, &mut file).map_err(|source| io_failed("write", path, source))?;
        apply(&OwnedFd::from(file), path, meta)
    }

    /// Makes a symbolic link, replacing what is there unless that is a directory.
    pub(crate) fn put_symlink(&mut self, path: &[u8], target: &[u8], meta: &Meta) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        self.clear(&parent, name, path)?;
        // A link may change where other paths lead.
        self.last = None;
        rustix::fs::symlinkat(target, &*parent, name)
            .map_err(|source| failed("link", path, source))?;
        let stat = stat(&parent, name, path)?;
        if (stat.st_uid, stat.st_gid) != (meta.uid, meta.gid) {
            let (uid, gid) = owner(meta);
            rustix::fs::chownat(&*parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|source| failed("change the owner of", path, source))?;
        }
        rustix::fs::utimensat(&*parent, name, &times(meta.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|source| failed("set the time of", path, source))
    }

    /// Makes `path` another name of the existing file `target`.
    pub(crate) fn put_hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<()> {
        let (target_parent, target_name) = self.parent(target)?;
        let (parent, name) = self.parent(path)?;
        self.clear(&parent, name, path)?;
        rustix::fs::linkat(&*target_parent, target_name, &*parent, name, AtFlags::empty())
            .map_err(|source| failed("link", path, source))
    }

    /// Writes a file of ours.
    pub(crate) fn write(
        &mut self,
        path: &str,
        content: &[u8],
        mode: u32,
        mtime: u64,
    ) -> Result<()> {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        self.put_file(path.as_bytes(), &Meta { mode, uid, gid, mtime }, &mut &content[..])
    }

    /// The content of a file of at most `limit` bytes; `None` if there is no regular file.
    pub(crate) fn read(&mut self, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match self.openat2(path.as_bytes(), flags) {
            Ok(file) => std::fs::File::from(file),
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(None),
            Err(source) => return Err(failed("open", path.as_bytes(), source)),
        };
        let wrong = |source| io_failed("read", path.as_bytes(), source);
        let mut bytes = Vec::new();
        let regular = file.metadata().map_err(wrong)?.is_file();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(wrong)?;
        if bytes.len() as u64 > limit {
            return Err(failed("read", path.as_bytes(), Errno::FBIG));
        }
        Ok(regular.then_some(bytes))
    }

    /// Makes a directory and its parents, to be described later.
    pub(crate) fn make_dirs(&mut self, path: &[u8]) -> Result<()> {
        self.ensure_dir(path).map(drop)
    }

    /// Removes a file or link, if there is one.
    pub(crate) fn remove(&mut self, path: &str) -> Result<()> {
        let Some((dir, name)) = path.rsplit_once('/') else { return Ok(()) };
        let Some(parent) = self.try_open_dir(dir)? else { return Ok(()) };
        self.clear(&parent, name.as_bytes(), path.as_bytes())
    }

    /// The directory at `path`, unless there is none.
    pub(crate) fn try_open_dir(&mut self, path: &str) -> Result<Option<OwnedFd>> {
        match self.openat2(path.as_bytes(), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC) {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(source) => Err(failed("open directory", path.as_bytes(), source)),
        }
    }

    /// Whether the path leads to anything; a link is something.
    pub(crate) fn exists(&mut self, path: &str) -> Result<bool> {
        Ok(self.openat2(path.as_bytes(), OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC).is_ok())
    }

    /// Replaces the content of an existing file and keeps its owner and mode.
    pub(crate) fn rewrite(&mut self, path: &str, content: &[u8]) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = self
            .openat2(path.as_bytes(), flags)
            .map_err(|source| failed("open", path.as_bytes(), source))?;
        std::fs::File::from(file)
            .write_all(content)
            .map_err(|source| io_failed("write", path.as_bytes(), source))
    }

    /// The directory at `path`, for reading.
    pub(crate) fn open_dir(&mut self, path: &[u8]) -> Result<OwnedFd> {
        self.openat2(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)
            .map_err(|source| failed("open directory", path, source))
    }

    /// Gives directories the times their packages gave them; to be called after the last change.
    pub(crate) fn set_dir_times(&mut self) -> Result<()> {
        for (path, mtime) in std::mem::take(&mut self.described).into_values() {
            let dir = self.open_dir(&path)?;
            rustix::fs::futimens(&dir, &times(mtime))
                .map_err(|source| failed("set the time of", &path, source))?;
        }
        Ok(())
    }

    fn is_dir(&mut self, path: &[u8]) -> Result<bool> {
        match self.openat2(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(false),
            Err(source) => Err(failed("open directory", path, source)),
        }
    }

    /// The open parent of a path and its last component; missing directories are made.
    fn parent<'p>(&mut self, path: &'p [u8]) -> Result<(Rc<OwnedFd>, &'p [u8])> {
        let (dir, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        if name.is_empty() {
            return Err(failed("replace", b"/", Errno::BUSY));
        }
        if let Some((known, fd)) = &self.last
            && known == dir
        {
            return Ok((Rc::clone(fd), name));
        }
        let fd = Rc::new(self.ensure_dir(dir)?);
        self.last = Some((dir.to_vec(), Rc::clone(&fd)));
        Ok((fd, name))
    }

    fn ensure_dir(&mut self, path: &[u8]) -> Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match self.openat2(path, flags) {
            Err(Errno::NOENT) => {}
            other => return other.map_err(|source| failed("open directory", path, source)),
        }
        let (parent, name) = self.parent(path)?;
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(&*parent, name, mode)
            .map_err(|source| failed("make directory", path, source))?;
        self.openat2(path, flags).map_err(|source| failed("open directory", path, source))
    }

    /// Removes what is at a name, unless it is a directory.
    fn clear(&self, parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<()> {
        match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(source) => Err(failed("replace", path, source)),
        }
    }

    fn openat2(&self, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        loop {
            match rustix::fs::openat2(&*self.root, path, flags, Mode::empty(), resolve) {
                // A rename elsewhere on the system raced with the walk (openat2(2)).
                Err(Errno::AGAIN) => {}
                other => return other,
            }
        }
    }
}

/// Owner first: changing it clears the set-user-ID bit.
fn apply(fd: &OwnedFd, path: &[u8], meta: &Meta) -> Result<()> {
    let stat = rustix::fs::fstat(fd).map_err(|source| failed("stat", path, source))?;
    if (stat.st_uid, stat.st_gid) != (meta.uid, meta.gid) {
        let (uid, gid) = owner(meta);
        rustix::fs::fchown(fd, uid, gid)
            .map_err(|source| failed("change the owner of", path, source))?;
    }
    let mode = Mode::from_raw_mode(meta.mode & 0o7777);
    rustix::fs::fchmod(fd, mode).map_err(|source| failed("change the mode of", path, source))?;
    rustix::fs::futimens(fd, &times(meta.mtime))
        .map_err(|source| failed("set the time of", path, source))
}

fn owner(meta: &Meta) -> (Option<rustix::fs::Uid>, Option<rustix::fs::Gid>) {
    (Some(rustix::fs::Uid::from_raw(meta.uid)), Some(rustix::fs::Gid::from_raw(meta.gid)))
}

/// Access and modification time alike.
pub(crate) fn times(mtime: u64) -> Timestamps {
    let time = Timespec { tv_sec: mtime as i64, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

pub(crate) fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn stat(parent: &OwnedFd, name: &[u8], path: &[u8]) -> Result<Stat> {
    rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|source| failed("stat", path, source))
}

/// Whether a stat is of a directory.
pub(crate) fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

pub(crate) fn failed(operation: &'static str, path: &[u8], source: Errno) -> TreeError {
    io_failed(operation, path, source.into())
}

pub(crate) fn io_failed(operation: &'static str, path: &[u8], source: io::Error) -> TreeError {
    TreeError { operation, path: format!("/{}", String::from_utf8_lossy(path)), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_paths_are_refused() {
        for path in ["/etc/passwd", "../x", "a/../b", "a/..", "a\0b"] {
            assert_eq!(clean(path.as_bytes()), None, "{path}");
        }
        assert_eq!(clean(&[b'a'; 300]), None);
        assert_eq!(clean("a/".repeat(200).as_bytes()), None);
    }

    #[test]
    fn ordinary_paths_are_shortened() {
        assert_eq!(clean(b"./").as_deref(), Some(&b""[..]));
        assert_eq!(clean(b"./usr//bin/./x/").as_deref(), Some(&b"usr/bin/x"[..]));
    }
}
