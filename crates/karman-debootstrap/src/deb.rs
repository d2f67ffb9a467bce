//! Binary packages: an `ar` archive of `debian-binary`, `control.tar.*` and `data.tar.*` (deb(5)).

use std::collections::BTreeMap;
use std::io::Read;

use crate::decompress::Compression;
use crate::tree::clean;

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER: usize = 60;
/// Members of the archive; real ones have three, `_`-prefixed extras are legal.
const MAX_MEMBERS: usize = 16;
/// Unpacked control archive; the largest (`md5sums` of huge packages) have a few MB.
const MAX_CONTROL: u64 = 64 << 20;
/// Files in a control archive.
const MAX_CONTROL_FILES: usize = 64;
/// Unpacked data of one package.
pub(crate) const MAX_DATA: u64 = 8 << 30;

/// A package whose outer structure is sound.
pub(crate) struct Deb<'a> {
    control: (Compression, &'a [u8]),
    data: (Compression, &'a [u8]),
}

/// The unpacked control archive.
#[derive(Debug, Default)]
pub(crate) struct Control {
    /// The stanza, without trailing line ends.
    pub(crate) stanza: String,
    /// Scripts and lists by name, with their modes.
    pub(crate) files: BTreeMap<String, (u32, Vec<u8>)>,
}

/// A file that is not a Debian package.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DebError {
    /// No `ar` archive.
    #[error("not an ar archive")]
    Magic,
    /// The archive ends early.
    #[error("ar archive is truncated")]
    Truncated,
    /// A malformed header.
    #[error("ar header at offset {offset} is malformed")]
    Header {
        /// Where.
        offset: usize,
    },
    /// The first member is not `debian-binary`, or of an unknown version.
    #[error("not a package of format 2.x")]
    Version,
    /// A member is missing or cannot be decompressed.
    #[error("member `{member}` is missing or of an unknown compression")]
    Member {
        /// The member without its suffix.
        member: &'static str,
    },
    /// The control archive cannot be read.
    #[error("control archive cannot be read")]
    Control(#[source] std::io::Error),
    /// The control archive has no control file, or too many files.
    #[error("control archive has no usable `control`")]
    NoControl,
}

impl<'a> Deb<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, DebError> {
        let members = members(bytes)?;
        match members.first() {
            Some(("debian-binary", version)) if version.starts_with(b"2.") => {}
            _ => return Err(DebError::Version),
        }
        let find = |prefix: &'static str| {
            let member = members.iter().find(|(name, _)| name.starts_with(prefix));
            let compressed =
                member.and_then(|(name, bytes)| Some((Compression::of(name)?, *bytes)));
            compressed.ok_or(DebError::Member { member: prefix })
        };
        Ok(Self { control: find("control.tar")?, data: find("data.tar")? })
    }

    pub(crate) fn control(&self) -> Result<Control, DebError> {
        let (compression, bytes) = self.control;
        let reader = compression.reader(bytes, MAX_CONTROL).map_err(DebError::Control)?;
        let mut control = Control::default();
        for entry in tar::Archive::new(reader).entries().map_err(DebError::Control)? {
            let mut entry = entry.map_err(DebError::Control)?;
            let name = clean(&entry.path_bytes()).and_then(|name| String::from_utf8(name).ok());
            let Some(name) =
                name.filter(|name| entry.header().entry_type().is_file() && is_control_name(name))
            else {
                continue;
            };
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(DebError::Control)?;
            if name == "control" {
                let text = String::from_utf8(content).map_err(|_| DebError::NoControl)?;
                control.stanza = text.trim_end().to_owned();
            } else if control.files.len() < MAX_CONTROL_FILES {
                let mode = entry.header().mode().map_err(DebError::Control)?;
                control.files.insert(name, (mode & 0o777, content));
            } else {
                return Err(DebError::NoControl);
            }
        }
        // A blank line inside would end the stanza and begin another one in dpkg's status file.
        let one_stanza = !control.stanza.is_empty()
            && control.stanza.lines().all(|line| !line.trim().is_empty());
        if one_stanza { Ok(control) } else { Err(DebError::NoControl) }
    }

    /// Bytes of the compressed data archive.
    pub(crate) fn data_size(&self) -> usize {
        self.data.1.len()
    }

    /// The data archive, decompressed.
    pub(crate) fn data(&self) -> std::io::Result<Box<dyn Read + 'a>> {
        self.data.0.reader(self.data.1, MAX_DATA)
    }
}

/// Names become parts of file names in dpkg's `info` directory. `list` is ours to write.
fn is_control_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !name.is_empty() && name.len() <= 50 && name.bytes().all(legal) && name != "list"
}

fn members(bytes: &[u8]) -> Result<Vec<(&str, &[u8])>, DebError> {
    let mut rest = bytes.strip_prefix(MAGIC).ok_or(DebError::Magic)?;
    let mut members = Vec::new();
    while !rest.is_empty() {
        let malformed = || DebError::Header { offset: bytes.len() - rest.len() };
        let (header, body) = rest.split_at_checked(HEADER).ok_or(DebError::Truncated)?;
        if &header[58..] != b"`\n" || members.len() >= MAX_MEMBERS {
            return Err(malformed());
        }
        let text =
            |from: usize, to: usize| std::str::from_utf8(&header[from..to]).ok().map(str::trim_end);
        let name = text(0, 16).ok_or_else(malformed)?;
        let size: usize = text(48, 58).and_then(|size| size.parse().ok()).ok_or_else(malformed)?;
        let (content, after) = body.split_at_checked(size).ok_or(DebError::Truncated)?;
        members.push((name.trim_end_matches('/'), content));
        // Members begin at even offsets; the last one may lack its padding.
        rest = if size % 2 == 1 { after.get(1..).unwrap_or(&[]) } else { after };
    }
    Ok(members)
}
