//! A read-only view of merged layers in user space, by the rules of overlayfs, without a mount.

mod resolve;
mod walk;

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use karman_sys::fs::{Dir, FileKind, Stat};

pub use resolve::Found;
pub use walk::{Visit, WalkDir, WalkEntry};

use crate::attrs::is_opaque;
use crate::error::{On, Result};
use crate::snapshots::SnapshotId;

/// What a filter says about a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is there.
    Keep,
    /// It is not there, and nothing below it is.
    Drop,
    /// It is only there if something below it is kept.
    DropButDescend,
}

impl Decision {
    /// The stricter of two decisions.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Drop, _) | (_, Self::Drop) => Self::Drop,
            (Self::DropButDescend, _) | (_, Self::DropButDescend) => Self::DropButDescend,
            _ => Self::Keep,
        }
    }
}

/// Decides by path relative to the root of a view (no leading `/`) and whether it is a directory.
pub type Filter = dyn Fn(&Path, bool) -> Decision + Send + Sync;

/// Decides by path relative to the start of a walk and whether it is a directory.
pub type PathFilter<'a> = &'a (dyn Fn(&Path, bool) -> Decision + Sync + 'a);

/// What a view is of; decides how its files are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Layers with overlayfs's marks.
    Layers,
    /// A directory of the user: no marks, files belong to root in the image (as BuildKit sends contexts).
    Context(PathBuf),
}

/// Merged layers, or one directory.
#[derive(Clone)]
pub struct View {
    /// Topmost first.
    pub(crate) layers: Vec<Layer>,
    pub(crate) origin: Origin,
    filter: Option<Arc<Filter>>,
}

/// One directory of a view.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) root: Arc<Dir>,
    pub(crate) id: Option<SnapshotId>,
    pub(crate) dev: u64,
}

/// The directories that make up one directory of a view, topmost first.
#[derive(Debug, Clone)]
pub struct MergedDir {
    pub(crate) parts: Vec<(usize, Arc<Dir>)>,
}

/// A name in a merged directory.
#[derive(Debug, Clone)]
pub(crate) struct MergedEntry {
    pub(crate) name: OsString,
    pub(crate) kind: FileKind,
    pub(crate) ino: u64,
    /// Index into the parts of the directory.
    pub(crate) part: usize,
}

/// What a name in a merged directory is.
pub(crate) enum Child {
    Dir(MergedDir, Stat),
    Other { layer: usize, parent: Arc<Dir>, stat: Stat },
}

impl View {
    /// A view of layer directories, bottom first.
    pub fn of_layers(dirs: &[PathBuf]) -> Result<Self> {
        let layers: Result<Vec<_>> = dirs.iter().rev().map(|dir| Layer::open(dir, None)).collect();
        Ok(Self { layers: layers?, origin: Origin::Layers, filter: None })
    }

    /// A view of a directory of the user. Every file is shown as owned by root.
    pub fn context(dir: &Path) -> Result<Self> {
        let layer = Layer::open(dir, None)?;
        Ok(Self { layers: vec![layer], origin: Origin::Context(dir.to_owned()), filter: None })
    }

    /// The same view without what the filter drops (`.dockerignore`). Paths are relative to the root of the view.
    #[must_use]
    pub fn with_filter(mut self, filter: Arc<Filter>) -> Self {
        self.filter = Some(filter);
        self
    }

    /// This view with another layer on top.
    pub(crate) fn with_top(&self, layer: Layer) -> Self {
        let mut layers = vec![layer];
        layers.extend(self.layers.iter().cloned());
        Self { layers, origin: Origin::Layers, filter: None }
    }

    pub(crate) fn from_layers(layers: Vec<Layer>) -> Self {
        Self { layers, origin: Origin::Layers, filter: None }
    }

    /// Number of layers.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.layers.len()
    }

    /// Whether the files of this view never change, so that they may be linked instead of copied.
    #[must_use]
    pub fn is_immutable(&self) -> bool {
        self.origin == Origin::Layers
    }

    /// The root directory.
    #[must_use]
    pub fn root(&self) -> MergedDir {
        let mut parts = Vec::with_capacity(self.layers.len());
        for (index, layer) in self.layers.iter().enumerate() {
            parts.push((index, Arc::clone(&layer.root)));
        }
        MergedDir { parts }
    }

    /// Opens a regular file that was looked up in this view.
    pub fn open_file(&self, found: &Found) -> Result<File> {
        self.open_at(found.layer, &found.path)
    }

    /// The text of a symbolic link that was looked up in this view.
    pub fn read_link(&self, found: &Found) -> Result<OsString> {
        found.parent.read_link(&found.name).on(&found.path)
    }

    /// The names in a directory with their kinds, sorted by bytes; the rules of whiteouts and opaque directories apply.
    pub fn read_dir(&self, found: &Found) -> Result<Vec<(OsString, FileKind)>> {
        let Some(dir) = &found.dir else { return Ok(Vec::new()) };
        let mut entries = self.entries(dir, &found.path)?;
        entries.retain(|entry| {
            self.decide(&found.path.join(&entry.name), entry.kind == FileKind::Dir)
                != Decision::Drop
        });
        Ok(entries.into_iter().map(|entry| (entry.name, entry.kind)).collect())
    }

    /// Opens a file by its resolved path in one layer (0 is the topmost), as a walk gives them.
    pub fn open_at(&self, layer: usize, path: &Path) -> Result<File> {
        self.layers[layer].root.open_beneath(path).on(path)
    }

    pub(crate) fn decide(&self, path: &Path, is_dir: bool) -> Decision {
        self.filter.as_ref().map_or(Decision::Keep, |filter| filter(path, is_dir))
    }

    /// What the view shows of an inode.
    pub(crate) fn shown(&self, mut stat: Stat) -> Stat {
        if matches!(self.origin, Origin::Context(_)) {
            (stat.uid, stat.gid) = (0, 0);
        }
        stat
    }

    fn overlay(&self) -> bool {
        self.origin == Origin::Layers
    }

    /// Looks up one name, not following links and not asking the filter. `path` is only for errors.
    pub(crate) fn child(
        &self,
        dir: &MergedDir,
        name: &OsStr,
        path: &Path,
    ) -> Result<Option<Child>> {
        let mut found: Option<(MergedDir, Stat)> = None;
        for (at, (layer, part)) in dir.parts.iter().enumerate() {
            let Some(stat) = part.try_stat(name).on(path)? else { continue };
            if self.overlay() && stat.is_whiteout() {
                break;
            }
            if !stat.is_dir() {
                if found.is_none() {
                    let (parent, stat) = (Arc::clone(part), self.shown(stat));
                    return Ok(Some(Child::Other { layer: *layer, parent, stat }));
                }
                break;
            }
            let sub = part.open_dir(name).on(path)?;
            let last = at + 1 == dir.parts.len();
            let opaque = !last && self.overlay() && is_opaque(&sub).on(path)?;
            found
                .get_or_insert_with(|| (MergedDir { parts: Vec::new() }, self.shown(stat)))
                .0
                .parts
                .push((*layer, Arc::new(sub)));
            if opaque {
                break;
            }
        }
        Ok(found.map(|(dir, stat)| Child::Dir(dir, stat)))
    }

    /// The names in a directory, sorted by bytes, without asking the filter.
    pub(crate) fn entries(&self, dir: &MergedDir, path: &Path) -> Result<Vec<MergedEntry>> {
        let mut out = Vec::new();
        let mut seen: HashSet<OsString> = HashSet::new();
        for (part, (_, handle)) in dir.parts.iter().enumerate() {
            let last = part + 1 == dir.parts.len();
            for entry in handle.read_dir().on(path)? {
                if seen.contains(&entry.name) {
                    continue;
                }
                let hidden = self.overlay()
                    && entry.kind == FileKind::Char
                    && handle.try_stat(&entry.name).on(path)?.is_none_or(|stat| stat.is_whiteout());
                if !last {
                    seen.insert(entry.name.clone());
                }
                if !hidden {
                    out.push(MergedEntry {
                        name: entry.name,
                        kind: entry.kind,
                        ino: entry.ino,
                        part,
                    });
                }
            }
        }
        out.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(out)
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("layers", &self.layers)
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl Layer {
    pub(crate) fn open(dir: &Path, id: Option<SnapshotId>) -> Result<Self> {
        let root = Dir::open(dir).on(dir)?;
        let dev = root.stat_self().on(dir)?.dev;
        Ok(Self { root: Arc::new(root), id, dev })
    }
}

impl MergedDir {
    /// The topmost directory, which gives the merged one its owner, mode, time and attributes.
    ///
    /// `None` only in a view without layers.
    #[must_use]
    pub fn top(&self) -> Option<&Arc<Dir>> {
        self.parts.first().map(|(_, dir)| dir)
    }

    /// The layer (0 is the topmost) of [`MergedDir::top`].
    #[must_use]
    pub fn top_layer(&self) -> usize {
        self.parts.first().map_or(0, |(layer, _)| *layer)
    }
}
