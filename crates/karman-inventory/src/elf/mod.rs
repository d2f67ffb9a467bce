//! ELF files: what the dynamic linker would read, and nothing else.
//!
//! Only the program headers and what they lead to are looked at, as the dynamic linker does: section headers may be
//! missing or lie. Every count and length of the file is checked against a limit before it is used, and every chain
//! must move forward, so that a hostile file costs no more than its limits.

mod bytes;
mod versions;

use std::io;

use bytes::Image;

use crate::model::{ElfFacts, ElfKind};
use crate::tree::Content;

/// `\x7fELF`.
pub(crate) const MAGIC: &[u8] = b"\x7fELF";

/// Program headers: real files have about a dozen, and the field has 16 bits.
const MAX_SEGMENTS: u64 = 512;
/// Entries of the dynamic section: real files have about thirty and some libraries of them in need.
const MAX_DYNAMIC: u64 = 16_384;
/// Libraries needed by one file.
const MAX_NEEDED: usize = 1024;
/// Bytes of one string: paths of libraries and versions are short, search paths less so.
const MAX_STRING: usize = 16_384;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;

const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
const DT_VERDEF: u64 = 0x6fff_fffc;
const DT_VERDEFNUM: u64 = 0x6fff_fffd;
const DT_VERNEED: u64 = 0x6fff_fffe;
const DT_VERNEEDNUM: u64 = 0x6fff_ffff;

/// Why a file that begins like ELF cannot be read further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ElfError {
    /// It ends before what its headers promise.
    #[error("it is truncated")]
    Truncated,
    /// A header has a value that no real file has.
    #[error("its {0} is out of range")]
    Range(&'static str),
    /// An address that no segment holds.
    #[error("its {0} is outside of its segments")]
    Unmapped(&'static str),
    /// The file could not be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
}

/// Reads the facts of a file that begins with [`MAGIC`]. What is wrong with it is in
/// [`ElfFacts::problem`].
pub(crate) fn read(content: &dyn Content, size: u64) -> ElfFacts {
    let mut facts = ElfFacts::default();
    if let Err(error) = fill(content, size, &mut facts) {
        facts.problem = Some(error.to_string());
    }
    facts
}

#[derive(Debug, Clone, Copy)]
struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

/// What the dynamic section says, before strings are looked up.
#[derive(Default)]
struct Dynamic {
    needed: Vec<u64>,
    soname: Option<u64>,
    rpath: Option<u64>,
    runpath: Option<u64>,
    strings: Option<u64>,
    strings_size: u64,
    needs: Option<u64>,
    needs_count: u64,
    defines: Option<u64>,
    defines_count: u64,
}

/// The string table of the dynamic section.
struct Strings<'a> {
    image: &'a Image<'a>,
    offset: u64,
    size: u64,
}

impl Strings<'_> {
    fn at(&self, index: u64) -> Result<String, ElfError> {
        if index >= self.size {
            return Err(ElfError::Range("string index"));
        }
        let limit = usize::try_from(self.size - index).unwrap_or(MAX_STRING).min(MAX_STRING);
        self.image.string(self.offset + index, limit)
    }
}

fn fill(content: &dyn Content, size: u64, facts: &mut ElfFacts) -> Result<(), ElfError> {
    let image = Image::open(content, size)?;
    facts.class = if image.is_64 { 64 } else { 32 };
    facts.kind = kind_of(image.u16(16)?);
    facts.machine = machine_name(image.u16(18)?);
    let segments = segments(&image)?;
    if let Some(interp) = segments.iter().find(|s| s.kind == PT_INTERP) {
        let limit = usize::try_from(interp.size).unwrap_or(MAX_STRING).min(MAX_STRING);
        facts.interpreter = Some(image.string(interp.offset, limit)?);
    }
    let Some(place) = segments.iter().find(|s| s.kind == PT_DYNAMIC) else { return Ok(()) };
    let dynamic = dynamic(&image, place)?;
    let Some(address) = dynamic.strings else { return Ok(()) };
    let offset = file_offset(&segments, address, "string table")?;
    let strings = Strings { image: &image, offset, size: dynamic.strings_size };
    facts.needed = dynamic.needed.iter().map(|n| strings.at(*n)).collect::<Result<_, _>>()?;
    facts.soname = dynamic.soname.map(|n| strings.at(n)).transpose()?;
    facts.rpath = paths(dynamic.rpath.map(|n| strings.at(n)).transpose()?);
    facts.runpath = paths(dynamic.runpath.map(|n| strings.at(n)).transpose()?);
    if let Some(address) = dynamic.needs {
        let offset = file_offset(&segments, address, "table of needed versions")?;
        versions::needed(&strings, offset, dynamic.needs_count, &mut facts.needs_versions)?;
    }
    if let Some(address) = dynamic.defines {
        let offset = file_offset(&segments, address, "table of versions")?;
        facts.defines_versions = versions::defined(&strings, offset, dynamic.defines_count)?;
    }
    Ok(())
}

fn segments(image: &Image<'_>) -> Result<Vec<Segment>, ElfError> {
    let (at, entry, count) = match image.is_64 {
        true => (image.u64(32)?, image.u16(54)?, image.u16(56)?),
        false => (u64::from(image.u32(28)?), image.u16(42)?, image.u16(44)?),
    };
    let least = if image.is_64 { 56 } else { 32 };
    let (entry, count) = (u64::from(entry), u64::from(count));
    if count == 0 {
        return Ok(Vec::new());
    }
    if count > MAX_SEGMENTS || entry < least {
        return Err(ElfError::Range("number of program headers"));
    }
    (0..count).map(|n| segment(image, at.saturating_add(n * entry))).collect()
}

fn segment(image: &Image<'_>, at: u64) -> Result<Segment, ElfError> {
    let kind = image.u32(at)?;
    let (offset, address, size) = match image.is_64 {
        true => (image.u64(at + 8)?, image.u64(at + 16)?, image.u64(at + 32)?),
        false => {
            let word = |n| image.u32(at + n).map(u64::from);
            (word(4)?, word(8)?, word(16)?)
        }
    };
    Ok(Segment { kind, offset, address, size })
}

fn dynamic(image: &Image<'_>, place: &Segment) -> Result<Dynamic, ElfError> {
    let width = if image.is_64 { 8 } else { 4 };
    let count = place.size / (2 * width);
    if count > MAX_DYNAMIC {
        return Err(ElfError::Range("dynamic section"));
    }
    let mut out = Dynamic::default();
    for n in 0..count {
        let at = place.offset.saturating_add(n * 2 * width);
        let (tag, value) = (image.word(at)?, image.word(at.saturating_add(width))?);
        match tag {
            0 => break,
            DT_NEEDED if out.needed.len() >= MAX_NEEDED => {
                return Err(ElfError::Range("number of needed libraries"));
            }
            DT_NEEDED => out.needed.push(value),
            DT_SONAME => out.soname = Some(value),
            DT_RPATH => out.rpath = Some(value),
            DT_RUNPATH => out.runpath = Some(value),
            DT_STRTAB => out.strings = Some(value),
            DT_STRSZ => out.strings_size = value,
            DT_VERNEED => out.needs = Some(value),
            DT_VERNEEDNUM => out.needs_count = value,
            DT_VERDEF => out.defines = Some(value),
            DT_VERDEFNUM => out.defines_count = value,
            _ => {}
        }
    }
    Ok(out)
}

fn file_offset(segments: &[Segment], address: u64, what: &'static str) -> Result<u64, ElfError> {
    let holds =
        |s: &&Segment| s.kind == PT_LOAD && address >= s.address && address - s.address < s.size;
    let segment = segments.iter().find(holds).ok_or(ElfError::Unmapped(what))?;
    segment.offset.checked_add(address - segment.address).ok_or(ElfError::Range(what))
}

fn paths(text: Option<String>) -> Vec<String> {
    let text = text.unwrap_or_default();
    text.split(':').filter(|p| !p.is_empty()).map(str::to_owned).collect()
}

fn kind_of(number: u16) -> ElfKind {
    match number {
        1 => ElfKind::Relocatable,
        2 => ElfKind::Executable,
        3 => ElfKind::Shared,
        4 => ElfKind::Core,
        _ => ElfKind::Other,
    }
}

/// The machines that Debian and Ubuntu are made for.
fn machine_name(number: u16) -> String {
    let name = match number {
        3 => "i386",
        8 => "mips",
        20 => "powerpc",
        21 => "powerpc64",
        22 => "s390",
        40 => "arm",
        62 => "x86-64",
        183 => "aarch64",
        243 => "riscv",
        247 => "bpf",
        258 => "loongarch",
        other => return other.to_string(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests;
