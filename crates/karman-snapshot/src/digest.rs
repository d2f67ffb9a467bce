//! Digests of trees: equal digests mean equal files for a build.
//!
//! [`tree_digest`] is over names, types, modes, owners, contents, link texts, device numbers and image attributes, not
//! over times. Contents come from a [`ViewCache`] where a file has not changed. [`stat_identity`] reads no content: it
//! changes whenever anything may have changed.
//!
//! Symbolic links have no attributes here: Linux gives them none that images carry.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use karman_oci::{Digest, Hasher};
use karman_sys::fs::{FileKind, Stat, fd_xattrs};
use rayon::prelude::*;

use crate::attrs::image_xattrs;
use crate::copy::file::{digest_file, xattrs_digest};
use crate::error::{On, Result, SnapshotError};
use crate::statcache::{FileDigest, ViewCache};
use crate::view::{Found, PathFilter, View, Visit, WalkDir, WalkEntry};

/// What to digest.
#[derive(Clone, Copy, Default)]
pub struct Selection<'a> {
    /// Follow the path itself if it is a symbolic link.
    pub follow: bool,
    /// Decides by path relative to the selected directory.
    pub filter: Option<PathFilter<'a>>,
}

/// Names the encoding hashed below; change it together with the encoding.
const TREE_FORMAT: &[u8] = b"karman-tree-1";
const IDENTITY_FORMAT: &[u8] = b"karman-stat-1";

struct Item {
    rel: PathBuf,
    stat: Stat,
    payload: Payload,
}

enum Payload {
    Nothing,
    Link(OsString),
    Dir(Option<Digest>),
    File(FileDigest),
    /// To be read: layer and path in the view.
    Unread(usize, PathBuf),
}

/// The content digest of a path and everything below it that is selected.
///
/// The name of the path itself is not part of it, so that a moved directory keeps its digest.
///
/// # Errors
/// [`SnapshotError::NotFound`] if there is no such path.
pub fn tree_digest(
    view: &View,
    path: &Path,
    selection: &Selection<'_>,
    cache: &mut ViewCache,
) -> Result<Digest> {
    let items = items(view, path, selection, cache)?;
    let mut hasher = Hasher::new();
    hasher.field(TREE_FORMAT);
    items.iter().for_each(|item| item.hash(&mut hasher));
    Ok(hasher.finish())
}

/// Everything that [`tree_digest`] is over, for people: relative paths and what each is, such as
/// `sha256:3f2a… 644`. What differs for the digest differs here.
///
/// # Errors
/// [`SnapshotError::NotFound`] if there is no such path.
pub fn tree_listing(
    view: &View,
    path: &Path,
    selection: &Selection<'_>,
    cache: &mut ViewCache,
) -> Result<Vec<(PathBuf, String)>> {
    let items = items(view, path, selection, cache)?;
    Ok(items.into_iter().map(|item| (item.rel.clone(), item.describe())).collect())
}

fn items(
    view: &View,
    path: &Path,
    selection: &Selection<'_>,
    cache: &mut ViewCache,
) -> Result<Vec<Item>> {
    let mut collect = Collect { items: Vec::new(), cache };
    match find(view, path, selection)? {
        Found { path, dir: Some(dir), .. } => {
            view.walk(&path, &dir, selection.filter, &mut collect)?
        }
        found => {
            let link = if found.stat.is_symlink() { Some(view.read_link(&found)?) } else { None };
            collect.add(PathBuf::new(), found.stat, found.layer, &found.path, link);
        }
    }
    let mut items = collect.items;
    if !view.is_immutable() {
        items.iter().for_each(|item| cache.look(&item.stat));
    }
    read_contents(view, &mut items, cache)?;
    Ok(items)
}

/// A digest of names, inodes, sizes, modes, mtimes and ctimes: equal means that nothing was written since.
///
/// Only comparable on one machine, for one directory.
pub fn stat_identity(view: &View, path: &Path, selection: &Selection<'_>) -> Result<Digest> {
    let mut identity = Identity { hasher: Hasher::new() };
    identity.hasher.field(IDENTITY_FORMAT);
    match find(view, path, selection)? {
        Found { path, dir: Some(dir), .. } => {
            view.walk(&path, &dir, selection.filter, &mut identity)?
        }
        found => identity.add(Path::new(""), &found.stat),
    }
    Ok(identity.hasher.finish())
}

fn find(view: &View, path: &Path, selection: &Selection<'_>) -> Result<Found> {
    view.lookup(path, selection.follow)?.ok_or_else(|| SnapshotError::NotFound(path.to_owned()))
}

/// Reads the files the cache does not know, with all processors, and tells the cache.
fn read_contents(view: &View, items: &mut [Item], cache: &mut ViewCache) -> Result<()> {
    let read: Result<Vec<(usize, usize, FileDigest)>> = items
        .par_iter()
        .enumerate()
        .filter_map(|(index, item)| match &item.payload {
            Payload::Unread(layer, path) => Some((index, *layer, path)),
            _ => None,
        })
        .map(|(index, layer, path)| {
            let digest = digest_file(&mut view.open_at(layer, path)?).on(path)?;
            Ok((index, layer, digest))
        })
        .collect();
    for (index, layer, digest) in read? {
        cache.insert(layer, &items[index].stat, digest);
        items[index].payload = Payload::File(digest);
    }
    Ok(())
}

struct Collect<'a> {
    items: Vec<Item>,
    cache: &'a mut ViewCache,
}

impl Collect<'_> {
    fn add(&mut self, rel: PathBuf, stat: Stat, layer: usize, path: &Path, link: Option<OsString>) {
        let payload = match (stat.kind(), link) {
            (FileKind::File, _) => match self.cache.get(layer, &stat) {
                Some(digest) => Payload::File(digest),
                None => Payload::Unread(layer, path.to_owned()),
            },
            (_, Some(text)) => Payload::Link(text),
            _ => Payload::Nothing,
        };
        self.items.push(Item { rel, stat, payload });
    }
}

impl Visit for Collect<'_> {
    fn enter(&mut self, dir: &WalkDir<'_>) -> Result<()> {
        let xattrs = match dir.dir.top() {
            Some(top) => xattrs_digest(&image_xattrs(fd_xattrs(top).on(dir.rel)?)),
            None => None,
        };
        self.items.push(Item {
            rel: dir.rel.to_owned(),
            stat: dir.stat()?,
            payload: Payload::Dir(xattrs),
        });
        Ok(())
    }

    fn entry(&mut self, entry: &WalkEntry<'_>) -> Result<()> {
        let stat = entry.stat()?;
        let link = if stat.is_symlink() {
            Some(entry.parent.read_link(entry.name).on(entry.path)?)
        } else {
            None
        };
        self.add(entry.rel.to_owned(), stat, entry.layer, entry.path, link);
        Ok(())
    }
}

struct Identity {
    hasher: Hasher,
}

impl Identity {
    fn add(&mut self, rel: &Path, stat: &Stat) {
        self.hasher.field(rel.as_os_str().as_bytes());
        // Writing into a directory shows in its entries; its own size and times would only add false alarms.
        let (size, mtime, ctime) = if stat.is_dir() {
            (0, 0, 0)
        } else {
            (stat.size, stat.mtime.as_nanos(), stat.ctime.as_nanos())
        };
        let mut facts = [0_u8; 36];
        facts[..8].copy_from_slice(&stat.ino.to_le_bytes());
        facts[8..16].copy_from_slice(&size.to_le_bytes());
        facts[16..24].copy_from_slice(&mtime.to_le_bytes());
        facts[24..32].copy_from_slice(&ctime.to_le_bytes());
        facts[32..].copy_from_slice(&stat.mode.to_le_bytes());
        self.hasher.update(&facts);
    }
}

impl Visit for Identity {
    fn enter(&mut self, dir: &WalkDir<'_>) -> Result<()> {
        self.add(dir.rel, &dir.stat()?);
        Ok(())
    }

    fn entry(&mut self, entry: &WalkEntry<'_>) -> Result<()> {
        self.add(entry.rel, &entry.stat()?);
        Ok(())
    }
}

impl Item {
    fn describe(&self) -> String {
        let stat = &self.stat;
        let mut text = match &self.payload {
            Payload::File(file) => format!("{} {:o}", file.content.short(), stat.permissions()),
            Payload::Link(target) => format!("link to {}", target.to_string_lossy()),
            Payload::Dir(_) => format!("directory {:o}", stat.permissions()),
            Payload::Nothing | Payload::Unread(..) => {
                format!("{:o} {}", stat.mode, stat.rdev)
            }
        };
        if (stat.uid, stat.gid) != (0, 0) {
            text.push_str(&format!(" {}:{}", stat.uid, stat.gid));
        }
        let xattrs = match &self.payload {
            Payload::File(file) => file.xattrs.as_ref(),
            Payload::Dir(xattrs) => xattrs.as_ref(),
            _ => None,
        };
        if let Some(xattrs) = xattrs {
            text.push_str(&format!(" attributes {}", xattrs.short()));
        }
        text
    }

    fn hash(&self, hasher: &mut Hasher) {
        let stat = &self.stat;
        hasher.field(self.rel.as_os_str().as_bytes());
        // The mode of a symbolic link means nothing and differs between file systems.
        let mode = if stat.is_symlink() { FileKind::Symlink.mode_bits() } else { stat.mode };
        let mut facts = [0_u8; 28];
        facts[..4].copy_from_slice(&mode.to_le_bytes());
        facts[4..8].copy_from_slice(&stat.uid.to_le_bytes());
        facts[8..12].copy_from_slice(&stat.gid.to_le_bytes());
        let (size, rdev) = match stat.kind() {
            FileKind::File => (stat.size, 0),
            FileKind::Char | FileKind::Block => (0, stat.rdev),
            _ => (0, 0),
        };
        facts[12..20].copy_from_slice(&size.to_le_bytes());
        facts[20..].copy_from_slice(&rdev.to_le_bytes());
        hasher.update(&facts);
        match &self.payload {
            Payload::Nothing | Payload::Unread(..) => hasher.field(b""),
            Payload::Link(text) => hasher.field(text.as_bytes()),
            Payload::Dir(xattrs) => {
                hasher.field(xattrs.as_ref().map_or(&[], |digest| &digest.as_bytes()[..]))
            }
            Payload::File(file) => {
                hasher.field(file.content.as_bytes());
                hasher.field(file.xattrs.as_ref().map_or(&[], |digest| &digest.as_bytes()[..]));
            }
        }
    }
}
