//! Writing a layer on top of others, as a mounted overlay would, without the mount.
//!
//! Only what changes is written: existing parent directories are copied up with their metadata, deletions become
//! whiteouts where a lower layer has something to delete. Directories get their final owner, mode and times in
//! [`LayerWriter::finish`], so that writing into them neither needs permissions nor leaves today's date: an existing
//! directory keeps its time, and the same steps give the same layer.

mod below;
mod dest;

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use karman_sys::fs::{Copier, Dir, FileKind, FsError, Owner, Time, remove_tree};

pub use below::{Below, Node};
pub(crate) use dest::DestDir;

use crate::error::{On, Result, SnapshotError};
use crate::view::{Layer, View};

/// Owner, permissions and modification time of something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attrs {
    /// Permissions (`0o7777`).
    pub mode: u32,
    /// Owner.
    pub owner: Owner,
    /// Modification time.
    pub mtime: Time,
}

/// What may be replaced by something of another type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// Files replace files, directories are merged with directories; all else is an error (BuildKit's `COPY`).
    SameType,
    /// Anything but a directory that meets a directory is replaced (`alwaysReplaceExistingDestPaths`).
    Anything,
}

/// What a directory gets at the end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DirMeta {
    /// Owner and mode, unless they are right already.
    pub(crate) access: Option<(Owner, u32)>,
    pub(crate) mtime: Time,
}

/// Which copy, and from which of its layers, put an inode into this layer.
pub(crate) type LinkOrigin = (u64, usize);

/// Writes into the upper directory of one layer.
pub struct LayerWriter {
    pub(crate) merged: View,
    pub(crate) upper: Arc<Dir>,
    /// By path; children sort after their parents.
    pub(crate) pending: BTreeMap<PathBuf, DirMeta>,
    /// Inodes of other snapshots that are linked into this layer. One inode under two names would become one hard
    /// link in the image, which it must only be if it was one where it came from.
    pub(crate) linked: HashMap<(u64, u64), LinkOrigin>,
    pub(crate) copies: u64,
    pub(crate) copier: Copier,
}

impl LayerWriter {
    /// A writer into `upper` (the `fs/` of an [`crate::Active`]) on top of `lower`.
    ///
    /// Use one writer for everything that goes into one layer: it knows which inodes the layer shares.
    pub fn new(upper: &Path, lower: &View) -> Result<Self> {
        let layer = Layer::open(upper, None)?;
        Ok(Self {
            upper: Arc::clone(&layer.root),
            merged: lower.with_top(layer),
            pending: BTreeMap::new(),
            linked: HashMap::new(),
            copies: 0,
            copier: Copier::new(),
        })
    }

    /// What the layer shows together with those below, now.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.merged
    }

    /// Creates a directory and its missing parents (`mkdir -p`). What exists keeps its metadata. Links are followed.
    pub fn ensure_dir(&mut self, path: &Path, attrs: Attrs) -> Result<()> {
        let path = self.merged.resolve(path, true)?;
        self.open_dest(&path, Some(attrs)).map(drop)
    }

    /// Creates one directory whose parent exists; one that exists is left alone (BuildKit's `mkdir` without parents).
    pub fn make_dir(&mut self, path: &Path, attrs: Attrs) -> Result<()> {
        let path = self.merged.resolve(path, true)?;
        let Some(name) = path.file_name() else { return Ok(()) };
        let parent = self.open_dest(path.parent().unwrap_or(Path::new("")), None)?;
        self.descend(&parent, name, Some(attrs)).map(drop)
    }

    /// Creates or replaces a file. Links are followed, so the file a link leads to is replaced. The parent must exist.
    pub fn put_file(&mut self, path: &Path, content: &[u8], attrs: Attrs) -> Result<()> {
        let (parent, name) = self.place(path, true)?;
        self.make_room(&parent, &name, Replace::SameType)?;
        let mut file = parent.dir.create_file(&name, attrs.mode & 0o777).on(path)?;
        file.write_all(content).map_err(|error| FsError::io("write", &name, error)).on(path)?;
        Dir::chown_fd(&file, attrs.owner).on(path)?;
        Dir::chmod_fd(&file, attrs.mode).on(path)?;
        Dir::utimens_fd(&file, attrs.mtime).on(path)
    }

    /// Creates a symbolic link in place of what is not a directory. A link's mode cannot be chosen.
    pub fn put_symlink(&mut self, path: &Path, target: &OsStr, attrs: Attrs) -> Result<()> {
        let (parent, name) = self.place(path, false)?;
        self.make_room(&parent, &name, Replace::SameType)?;
        parent.dir.symlink(target, &name).on(path)?;
        parent.dir.chown(&name, attrs.owner).on(path)?;
        parent.dir.utimens(&name, attrs.mtime).on(path)
    }

    /// Creates a pipe, socket or device in place of what is not a directory.
    pub fn put_special(
        &mut self,
        path: &Path,
        kind: FileKind,
        rdev: u64,
        attrs: Attrs,
    ) -> Result<()> {
        if kind == FileKind::Char && rdev == 0 {
            return Err(SnapshotError::WhiteoutDevice(path.to_owned()));
        }
        let (parent, name) = self.place(path, false)?;
        self.make_room(&parent, &name, Replace::SameType)?;
        parent.dir.mknod(&name, kind, attrs.mode, rdev).on(path)?;
        parent.dir.chown(&name, attrs.owner).on(path)?;
        parent.dir.chmod(&name, attrs.mode).on(path)?;
        parent.dir.utimens(&name, attrs.mtime).on(path)
    }

    /// Creates a second name for a file this layer has; the existing name must be in this layer.
    pub fn put_link(&mut self, existing: &Path, path: &Path) -> Result<()> {
        let (from, from_name) = self.place(existing, false)?;
        let (to, name) = self.place(path, false)?;
        self.make_room(&to, &name, Replace::SameType)?;
        from.dir.link(&from_name, &to.dir, &name).on(path)
    }

    /// Removes a path and everything below it; returns whether there was something. Links are followed in the parent
    /// only.
    pub fn remove(&mut self, path: &Path) -> Result<bool> {
        let Some(found) = self.merged.lookup(path, false)? else { return Ok(false) };
        let Some(name) = found.path.file_name() else { return Err(SnapshotError::Root) };
        let parent = self.open_dest(found.path.parent().unwrap_or(Path::new("")), None)?;
        remove_tree(&parent.dir, name).on(&found.path)?;
        self.forget_pending(&found.path);
        if self.lower_child(&parent, name)?.is_some() {
            parent.dir.whiteout(name).on(&found.path)?;
        }
        Ok(true)
    }

    /// Gives the directories their owners, modes and times. Nothing may be written afterwards.
    pub fn finish(mut self) -> Result<()> {
        while let Some((path, meta)) = self.pending.pop_last() {
            let dir = self.upper.open_dir_beneath(&path).on(&path)?;
            if let Some((owner, mode)) = meta.access {
                let stat = dir.stat_self().on(&path)?;
                if (stat.uid, stat.gid) != (owner.uid, owner.gid) {
                    dir.chown_self(owner).on(&path)?;
                }
                dir.chmod_self(mode).on(&path)?;
            }
            dir.utimens_self(meta.mtime).on(&path)?;
        }
        Ok(())
    }

    /// The opened parent and the last name of a path.
    fn place(&mut self, path: &Path, follow: bool) -> Result<(DestDir, std::ffi::OsString)> {
        let resolved = self.merged.resolve(path, follow)?;
        let name = resolved.file_name().ok_or(SnapshotError::Root)?;
        let parent = self.open_dest(resolved.parent().unwrap_or(Path::new("")), None)?;
        Ok((parent, name.to_owned()))
    }

    fn forget_pending(&mut self, path: &Path) {
        let below: Vec<_> = self
            .pending
            .range(path.to_owned()..)
            .take_while(|(key, _)| {
                key.as_os_str().as_bytes().starts_with(path.as_os_str().as_bytes())
            })
            .filter(|(key, _)| key.starts_with(path))
            .map(|(key, _)| key.clone())
            .collect();
        for key in below {
            self.pending.remove(&key);
        }
    }
}
