//! Root filesystems as text, read from tars.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;

use tar::EntryType;

/// Larger files are shown by their size.
const MAX_SHOWN: usize = 400;

/// A root filesystem: path → one line of text.
pub(crate) struct Tree(BTreeMap<String, String>);

impl Tree {
    /// Reads a tar.
    pub(crate) fn read(tar: &[u8]) -> Self {
        let mut lines = BTreeMap::new();
        for entry in tar::Archive::new(tar).entries().expect("a tar") {
            let mut entry = entry.expect("an entry");
            let path = entry.path().expect("a path").to_string_lossy().into_owned();
            let path = format!("/{}", path.trim_start_matches("./").trim_end_matches('/'));
            let link = entry.link_name().expect("a link");
            let link = link.map(|l| l.to_string_lossy().into_owned()).unwrap_or_default();
            let mut data = Vec::new();
            entry.read_to_end(&mut data).expect("data");
            let header = entry.header();
            let (mode, uid, gid) = (
                header.mode().expect("a mode") & 0o7777,
                header.uid().expect("a uid"),
                header.gid().expect("a gid"),
            );
            let (letter, tail) = match header.entry_type() {
                EntryType::Directory => ('d', String::new()),
                EntryType::Symlink => ('l', format!(" -> {link}")),
                EntryType::Link => ('h', format!(" => /{link}")),
                EntryType::Fifo => ('p', String::new()),
                EntryType::Regular | EntryType::Continuous => ('f', shown(&data)),
                other => ('?', format!(" {other:?}")),
            };
            lines.insert(path.clone(), format!("{letter} {mode:04o} {uid}:{gid} {path}{tail}"));
        }
        lines.remove("/");
        Self(lines)
    }

    /// What is not in `base`, and what of `base` is gone; nothing of `base` at all means that the
    /// tree does not build on it.
    pub(crate) fn beyond(&self, base: &Tree) -> String {
        let mut out = String::new();
        for (path, line) in &self.0 {
            if base.0.get(path) != Some(line) {
                let _ = writeln!(out, "{line}");
            }
        }
        if self.0.contains_key("/bin/busybox") {
            for path in base.0.keys().filter(|path| !self.0.contains_key(*path)) {
                let _ = writeln!(out, "- {path}");
            }
        }
        out
    }

    /// The line of a path.
    pub(crate) fn line(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(String::as_str)
    }
}

fn shown(data: &[u8]) -> String {
    match std::str::from_utf8(data) {
        Ok(text) if data.len() <= MAX_SHOWN => format!(" {text:?}"),
        _ => format!(" [{} bytes]", data.len()),
    }
}
