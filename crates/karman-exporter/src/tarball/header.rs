//! Canonical entry headers.

use karman_sys::fs::Xattrs;

use super::number::{fits_octal, put_octal, seal};
use super::{BLOCK, XATTR_PREFIX};
use std::os::unix::ffi::OsStrExt;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A directory.
    Dir,
    /// A regular file with its size in bytes.
    File(u64),
    /// Another name of an earlier entry.
    HardLink(&'a [u8]),
    /// A symbolic link and its text.
    Symlink(&'a [u8]),
    /// A named pipe.
    Fifo,
    /// A character device: major, minor.
    Char(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
}

/// Owner, mode, time and attributes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Meta {
    /// Permissions and set-id bits (`0o7777`).
    pub mode: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Modification time, seconds since 1970.
    pub mtime: i64,
    /// Extended attributes, sorted by name.
    pub xattrs: Xattrs,
}

/// One entry before its data.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    /// The path without leading or trailing `/`, as bytes.
    pub path: &'a [u8],
    /// What it is.
    pub kind: Kind<'a>,
    /// Owner, mode, time and attributes.
    pub meta: &'a Meta,
}

const NAME: usize = 100;
const PREFIX: usize = 155;

impl Header<'_> {
    /// The header blocks, PAX header included. Attributes whose names hold `=` or zero bytes cannot be expressed and
    /// are left out.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut path = self.path.to_vec();
        if self.kind == Kind::Dir {
            path.push(b'/');
        }
        let mut records = Vec::new();
        let block = self.main_block(&path, &mut records);
        if records.is_empty() {
            return block.to_vec();
        }
        let mut out = pax_blocks(&path, records);
        out.extend_from_slice(&block);
        out
    }

    fn main_block(&self, path: &[u8], records: &mut Vec<(Vec<u8>, Vec<u8>)>) -> [u8; BLOCK] {
        let mut block = [0; BLOCK];
        match split_ustar(path) {
            Some((prefix, name)) => {
                block[..name.len()].copy_from_slice(name);
                block[345..345 + prefix.len()].copy_from_slice(prefix);
            }
            None => {
                put_ascii(&mut block[..NAME], path);
                records.push((b"path".to_vec(), path.to_vec()));
            }
        }
        let meta = self.meta;
        put_octal(&mut block[100..108], u64::from(meta.mode & 0o7777));
        number(&mut block[108..116], "uid", i64::from(meta.uid), records);
        number(&mut block[116..124], "gid", i64::from(meta.gid), records);
        let size = if let Kind::File(size) = self.kind { size } else { 0 };
        number(&mut block[124..136], "size", i64::try_from(size).unwrap_or(i64::MAX), records);
        number(&mut block[136..148], "mtime", meta.mtime, records);
        block[156] = type_flag(self.kind);
        if let Kind::HardLink(target) | Kind::Symlink(target) = self.kind {
            if target.len() <= NAME && target.is_ascii() {
                block[157..157 + target.len()].copy_from_slice(target);
            } else {
                put_ascii(&mut block[157..257], target);
                records.push((b"linkpath".to_vec(), target.to_vec()));
            }
        }
        if let Kind::Char(major, minor) | Kind::Block(major, minor) = self.kind {
            put_octal(&mut block[329..337], u64::from(major));
            put_octal(&mut block[337..345], u64::from(minor));
        }
        for (name, value) in &meta.xattrs {
            let name = name.as_bytes();
            if !name.contains(&b'=') && !name.contains(&0) {
                records.push(([XATTR_PREFIX, name].concat(), value.clone()));
            }
        }
        seal(&mut block);
        block
    }
}

fn type_flag(kind: Kind<'_>) -> u8 {
    match kind {
        Kind::File(_) => b'0',
        Kind::HardLink(_) => b'1',
        Kind::Symlink(_) => b'2',
        Kind::Char(..) => b'3',
        Kind::Block(..) => b'4',
        Kind::Dir => b'5',
        Kind::Fifo => b'6',
    }
}

/// Writes a number, or 0 and a PAX record where it does not fit.
fn number(field: &mut [u8], key: &str, value: i64, records: &mut Vec<(Vec<u8>, Vec<u8>)>) {
    match u64::try_from(value) {
        Ok(value) if fits_octal(field.len(), value) => put_octal(field, value),
        _ => {
            put_octal(field, 0);
            records.push((key.as_bytes().to_vec(), value.to_string().into_bytes()));
        }
    }
}

/// The split into prefix and name (POSIX ustar), if the path fits and is ASCII.
fn split_ustar(path: &[u8]) -> Option<(&[u8], &[u8])> {
    if !path.is_ascii() {
        return None;
    }
    if path.len() <= NAME {
        return Some((b"", path));
    }
    let end = path.len().min(PREFIX + 1);
    let searched = if end == path.len() { end - 1 } else { end };
    let slash = path[..searched].iter().rposition(|byte| *byte == b'/')?;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    (!prefix.is_empty() && !name.is_empty() && name.len() <= NAME).then_some((prefix, name))
}

/// What a reader without PAX sees: the ASCII bytes, cut to the field.
fn put_ascii(field: &mut [u8], text: &[u8]) {
    for (slot, byte) in field.iter_mut().zip(text.iter().filter(|byte| byte.is_ascii())) {
        *slot = *byte;
    }
}

fn pax_blocks(path: &[u8], mut records: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<u8> {
    records.sort();
    let data: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
    let mut block = [0; BLOCK];
    let trimmed = path.strip_suffix(b"/").unwrap_or(path);
    let cut = trimmed.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
    let name = [&trimmed[..cut], b"PaxHeaders.0/", &trimmed[cut..]].concat();
    put_ascii(&mut block[..NAME], &name);
    for (from, to) in [(100, 108), (108, 116), (116, 124), (136, 148)] {
        put_octal(&mut block[from..to], 0);
    }
    put_octal(&mut block[124..136], data.len() as u64);
    block[156] = b'x';
    seal(&mut block);
    let mut out = block.to_vec();
    out.extend_from_slice(&data);
    out.resize(out.len().next_multiple_of(BLOCK), 0);
    out
}

/// `<length> <key>=<value>\n`, where the length counts its own digits.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut total = rest + rest.to_string().len();
    if rest + total.to_string().len() != total {
        total = rest + total.to_string().len();
    }
    [total.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_lengths_count_their_own_digits() {
        for len in [1, 80, 88, 89, 90, 91, 92, 980, 990, 991, 992, 993] {
            let bytes = record(b"path", &vec![b'x'; len]);
            let text = String::from_utf8(bytes.clone()).expect("text");
            let said: usize = text.split(' ').next().and_then(|n| n.parse().ok()).expect("length");
            assert_eq!(said, bytes.len(), "{len}");
        }
    }

    #[test]
    fn what_fits_ustar_has_no_pax_header() {
        let meta = Meta { mode: 0o644, uid: 0o7_777_777, gid: 5, mtime: 1, ..Meta::default() };
        let dirs = "d/".repeat(60);
        let path = format!("{dirs}{}", "n".repeat(90));
        let header = Header { path: path.as_bytes(), kind: Kind::File(1), meta: &meta };
        assert_eq!(header.encode().len(), BLOCK);
        let long = Header { path: &[b'x'; 101], ..header };
        assert_eq!(long.encode().len(), 3 * BLOCK);
        let big = Meta { uid: 0o10_000_000, mtime: -1, ..meta.clone() };
        let text = Header { meta: &big, ..header }.encode();
        let text = String::from_utf8_lossy(&text);
        assert!(text.contains("12 mtime=-1\n") && text.contains("15 uid=2097152\n"));
    }
}
