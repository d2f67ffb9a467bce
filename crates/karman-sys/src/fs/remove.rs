//! Removing trees, fd-relative, never through a link.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::dir::{Dir, is_single};
use super::error::{FsError, Result};
use super::stat::FileKind;

/// Open descriptors on the way down; what lies deeper is moved up first, so that depth costs no descriptors.
const MAX_OPEN: usize = 64;

/// How often a directory is read again because another process adds names to it.
const MAX_PASSES: usize = 1000;

/// Removes `name` in `parent` and everything below it. A name that does not exist is no error.
///
/// Directories that may not be entered (overlay's `work/work` has mode 000) are opened up first.
pub fn remove_tree(parent: &Dir, name: impl AsRef<OsStr>) -> Result<()> {
    let name = name.as_ref();
    if !is_single(name) {
        return Err(FsError::new("remove", name, Errno::INVAL));
    }
    match parent.unlink(name) {
        Ok(()) => return Ok(()),
        Err(error) => match error.errno() {
            Some(Errno::NOENT) => return Ok(()),
            Some(Errno::ISDIR | Errno::PERM) => {}
            _ => return Err(error),
        },
    }
    let mut top = open_up(parent, name)?;
    let mut moved = 0;
    for _ in 0..MAX_PASSES {
        let again = empty(&mut top, None, 0, &mut moved)?;
        if !again {
            match parent.rmdir(name) {
                Err(error) if error.errno() == Some(Errno::NOTEMPTY) => {}
                Err(error) if error.errno() == Some(Errno::NOENT) => return Ok(()),
                result => return result,
            }
        }
        top.rewind()?;
    }
    Err(FsError::new("remove directory", name, Errno::NOTEMPTY))
}

/// Empties a directory. Returns whether something was moved up into `top` and is left to remove.
fn empty(dir: &mut Dir, top: Option<&Dir>, depth: usize, moved: &mut usize) -> Result<bool> {
    let mut again = false;
    for entry in dir.entries()? {
        if entry.kind != FileKind::Dir {
            ignore_missing(dir.unlink(&entry.name))?;
            continue;
        }
        // Most directories of a tree are not empty, so rmdir is tried after, not before.
        if let Some(top) = top
            && depth >= MAX_OPEN
        {
            *moved += 1;
            let parked = OsString::from(format!(".karman-removed-{moved}"));
            dir.rename(&entry.name, top, &parked)?;
            again = true;
            continue;
        }
        let mut child = match open_up(dir, &entry.name) {
            Err(error) if error.is_not_found() => continue,
            child => child?,
        };
        again |= empty(&mut child, Some(top.unwrap_or(dir)), depth + 1, moved)?;
        drop(child);
        match dir.rmdir(&entry.name) {
            Err(error) if error.errno() == Some(Errno::NOTEMPTY) => again = true,
            result => ignore_missing(result)?,
        }
    }
    Ok(again)
}

/// Opens a directory for reading, giving it permissions if it has none.
fn open_up(parent: &Dir, name: &OsStr) -> Result<Dir> {
    let dir = parent.open_dir(name)?;
    // A descriptor opened as a mere path cannot be read; the owner may change that.
    let readable = rustix::fs::accessat(
        &dir.fd,
        ".",
        rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK,
        AtFlags::EACCESS,
    );
    if readable.is_ok() {
        return Ok(dir);
    }
    parent.chmod(Path::new(name), 0o700)?;
    parent.open_dir(name)
}

fn ignore_missing(result: Result<()>) -> Result<()> {
    match result {
        Err(error) if error.errno() == Some(Errno::NOENT) => Ok(()),
        result => result,
    }
}
