//! Root filesystems as text, read from tars.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;

use tar::EntryType;

/// Larger files are shown by their size.
const MAX_SHOWN: usize = 400;

/// Whether lines show modification times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Times {
    Shown,
    Hidden,
}

/// A root filesystem: path → one line of text.
pub(crate) struct Tree(BTreeMap<String, Line>);

/// What is at a path.
#[derive(PartialEq, Eq)]
struct Line {
    text: String,
    time: u64,
}

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
            let records = records(&mut entry);
            let attributes = attributes(&records);
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
                EntryType::Char => ('c', device(header)),
                EntryType::Block => ('b', device(header)),
                other => ('?', format!(" {other:?}")),
            };
            let text = format!("{letter} {mode:04o} {uid}:{gid} {path}{tail}{attributes}");
            let time = records.iter().find(|(key, _)| key == "mtime");
            let time = match time {
                Some((_, text)) => text.parse().expect("whole seconds"),
                None => header.mtime().expect("a time"),
            };
            lines.insert(path, Line { text, time });
        }
        lines.remove("/");
        Self(lines)
    }

    /// What is not in `base`, and what of `base` is gone; nothing of `base` at all means that the
    /// tree does not build on it.
    pub(crate) fn beyond(&self, base: &Tree, times: Times) -> String {
        let mut out = String::new();
        for (path, line) in &self.0 {
            if base.line(path) != Some(&line.text) {
                line.print(times, &mut out);
            }
        }
        if self.0.contains_key("/bin/busybox") {
            for path in base.0.keys().filter(|path| !self.0.contains_key(*path)) {
                let _ = writeln!(out, "- {path}");
            }
        }
        out
    }

    /// All lines.
    pub(crate) fn lines(&self) -> String {
        let mut out = String::new();
        self.0.values().for_each(|line| line.print(Times::Hidden, &mut out));
        out
    }

    /// The line of a path.
    pub(crate) fn line(&self, path: &str) -> Option<&str> {
        self.0.get(path).map(|line| line.text.as_str())
    }
}

impl Line {
    fn print(&self, times: Times, out: &mut String) {
        let _ = match times {
            Times::Shown => writeln!(out, "{} @{}", self.text, self.time),
            Times::Hidden => writeln!(out, "{}", self.text),
        };
    }
}

/// The PAX records of an entry.
fn records<R: std::io::Read>(entry: &mut tar::Entry<'_, R>) -> Vec<(String, String)> {
    let Ok(Some(records)) = entry.pax_extensions() else { return Vec::new() };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    records.flatten().map(|r| (text(r.key_bytes()), text(r.value_bytes()))).collect()
}

/// Extended attributes as ` [NAME]`.
fn attributes(records: &[(String, String)]) -> String {
    let names = records.iter().filter_map(|(key, _)| key.strip_prefix("SCHILY.xattr."));
    names.map(|name| format!(" [{name}]")).collect()
}

fn device(header: &tar::Header) -> String {
    let number = |n: std::io::Result<Option<u32>>| n.ok().flatten().unwrap_or_default();
    format!(" {},{}", number(header.device_major()), number(header.device_minor()))
}

fn shown(data: &[u8]) -> String {
    match std::str::from_utf8(data) {
        Ok(text) if data.len() <= MAX_SHOWN => format!(" {text:?}"),
        _ => format!(" [{} bytes]", data.len()),
    }
}
