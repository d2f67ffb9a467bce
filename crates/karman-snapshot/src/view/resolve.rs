//! Paths in a view: links are followed inside its root.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use karman_sys::fs::{Dir, Stat};

use super::{Child, Decision, MergedDir, View};
use crate::error::{On, Result, SnapshotError};

/// As many links may be passed on the way to one path (the limit of BuildKit's `RootPath`; the kernel's is 40).
const MAX_LINKS: usize = 255;

/// A file found in a view.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its path from the root, without links and without a leading `/`; empty for the root.
    pub path: PathBuf,
    /// What it is.
    pub stat: Stat,
    /// The layer it comes from; 0 is the topmost. For a directory: the layer that gives it its metadata.
    pub layer: usize,
    /// The real directory that holds it (for the root: the root directory itself).
    pub parent: Arc<Dir>,
    /// Its name in `parent` (for the root: `.`).
    pub name: OsString,
    /// The merged directory, if it is one.
    pub dir: Option<MergedDir>,
}

/// How far a path led.
#[derive(Default)]
struct Trace {
    dirs: Vec<(OsString, MergedDir, Stat, Arc<Dir>)>,
    /// How many of `dirs` lead to what stands for the root.
    floor: usize,
    /// Whether something is missing on the way that a link leads.
    dangling: bool,
    /// What comes after the last directory that exists.
    rest: Vec<OsString>,
    /// The first of `rest`, if it exists and is no directory.
    leaf: Option<(usize, Arc<Dir>, Stat)>,
}

impl View {
    /// Finds a path, absolute or relative to the root. Links in the middle are followed, the last one if `follow`.
    ///
    /// # Errors
    /// [`SnapshotError::TooManyLinks`]; a path that does not exist is `None`.
    pub fn lookup(&self, path: &Path, follow: bool) -> Result<Option<Found>> {
        let trace = self.trace(path, follow)?;
        let path = trace.path();
        match (trace.rest.as_slice(), trace.leaf) {
            ([], _) => match trace.dirs.into_iter().next_back() {
                Some((name, dir, stat, parent)) => {
                    let layer = dir.top_layer();
                    Ok(Some(Found { path, stat, layer, parent, name, dir: Some(dir) }))
                }
                None => self.root_found(),
            },
            ([name], Some((layer, parent, stat))) => {
                Ok(Some(Found { path, stat, layer, parent, name: name.clone(), dir: None }))
            }
            _ => Ok(None),
        }
    }

    /// The path without links, as far as it exists; what does not exist is appended as it is.
    pub fn resolve(&self, path: &Path, follow: bool) -> Result<PathBuf> {
        self.trace(path, follow).map(|trace| trace.path())
    }

    fn root_found(&self) -> Result<Option<Found>> {
        let dir = self.root();
        let Some(top) = dir.top().cloned() else { return Ok(None) };
        let stat = self.shown(top.stat_self().on("/")?);
        let (path, name) = (PathBuf::new(), OsString::from("."));
        Ok(Some(Found { path, stat, layer: dir.top_layer(), parent: top, name, dir: Some(dir) }))
    }

    /// The same for a path below the directory `top`, which is the root for `..` and absolute links on the way, as
    /// after `chroot`. `top` is a path without links.
    ///
    /// # Errors
    /// [`SnapshotError::NoParent`] where a link on the way leads nowhere.
    pub(crate) fn resolve_below(&self, top: &Path, path: &Path) -> Result<PathBuf> {
        let mut start = self.trace(top, false)?;
        start.floor = start.dirs.len();
        let trace = self.continue_trace(start, path, true)?;
        match trace.dangling {
            true => Err(SnapshotError::NoParent(path.to_owned())),
            false => Ok(trace.path()),
        }
    }

    fn trace(&self, path: &Path, follow: bool) -> Result<Trace> {
        self.continue_trace(Trace::default(), path, follow)
    }

    fn continue_trace(&self, mut trace: Trace, path: &Path, follow: bool) -> Result<Trace> {
        let mut todo = components_reversed(path.as_os_str());
        let mut links = 0;
        // How much is left to do when the target of the current link has been passed.
        let mut after_link = usize::MAX;
        while let Some(name) = todo.pop() {
            if todo.len() < after_link {
                after_link = usize::MAX;
            }
            match name.as_bytes() {
                b"." => continue,
                b".." => {
                    trace.leave();
                    continue;
                }
                _ if !trace.rest.is_empty() => {
                    trace.leaf = None;
                    trace.rest.push(name);
                    continue;
                }
                _ => {}
            }
            let dir = trace.dirs.last().map_or_else(|| self.root(), |(_, dir, _, _)| dir.clone());
            match self.visible_child(&trace, &dir, &name)? {
                None => {
                    trace.dangling |= after_link != usize::MAX;
                    trace.rest.push(name);
                }
                Some(Child::Dir(sub, stat)) => {
                    let parent = sub_parent(&dir, &sub);
                    trace.dirs.push((name, sub, stat, parent));
                }
                Some(Child::Other { parent, stat, .. })
                    if stat.is_symlink() && (follow || !todo.is_empty()) =>
                {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(SnapshotError::TooManyLinks(path.to_owned()));
                    }
                    let target = parent.read_link(&name).on(path)?;
                    if target.as_bytes().starts_with(b"/") {
                        trace.dirs.truncate(trace.floor);
                    }
                    after_link = after_link.min(todo.len());
                    todo.extend(components_reversed(&target));
                }
                Some(Child::Other { layer, parent, stat }) => {
                    trace.leaf = Some((layer, parent, stat));
                    trace.rest.push(name);
                }
            }
        }
        Ok(trace)
    }

    fn visible_child(&self, trace: &Trace, dir: &MergedDir, name: &OsStr) -> Result<Option<Child>> {
        let mut path = trace.path();
        path.push(name);
        let child = self.child(dir, name, &path)?;
        let is_dir = matches!(child, Some(Child::Dir(..)));
        Ok(child.filter(|_| self.decide(&path, is_dir) != Decision::Drop))
    }
}

impl Trace {
    fn path(&self) -> PathBuf {
        self.dirs.iter().map(|(name, ..)| name).chain(&self.rest).collect()
    }

    /// `..`: the root is its own parent.
    fn leave(&mut self) {
        if self.rest.pop().is_none() && self.dirs.len() > self.floor {
            self.dirs.pop();
        }
        self.leaf = None;
    }
}

/// The real directory that holds the topmost part of a merged directory.
fn sub_parent(dir: &MergedDir, sub: &MergedDir) -> Arc<Dir> {
    let layer = sub.top_layer();
    let part = dir.parts.iter().find(|(index, _)| *index == layer).or(dir.parts.first());
    part.map_or_else(|| Arc::clone(&sub.parts[0].1), |(_, part)| Arc::clone(part))
}

fn components_reversed(path: &OsStr) -> Vec<OsString> {
    let parts = path.as_bytes().rsplit(|byte| *byte == b'/');
    parts.filter(|part| !part.is_empty()).map(|part| OsStr::from_bytes(part).to_owned()).collect()
}
