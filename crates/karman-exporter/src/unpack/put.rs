//! Making one entry in a place.

use std::fs::File;
use std::io::{self, Read, Write};

use karman_sys::fs::{Dir, FileKind, FsError, Owner, fd_set_xattr, process_owner, process_umask};
use rustix::io::Errno;

use super::place::{Before, Place, split};
use super::{Missing, Ownership, UnpackError};
use crate::tarball::{Entry, EntryKind};
use crate::walk::{os, show};
use crate::xattr;

const COPY_BUFFER: usize = 128 * 1024;

impl Place<'_> {
    /// Makes `entry`; the data of a file is read from `data`. What is at its name is replaced, except that a
    /// directory is merged with a directory.
    pub(crate) fn put(&mut self, entry: &Entry, data: &mut dyn Read) -> Result<(), UnpackError> {
        let Some((parent, name)) = split(&entry.path) else { return self.put_root(entry) };
        if let EntryKind::HardLink(target) = &entry.kind {
            return self.put_hard_link(&parent, &name, target);
        }
        self.enter(&parent)?;
        match &entry.kind {
            EntryKind::Dir => self.put_dir(&name, entry),
            EntryKind::File => self.put_file(&name, entry, data),
            EntryKind::Symlink(text) => self.put_symlink(&name, entry, text),
            EntryKind::Fifo => self.put_special(&name, entry, FileKind::Fifo, (0, 0)),
            EntryKind::Char(a, b) => self.put_special(&name, entry, FileKind::Char, (*a, *b)),
            EntryKind::Block(a, b) => self.put_special(&name, entry, FileKind::Block, (*a, *b)),
            EntryKind::HardLink(_) => Ok(()),
        }
    }

    fn put_root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if entry.kind != EntryKind::Dir {
            return Ok(());
        }
        self.enter(&[])?;
        let late = self.dir_facts(b".", entry)?;
        self.note(None, entry.mtime, late);
        Ok(())
    }

    fn put_dir(&mut self, name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
        let mut before = Before::Nothing;
        match self.current().mkdir(os(name), 0o755) {
            Err(error) if error.is_exists() => {
                before = self.clear(name, true)?;
                if before != Before::Dir {
                    self.current().mkdir(os(name), 0o755).map_err(self.failed_at(name))?;
                }
            }
            made => made.map_err(self.failed_at(name))?,
        }
        let late = self.dir_facts(name, entry)?;
        self.mark_replaced(name, before)?;
        self.note(Some(name), entry.mtime, late);
        Ok(())
    }

    /// Sets everything but the time; what is returned is the mode left for the end.
    fn dir_facts(&mut self, name: &[u8], entry: &Entry) -> Result<Option<u32>, UnpackError> {
        // The directory may be one that this layer has made before, with another owner.
        self.change_owner(name, owner(entry))?;
        let late = self.set_dir_mode(name, entry.mode)?;
        self.named_xattrs(name, entry)?;
        Ok(late)
    }

    fn named_xattrs(&mut self, name: &[u8], entry: &Entry) -> Result<(), UnpackError> {
        for (key, value) in entry.xattrs.iter().filter(|(key, _)| xattr::travels(key)) {
            let done = self.current().set_xattr(os(name), key, value);
            self.attribute_result(name, done)?;
        }
        Ok(())
    }

    fn put_file(
        &mut self,
        name: &[u8],
        entry: &Entry,
        data: &mut dyn Read,
    ) -> Result<(), UnpackError> {
        let mode = entry.mode & 0o777;
        let mut file = match self.current().create_file(os(name), mode) {
            Err(error) if error.is_exists() => {
                self.clear(name, false)?;
                self.current().create_file(os(name), mode).map_err(self.failed_at(name))?
            }
            file => file.map_err(self.failed_at(name))?,
        };
        copy(data, &mut file, entry.size)
            .map_err(|source| UnpackError::Data { path: show(&self.path_of(name)), source })?;
        let owner = owner(entry);
        if self.ownership != Ownership::Process && owner != process_owner() {
            let done = Dir::chown_fd(&file, owner);
            self.owner_result(name, done)?;
        }
        if entry.mode != mode || mode & process_umask() != 0 {
            Dir::chmod_fd(&file, entry.mode).map_err(self.failed_at(name))?;
        }
        for (key, value) in entry.xattrs.iter().filter(|(key, _)| xattr::travels(key)) {
            self.attribute_result(name, fd_set_xattr(&file, key, value))?;
        }
        Dir::utimens_fd(&file, entry.mtime).map_err(self.failed_at(name))
    }

    fn attribute_result(
        &mut self,
        name: &[u8],
        done: Result<(), FsError>,
    ) -> Result<(), UnpackError> {
        match done {
            Err(error)
                if matches!(
                    error.errno(),
                    Some(Errno::PERM | Errno::OPNOTSUPP | Errno::ACCESS)
                ) =>
            {
                let path = self.path_of(name);
                self.warnings.add(&path, Missing::Attribute);
                Ok(())
            }
            done => done.map_err(self.failed_at(name)),
        }
    }

    fn put_symlink(&mut self, name: &[u8], entry: &Entry, text: &[u8]) -> Result<(), UnpackError> {
        self.clear(name, false)?;
        self.current().symlink(os(text), os(name)).map_err(self.failed_at(name))?;
        self.set_owner(name, owner(entry))?;
        self.current().utimens(os(name), entry.mtime).map_err(self.failed_at(name))
    }

    fn put_special(
        &mut self,
        name: &[u8],
        entry: &Entry,
        kind: FileKind,
        (major, minor): (u32, u32),
    ) -> Result<(), UnpackError> {
        self.clear(name, false)?;
        let device = rustix::fs::makedev(major, minor);
        // Character device 0:0 is no device anywhere, but overlayfs would take it for a whiteout.
        let forged = kind == FileKind::Char && device == 0;
        let made =
            self.current().mknod(os(name), kind, entry.mode, if forged { 1 } else { device });
        match made {
            _ if forged => {
                if made.is_ok() {
                    self.current().unlink(os(name)).map_err(self.failed_at(name))?;
                }
                return self.no_device(name);
            }
            Err(error) if kind != FileKind::Fifo && error.errno() == Some(Errno::PERM) => {
                return self.no_device(name);
            }
            made => made.map_err(self.failed_at(name))?,
        }
        self.set_owner(name, owner(entry))?;
        self.current().chmod(os(name), entry.mode).map_err(self.failed_at(name))?;
        self.current().utimens(os(name), entry.mtime).map_err(self.failed_at(name))
    }

    fn no_device(&mut self, name: &[u8]) -> Result<(), UnpackError> {
        let path = self.path_of(name);
        self.warnings.add(&path, Missing::Device);
        Ok(())
    }

    fn put_hard_link(
        &mut self,
        parent: &[Vec<u8>],
        name: &[u8],
        target: &[u8],
    ) -> Result<(), UnpackError> {
        let missing = |place: &Self| UnpackError::LinkTarget {
            path: show(&place.path_of(name)),
            target: show(target),
        };
        let Some((from, base)) = split(target) else { return Err(missing(self)) };
        self.enter(&from)?;
        let mut stat = self.current().try_stat(os(&base)).map_err(self.failed_at(&base))?;
        if stat.is_none() && self.copy_up(&base)? {
            stat = self.current().try_stat(os(&base)).map_err(self.failed_at(&base))?;
        }
        let Some(stat) = stat.filter(|stat| !stat.is_dir() && !stat.is_whiteout()) else {
            return Err(missing(self));
        };
        let from = self.current().reopen().map_err(|source| self.failed(source))?;
        self.enter(parent)?;
        match from.link(os(&base), self.current(), os(name)) {
            Err(error) if error.is_exists() => {
                let there = self.current().stat(os(name)).map_err(self.failed_at(name))?;
                if (there.dev, there.ino) == (stat.dev, stat.ino) {
                    return Ok(());
                }
                self.clear(name, false)?;
                // Clearing a directory may have removed the target with it.
                from.link(os(&base), self.current(), os(name)).map_err(self.failed_at(name))
            }
            done => done.map_err(self.failed_at(name)),
        }
    }

    /// Copies the regular file `name` of the current directory from the layers below, as a hard link to it would
    /// through overlayfs.
    fn copy_up(&mut self, name: &[u8]) -> Result<bool, UnpackError> {
        let Some(lower) = self.lower else { return Ok(false) };
        let path = self.path_of(name);
        let found = lower.find(&path).map_err(self.failed_at(name))?;
        let Some(found) = found.filter(|found| found.stat.is_file()) else { return Ok(false) };
        let mut file = found.dir.open_file(&found.name).map_err(self.failed_at(name))?;
        let entry = Entry {
            path,
            kind: EntryKind::File,
            mode: found.stat.permissions(),
            uid: found.stat.uid,
            gid: found.stat.gid,
            mtime: found.stat.mtime,
            size: found.stat.size,
            xattrs: karman_sys::fs::fd_xattrs(&file).map_err(self.failed_at(name))?,
        };
        self.put_file(name, &entry, &mut file)?;
        Ok(true)
    }
}

fn owner(entry: &Entry) -> Owner {
    Owner { uid: entry.uid, gid: entry.gid }
}

/// Copies exactly `size` bytes.
fn copy(data: &mut dyn Read, file: &mut File, size: u64) -> io::Result<()> {
    let mut buffer = vec![0; COPY_BUFFER.min(usize::try_from(size).unwrap_or(COPY_BUFFER))];
    let mut left = size;
    while left > 0 {
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = match data.read(&mut buffer[..want]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        file.write_all(&buffer[..read])?;
        left -= read as u64;
    }
    Ok(())
}
