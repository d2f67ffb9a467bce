//! Every path of a tree goes to one unit.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use karman_oci::{Digest, Hasher};
use serde::{Deserialize, Serialize};

use super::tree::{EntryKind, FinalEntry, FinalTree};
use crate::walk::show;

/// A file of a step's rest from this size on is a unit of its own: several images may have the same one, such as a
/// database that a package generates when it is installed.
const LARGE_REST: u64 = 1 << 20;
/// Units whose files are linked to each other become one unit of this many at most; more is one step's own doing.
const MAX_LINKED: usize = 4;
const BLOCK: u64 = 512;

/// To whom a path belongs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// To a unit of that name, in every image.
    Unit(String),
    /// To the step that wrote it.
    Step,
}

/// Paths that stay together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// What is known of it without its tree.
    pub info: UnitInfo,
    /// Indexes of its entries in the tree, ascending.
    pub entries: Vec<u32>,
}

/// What is known of a unit without the tree it is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitInfo {
    /// `deb:NAME`, `py:NAME`, several of these joined by `+`; `step:N` and `file:PATH` for the rest.
    pub name: String,
    /// The layer of the steps that a rest is from, counted from the lowest.
    pub step: Option<usize>,
    /// The digest of everything that its part of a layer depends on.
    pub key: Digest,
    /// Bytes in an uncompressed layer, about.
    pub size: u64,
}

/// Cuts a tree into units, by name. `owner` is asked once for each path. For a directory it only tells whether
/// anybody but the step has it.
#[must_use]
pub fn units(tree: &FinalTree, mut owner: impl FnMut(&FinalEntry) -> Owner) -> Vec<Unit> {
    let mut owners: Vec<Owner> = tree.entries.iter().map(&mut owner).collect();
    join_links(tree, &mut owners);
    let kept = kept_dirs(tree, &owners);
    let linked = linked(tree);
    let mut found: BTreeMap<(String, Option<usize>), Vec<u32>> = BTreeMap::new();
    for (at, (entry, owner)) in tree.entries.iter().zip(owners).enumerate() {
        let key = match owner {
            _ if entry.is_dir() && !kept[at] => continue,
            _ if entry.is_dir() => rest(entry),
            Owner::Unit(name) => (name, None),
            Owner::Step
                if entry.size() >= LARGE_REST && !linked.contains(entry.path.as_slice()) =>
            {
                (format!("file:/{}", show(&entry.path)), Some(entry.layer))
            }
            Owner::Step => rest(entry),
        };
        // There are never more paths than this; see the limits of inventories.
        found.entry(key).or_default().push(u32::try_from(at).unwrap_or(u32::MAX));
    }
    let unit = |((name, step), entries): ((String, Option<usize>), Vec<u32>)| {
        let (key, size) = weigh(tree, &entries);
        Unit { info: UnitInfo { name, step, key, size }, entries }
    };
    found.into_iter().map(unit).collect()
}

fn rest(entry: &FinalEntry) -> (String, Option<usize>) {
    (format!("step:{:04}", entry.layer), Some(entry.layer))
}

/// All names of one file must be in one layer, so they get one owner.
fn join_links(tree: &FinalTree, owners: &mut [Owner]) {
    let mut names: HashMap<&[u8], Vec<usize>> = HashMap::new();
    for (at, entry) in tree.entries.iter().enumerate() {
        if let EntryKind::Link(first) = &entry.kind {
            names.entry(first).or_default().push(at);
        }
    }
    for (at, entry) in tree.entries.iter().enumerate() {
        let Some(others) = names.get(entry.path.as_slice()) else { continue };
        let all: Vec<usize> = std::iter::once(at).chain(others.iter().copied()).collect();
        let joined = joined(all.iter().map(|at| &owners[*at]).collect());
        for at in all {
            owners[at] = joined.clone();
        }
    }
}

fn joined(owners: BTreeSet<&Owner>) -> Owner {
    let mut names = Vec::new();
    for owner in &owners {
        match owner {
            Owner::Unit(name) => names.push(name.as_str()),
            Owner::Step => return Owner::Step,
        }
    }
    if names.len() > MAX_LINKED { Owner::Step } else { Owner::Unit(names.join("+")) }
}

/// First names of files that have several.
fn linked(tree: &FinalTree) -> BTreeSet<&[u8]> {
    let entries = tree.entries.iter();
    let first = entries.filter_map(|entry| match &entry.kind {
        EntryKind::Link(first) => Some(first.as_slice()),
        _ => None,
    });
    first.collect()
}

/// Which directories a step's rest has to name: those that are not as every layer makes them, that nobody else has, or
/// that nothing is in.
fn kept_dirs(tree: &FinalTree, owners: &[Owner]) -> Vec<bool> {
    let plain = tree.plain_dir();
    let parents: BTreeSet<&[u8]> = tree.entries.iter().map(FinalEntry::parent).collect();
    let kept = |(entry, owner): (&FinalEntry, &Owner)| {
        let is_needed = entry.meta != plain
            || *owner == Owner::Step
            || !parents.contains(entry.path.as_slice());
        entry.is_dir() && is_needed
    };
    tree.entries.iter().zip(owners).map(kept).collect()
}

/// The key of a unit, and its size in a layer.
fn weigh(tree: &FinalTree, entries: &[u32]) -> (Digest, u64) {
    let mut hasher = Hasher::new();
    let mut size = 0;
    for at in entries {
        let entry = &tree.entries[*at as usize];
        let header = entry.header().encode();
        hasher.field(&header);
        if let Some(digest) = &entry.digest {
            hasher.field(digest.as_bytes());
        }
        size += header.len() as u64 + entry.size().next_multiple_of(BLOCK);
    }
    (hasher.finish(), size)
}
