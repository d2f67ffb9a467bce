//! Hand-made ELF files, whole, cut short and scribbled over.

use super::*;
use crate::memory::elf_file;

/// A shared library with everything that is read. Its strings begin at `STRINGS` and end with it.
fn sample() -> Vec<u8> {
    let words = |list: &[&str]| list.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    elf_file(&ElfFacts {
        interpreter: Some("/lib64/ld.so".to_owned()),
        soname: Some("libx.so.1".to_owned()),
        needed: words(&["libc.so.6"]),
        runpath: words(&["$ORIGIN/a", "/b"]),
        needs_versions: [("libc.so.6".to_owned(), words(&["GLIBC_2.34"]))].into(),
        defines_versions: words(&["X_1.0"]),
        ..ElfFacts::default()
    })
}

fn facts(file: &Vec<u8>) -> ElfFacts {
    read(file, file.len() as u64)
}

#[test]
fn everything_of_a_library_is_read() {
    let facts = facts(&sample());
    assert_eq!(facts.problem, None);
    assert_eq!((facts.class, facts.machine.as_str(), facts.kind), (64, "x86-64", ElfKind::Shared));
    assert_eq!(facts.interpreter.as_deref(), Some("/lib64/ld.so"));
    assert_eq!(facts.needed, ["libc.so.6"]);
    assert_eq!(facts.soname.as_deref(), Some("libx.so.1"));
    assert_eq!(facts.runpath, ["$ORIGIN/a", "/b"]);
    assert_eq!(facts.needs_versions["libc.so.6"], ["GLIBC_2.34"]);
    assert_eq!(facts.defines_versions, ["X_1.0"]);
}

#[test]
fn a_file_cut_anywhere_is_told_and_never_panics() {
    let whole = sample();
    for size in 4..whole.len() {
        let cut = whole[..size].to_vec();
        let facts = facts(&cut);
        assert!(facts.problem.is_some(), "cut at {size} went unnoticed: {facts:?}");
    }
}

#[test]
fn scribbled_files_end_in_time() {
    let whole = sample();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..20_000 {
        let mut file = whole.clone();
        for _ in 0..8 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let at = usize::try_from(random % whole.len() as u64).unwrap_or(0);
            file[at] = u8::try_from(random >> 56).unwrap_or(0);
        }
        let facts = facts(&file);
        assert!(facts.needed.len() <= MAX_NEEDED);
    }
}

#[test]
fn limits_hold() {
    let mut many = sample();
    many[56..58].copy_from_slice(&u16::MAX.to_le_bytes());
    assert_eq!(
        facts(&many).problem.as_deref(),
        Some("its number of program headers is out of range")
    );
    let mut outside = sample();
    // Wherever the string table's address is, it is no longer in the segment.
    let at = outside.windows(8).position(|w| w == DT_STRTAB.to_le_bytes()).expect("a tag") + 8;
    outside[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(
        facts(&outside).problem.as_deref(),
        Some("its string table is outside of its segments")
    );
}
