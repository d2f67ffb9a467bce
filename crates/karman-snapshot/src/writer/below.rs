//! Unpacking into a layer: entries below one directory, by the rules of docker's untar after `chroot` into it.
//!
//! * What exists is replaced, except that a directory is merged with a directory and gets the entry's metadata.
//! * Missing parents are made; existing ones keep their metadata. Links among them are followed below the directory.
//! * A parent that is no directory is an error, as is a link among the parents that leads nowhere.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use karman_sys::fs::{
    Dir, FileKind, FsError, Stat, Xattrs, fd_set_xattr, fd_xattrs, process_owner, process_umask,
};

use super::{Attrs, DestDir, DirMeta, LayerWriter, Replace};
use crate::attrs::{image_xattrs, is_image_xattr};
use crate::error::{On, Result, SnapshotError};
use crate::view::Found;

/// Parents that stay open between two entries.
const KEEP_OPEN: usize = 64;

const COPY_BUFFER: usize = 256 * 1024;

/// What an entry is.
pub enum Node<'a> {
    /// A directory.
    Dir,
    /// A file of that many bytes.
    File {
        /// Where they are read.
        data: &'a mut dyn Read,
        /// How many there must be.
        size: u64,
    },
    /// A symbolic link and its text.
    Symlink(&'a OsStr),
    /// Another name of what is at that path, relative to the directory.
    HardLink(&'a Path),
    /// A pipe or device.
    Special(FileKind, u64),
}

/// Writes below one directory of a layer.
pub struct Below<'w> {
    writer: &'w mut LayerWriter,
    /// The directory, without links.
    top: PathBuf,
    /// Of parents that are made.
    implied: Attrs,
    parents: HashMap<PathBuf, DestDir>,
    /// Attributes and devices that this process may not make.
    refused: usize,
}

impl LayerWriter {
    /// Begins to write below a directory that exists. Parents that no entry announces get `implied`.
    ///
    /// # Errors
    /// [`SnapshotError::NotADirectory`] where there is something else.
    pub fn below(&mut self, dir: &Path, implied: Attrs) -> Result<Below<'_>> {
        let top = self.merged.resolve(dir, true)?;
        self.open_dest(&top, None)?;
        Ok(Below { writer: self, top, implied, parents: HashMap::new(), refused: 0 })
    }
}

impl Below<'_> {
    /// How many attributes and devices were left out because this process may not make them.
    #[must_use]
    pub fn refused(&self) -> usize {
        self.refused
    }

    /// Makes one entry. `path` is relative to the directory, without `.` and `..`; an empty one is the directory
    /// itself, which stays as it is.
    ///
    /// # Errors
    /// See the rules above; also a hard link to what does not exist, and data that ends early.
    pub fn put(
        &mut self,
        path: &Path,
        node: Node<'_>,
        attrs: Attrs,
        xattrs: &Xattrs,
    ) -> Result<()> {
        let Some(name) = path.file_name() else { return Ok(()) };
        let parent = self.parent(path.parent().unwrap_or(Path::new("")))?;
        let done = self.put_into(&parent, name, node, attrs, xattrs);
        self.keep(path.parent().unwrap_or(Path::new("")), parent);
        done
    }

    fn put_into(
        &mut self,
        parent: &DestDir,
        name: &OsStr,
        node: Node<'_>,
        attrs: Attrs,
        xattrs: &Xattrs,
    ) -> Result<()> {
        let path = parent.path.join(name);
        if matches!(node, Node::Dir) {
            return self.put_dir(parent, name, attrs, xattrs);
        }
        self.clear(parent, name)?;
        match node {
            Node::Dir => Ok(()),
            Node::File { data, size } => self.put_file(parent, name, (data, size), attrs, xattrs),
            Node::Symlink(text) => {
                parent.dir.symlink(text, name).on(&path)?;
                parent.dir.chown(name, attrs.owner).on(&path)?;
                parent.dir.utimens(name, attrs.mtime).on(&path)
            }
            Node::HardLink(target) => self.put_link(parent, name, target, attrs),
            Node::Special(kind, rdev) => self.put_device(parent, name, (kind, rdev), attrs),
        }
    }

    /// The directory that an entry goes to, made where it is missing.
    fn parent(&mut self, path: &Path) -> Result<DestDir> {
        if let Some(known) = self.parents.remove(path) {
            return Ok(known);
        }
        let resolved = self.writer.merged.resolve_below(&self.top, path)?;
        let mut dest = self.writer.open_dest(&resolved, Some(self.implied))?;
        // Another entry may have been made in it since.
        dest.fresh = false;
        Ok(dest)
    }

    fn keep(&mut self, path: &Path, dest: DestDir) {
        if self.parents.len() >= KEEP_OPEN {
            self.parents.clear();
        }
        self.parents.insert(path.to_owned(), dest);
    }

    /// Removes what is in the way of something that is no directory.
    fn clear(&mut self, parent: &DestDir, name: &OsStr) -> Result<()> {
        let path = parent.path.join(name);
        if parent.dir.try_stat(name).on(&path)?.is_some_and(|stat| !stat.is_file()) {
            // A directory or link that goes may be on the way to an open one.
            self.parents.clear();
        }
        self.writer.make_room(parent, name, Replace::Anything)
    }

    fn put_dir(
        &mut self,
        parent: &DestDir,
        name: &OsStr,
        attrs: Attrs,
        xattrs: &Xattrs,
    ) -> Result<()> {
        let path = parent.path.join(name);
        if parent.dir.try_stat(name).on(&path)?.is_some_and(|stat| stat.is_symlink()) {
            self.parents.clear();
        }
        self.writer.make_room_for_dir(parent, name, Replace::Anything)?;
        let dest = self.writer.descend(parent, name, Some(attrs))?;
        for (key, value) in xattrs.iter().filter(|(key, _)| is_image_xattr(key)) {
            self.refused += usize::from(fd_set_xattr(&dest.dir, key, value).is_err());
        }
        let access = Some((attrs.owner, attrs.mode));
        self.writer.pending.insert(path, DirMeta { access, mtime: attrs.mtime });
        Ok(())
    }

    fn put_file(
        &mut self,
        parent: &DestDir,
        name: &OsStr,
        (data, size): (&mut dyn Read, u64),
        attrs: Attrs,
        xattrs: &Xattrs,
    ) -> Result<()> {
        let path = parent.path.join(name);
        let mut file = parent.dir.create_file(name, attrs.mode & 0o777).on(&path)?;
        copy_exactly(data, &mut file, size)
            .map_err(|error| FsError::io("unpack", name, error))
            .on(&path)?;
        if attrs.owner != process_owner() || parent.inherits_group {
            Dir::chown_fd(&file, attrs.owner).on(&path)?;
        }
        if attrs.mode & !0o777 != 0 || attrs.mode & process_umask() != 0 {
            Dir::chmod_fd(&file, attrs.mode).on(&path)?;
        }
        for (key, value) in xattrs.iter().filter(|(key, _)| is_image_xattr(key)) {
            self.refused += usize::from(fd_set_xattr(&file, key, value).is_err());
        }
        Dir::utimens_fd(&file, attrs.mtime).on(&path)
    }

    /// A device where this process may make one; rootless it is left out, as docker does.
    fn put_device(
        &mut self,
        parent: &DestDir,
        name: &OsStr,
        (kind, rdev): (FileKind, u64),
        attrs: Attrs,
    ) -> Result<()> {
        let path = parent.path.join(name);
        if kind == FileKind::Char && rdev == 0 {
            return Err(SnapshotError::WhiteoutDevice(path));
        }
        match parent.dir.mknod(name, kind, attrs.mode, rdev) {
            Err(_) if kind != FileKind::Fifo => {
                self.refused += 1;
                return Ok(());
            }
            made => made.on(&path)?,
        }
        parent.dir.chown(name, attrs.owner).on(&path)?;
        parent.dir.chmod(name, attrs.mode).on(&path)?;
        parent.dir.utimens(name, attrs.mtime).on(&path)
    }

    /// The entry's owner, mode and time become those of the file, as docker does.
    fn put_link(
        &mut self,
        parent: &DestDir,
        name: &OsStr,
        target: &Path,
        attrs: Attrs,
    ) -> Result<()> {
        let path = parent.path.join(name);
        let missing = || SnapshotError::NotFound(target.to_owned());
        let from_name = target.file_name().ok_or_else(missing)?;
        let from_dir = target.parent().unwrap_or(Path::new(""));
        let from_dir = self.writer.merged.resolve_below(&self.top, from_dir)?;
        let there = from_dir.join(from_name);
        let found = self.writer.merged.lookup(&there, false)?.ok_or_else(missing)?;
        if found.dir.is_some() {
            return Err(SnapshotError::IsADirectory(found.path));
        }
        let from = self.writer.open_dest(&from_dir, None)?;
        match from.dir.try_stat(from_name).on(&path)? {
            // What another snapshot shares must not change with the new name.
            Some(stat) if self.writer.linked.contains_key(&(stat.dev, stat.ino)) => {
                self.copy_up(&from, &found, true)?;
            }
            Some(_) => {}
            None => self.copy_up(&from, &found, false)?,
        }
        from.dir.link(from_name, &parent.dir, name).on(&path)?;
        parent.dir.chown(name, attrs.owner).on(&path)?;
        if found.stat.is_symlink() {
            return Ok(());
        }
        parent.dir.chmod(name, attrs.mode).on(&path)?;
        parent.dir.utimens(name, attrs.mtime).on(&path)
    }

    /// Makes a copy in this layer of what a lower layer has, as a change through overlayfs would, or in place of what
    /// is shared with another snapshot.
    fn copy_up(&mut self, dest: &DestDir, found: &Found, is_shared: bool) -> Result<()> {
        let (name, path): (&OsStr, &Path) = (&found.name, &found.path);
        let Stat { uid, gid, mtime, size, .. } = found.stat;
        let owner = karman_sys::fs::Owner { uid, gid };
        let attrs = Attrs { mode: found.stat.permissions(), owner, mtime };
        let make_room = || match is_shared {
            true => dest.dir.unlink(name).on(path),
            false => Ok(()),
        };
        match found.stat.kind() {
            FileKind::File => {
                let mut file = found.parent.open_file(name).on(path)?;
                make_room()?;
                let xattrs = image_xattrs(fd_xattrs(&file).on(path)?);
                self.put_file(dest, name, (&mut file, size), attrs, &xattrs)
            }
            FileKind::Symlink => {
                let text = found.parent.read_link(name).on(path)?;
                make_room()?;
                dest.dir.symlink(text, name).on(path)?;
                dest.dir.chown(name, owner).on(path)?;
                dest.dir.utimens(name, mtime).on(path)
            }
            kind => self.put_device(dest, name, (kind, found.stat.rdev), attrs),
        }
    }
}

fn copy_exactly(data: &mut dyn Read, file: &mut std::fs::File, size: u64) -> io::Result<()> {
    let small = usize::try_from(size).unwrap_or(COPY_BUFFER).min(COPY_BUFFER);
    let mut buffer = vec![0; small];
    let mut left = size;
    while left > 0 {
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match data.read(&mut buffer[..want]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                file.write_all(&buffer[..read])?;
                left -= read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
