//! Taking an inventory: every file is read once, hard links together.

use std::collections::HashMap;

use rayon::prelude::*;

use crate::file::{self, FileFacts};
use crate::model::{Entry, Inventory, Kind, Stage, Upstream, VERSION};
use crate::survey::Survey;
use crate::tree::{Node, Tree, TreeError};

/// What the stages say of the paths that were copied out of them.
pub trait Sources: Sync {
    /// What they say of a node of a layer that a copy made; the nearest stage first.
    fn trace(&self, node: &Node) -> Vec<Upstream>;

    /// The stages that [`Upstream::stage`] counts.
    fn stages(&self) -> Vec<Stage>;
}

/// For an image whose stages are not known, such as a pulled one.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSources;

impl Sources for NoSources {
    fn trace(&self, _: &Node) -> Vec<Upstream> {
        Vec::new()
    }

    fn stages(&self) -> Vec<Stage> {
        Vec::new()
    }
}

/// Takes the inventory of a surveyed tree. The same tree gives the same inventory.
///
/// # Errors
/// When a file cannot be read.
pub fn take(
    tree: &dyn Tree,
    survey: Survey,
    platform: &str,
    sources: &dyn Sources,
) -> Result<Inventory, TreeError> {
    let facts = read_files(tree, &survey)?;
    let entry = |(at, node): (usize, &Node)| {
        let facts = facts.get(&first_of(node, at)).cloned().unwrap_or_default();
        entry(&survey, node, facts, sources)
    };
    let mut entries: Vec<Entry> = survey.nodes.par_iter().enumerate().map(entry).collect();
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(Inventory {
        version: VERSION,
        platform: platform.to_owned(),
        system: survey.system,
        library_path: survey.library_path,
        users: survey.users,
        stages: sources.stages(),
        layers: survey.layers,
        packages: survey.packages,
        distributions: survey.distributions,
        entries,
    })
}

/// Hard links of one file are one key.
#[derive(PartialEq, Eq, Hash)]
enum FileKey {
    Inode(u64, u64),
    Node(usize),
}

fn first_of(node: &Node, at: usize) -> FileKey {
    node.inode.map_or(FileKey::Node(at), |(dev, ino)| FileKey::Inode(dev, ino))
}

fn read_files(tree: &dyn Tree, survey: &Survey) -> Result<HashMap<FileKey, FileFacts>, TreeError> {
    let mut files: HashMap<FileKey, &Node> = HashMap::new();
    for (at, node) in survey.nodes.iter().enumerate().filter(|(_, n)| n.kind == Kind::File) {
        files.entry(first_of(node, at)).or_insert(node);
    }
    let read = |(key, node): (FileKey, &Node)| {
        let expected = survey.claim(&node.path).and_then(|claim| claim.expected);
        Ok((key, file::read(tree, node, expected)?))
    };
    files.into_par_iter().map(read).collect()
}

fn entry(survey: &Survey, node: &Node, facts: FileFacts, sources: &dyn Sources) -> Entry {
    let hex = |bytes: &Vec<u8>| bytes.iter().map(|b| format!("{b:02x}")).collect();
    Entry {
        path: node.path.clone(),
        kind: node.kind,
        mode: node.mode,
        uid: node.uid,
        gid: node.gid,
        size: if node.kind == Kind::File { node.size } else { 0 },
        digest: facts.digest,
        target: node.target.clone(),
        device: node.device,
        capability: node.capability.as_ref().map(hex),
        layer: node.layer,
        origin: survey.origin(node),
        altered: facts.is_altered,
        upstream: sources.trace(node),
        interpreter: facts.interpreter,
        archive: facts.is_archive,
        elf: facts.elf.map(Box::new),
    }
}
