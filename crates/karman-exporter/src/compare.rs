//! Where two layers begin to differ: the first path, and what of it.

use std::fmt;
use std::io::{self, Read};

use crate::decompress::{DecompressError, decompress};
use crate::tarball::{Entry, EntryKind, ReadError, TarReader};

/// Bytes shown on each side.
const SHOWN: usize = 16;
const CHUNK: usize = 64 * 1024;

/// Layers that cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// A layer cannot be decompressed.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// A layer is no archive.
    #[error(transparent)]
    Archive(#[from] ReadError),
    /// A layer cannot be read.
    #[error("read a layer")]
    Read(#[from] io::Error),
}

/// The first difference of two layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The path, absolute.
    pub path: String,
    /// What differs.
    pub what: Part,
}

/// What differs of a path; the first layer's value comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Only the first layer has it.
    OnlyFirst,
    /// Only the second layer has it.
    OnlySecond,
    /// Something besides the content: its name and both values.
    Attribute(&'static str, String, String),
    /// The content: where, and the bytes from there on.
    Content {
        /// Offset of the first byte that differs.
        offset: u64,
        /// Bytes of the first layer; empty where its file ends there.
        first: Vec<u8>,
        /// Bytes of the second layer.
        second: Vec<u8>,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = &self.path;
        match &self.what {
            Part::OnlyFirst => write!(f, "{path}: only in the image"),
            Part::OnlySecond => write!(f, "{path}: only in the rebuild"),
            Part::Attribute(name, first, second) => {
                write!(f, "{path}: {name} is {first} in the image, {second} in the rebuild")?;
                match *name {
                    "time" => f.write_str(" (files of a context keep their times)"),
                    _ => Ok(()),
                }
            }
            Part::Content { offset, first, second } => {
                let (first, second) = (shown(first), shown(second));
                write!(f, "{path}: byte {offset}: {first} in the image, {second} in the rebuild")
            }
        }
    }
}

/// Bytes as hexadecimal digits and as text.
fn shown(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "the end".to_owned();
    }
    let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let plain = |b: &u8| if (0x20..0x7f).contains(b) { char::from(*b) } else { '.' };
    let text: String = bytes.iter().map(plain).collect();
    format!("{hex} `{text}`")
}

/// The first difference of two layer blobs, whatever their compression; nothing where the archives have the same
/// entries in the same order.
///
/// # Errors
/// When a layer cannot be read or is malformed.
pub fn compare_layers<'a>(
    first: impl Read + Send + 'a,
    second: impl Read + Send + 'a,
) -> Result<Option<Difference>, CompareError> {
    let mut first = TarReader::new(decompress(first)?);
    let mut second = TarReader::new(decompress(second)?);
    loop {
        let (one, other) = (first.next_entry()?, second.next_entry()?);
        let (one, other) = match (one, other) {
            (None, None) => return Ok(None),
            (Some(one), None) => return Ok(Some(difference(&one, Part::OnlyFirst))),
            (None, Some(other)) => return Ok(Some(difference(&other, Part::OnlySecond))),
            (Some(one), Some(other)) => (one, other),
        };
        if one.path != other.path {
            // Entries are sorted: what comes earlier is what the other has not.
            return Ok(Some(match key(&one.path) < key(&other.path) {
                true => difference(&one, Part::OnlyFirst),
                false => difference(&other, Part::OnlySecond),
            }));
        }
        // What a file holds tells more than its size.
        let content = match (&one.kind, &other.kind) {
            (EntryKind::File, EntryKind::File) => content(&mut first, &mut second)?,
            _ => None,
        };
        if let Some(part) = content.or_else(|| attribute(&one, &other)) {
            return Ok(Some(difference(&one, part)));
        }
    }
}

fn difference(entry: &Entry, what: Part) -> Difference {
    let path = String::from_utf8_lossy(&entry.path);
    Difference { path: format!("/{}", path.trim_matches('/')), what }
}

/// A directory comes before what is in it.
fn key(path: &[u8]) -> Vec<&[u8]> {
    path.split(|b| *b == b'/').filter(|part| !part.is_empty()).collect()
}

fn attribute(one: &Entry, other: &Entry) -> Option<Part> {
    let texts = |entry: &Entry| {
        [
            ("type", format!("{:?}", entry.kind)),
            ("mode", format!("{:o}", entry.mode)),
            ("owner", format!("{}:{}", entry.uid, entry.gid)),
            ("time", format!("{}.{:09}", entry.mtime.sec, entry.mtime.nsec)),
            ("extended attributes", format!("{:?}", entry.xattrs)),
        ]
    };
    let pairs = texts(one).into_iter().zip(texts(other));
    let mut different = pairs.filter(|((_, a), (_, b))| a != b);
    different.next().map(|((name, a), (_, b))| Part::Attribute(name, a, b))
}

fn content(first: &mut impl Read, second: &mut impl Read) -> io::Result<Option<Part>> {
    let (mut a, mut b) = (vec![0; CHUNK], vec![0; CHUNK]);
    let mut offset = 0;
    loop {
        let (n, m) = (fill(first, &mut a)?, fill(second, &mut b)?);
        let both = n.min(m);
        let at = (0..both).find(|at| a[*at] != b[*at]).or((n != m).then_some(both));
        if let Some(at) = at {
            let from = |bytes: &[u8], end: usize| bytes[at..end.min(at + SHOWN)].to_vec();
            let (first, second) = (from(&a, n), from(&b, m));
            return Ok(Some(Part::Content { offset: offset + at as u64, first, second }));
        }
        if n < CHUNK {
            return Ok(None);
        }
        offset += n as u64;
    }
}

fn fill(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tarball::{Header, Kind, Meta, TarWriter};

    fn layer(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
        let mut tar = TarWriter::new(Vec::new());
        for (path, content, mode) in files {
            let meta = Meta { mode: *mode, ..Meta::default() };
            let kind = Kind::File(content.len() as u64);
            let header = Header { path: path.as_bytes(), kind, meta: &meta };
            tar.append_bytes(&header, content).expect("in memory");
        }
        tar.finish().expect("in memory")
    }

    fn told(first: &[(&str, &[u8], u32)], second: &[(&str, &[u8], u32)]) -> Option<String> {
        let (first, second) = (layer(first), layer(second));
        let found = compare_layers(first.as_slice(), second.as_slice()).expect("archives");
        found.map(|difference| difference.to_string())
    }

    #[test]
    fn the_first_path_and_byte_are_named() {
        let base: [(&str, &[u8], u32); 2] = [("a", b"same", 0o644), ("b/c", b"12345", 0o644)];
        assert_eq!(told(&base, &base), None);
        let other: [(&str, &[u8], u32); 2] = [("a", b"same", 0o644), ("b/c", b"12x45", 0o644)];
        let want = "/b/c: byte 2: 333435 `345` in the image, 783435 `x45` in the rebuild";
        assert_eq!(told(&base, &other).as_deref(), Some(want));
        let short: [(&str, &[u8], u32); 2] = [("a", b"same", 0o644), ("b/c", b"123", 0o644)];
        let want = "/b/c: byte 3: 3435 `45` in the image, the end in the rebuild";
        assert_eq!(told(&base, &short).as_deref(), Some(want));
    }

    #[test]
    fn missing_paths_and_attributes_are_named() {
        let base: [(&str, &[u8], u32); 2] = [("a", b"", 0o644), ("b", b"", 0o644)];
        assert_eq!(told(&base, &base[1..]).as_deref(), Some("/a: only in the image"));
        assert_eq!(told(&base[1..], &base).as_deref(), Some("/a: only in the rebuild"));
        assert_eq!(told(&base, &base[..1]).as_deref(), Some("/b: only in the image"));
        let mode: [(&str, &[u8], u32); 2] = [("a", b"", 0o600), ("b", b"", 0o644)];
        let want = "/a: mode is 644 in the image, 600 in the rebuild";
        assert_eq!(told(&base, &mode).as_deref(), Some(want));
    }
}
