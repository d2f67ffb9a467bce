//! The depth-first walk: names of a directory in byte order, a directory before what is in it.

use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use karman_sys::fs::{Dir, FileKind, FsError, fd_xattrs};

use super::frame::{Frame, Level, Node};
use super::{Data, Item, Mode, WalkError, What, file_error, is_special};

/// How many directories on the way down stay open; higher ones are opened again when the walk comes back.
const KEEP_OPEN: usize = 8;

/// Longer paths are opened in pieces: the kernel takes 4095 bytes at once.
const MAX_PIECE: usize = 2000;

const OPAQUE: &str = "user.overlay.opaque";

/// Device and inode number in one layer. Layers share inodes (a copied file may be linked from another layer), but
/// are separate trees.
type Inode = (usize, u64, u64);

pub(super) struct Tree<'a> {
    layers: &'a [&'a Dir],
    mode: Mode,
    stack: Vec<Frame>,
    links: HashMap<Inode, Vec<u8>>,
    /// An opaque marker to be shown before the next item.
    pending: Option<Item>,
}

impl<'a> Tree<'a> {
    pub(super) fn open(layers: &'a [&'a Dir], mode: Mode) -> Result<Self, WalkError> {
        let mut tree =
            Self { layers, mode, stack: Vec::new(), links: HashMap::new(), pending: None };
        let mut levels = Vec::new();
        for (index, layer) in layers.iter().enumerate() {
            let dir = layer.reopen().map_err(file_error(b""))?;
            let opaque = is_opaque(&dir).map_err(file_error(b""))?;
            if opaque && mode == Mode::Layer {
                let stat = dir.stat_self().map_err(file_error(b""))?;
                let (path, xattrs) = (Vec::new(), Vec::new());
                tree.pending = Some(Item { path, what: What::Opaque, stat, xattrs, layer: index });
            }
            levels.push((index, dir));
            if opaque {
                break;
            }
        }
        tree.push(Vec::new(), levels)?;
        Ok(tree)
    }

    pub(super) fn next_item(&mut self) -> Result<Option<Item>, WalkError> {
        if let Some(item) = self.pending.take() {
            return Ok(Some(item));
        }
        while let Some(frame) = self.stack.last_mut() {
            let Some(node) = frame.nodes.next() else {
                self.stack.pop();
                continue;
            };
            let path = frame.join(node.name.as_bytes());
            let found = if node.kind == FileKind::Dir {
                self.dir(&node, path)?
            } else {
                self.leaf(&node, path)?
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn dir(&mut self, node: &Node, path: Vec<u8>) -> Result<Option<Item>, WalkError> {
        let mut levels = Vec::new();
        let mut opaque = false;
        for at in &node.at {
            let level = self.level(*at)?;
            let dir = level.dir.open_dir(&node.name).map_err(file_error(&path))?;
            opaque = is_opaque(&dir).map_err(file_error(&path))?;
            levels.push((level.layer, dir));
            if opaque {
                break;
            }
        }
        let (layer, top) = (levels[0].0, &levels[0].1);
        let stat = top.stat_self().map_err(file_error(&path))?;
        let xattrs = fd_xattrs(top).map_err(file_error(&path))?;
        if opaque && self.mode == Mode::Layer {
            let path = path.clone();
            let (what, xattrs) = (What::Opaque, Vec::new());
            self.pending = Some(Item { path, what, stat, xattrs, layer });
        }
        self.push(path.clone(), levels)?;
        Ok(Some(Item { path, what: What::Dir, stat, xattrs, layer }))
    }

    fn leaf(&mut self, node: &Node, path: Vec<u8>) -> Result<Option<Item>, WalkError> {
        let level = self.level(node.at[0])?;
        let layer = level.layer;
        let stat = level.dir.stat(&node.name).map_err(file_error(&path))?;
        let what = match stat.kind() {
            FileKind::Socket => return Ok(None),
            FileKind::Dir => return Err(WalkError::Changed { path: super::show(&path) }),
            _ if stat.is_whiteout() && self.mode == Mode::Merged => return Ok(None),
            _ if stat.is_whiteout() => What::Whiteout,
            kind if is_special(kind) => What::Special,
            FileKind::File if stat.nlink > 1 => {
                let inode = (level.layer, stat.dev, stat.ino);
                match self.links.get(&inode) {
                    Some(first) => What::Link(first.clone()),
                    None => {
                        self.links.insert(inode, path.clone());
                        What::File(Data::Later(level.dir))
                    }
                }
            }
            _ => What::File(Data::Later(level.dir)),
        };
        Ok(Some(Item { path, what, stat, xattrs: Vec::new(), layer }))
    }

    fn push(&mut self, path: Vec<u8>, levels: Vec<(usize, Dir)>) -> Result<(), WalkError> {
        let frame = Frame::read(path.clone(), levels).map_err(file_error(&path))?;
        self.stack.push(frame);
        if let Some(above) = self.stack.len().checked_sub(KEEP_OPEN + 1) {
            self.stack[above].levels = None;
        }
        Ok(())
    }

    /// A level of the innermost directory, opened again if it was closed.
    fn level(&mut self, at: usize) -> Result<Level, WalkError> {
        let layers = self.layers;
        let Some(frame) = self.stack.last_mut() else { unreachable!("a node comes from a frame") };
        let path = &frame.path;
        let levels = match &mut frame.levels {
            Some(levels) => levels,
            closed => {
                let mut levels = Vec::with_capacity(frame.layers.len());
                for layer in &frame.layers {
                    let dir = open_path(layers[*layer], path).map_err(file_error(path))?;
                    levels.push(Level { layer: *layer, dir: Arc::new(dir) });
                }
                closed.insert(levels)
            }
        };
        Ok(levels[at].clone())
    }
}

/// Opens a directory by its path in a tree, through no symbolic link, however long the path is.
pub(crate) fn open_path(root: &Dir, path: &[u8]) -> Result<Dir, FsError> {
    let mut rest = path;
    let mut dir: Option<Dir> = None;
    while rest.len() > MAX_PIECE {
        let cut = rest[..MAX_PIECE].iter().rposition(|byte| *byte == b'/').unwrap_or(rest.len());
        dir = Some(dir.as_ref().unwrap_or(root).open_dir_beneath(super::os(&rest[..cut]))?);
        rest = rest.get(cut + 1..).unwrap_or(b"");
    }
    dir.as_ref().unwrap_or(root).open_dir_beneath(super::os(rest))
}

pub(crate) fn is_opaque(dir: &Dir) -> Result<bool, FsError> {
    Ok(dir.get_xattr_self(OPAQUE)?.as_deref() == Some(b"y"))
}
