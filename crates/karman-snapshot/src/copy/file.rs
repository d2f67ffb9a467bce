//! One file of a copy.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use karman_oci::{Digest, Hasher};
use karman_sys::fs::{
    Copier, Dir, FileKind, FsError, Owner, SMALL_FILE, Stat, Xattrs, fd_set_xattr, fd_xattrs,
    process_owner, process_umask, stat_fd,
};

use super::{CopiedFile, CopyOptions};
use crate::attrs::image_xattrs;
use crate::error::{On, Result, SnapshotError};
use crate::statcache::FileDigest;
use crate::view::View;
use crate::writer::DestDir;

thread_local! {
    /// A small file and one byte more, so that one `read` shows that there is no more.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; usize::try_from(SMALL_FILE).unwrap_or(0) + 1]);
}

/// What to do with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// Link it if nothing about it changes, copy it otherwise.
    Link,
    /// Copy it, unless it has several names.
    Copy,
    /// Copy it although it has several names: it is the first of them.
    CopyLeader,
}

/// A file to be copied.
pub(super) struct Job {
    pub(super) from: Arc<Dir>,
    pub(super) name: OsString,
    /// Its path in the source view.
    pub(super) path: PathBuf,
    pub(super) kind: FileKind,
    pub(super) layer: usize,
    pub(super) dest: Arc<DestDir>,
    pub(super) new_name: OsString,
    pub(super) task: Task,
}

/// What was done.
pub(super) enum Done {
    Linked,
    Copied {
        bytes: u64,
        lost_xattrs: usize,
        file: Option<Box<CopiedFile>>,
    },
    /// A link, pipe, socket or device was made.
    Other,
    /// Nothing yet: the file has several names.
    Grouped(Stat),
}

impl Job {
    pub(super) fn run(
        &self,
        view: &View,
        options: &CopyOptions<'_>,
        copier: &Copier,
    ) -> Result<Done> {
        if self.task == Task::Link && self.unchanged(view, options)? {
            // Too many links, another file system, not allowed: a copy is always possible.
            if self.from.link(&self.name, &self.dest.dir, &self.new_name).is_ok() {
                return Ok(Done::Linked);
            }
        }
        match self.kind {
            FileKind::File => self.copy_file(view, options, copier),
            _ => self.make_special(view, options).map(|()| Done::Other),
        }
    }

    fn unchanged(&self, view: &View, options: &CopyOptions<'_>) -> Result<bool> {
        if options.owner.is_none() && options.mode.is_none() {
            return Ok(true);
        }
        let stat = view.shown(self.from.stat(&self.name).on(&self.path)?);
        let (owner, mode) = wanted(&stat, options);
        Ok(owner == (Owner { uid: stat.uid, gid: stat.gid })
            && (stat.is_symlink() || mode == stat.permissions()))
    }

    fn copy_file(&self, view: &View, options: &CopyOptions<'_>, copier: &Copier) -> Result<Done> {
        let mut from = self.from.open_file(&self.name).on(&self.path)?;
        let raw = stat_fd(&from).on(&self.path)?;
        if !raw.is_file() {
            // It was a file when the directory was read.
            return Err(SnapshotError::NotFound(self.path.clone()));
        }
        if raw.nlink > 1 && self.task != Task::CopyLeader {
            return Ok(Done::Grouped(raw));
        }
        let (owner, mode) = wanted(&view.shown(raw), options);
        let mut to = self.dest.dir.create_file(&self.new_name, mode & 0o777).on(&self.path)?;
        let (bytes, content) =
            copy_content(&mut from, &mut to, &raw, options.digests, copier).on(&self.path)?;
        if owner != process_owner() || self.dest.inherits_group {
            Dir::chown_fd(&to, owner).on(&self.path)?;
        }
        if mode & !0o777 != 0 || mode & process_umask() != 0 {
            Dir::chmod_fd(&to, mode).on(&self.path)?;
        }
        let xattrs = image_xattrs(fd_xattrs(&from).on(&self.path)?);
        let mut lost_xattrs = 0;
        for (key, value) in &xattrs {
            lost_xattrs += usize::from(fd_set_xattr(&to, key, value).is_err());
        }
        Dir::utimens_fd(&to, options.mtime.unwrap_or(raw.mtime)).on(&self.path)?;
        let file = content.map(|content| {
            let digest = FileDigest { content, xattrs: xattrs_digest(&xattrs) };
            Box::new(CopiedFile { path: self.path.clone(), layer: self.layer, stat: raw, digest })
        });
        Ok(Done::Copied { bytes, lost_xattrs, file })
    }

    fn make_special(&self, view: &View, options: &CopyOptions<'_>) -> Result<()> {
        let stat = view.shown(self.from.stat(&self.name).on(&self.path)?);
        let (owner, mode) = wanted(&stat, options);
        let (dir, name) = (&self.dest.dir, &self.new_name);
        if stat.is_symlink() {
            let target = self.from.read_link(&self.name).on(&self.path)?;
            dir.symlink(target, name).on(&self.path)?;
        } else {
            if stat.is_whiteout() {
                return Err(SnapshotError::WhiteoutDevice(self.path.clone()));
            }
            // BuildKit receives a socket of a context as a file without content.
            let is_sent = self.kind == FileKind::Socket && !view.is_immutable();
            let kind = if is_sent { FileKind::File } else { self.kind };
            dir.mknod(name, kind, mode, stat.rdev).on(&self.path)?;
        }
        if owner != process_owner() || self.dest.inherits_group {
            dir.chown(name, owner).on(&self.path)?;
        }
        if !stat.is_symlink() {
            dir.chmod(name, mode).on(&self.path)?;
        }
        dir.utimens(name, options.mtime.unwrap_or(stat.mtime)).on(&self.path)
    }
}

fn wanted(stat: &Stat, options: &CopyOptions<'_>) -> (Owner, u32) {
    let mode = stat.permissions();
    let owner = options.owner.unwrap_or(Owner { uid: stat.uid, gid: stat.gid });
    (owner, options.mode.map_or(mode, |change| change(mode, false)))
}

/// Copies the content, hashing it on the way if asked; for small files with one read and one write.
fn copy_content(
    from: &mut File,
    to: &mut File,
    stat: &Stat,
    hash: bool,
    copier: &Copier,
) -> std::result::Result<(u64, Option<Digest>), FsError> {
    if stat.size <= SMALL_FILE {
        return SCRATCH.with_borrow_mut(|buffer| {
            let read = read_small(from, buffer)?;
            if read == buffer.len() {
                // It has grown since it was looked at.
                let mut hasher = Hasher::new();
                hasher.update(buffer);
                to.write_all(buffer).map_err(|error| FsError::io("write", "", error))?;
                let rest = copier.copy_through(from, to, &mut |piece| hasher.update(piece))?;
                return Ok((read as u64 + rest, hash.then(|| hasher.finish())));
            }
            if read > 0 {
                to.write_all(&buffer[..read]).map_err(|error| FsError::io("write", "", error))?;
            }
            Ok((read as u64, hash.then(|| Digest::sha256_of(&buffer[..read]))))
        });
    }
    if hash {
        let mut hasher = Hasher::new();
        let bytes = copier.copy_through(from, to, &mut |piece| hasher.update(piece))?;
        Ok((bytes, Some(hasher.finish())))
    } else {
        copier.copy(from, to, stat.size).map(|bytes| (bytes, None))
    }
}

/// Reads until the buffer is full or a read comes back short, which for a regular file means its end.
fn read_small(from: &mut File, buffer: &mut [u8]) -> std::result::Result<usize, FsError> {
    loop {
        match from.read(buffer) {
            Ok(read) => return Ok(read),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FsError::io("read", "", error)),
        }
    }
}

/// The content and attributes of a file, without copying it.
pub(crate) fn digest_file(file: &mut File) -> std::result::Result<FileDigest, FsError> {
    let mut hasher = Hasher::new();
    SCRATCH.with_borrow_mut(|buffer| {
        loop {
            let read = read_small(file, buffer)?;
            hasher.update(&buffer[..read]);
            if read < buffer.len() {
                return Ok(());
            }
        }
    })?;
    let xattrs = image_xattrs(fd_xattrs(&*file)?);
    Ok(FileDigest { content: hasher.finish(), xattrs: xattrs_digest(&xattrs) })
}

/// A digest of attributes; `None` if there are none.
pub(crate) fn xattrs_digest(xattrs: &Xattrs) -> Option<Digest> {
    if xattrs.is_empty() {
        return None;
    }
    let mut hasher = Hasher::new();
    for (key, value) in xattrs {
        hasher.field(key.as_encoded_bytes());
        hasher.field(value);
    }
    Some(hasher.finish())
}
