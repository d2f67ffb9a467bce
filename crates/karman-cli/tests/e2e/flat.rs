//! Layers put on top of each other, by a reader of its own: whiteouts, hard links, every attribute.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Read as _;

use karman_oci::Digest;
use tar::EntryType;

/// A root filesystem: paths, and the files that they name.
#[derive(Default)]
pub(crate) struct Flat {
    paths: BTreeMap<String, usize>,
    files: Vec<Node>,
}

/// What a path names.
struct Node {
    is_dir: bool,
    text: String,
}

impl Flat {
    /// Puts layers together, the lowest first.
    pub(crate) fn of(layers: &[Vec<u8>]) -> Self {
        let mut flat = Self::default();
        for layer in layers {
            flat.add(layer);
        }
        flat
    }

    fn add(&mut self, layer: &[u8]) {
        let below = self.paths.clone();
        for entry in tar::Archive::new(layer).entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let path = path_of(&entry.path_bytes());
            let (dir, name) = path.rsplit_once('/').expect("a path");
            match name.strip_prefix(".wh.") {
                Some(".wh..opq") => self.remove_below(dir, &below),
                Some(name) => self.remove(&format!("{dir}/{name}")),
                None => self.put(&path, &mut entry),
            }
        }
    }

    /// Takes away what lower layers have in a directory.
    fn remove_below(&mut self, dir: &str, below: &BTreeMap<String, usize>) {
        let start = format!("{dir}/");
        self.paths
            .retain(|path, node| !(path.starts_with(&start) && below.get(path) == Some(node)));
    }

    fn remove(&mut self, path: &str) {
        let start = format!("{path}/");
        self.paths.retain(|known, _| known != path && !known.starts_with(&start));
    }

    fn put<R: std::io::Read>(&mut self, path: &str, entry: &mut tar::Entry<'_, R>) {
        if entry.header().entry_type() == EntryType::Link {
            let target = path_of(&entry.link_name_bytes().expect("a target"));
            let node =
                *self.paths.get(&target).unwrap_or_else(|| panic!("{path} links to {target}"));
            self.paths.insert(path.to_owned(), node);
            return;
        }
        let node = Node::read(entry);
        let was_dir = self.paths.get(path).is_some_and(|at| self.files[*at].is_dir);
        if was_dir && !node.is_dir {
            self.remove(path);
        }
        self.paths.insert(path.to_owned(), self.files.len());
        self.files.push(node);
    }

    /// Everything, one line for each path; names of one file tell of the first.
    pub(crate) fn text(&self) -> String {
        let mut first: BTreeMap<usize, &str> = BTreeMap::new();
        let mut out = String::new();
        for (path, node) in &self.paths {
            let name = first.entry(*node).or_insert(path);
            let link = if name == path { String::new() } else { format!(" = {name}") };
            let _ = writeln!(out, "{path}{}{link}", self.files[*node].text);
        }
        out
    }

    /// The paths of all but directories.
    pub(crate) fn files(&self) -> BTreeSet<String> {
        let files = self.paths.iter().filter(|(_, node)| !self.files[**node].is_dir);
        files.map(|(path, _)| path.clone()).collect()
    }
}

impl Node {
    fn read<R: std::io::Read>(entry: &mut tar::Entry<'_, R>) -> Self {
        let mut data = Vec::new();
        entry.read_to_end(&mut data).expect("data");
        let mut records = Vec::new();
        if let Ok(Some(pax)) = entry.pax_extensions() {
            for record in pax.flatten() {
                let key = String::from_utf8_lossy(record.key_bytes()).into_owned();
                records.push((key, record.value_bytes().to_vec()));
            }
        }
        let link = entry.link_name_bytes().map(|l| l.escape_ascii().to_string());
        let header = entry.header();
        let number_of = |n: std::io::Result<Option<u32>>| n.ok().flatten().unwrap_or_default();
        let device = (number_of(header.device_major()), number_of(header.device_minor()));
        let record =
            |name: &str| records.iter().find(|(key, _)| key == name).map(|(_, value)| value);
        let number = |name: &str, field: u64| match record(name) {
            Some(text) => String::from_utf8_lossy(text).into_owned(),
            None => field.to_string(),
        };
        let mut text = format!(
            " {:o} {}:{} {:?} @{} {} {link:?} {device:?}",
            header.mode().expect("a mode") & 0o7777,
            number("uid", header.uid().expect("a uid")),
            number("gid", header.gid().expect("a gid")),
            header.entry_type(),
            number("mtime", header.mtime().expect("a time")),
            Digest::sha256_of(&data).short(),
        );
        for (key, value) in records.iter().filter(|(key, _)| key.starts_with("SCHILY.xattr.")) {
            let _ = write!(text, " {key}={}", value.escape_ascii());
        }
        Self { is_dir: header.entry_type().is_dir(), text }
    }
}

fn path_of(bytes: &[u8]) -> String {
    let path = bytes.escape_ascii().to_string();
    format!("/{}", path.trim_start_matches("./").trim_end_matches('/'))
}
