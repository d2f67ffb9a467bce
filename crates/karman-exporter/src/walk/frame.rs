//! One directory of a walk: its names, and in which layers each is found.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::vec::IntoIter;

use karman_sys::fs::{Dir, FileKind, FsError};

/// A directory as one layer has it.
#[derive(Debug, Clone)]
pub(super) struct Level {
    /// The layer's index, topmost 0.
    pub(super) layer: usize,
    pub(super) dir: Arc<Dir>,
}

/// One name: what it is at its highest place, and the levels where it is a directory that counts.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: OsString,
    pub(super) kind: FileKind,
    /// Indices into the frame's levels, topmost first; only the first one for anything but a directory.
    pub(super) at: Vec<usize>,
}

/// A directory whose names are being shown.
#[derive(Debug)]
pub(super) struct Frame {
    /// Path of the directory; empty for the root.
    pub(super) path: Vec<u8>,
    /// The layers it exists in, topmost first.
    pub(super) layers: Vec<usize>,
    /// The open directories; `None` while descriptors are saved.
    pub(super) levels: Option<Vec<Level>>,
    pub(super) nodes: IntoIter<Node>,
}

impl Frame {
    /// Lists the directory in all its levels.
    pub(super) fn read(path: Vec<u8>, levels: Vec<(usize, Dir)>) -> Result<Self, FsError> {
        let mut nodes: BTreeMap<OsString, (FileKind, Vec<usize>, bool)> = BTreeMap::new();
        let mut open = Vec::with_capacity(levels.len());
        for (at, (layer, mut dir)) in levels.into_iter().enumerate() {
            for entry in dir.entries()? {
                let is_dir = entry.kind == FileKind::Dir;
                match nodes.get_mut(&entry.name) {
                    None => drop(nodes.insert(entry.name, (entry.kind, vec![at], !is_dir))),
                    Some((_, _, true)) => {}
                    Some((_, levels, _)) if is_dir => levels.push(at),
                    Some((_, _, closed)) => *closed = true,
                }
            }
            open.push(Level { layer, dir: Arc::new(dir) });
        }
        let nodes = nodes.into_iter().map(|(name, (kind, at, _))| Node { name, kind, at });
        let nodes: Vec<_> = nodes.collect();
        let layers = open.iter().map(|level| level.layer).collect();
        Ok(Self { path, layers, levels: Some(open), nodes: nodes.into_iter() })
    }

    /// The path of a name in this directory.
    pub(super) fn join(&self, name: &[u8]) -> Vec<u8> {
        if self.path.is_empty() { name.to_vec() } else { [&self.path, &b"/"[..], name].concat() }
    }
}
