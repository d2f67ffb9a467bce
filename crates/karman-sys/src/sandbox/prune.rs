//! Directories that were copied up into the upper only because a mount point was made inside them.
//!
//! Making `/etc/hosts` copies `/etc` up. Once the stub is gone and the overlay unmounted, an upper directory that is
//! empty and whose metadata equals the lower's says nothing; it is removed, so that it never reaches a layer.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Mode, OFlags, ResolveFlags, Stat, fgetxattr, flistxattr, fstat, openat2, statat,
    unlinkat, utimensat,
};
use rustix::io::Errno;

use super::stubs::{mtime, times};

/// Largest list of attribute names, and largest value, of one directory: the kernel's own limits.
const XATTR_LIMIT: usize = 64 << 10;

/// The attribute that makes an upper directory hide the lower one.
const OPAQUE: &str = "user.overlay.opaque";

type Attributes = BTreeMap<Vec<u8>, Vec<u8>>;

/// What decides whether a directory is the same as before.
#[derive(PartialEq, Eq)]
struct State {
    owner: (u32, u32, u32),
    mtime: (i64, u64),
    attributes: Attributes,
}

/// Watches the upper while mount points are made.
pub(super) struct CopiedUp {
    upper: OwnedFd,
    /// Directories that were not in the upper, as they were.
    before: BTreeMap<PathBuf, State>,
    /// Those of them that are unchanged at the end.
    unchanged: Vec<PathBuf>,
}

impl CopiedUp {
    /// `upper` is the upper directory.
    pub(super) fn new(upper: OwnedFd) -> Self {
        Self { upper, before: BTreeMap::new(), unchanged: Vec::new() }
    }

    /// Something will be made in the directory `path`, a path without links, of the merged tree at `root`.
    pub(super) fn note(&mut self, root: BorrowedFd<'_>, path: &[OsString]) -> Result<(), Errno> {
        for depth in 1..=path.len() {
            let path: PathBuf = path[..depth].iter().collect();
            if self.before.contains_key(&path)
                || statat(&self.upper, &path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
            {
                continue;
            }
            let state = read_state(open_inside(root, &path)?)?;
            self.before.insert(path, state);
        }
        Ok(())
    }

    /// The stubs are removed, the merged tree still there: decides what is unchanged.
    pub(super) fn compare(&mut self, root: BorrowedFd<'_>) {
        let before = std::mem::take(&mut self.before);
        let same = |path: &Path, state: &State| {
            open_inside(root, path).and_then(read_state).is_ok_and(|now| now == *state)
        };
        self.unchanged = before
            .into_iter()
            .filter(|(path, state)| same(path, state))
            .map(|(path, _)| path)
            .collect();
    }

    /// The overlay is unmounted: removes the empty directories, deepest first.
    pub(super) fn prune(mut self) {
        // A path sorts before the paths below it.
        self.unchanged.sort();
        for path in self.unchanged.iter().rev() {
            self.remove(path).ok();
        }
    }

    fn remove(&self, path: &Path) -> Result<(), Errno> {
        let directory = open_inside(self.upper.as_fd(), path)?;
        if fgetxattr(&directory, OPAQUE, &mut [0_u8; 1]).is_ok() {
            return Ok(());
        }
        let (parent, name) =
            (path.parent().unwrap_or(Path::new("")), path.file_name().unwrap_or_default());
        let parent = match parent.as_os_str().is_empty() {
            true => open_inside(self.upper.as_fd(), Path::new("."))?,
            false => open_inside(self.upper.as_fd(), parent)?,
        };
        let before: Stat = fstat(&parent)?;
        unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
        utimensat(&parent, ".", &times(&before), AtFlags::empty())
    }
}

fn open_inside(root: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(root, path, flags, Mode::empty(), resolve)
}

fn read_state(directory: OwnedFd) -> Result<State, Errno> {
    let stat = fstat(&directory)?;
    Ok(State {
        owner: (stat.st_mode, stat.st_uid, stat.st_gid),
        mtime: mtime(&stat),
        attributes: read_attributes(&directory)?,
    })
}

fn read_attributes(directory: &OwnedFd) -> Result<Attributes, Errno> {
    // Most directories have none: ask for the size first.
    let mut names = match flistxattr(directory, &mut [0_u8; 0]) {
        Ok(0) | Err(Errno::NOTSUP) => return Ok(Attributes::new()),
        Ok(_) => vec![0_u8; XATTR_LIMIT],
        Err(errno) => return Err(errno),
    };
    let length = flistxattr(directory, &mut names)?;
    let mut attributes = Attributes::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0_u8; XATTR_LIMIT];
        let c_name = CString::new(name).map_err(|_| Errno::INVAL)?;
        let length = fgetxattr(directory, c_name.as_c_str(), &mut value)?;
        value.truncate(length);
        attributes.insert(name.to_vec(), value);
    }
    Ok(attributes)
}
