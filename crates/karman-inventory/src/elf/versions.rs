//! Symbol versions: `Elf_Verneed` and `Elf_Verdef` (Linux Standard Base, Core, "Symbol Versioning").

use std::collections::BTreeMap;

use super::{ElfError, Strings};

/// Records of both tables together: glibc defines about forty versions, the largest libraries some hundreds.
const MAX_RECORDS: u64 = 16_384;
/// The version that stands for the file itself.
const FLAG_BASE: u16 = 1;
/// A version that only weak references need.
const FLAG_WEAK: u16 = 2;

/// The versions needed, by library.
pub(super) fn needed(
    strings: &Strings<'_>,
    offset: u64,
    count: u64,
    out: &mut BTreeMap<String, Vec<String>>,
) -> Result<(), ElfError> {
    let mut records = 0;
    let mut at = offset;
    for _ in 0..bounded(count)? {
        let image = strings.image;
        let names = image.u16(at + 2)?;
        let library = strings.at(u64::from(image.u32(at + 4)?))?;
        let mut name_at = step(at, image.u32(at + 8)?)?;
        let versions = out.entry(library).or_default();
        for _ in 0..names {
            records += 1;
            bounded(records)?;
            let (flags, name) = (image.u16(name_at + 4)?, image.u32(name_at + 8)?);
            if flags & FLAG_WEAK == 0 {
                versions.push(strings.at(u64::from(name))?);
            }
            match image.u32(name_at + 12)? {
                0 => break,
                next => name_at = step(name_at, next)?,
            }
        }
        versions.sort();
        versions.dedup();
        match image.u32(at + 12)? {
            0 => break,
            next => at = step(at, next)?,
        }
    }
    out.retain(|_, versions| !versions.is_empty());
    Ok(())
}

/// The versions defined, the file's own name left out, sorted.
pub(super) fn defined(
    strings: &Strings<'_>,
    offset: u64,
    count: u64,
) -> Result<Vec<String>, ElfError> {
    let mut out = Vec::new();
    let mut at = offset;
    for _ in 0..bounded(count)? {
        let image = strings.image;
        let flags = image.u16(at + 2)?;
        let name_at = step(at, image.u32(at + 12)?)?;
        if flags & FLAG_BASE == 0 {
            out.push(strings.at(u64::from(image.u32(name_at)?))?);
        }
        match image.u32(at + 16)? {
            0 => break,
            next => at = step(at, next)?,
        }
    }
    out.sort();
    out.dedup();
    Ok(out)
}

fn bounded(count: u64) -> Result<u64, ElfError> {
    if count > MAX_RECORDS { Err(ElfError::Range("number of versions")) } else { Ok(count) }
}

fn step(at: u64, by: u32) -> Result<u64, ElfError> {
    at.checked_add(u64::from(by)).ok_or(ElfError::Range("table of versions"))
}
