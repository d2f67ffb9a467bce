//! PAX extended headers: `<length> <key>=<value>\n` records (POSIX.1-2001 `pax`).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use karman_sys::fs::Xattrs;

use super::XATTR_PREFIX;

/// What the records of one extended header say.
#[derive(Debug, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Xattrs,
    pub(super) sparse: SparseRecords,
}

/// GNU's records for files with holes.
#[derive(Debug, Default)]
pub(super) struct SparseRecords {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    /// Version 0.0 and 0.1: offset and length by turns.
    pub(super) map: Vec<u64>,
}

impl Records {
    /// Reads all records; `None` when they are malformed.
    pub(super) fn parse(mut data: &[u8]) -> Option<Self> {
        let mut records = Self::default();
        // Some writers fill the block with zero bytes and count them.
        while data.first().is_some_and(|byte| *byte != 0) {
            let space = data.iter().take(20).position(|byte| *byte == b' ')?;
            let length: usize = std::str::from_utf8(&data[..space]).ok()?.parse().ok()?;
            if length > data.len() || length < space + 4 || data[length - 1] != b'\n' {
                return None;
            }
            let body = &data[space + 1..length - 1];
            let equals = body.iter().position(|byte| *byte == b'=')?;
            records.take(&body[..equals], &body[equals + 1..])?;
            data = &data[length..];
        }
        Some(records)
    }

    fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"path" => self.path = Some(text(value)?),
            b"linkpath" => self.link = Some(text(value)?),
            b"size" => self.size = Some(number(value)?),
            b"uid" => self.uid = Some(u32::try_from(number(value)?).ok()?),
            b"gid" => self.gid = Some(u32::try_from(number(value)?).ok()?),
            b"mtime" => self.mtime = Some(time(value)?),
            b"GNU.sparse.major" => self.sparse.major = Some(number(value)?),
            b"GNU.sparse.minor" => self.sparse.minor = Some(number(value)?),
            b"GNU.sparse.name" => self.sparse.name = Some(text(value)?),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => self.sparse.size = Some(number(value)?),
            b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => self.sparse.map.push(number(value)?),
            b"GNU.sparse.map" => {
                let parts = value.split(|byte| *byte == b',');
                self.sparse.map = parts.map(number).collect::<Option<_>>()?;
            }
            _ => {
                if let Some(name) = key.strip_prefix(XATTR_PREFIX) {
                    self.xattr(name, value)?;
                }
            }
        }
        Some(())
    }

    fn xattr(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        let name = OsString::from_vec(text(name)?);
        self.xattrs.retain(|(other, _)| *other != name);
        self.xattrs.push((name, value.to_vec()));
        Some(())
    }
}

/// A value that the kernel must be able to take as a name.
fn text(value: &[u8]) -> Option<Vec<u8>> {
    (!value.contains(&0)).then(|| value.to_vec())
}

fn number(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// `[-]seconds[.fraction]`, as a floor second and nanoseconds after it.
fn time(value: &[u8]) -> Option<(i64, u32)> {
    let value = std::str::from_utf8(value).ok()?;
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let sec: i64 = whole.parse().ok()?;
    let mut nsec = 0;
    let mut scale = 100_000_000;
    for digit in fraction.bytes() {
        nsec += u32::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?) * scale;
        scale /= 10;
    }
    if whole.starts_with('-') && nsec > 0 {
        return Some((sec.checked_sub(1)?, 1_000_000_000 - nsec));
    }
    Some((sec, nsec))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_and_broken_ones_refused() {
        let records =
            Records::parse(b"12 path=abc\n15 uid=3000000\n16 mtime=-1.250\n").expect("valid");
        assert_eq!(records.path.as_deref(), Some(&b"abc"[..]));
        assert_eq!(records.uid, Some(3_000_000));
        assert_eq!(records.mtime, Some((-2, 750_000_000)));
        for bad in [
            &b"99 path=abc\n"[..],
            b"0 path=abc\n",
            b"12 path=abcd",
            b"x path=a\n",
            b"11 path=a\0\n",
        ] {
            assert!(Records::parse(bad).is_none(), "{bad:?}");
        }
    }
}
