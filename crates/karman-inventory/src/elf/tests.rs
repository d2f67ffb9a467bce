//! Hand-made ELF files, whole, cut short and scribbled over.

use super::*;

/// A little-endian 64-bit shared library with everything that is read, at 1:1 addresses.
fn sample() -> Vec<u8> {
    let mut strings = vec![0_u8];
    let mut name = |text: &str| {
        let at = strings.len() as u64;
        strings.extend_from_slice(text.as_bytes());
        strings.push(0);
        at
    };
    let (needed, soname, runpath) = (name("libc.so.6"), name("libx.so.1"), name("$ORIGIN/a:/b"));
    let (version, weak, own) = (name("GLIBC_2.34"), name("GLIBC_WEAK"), name("X_1.0"));
    let interp = b"/lib64/ld.so\0";
    let (interp_at, dynamic_at) = (0x200_u64, 0x300_u64);
    let (needs_at, defines_at, strings_at) = (0x400_u64, 0x480_u64, 0x500_u64);
    let mut file = vec![0_u8; 0x600];
    let mut put = |at: u64, bytes: &[u8]| {
        let at = usize::try_from(at).unwrap_or(0);
        file[at..at + bytes.len()].copy_from_slice(bytes);
    };
    put(0, b"\x7fELF\x02\x01\x01");
    put(16, &3_u16.to_le_bytes());
    put(18, &62_u16.to_le_bytes());
    put(32, &64_u64.to_le_bytes());
    put(54, &56_u16.to_le_bytes());
    put(56, &3_u16.to_le_bytes());
    let segments = [
        (PT_LOAD, 0, 0x600_u64),
        (PT_INTERP, interp_at, interp.len() as u64),
        (PT_DYNAMIC, dynamic_at, 0x100),
    ];
    for (n, (kind, at, size)) in segments.into_iter().enumerate() {
        let header = 64 + 56 * n as u64;
        put(header, &kind.to_le_bytes());
        put(header + 8, &at.to_le_bytes());
        put(header + 16, &at.to_le_bytes());
        put(header + 32, &size.to_le_bytes());
    }
    put(interp_at, interp);
    let dynamic = [
        (DT_NEEDED, needed),
        (DT_SONAME, soname),
        (DT_RUNPATH, runpath),
        (DT_STRTAB, strings_at),
        (DT_STRSZ, strings.len() as u64),
        (DT_VERNEED, needs_at),
        (DT_VERNEEDNUM, 1),
        (DT_VERDEF, defines_at),
        (DT_VERDEFNUM, 1),
        (0, 0),
    ];
    for (n, (tag, value)) in dynamic.into_iter().enumerate() {
        put(dynamic_at + 16 * n as u64, &tag.to_le_bytes());
        put(dynamic_at + 16 * n as u64 + 8, &value.to_le_bytes());
    }
    let word = |n: u64| u32::try_from(n).unwrap_or(0).to_le_bytes();
    put(needs_at + 2, &2_u16.to_le_bytes());
    put(needs_at + 4, &word(needed));
    put(needs_at + 8, &word(16));
    put(needs_at + 16 + 8, &word(version));
    put(needs_at + 16 + 12, &word(16));
    put(needs_at + 32 + 4, &2_u16.to_le_bytes());
    put(needs_at + 32 + 8, &word(weak));
    put(defines_at + 12, &word(20));
    put(defines_at + 20, &word(own));
    put(strings_at, &strings);
    file
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
    assert_eq!(facts.needs_versions["libc.so.6"], ["GLIBC_2.34"], "weak versions do not count");
    assert_eq!(facts.defines_versions, ["X_1.0"]);
}

#[test]
fn a_file_cut_anywhere_is_told_and_never_panics() {
    let whole = sample();
    // The strings are last and end here.
    for size in 4..0x53e {
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
            let at = usize::try_from(random % 0x540).unwrap_or(0);
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
    let strings = 0x300 + 16 * 3 + 8;
    outside[strings..strings + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(
        facts(&outside).problem.as_deref(),
        Some("its string table is outside of its segments")
    );
}
