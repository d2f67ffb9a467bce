//! Mount points inside a root filesystem: finding them, making missing ones, removing those again.
//!
//! The walk takes one path component at a time, never follows a link by itself and never leaves the root, so
//! what an image's symbolic links say cannot lead outside.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, Timespec, Timestamps, fstat, mkdirat, openat,
    readlinkat, statat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::prune::CopiedUp;

/// Most symbolic links followed in one path, as in the kernel.
const MAX_LINKS: usize = 40;

const STUB_DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);
const STUB_FILE_MODE: Mode = Mode::from_raw_mode(0o644);

/// What a mount point has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaf {
    Directory,
    File,
}

/// A path inside the root with all links resolved, and the object there (`O_PATH`).
pub(super) struct Resolved {
    pub(super) path: PathBuf,
    pub(super) fd: OwnedFd,
}

/// What the walk tells about a directory it is about to put something into.
pub(super) trait Observer {
    /// `name` is missing in `parent`, whose resolved path is `path`. Called before it is made.
    fn before_create(&mut self, parent: BorrowedFd<'_>, path: &[OsString]) -> Result<(), Errno>;
    /// `name` was made.
    fn created(
        &mut self,
        parent: BorrowedFd<'_>,
        path: &[OsString],
        name: &OsStr,
        leaf: Leaf,
    ) -> Result<(), Errno>;
    /// Whether the walk shall stop because another mount will cover `path`.
    fn is_covered(&self, path: &[OsString]) -> bool;
}

/// An observer without interest.
pub(super) struct Unobserved;

impl Observer for Unobserved {
    fn before_create(&mut self, _: BorrowedFd<'_>, _: &[OsString]) -> Result<(), Errno> {
        Ok(())
    }
    fn created(
        &mut self,
        _: BorrowedFd<'_>,
        _: &[OsString],
        _: &OsStr,
        _: Leaf,
    ) -> Result<(), Errno> {
        Ok(())
    }
    fn is_covered(&self, _: &[OsString]) -> bool {
        false
    }
}

/// Resolves `dest` with `root` as the root directory and makes what is missing. None when the path leads through a
/// place that `observer` says another mount will cover.
pub(super) fn resolve(
    root: BorrowedFd<'_>,
    dest: &str,
    leaf: Leaf,
    observer: &mut dyn Observer,
) -> Result<Option<Resolved>, Errno> {
    let mut pending = components(OsStr::new(dest));
    let mut names: Vec<OsString> = Vec::new();
    let mut fds: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    while let Some(name) = pending.pop_front() {
        if name == ".." {
            names.pop();
            fds.pop();
            continue;
        }
        if observer.is_covered(&names) {
            return Ok(None);
        }
        let parent = fds.last().map_or(root, AsFd::as_fd);
        let fd = match open_path(parent, &name) {
            Err(Errno::NOENT) => {
                let leaf = if pending.is_empty() { leaf } else { Leaf::Directory };
                make(parent, &names, &name, leaf, observer)?
            }
            other => other?,
        };
        if FileType::from_raw_mode(fstat(&fd)?.st_mode) != FileType::Symlink {
            names.push(name);
            fds.push(fd);
            continue;
        }
        links += 1;
        if links > MAX_LINKS {
            return Err(Errno::LOOP);
        }
        let target = readlinkat(&fd, "", Vec::new())?;
        let target = OsStr::from_bytes(target.as_bytes());
        if target.as_bytes().starts_with(b"/") {
            names.clear();
            fds.clear();
        }
        let mut steps = components(target);
        steps.append(&mut pending);
        pending = steps;
    }
    let fd = match fds.pop() {
        Some(fd) => fd,
        None => root.try_clone_to_owned().map_err(|_| Errno::MFILE)?,
    };
    Ok(Some(Resolved { path: names.iter().collect(), fd }))
}

fn components(path: &OsStr) -> VecDeque<OsString> {
    let parts = path.as_bytes().split(|byte| *byte == b'/');
    parts
        .filter(|part| !part.is_empty() && *part != b".")
        .map(|part| OsStr::from_bytes(part).to_owned())
        .collect()
}

fn open_path(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn make(
    parent: BorrowedFd<'_>,
    path: &[OsString],
    name: &OsStr,
    leaf: Leaf,
    observer: &mut dyn Observer,
) -> Result<OwnedFd, Errno> {
    observer.before_create(parent, path)?;
    match leaf {
        Leaf::Directory => mkdirat(parent, name, STUB_DIRECTORY_MODE)?,
        Leaf::File => {
            let flags =
                OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            drop(openat(parent, name, flags, STUB_FILE_MODE)?);
        }
    }
    observer.created(parent, path, name, leaf)?;
    open_path(parent, name)
}

/// A mount point that was made.
struct Stub {
    parent: OwnedFd,
    name: OsString,
    path: PathBuf,
    leaf: Leaf,
    /// As it was when all mount points had been made.
    made: Option<Stat>,
}

/// A directory that received a stub.
struct Parent {
    fd: OwnedFd,
    path: PathBuf,
    before: Stat,
    after: Option<Stat>,
}

/// Remembers what was made in the root filesystem, to undo it.
#[derive(Default)]
pub(super) struct Stubs {
    stubs: Vec<Stub>,
    parents: Vec<Parent>,
    covered: Vec<PathBuf>,
    copied_up: Option<(OwnedFd, CopiedUp)>,
}

impl Observer for Stubs {
    fn before_create(&mut self, parent: BorrowedFd<'_>, path: &[OsString]) -> Result<(), Errno> {
        if let Some((root, copied_up)) = &mut self.copied_up {
            copied_up.note(root.as_fd(), path)?;
        }
        let path: PathBuf = path.iter().collect();
        if self.parents.iter().all(|known| known.path != path) {
            let fd = parent.try_clone_to_owned().map_err(|_| Errno::MFILE)?;
            let before = fstat(&fd)?;
            self.parents.push(Parent { fd, path, before, after: None });
        }
        Ok(())
    }

    fn created(
        &mut self,
        parent: BorrowedFd<'_>,
        path: &[OsString],
        name: &OsStr,
        leaf: Leaf,
    ) -> Result<(), Errno> {
        let parent = parent.try_clone_to_owned().map_err(|_| Errno::MFILE)?;
        let path = path.iter().map(OsString::as_os_str).chain([name]).collect();
        self.stubs.push(Stub { parent, name: name.to_owned(), path, leaf, made: None });
        Ok(())
    }

    fn is_covered(&self, path: &[OsString]) -> bool {
        !path.is_empty() && self.covered.iter().any(|covered| covered.iter().eq(path.iter()))
    }
}

impl Stubs {
    /// Stubs in the merged tree at `root`, some directories of which get copied up.
    pub(super) fn in_overlay(root: OwnedFd, copied_up: CopiedUp) -> Self {
        Self { copied_up: Some((root, copied_up)), ..Self::default() }
    }

    /// A mount will cover `path`: mount points below it are not ours to make here.
    pub(super) fn cover(&mut self, path: PathBuf) {
        self.covered.push(path);
    }

    /// All mount points are made: remembers what they and their parents look like, to notice changes.
    pub(super) fn seal(&mut self) {
        for stub in &mut self.stubs {
            stub.made = statat(&stub.parent, &stub.name, AtFlags::SYMLINK_NOFOLLOW).ok();
        }
        for parent in &mut self.parents {
            parent.after = fstat(&parent.fd).ok();
        }
    }

    /// The paths made, in order.
    pub(super) fn paths(&self) -> Vec<String> {
        self.stubs.iter().map(|stub| format!("/{}", stub.path.display())).collect()
    }

    /// Removes what is still as it was made, deepest first, and gives the parents back their modification times.
    /// What it returns is for after the unmount.
    pub(super) fn remove(&mut self) -> Option<CopiedUp> {
        let now: Vec<Option<Stat>> =
            self.parents.iter().map(|parent| fstat(&parent.fd).ok()).collect();
        for stub in self.stubs.drain(..).rev() {
            if !stub.is_untouched() {
                continue;
            }
            let flags =
                if stub.leaf == Leaf::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            // A directory that the command put something into stays: it is part of its result.
            unlinkat(&stub.parent, &stub.name, flags).ok();
        }
        for (parent, now) in self.parents.drain(..).zip(now).rev() {
            let Some((after, now)) = parent.after.zip(now) else { continue };
            let untouched = mtime(&after) == mtime(&now);
            let keep = if untouched { parent.before } else { now };
            utimensat(&parent.fd, ".", &times(&keep), AtFlags::empty()).ok();
        }
        let (root, mut copied_up) = self.copied_up.take()?;
        copied_up.compare(root.as_fd());
        Some(copied_up)
    }
}

impl Stub {
    fn is_untouched(&self) -> bool {
        let Ok(now) = statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW) else {
            return false;
        };
        let Some(made) = &self.made else { return false };
        let same = |f: fn(&Stat) -> u64| f(made) == f(&now);
        same(|s| s.st_ino)
            && same(|s| u64::from(s.st_mode))
            && same(|s| u64::from(s.st_uid))
            && same(|s| u64::from(s.st_gid))
            && (self.leaf == Leaf::Directory || now.st_size == 0)
    }
}

pub(super) fn mtime(stat: &Stat) -> (i64, u64) {
    (stat.st_mtime, stat.st_mtime_nsec)
}

pub(super) fn times(stat: &Stat) -> Timestamps {
    let time = |seconds: i64, nanoseconds: u64| Timespec {
        tv_sec: seconds,
        tv_nsec: i64::try_from(nanoseconds).unwrap_or_default(),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, OwnedFd) {
        let directory = tempfile::tempdir().expect("a directory");
        let fd = rustix::fs::open(directory.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .expect("opens");
        (directory, fd)
    }

    #[test]
    fn links_never_lead_outside() {
        let (directory, fd) = root();
        std::os::unix::fs::symlink("/../../../etc", directory.path().join("up")).expect("links");
        let found =
            resolve(fd.as_fd(), "/up/x/../y", Leaf::File, &mut Unobserved).expect("resolves");
        assert_eq!(found.expect("not covered").path, PathBuf::from("etc/y"));
        assert!(directory.path().join("etc/y").is_file());
    }

    #[test]
    fn a_loop_is_an_error() {
        let (directory, fd) = root();
        std::os::unix::fs::symlink("b", directory.path().join("a")).expect("links");
        std::os::unix::fs::symlink("a", directory.path().join("b")).expect("links");
        assert_eq!(resolve(fd.as_fd(), "/a", Leaf::File, &mut Unobserved).err(), Some(Errno::LOOP));
    }

    #[test]
    fn removal_restores_times_and_keeps_what_was_filled() {
        let (directory, fd) = root();
        let etc = directory.path().join("etc");
        std::fs::create_dir(&etc).expect("makes");
        let before = std::fs::metadata(&etc).expect("stats").modified().expect("has a time");
        let mut stubs = Stubs::default();
        for (dest, leaf) in
            [("/etc/hosts", Leaf::File), ("/run/s/x", Leaf::Directory), ("/proc", Leaf::Directory)]
        {
            resolve(fd.as_fd(), dest, leaf, &mut stubs).expect("resolves");
        }
        stubs.seal();
        assert_eq!(stubs.paths(), ["/etc/hosts", "/run", "/run/s", "/run/s/x", "/proc"]);
        std::fs::write(directory.path().join("run/kept"), "x").expect("writes");
        assert!(stubs.remove().is_none());
        assert!(directory.path().join("run/kept").exists());
        assert!(!directory.path().join("run/s").exists());
        assert!(!directory.path().join("proc").exists());
        assert!(!etc.join("hosts").exists());
        assert_eq!(std::fs::metadata(&etc).expect("stats").modified().expect("has a time"), before);
    }

    #[test]
    fn covered_places_are_left_alone() {
        let (directory, fd) = root();
        let mut stubs = Stubs::default();
        let found = resolve(fd.as_fd(), "/m", Leaf::Directory, &mut stubs)
            .expect("resolves")
            .expect("not covered");
        stubs.cover(found.path);
        assert!(
            resolve(fd.as_fd(), "/m/inner", Leaf::Directory, &mut stubs)
                .expect("resolves")
                .is_none()
        );
        assert!(!directory.path().join("m/inner").exists());
    }
}
