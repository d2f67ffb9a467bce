//! Directories of the layer being written.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use karman_sys::fs::{Dir, FileKind, Owner, Stat, fd_set_xattr, fd_xattrs, remove_tree};

use super::{Attrs, DirMeta, LayerWriter, Replace};
use crate::attrs::{OPAQUE, image_xattrs, is_opaque};
use crate::error::{On, Result, SnapshotError};
use crate::view::{Child, MergedDir};

/// Mode of a directory while it is written to.
const WORKING_MODE: u32 = 0o700;

const S_ISGID: u32 = 0o2000;

/// An open directory of the layer, with what lower layers have at its place.
pub(crate) struct DestDir {
    /// Its path from the root, without links.
    pub(crate) path: PathBuf,
    pub(crate) dir: Arc<Dir>,
    /// `None` if lower layers have nothing here, or it is hidden.
    pub(crate) lower: Option<MergedDir>,
    /// Just created: it has no entries.
    pub(crate) fresh: bool,
    /// New files do not get the group of the process.
    pub(crate) inherits_group: bool,
    /// The names in `lower`, read at the first question.
    lower_names: OnceLock<HashMap<OsString, FileKind>>,
}

impl LayerWriter {
    /// Opens a directory of the layer by its resolved path. Existing directories of lower layers are copied up; missing
    /// ones are created if `create` says how, and are an error otherwise.
    pub(crate) fn open_dest(&mut self, path: &Path, create: Option<Attrs>) -> Result<DestDir> {
        let mut dest = self.root_dest()?;
        for name in path {
            dest = self.descend(&dest, name, create)?;
        }
        Ok(dest)
    }

    /// Opens, copies up or creates one directory in another.
    pub(crate) fn descend(
        &mut self,
        parent: &DestDir,
        name: &OsStr,
        create: Option<Attrs>,
    ) -> Result<DestDir> {
        let path = parent.path.join(name);
        let existing = if parent.fresh { None } else { parent.dir.try_stat(name).on(&path)? };
        match existing {
            Some(stat) if stat.is_dir() => self.open_existing(parent, name, path, &stat),
            Some(stat) if !stat.is_whiteout() => Err(SnapshotError::NotADirectory(path)),
            Some(_) => {
                let attrs = create.ok_or_else(|| SnapshotError::NoParent(path.clone()))?;
                parent.dir.unlink(name).on(&path)?;
                self.create_dir(parent, name, attrs)
            }
            None => match self.lower_child(parent, name)? {
                Some(Child::Dir(lower, stat)) => self.copy_up(parent, name, lower, &stat),
                Some(Child::Other { .. }) => Err(SnapshotError::NotADirectory(path)),
                None => {
                    let attrs = create.ok_or_else(|| SnapshotError::NoParent(path.clone()))?;
                    self.create_dir(parent, name, attrs)
                }
            },
        }
    }

    /// Creates a directory where the merged view shows none. What lower layers have there becomes hidden.
    pub(crate) fn create_dir(
        &mut self,
        parent: &DestDir,
        name: &OsStr,
        attrs: Attrs,
    ) -> Result<DestDir> {
        let path = parent.path.join(name);
        let hides = matches!(self.lower_child(parent, name)?, Some(Child::Dir(..)));
        parent.dir.mkdir(name, WORKING_MODE).on(&path)?;
        let dir = parent.dir.open_dir(name).on(&path)?;
        if hides {
            fd_set_xattr(&dir, OPAQUE, b"y").on(&path)?;
        }
        let access = Some((attrs.owner, attrs.mode));
        self.pending.insert(path.clone(), DirMeta { access, mtime: attrs.mtime });
        Ok(DestDir::new(path, dir, None, true, parent.inherits_group))
    }

    /// Makes sure that something that is no directory can be created: removes what the layer has under that name.
    pub(crate) fn make_room(
        &mut self,
        dest: &DestDir,
        name: &OsStr,
        replace: Replace,
    ) -> Result<()> {
        if dest.fresh {
            return Ok(());
        }
        let path = || dest.path.join(name);
        match dest.dir.try_stat(name).on(path())? {
            Some(stat) if stat.is_dir() => {
                if replace == Replace::SameType {
                    return Err(SnapshotError::IsADirectory(path()));
                }
                remove_tree(&dest.dir, name).on(path())?;
                self.forget_pending(&path());
                Ok(())
            }
            Some(_) => dest.dir.unlink(name).on(path()),
            None => {
                let is_dir = self.lower_names(dest)?.get(name) == Some(&FileKind::Dir);
                if is_dir && replace == Replace::SameType {
                    Err(SnapshotError::IsADirectory(path()))
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Makes sure that a directory can be opened or created: what is no directory is removed or refused.
    pub(crate) fn make_room_for_dir(
        &mut self,
        dest: &DestDir,
        name: &OsStr,
        replace: Replace,
    ) -> Result<()> {
        if dest.fresh {
            return Ok(());
        }
        let path = dest.path.join(name);
        let upper = dest.dir.try_stat(name).on(&path)?;
        let in_the_way = match upper {
            Some(stat) => !stat.is_dir() && !stat.is_whiteout(),
            None => matches!(self.lower_child(dest, name)?, Some(Child::Other { .. })),
        };
        if !in_the_way {
            return Ok(());
        }
        if replace == Replace::SameType {
            return Err(SnapshotError::NotADirectory(path));
        }
        if upper.is_some() {
            dest.dir.unlink(name).on(&path)?;
        }
        // `descend` takes a whiteout for "nothing here", and creates a directory in its place.
        dest.dir.whiteout(name).on(&path)
    }

    /// What lower layers have under a name, if this layer does not hide it.
    pub(crate) fn lower_child(&self, dest: &DestDir, name: &OsStr) -> Result<Option<Child>> {
        match &dest.lower {
            Some(lower) => self.merged.child(lower, name, &dest.path),
            None => Ok(None),
        }
    }

    fn lower_names<'a>(&self, dest: &'a DestDir) -> Result<&'a HashMap<OsString, FileKind>> {
        if let Some(names) = dest.lower_names.get() {
            return Ok(names);
        }
        let entries = match &dest.lower {
            Some(lower) => self.merged.entries(lower, &dest.path)?,
            None => Vec::new(),
        };
        let names = entries.into_iter().map(|entry| (entry.name, entry.kind)).collect();
        Ok(dest.lower_names.get_or_init(|| names))
    }

    fn root_dest(&mut self) -> Result<DestDir> {
        let stat = self.upper.stat_self().on("/")?;
        let access = None;
        self.pending.entry(PathBuf::new()).or_insert(DirMeta { access, mtime: stat.mtime });
        let mut parts = self.merged.root().parts;
        parts.remove(0);
        let lower = (!parts.is_empty()).then_some(MergedDir { parts });
        let dir = self.upper.reopen().on("/")?;
        Ok(DestDir::new(PathBuf::new(), dir, lower, false, stat.mode & S_ISGID != 0))
    }

    fn open_existing(
        &mut self,
        parent: &DestDir,
        name: &OsStr,
        path: PathBuf,
        stat: &Stat,
    ) -> Result<DestDir> {
        let dir = parent.dir.open_dir(name).on(&path)?;
        let lower = match self.lower_child(parent, name)? {
            Some(Child::Dir(lower, _)) if !is_opaque(&dir).on(&path)? => Some(lower),
            _ => None,
        };
        self.pending.entry(path.clone()).or_insert(DirMeta { access: None, mtime: stat.mtime });
        Ok(DestDir::new(path, dir, lower, false, stat.mode & S_ISGID != 0))
    }

    fn copy_up(
        &mut self,
        parent: &DestDir,
        name: &OsStr,
        lower: MergedDir,
        stat: &Stat,
    ) -> Result<DestDir> {
        let path = parent.path.join(name);
        parent.dir.mkdir(name, WORKING_MODE).on(&path)?;
        let dir = parent.dir.open_dir(name).on(&path)?;
        if let Some(top) = lower.top() {
            for (key, value) in image_xattrs(fd_xattrs(top).on(&path)?) {
                fd_set_xattr(&dir, key, &value).on(&path)?;
            }
        }
        let owner = Owner { uid: stat.uid, gid: stat.gid };
        let meta = DirMeta { access: Some((owner, stat.permissions())), mtime: stat.mtime };
        self.pending.insert(path.clone(), meta);
        Ok(DestDir::new(path, dir, Some(lower), false, parent.inherits_group))
    }
}

impl DestDir {
    fn new(
        path: PathBuf,
        dir: Dir,
        lower: Option<MergedDir>,
        fresh: bool,
        inherits_group: bool,
    ) -> Self {
        Self {
            path,
            dir: Arc::new(dir),
            lower,
            fresh,
            inherits_group,
            lower_names: OnceLock::new(),
        }
    }
}
