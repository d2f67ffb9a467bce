//! Walking a view: directories first, names in byte order, unwanted directories never opened.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use karman_sys::fs::{Dir, FileKind, Stat};

use super::{Child, Decision, MergedDir, PathFilter, View};
use crate::error::{On, Result, SnapshotError};

/// Directories may be nested this deep; each level holds descriptors open.
const MAX_DEPTH: usize = 400;

/// What happens on a walk.
pub trait Visit {
    /// A directory begins. One that the filter wants only for its content begins when the first content is met.
    fn enter(&mut self, dir: &WalkDir<'_>) -> Result<()>;
    /// A name that is no directory.
    fn entry(&mut self, entry: &WalkEntry<'_>) -> Result<()>;
    /// The directory entered last ends.
    fn leave(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A directory on a walk.
pub struct WalkDir<'a> {
    /// Its path relative to the start of the walk; empty for the start.
    pub rel: &'a Path,
    /// Its name.
    pub name: &'a OsStr,
    /// The directories it is made of.
    pub dir: &'a MergedDir,
    /// Whether the filter wants it only because something in it is wanted.
    pub implied: bool,
    view: &'a View,
}

/// A file, link or special file on a walk.
pub struct WalkEntry<'a> {
    /// Its path relative to the start of the walk.
    pub rel: &'a Path,
    /// Its path in the view.
    pub path: &'a Path,
    /// Its name in `parent`.
    pub name: &'a OsStr,
    /// What it is.
    pub kind: FileKind,
    /// Its inode number.
    pub ino: u64,
    /// The layer it comes from; 0 is the topmost.
    pub layer: usize,
    /// The real directory that holds it.
    pub parent: &'a Arc<Dir>,
    view: &'a View,
}

impl WalkDir<'_> {
    /// Metadata of the directory, as the view shows it.
    pub fn stat(&self) -> Result<Stat> {
        let top = self.dir.top().ok_or_else(|| SnapshotError::NotFound(self.rel.to_owned()))?;
        Ok(self.view.shown(top.stat_self().on(self.rel)?))
    }
}

impl WalkEntry<'_> {
    /// Metadata of the file, as the view shows it.
    pub fn stat(&self) -> Result<Stat> {
        Ok(self.view.shown(self.parent.stat(self.name).on(self.path)?))
    }
}

impl View {
    /// Walks the directory at `start` (a path without links, as [`super::Found::path`]), which is always entered.
    ///
    /// `filter` gets paths relative to `start`; the view's own filter applies as well.
    pub fn walk(
        &self,
        start: &Path,
        dir: &MergedDir,
        filter: Option<PathFilter<'_>>,
        visit: &mut dyn Visit,
    ) -> Result<()> {
        let (path, rel) = (start.to_owned(), PathBuf::new());
        let mut walk = Walk { view: self, filter, visit, path, rel, waiting: Vec::new() };
        let name = start.file_name().unwrap_or_else(|| OsStr::new("."));
        walk.visit.enter(&WalkDir { rel: Path::new(""), name, dir, implied: false, view: self })?;
        walk.content(dir, 0)?;
        walk.visit.leave()
    }
}

struct Walk<'a> {
    view: &'a View,
    filter: Option<PathFilter<'a>>,
    visit: &'a mut dyn Visit,
    path: PathBuf,
    rel: PathBuf,
    /// Directories that are entered when something in them is kept.
    waiting: Vec<(PathBuf, MergedDir)>,
}

impl Walk<'_> {
    fn content(&mut self, dir: &MergedDir, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(SnapshotError::TooDeep(self.path.clone()));
        }
        for entry in self.view.entries(dir, &self.path)? {
            self.path.push(&entry.name);
            self.rel.push(&entry.name);
            let is_dir = entry.kind == FileKind::Dir;
            let decision = self.decide(is_dir);
            if is_dir && decision != Decision::Drop {
                // Gone since the directory was read: only possible in a context somebody is changing.
                if let Some(Child::Dir(sub, _)) = self.view.child(dir, &entry.name, &self.path)? {
                    self.directory(&sub, decision, depth)?;
                }
            } else if !is_dir && decision == Decision::Keep {
                self.enter_waiting()?;
                let (layer, parent) = &dir.parts[entry.part];
                self.visit.entry(&WalkEntry {
                    rel: &self.rel,
                    path: &self.path,
                    name: &entry.name,
                    kind: entry.kind,
                    ino: entry.ino,
                    layer: *layer,
                    parent,
                    view: self.view,
                })?;
            }
            self.path.pop();
            self.rel.pop();
        }
        Ok(())
    }

    fn directory(&mut self, dir: &MergedDir, decision: Decision, depth: usize) -> Result<()> {
        if decision == Decision::Keep {
            self.enter_waiting()?;
            let name = self.rel.file_name().unwrap_or_default();
            self.visit.enter(&WalkDir {
                rel: &self.rel,
                name,
                dir,
                implied: false,
                view: self.view,
            })?;
            self.content(dir, depth + 1)?;
            return self.visit.leave();
        }
        self.waiting.push((self.rel.clone(), dir.clone()));
        let before = self.waiting.len();
        self.content(dir, depth + 1)?;
        if self.waiting.len() == before {
            self.waiting.pop();
            Ok(())
        } else {
            self.visit.leave()
        }
    }

    fn enter_waiting(&mut self) -> Result<()> {
        for (rel, dir) in std::mem::take(&mut self.waiting) {
            let name = rel.file_name().unwrap_or_default();
            self.visit.enter(&WalkDir {
                rel: &rel,
                name,
                dir: &dir,
                implied: true,
                view: self.view,
            })?;
        }
        Ok(())
    }

    fn decide(&self, is_dir: bool) -> Decision {
        let own = self.view.decide(&self.path, is_dir);
        match self.filter {
            Some(filter) if own != Decision::Drop => own.and(filter(&self.rel, is_dir)),
            _ => own,
        }
    }
}
