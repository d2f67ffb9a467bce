//! The final tree of an image, with what its entries will be in a layer.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use karman_oci::{Digest, Hasher};
use karman_sys::fs::{Dir, Stat, Xattrs, fd_xattrs, stat_fd};

use crate::layer::{LayerError, special};
use crate::tarball::{Header, Kind, Meta};
use crate::time::TimePolicy;
use crate::walk::{Listed, ListedKind, WalkError, file_error, list_merged, open_path, os, show};
use crate::xattr;

const READ_BUFFER: usize = 256 * 1024;

/// Layers with the times their entries get, both topmost first.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// The directories of the layers.
    pub dirs: &'a [&'a Dir],
    /// Which times the entries of each layer get.
    pub times: &'a [TimePolicy<'a>],
    /// The time of directories that carry no time of their own.
    pub epoch: i64,
}

/// What is known of files by device and inode: images share layers, and layers share files. Committed layers never
/// change, so this holds for as long as none is removed.
#[derive(Debug, Default)]
pub struct Facts(Mutex<HashMap<(u64, u64), (Digest, Xattrs)>>);

/// A tree as a container would see it.
#[derive(Debug)]
pub struct FinalTree {
    /// Every path but the root, in canonical order: a directory before what is in it.
    pub entries: Vec<FinalEntry>,
    epoch: i64,
    depth: usize,
}

/// One path.
#[derive(Debug)]
pub struct FinalEntry {
    /// The path without leading or trailing `/`.
    pub path: Vec<u8>,
    /// The layer it is from, counted from the lowest.
    pub layer: usize,
    pub(crate) kind: EntryKind,
    pub(crate) meta: Meta,
    /// Of the bytes of a file.
    pub(crate) digest: Option<Digest>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    Dir,
    File(u64),
    /// Another name of the entry of that path.
    Link(Vec<u8>),
    Symlink(Vec<u8>),
    /// A device or a pipe.
    Special(Kind<'static>),
}

impl FinalEntry {
    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind == EntryKind::Dir
    }

    /// The bytes of a regular file.
    #[must_use]
    pub fn size(&self) -> u64 {
        if let EntryKind::File(size) = self.kind { size } else { 0 }
    }

    /// The path of the directory it is in; empty for the root.
    pub(crate) fn parent(&self) -> &[u8] {
        self.path.iter().rposition(|byte| *byte == b'/').map_or(b"", |at| &self.path[..at])
    }

    pub(crate) fn header(&self) -> Header<'_> {
        let kind = match &self.kind {
            EntryKind::Dir => Kind::Dir,
            EntryKind::File(size) => Kind::File(*size),
            EntryKind::Link(target) => Kind::HardLink(target),
            EntryKind::Symlink(text) => Kind::Symlink(text),
            EntryKind::Special(kind) => *kind,
        };
        Header { path: &self.path, kind, meta: &self.meta }
    }
}

impl FinalTree {
    /// Reads names, attributes and the digests of all files.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn read(source: &Source<'_>, facts: &Facts, threads: usize) -> Result<Self, LayerError> {
        let listed = list_merged(source.dirs)?;
        let read = read_files(source, &listed, facts, threads)?;
        let depth = source.dirs.len();
        let entries = listed.into_iter().zip(read).map(|(listed, read)| {
            let times = source.times.get(listed.layer).copied().unwrap_or(TimePolicy::KEEP);
            entry(listed, read, times, depth)
        });
        Ok(Self { entries: entries.collect(), epoch: source.epoch, depth })
    }

    /// What a directory is in a layer that does not have to say how it really is: the same in every image.
    pub(crate) fn plain_dir(&self) -> Meta {
        Meta { mode: 0o755, mtime: self.epoch, ..Meta::default() }
    }

    /// Opens a file of the tree.
    pub(crate) fn open(&self, dirs: &[&Dir], entry: &FinalEntry) -> Result<File, WalkError> {
        let failed = || WalkError::Changed { path: show(&entry.path) };
        let layer = (self.depth - 1).checked_sub(entry.layer).ok_or_else(failed)?;
        open_file(dirs.get(layer).ok_or_else(failed)?, &entry.path)
    }
}

fn open_file(layer: &Dir, path: &[u8]) -> Result<File, WalkError> {
    let cut = path.iter().rposition(|byte| *byte == b'/');
    let (parent, name) = cut.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
    let file = match parent {
        b"" => layer.open_file(os(name)),
        parent => open_path(layer, parent).and_then(|dir| dir.open_file(os(name))),
    };
    file.map_err(file_error(path))
}

fn entry(
    listed: Listed,
    read: Option<(Digest, Xattrs)>,
    times: TimePolicy<'_>,
    depth: usize,
) -> FinalEntry {
    let Listed { path, kind, stat, xattrs, layer } = listed;
    let (digest, xattrs) = match read {
        Some((digest, xattrs)) => (Some(digest), xattrs),
        None => (None, xattrs),
    };
    let kind = match kind {
        ListedKind::Dir => EntryKind::Dir,
        ListedKind::File => EntryKind::File(stat.size),
        ListedKind::Link(target) => EntryKind::Link(target),
        ListedKind::Symlink(text) => EntryKind::Symlink(text),
        ListedKind::Special => EntryKind::Special(special(&stat)),
    };
    let is_link = matches!(kind, EntryKind::Symlink(_));
    // As in a layer of a step: another name of a file carries no attributes of its own.
    let xattrs = xattrs.iter().filter_map(|(name, value)| xattr::portable(name, value)).collect();
    let mode = if is_link { 0o777 } else { stat.permissions() };
    let meta = Meta { mode, uid: stat.uid, gid: stat.gid, mtime: times.apply(stat.mtime), xattrs };
    FinalEntry { path, layer: depth - 1 - layer, kind, meta, digest }
}

/// Digest and attributes of every file of a list, in the order of the list.
fn read_files(
    source: &Source<'_>,
    listed: &[Listed],
    facts: &Facts,
    threads: usize,
) -> Result<Vec<Option<(Digest, Xattrs)>>, LayerError> {
    let slots: Vec<OnceLock<(Digest, Xattrs)>> = listed.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let failed: Mutex<Option<LayerError>> = Mutex::new(None);
    let work = || {
        let mut buffer = vec![0; READ_BUFFER];
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(one) = listed.get(at) else { return };
            if !matches!(one.kind, ListedKind::File) {
                continue;
            }
            match facts.of(source.dirs[one.layer], one, &mut buffer) {
                // Each slot is filled once, by the thread that took its number.
                Ok(found) => drop(slots[at].set(found)),
                Err(error) => {
                    next.store(listed.len(), Ordering::Relaxed);
                    let mut slot = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    slot.get_or_insert(error);
                    return;
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(slots.into_iter().map(OnceLock::into_inner).collect()),
    }
}

impl Facts {
    fn of(
        &self,
        layer: &Dir,
        one: &Listed,
        buffer: &mut [u8],
    ) -> Result<(Digest, Xattrs), LayerError> {
        let key = (one.stat.dev, one.stat.ino);
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known().get(&key) {
            return Ok(found.clone());
        }
        let file = open_file(layer, &one.path)?;
        let found = read_file(&file, &one.stat, &one.path, buffer)?;
        known().insert(key, found.clone());
        Ok(found)
    }
}

fn read_file(
    mut file: &File,
    listed: &Stat,
    path: &[u8],
    buffer: &mut [u8],
) -> Result<(Digest, Xattrs), LayerError> {
    let stat = stat_fd(file).map_err(file_error(path))?;
    let changed = || WalkError::Changed { path: show(path) };
    if !stat.is_file() || (stat.dev, stat.ino) != (listed.dev, listed.ino) {
        return Err(changed().into());
    }
    let xattrs = fd_xattrs(file).map_err(file_error(path))?;
    let mut hasher = Hasher::new();
    let mut total = 0;
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(read) => {
                hasher.update(&buffer[..read]);
                total += read as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(source) => return Err(WalkError::Read { path: show(path), source }.into()),
        }
    }
    if total == listed.size { Ok((hasher.finish(), xattrs)) } else { Err(changed().into()) }
}
