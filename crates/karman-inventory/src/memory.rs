//! A tree without a disk, for tests of everything that rests on inventories.

use std::collections::BTreeMap;
use std::io;

pub use crate::memory_elf::elf_file;
use crate::model::Kind;
use crate::tree::{Content, Node, Tree, TreeError};

/// Files in memory. Directories on the way to a path are made with it.
#[derive(Debug, Clone, Default)]
pub struct MemoryTree {
    nodes: BTreeMap<String, (Node, Vec<u8>)>,
    layer: usize,
}

impl MemoryTree {
    /// An empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is put from now on is of this layer.
    pub fn begin_layer(&mut self, layer: usize) {
        self.layer = layer;
    }

    /// Puts a file, replacing what was there; gives the node for changes.
    pub fn file(&mut self, path: &str, content: impl Into<Vec<u8>>) -> &mut Node {
        let content = content.into();
        let size = content.len() as u64;
        let node = Node { kind: Kind::File, mode: 0o644, size, ..Node::default() };
        self.put(path, node, content)
    }

    /// Puts a directory.
    pub fn directory(&mut self, path: &str) -> &mut Node {
        let node = Node { kind: Kind::Directory, mode: 0o755, ..Node::default() };
        self.put(path, node, Vec::new())
    }

    /// Puts a symbolic link.
    pub fn symlink(&mut self, path: &str, target: &str) -> &mut Node {
        let target = Some(target.to_owned());
        let node = Node { kind: Kind::Symlink, mode: 0o777, target, ..Node::default() };
        self.put(path, node, Vec::new())
    }

    /// Takes a path away, with everything below it.
    pub fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        self.nodes.retain(|known, _| known != path && !known.starts_with(&below));
    }

    fn put(&mut self, path: &str, node: Node, content: Vec<u8>) -> &mut Node {
        let mut parents: Vec<&str> = Vec::new();
        let mut rest = path;
        while let Some((parent, _)) = rest.rsplit_once('/').filter(|(p, _)| !p.is_empty()) {
            parents.push(parent);
            rest = parent;
        }
        for parent in parents {
            if !self.nodes.contains_key(parent) {
                self.directory(parent);
            }
        }
        let node = Node { path: path.to_owned(), layer: self.layer, ..node };
        let slot = self.nodes.entry(path.to_owned()).or_default();
        *slot = (node, content);
        &mut slot.0
    }
}

impl Tree for MemoryTree {
    fn nodes(&self) -> Result<Vec<Node>, TreeError> {
        Ok(self.nodes.values().map(|(node, _)| node.clone()).collect())
    }

    fn open(&self, node: &Node) -> Result<Box<dyn Content + '_>, TreeError> {
        let missing =
            || TreeError::Read { path: node.path.clone(), source: io::ErrorKind::NotFound.into() };
        let (_, content) = self.nodes.get(&node.path).ok_or_else(missing)?;
        Ok(Box::new(content.clone()))
    }
}
