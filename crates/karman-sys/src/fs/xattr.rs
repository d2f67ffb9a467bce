//! Extended attributes of files, directories and symbolic links.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

use super::dir::Dir;
use super::error::{At, FsError, Result};

/// Attributes sorted by name.
pub type Xattrs = Vec<(OsString, Vec<u8>)>;

/// The kernel's limit for a list of names and for one value (`XATTR_LIST_MAX`, `XATTR_SIZE_MAX`).
const XATTR_MAX: usize = 64 * 1024;

/// Most files have no attribute, or a short one: the first try needs no heap growth beyond this.
const FIRST_TRY: usize = 512;

/// All attributes of an open file, sorted by name. A file system without attributes has none.
pub fn fd_xattrs(fd: impl AsFd) -> Result<Xattrs> {
    let fd = fd.as_fd();
    let names = match read_growing(|buf| rustix::fs::flistxattr(fd, spare_capacity(buf))) {
        Ok(names) => names,
        Err(errno) => return none_if_unsupported("list attributes of", Path::new("."), errno),
    };
    collect(&names, |name, buf| rustix::fs::fgetxattr(fd, name, spare_capacity(buf)))
}

/// Sets one attribute of an open file.
pub fn fd_set_xattr(fd: impl AsFd, key: impl AsRef<OsStr>, value: &[u8]) -> Result<()> {
    let key = key.as_ref();
    rustix::fs::fsetxattr(fd, key, value, XattrFlags::empty()).at("set attribute", Path::new(key))
}

impl Dir {
    /// All attributes of a name, sorted; of the link itself for a symbolic link.
    pub fn xattrs(&self, name: impl AsRef<Path>) -> Result<Xattrs> {
        let name = name.as_ref();
        let path = self.proc_path(name);
        let names =
            match read_growing(|buf| rustix::fs::llistxattr(path.as_path(), spare_capacity(buf))) {
                Ok(names) => names,
                Err(errno) => return none_if_unsupported("list attributes of", name, errno),
            };
        collect(&names, |key, buf| rustix::fs::lgetxattr(path.as_path(), key, spare_capacity(buf)))
    }

    /// One attribute of a name, `None` when it is not set.
    pub fn get_xattr(
        &self,
        name: impl AsRef<Path>,
        key: impl AsRef<OsStr>,
    ) -> Result<Option<Vec<u8>>> {
        let (name, key) = (name.as_ref(), key.as_ref());
        let path = self.proc_path(name);
        let value =
            read_growing(|buf| rustix::fs::lgetxattr(path.as_path(), key, spare_capacity(buf)));
        optional(value).at("read attribute of", name)
    }

    /// One attribute of this directory, `None` when it is not set.
    pub fn get_xattr_self(&self, key: impl AsRef<OsStr>) -> Result<Option<Vec<u8>>> {
        let key = key.as_ref();
        let value = read_growing(|buf| rustix::fs::fgetxattr(&self.fd, key, spare_capacity(buf)));
        optional(value).at("read attribute of", Path::new("."))
    }

    /// Sets one attribute of a name; of the link itself for a symbolic link.
    pub fn set_xattr(
        &self,
        name: impl AsRef<Path>,
        key: impl AsRef<OsStr>,
        value: &[u8],
    ) -> Result<()> {
        let (name, key) = (name.as_ref(), key.as_ref());
        let path = self.proc_path(name);
        rustix::fs::lsetxattr(path.as_path(), key, value, XattrFlags::empty())
            .at("set attribute of", name)
    }

    /// Removes one attribute of a name; one that is not set is no error.
    pub fn remove_xattr(&self, name: impl AsRef<Path>, key: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        match rustix::fs::lremovexattr(self.proc_path(name).as_path(), key.as_ref()) {
            Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
            result => result.at("remove attribute of", name),
        }
    }

    /// The attribute calls take no directory descriptor; `/proc/self/fd/N` is this directory whatever its name is now.
    fn proc_path(&self, name: &Path) -> PathBuf {
        let mut path = PathBuf::from(format!("/proc/self/fd/{}", self.fd.as_raw_fd()));
        path.push(name);
        path
    }
}

fn collect(
    names: &[u8],
    mut read: impl FnMut(&OsStr, &mut Vec<u8>) -> rustix::io::Result<usize>,
) -> Result<Xattrs> {
    let mut out = Xattrs::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let key = OsStr::from_bytes(name);
        // An attribute may go away between the two calls.
        if let Some(value) =
            optional(read_growing(|buf| read(key, buf))).at("read attribute", Path::new(key))?
        {
            out.push((OsString::from_vec(name.to_vec()), value));
        }
    }
    out.sort_unstable();
    Ok(out)
}

fn read_growing(
    mut read: impl FnMut(&mut Vec<u8>) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut buffer = Vec::with_capacity(FIRST_TRY);
    match read(&mut buffer) {
        Err(Errno::RANGE) => {
            buffer = Vec::with_capacity(XATTR_MAX);
            read(&mut buffer)?;
        }
        result => {
            result?;
        }
    }
    Ok(buffer)
}

fn optional(value: rustix::io::Result<Vec<u8>>) -> rustix::io::Result<Option<Vec<u8>>> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn none_if_unsupported(op: &'static str, path: &Path, errno: Errno) -> Result<Xattrs> {
    if errno == Errno::OPNOTSUPP { Ok(Xattrs::new()) } else { Err(FsError::new(op, path, errno)) }
}
