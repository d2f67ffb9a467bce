//! ELF files from facts, for tests: the reverse of reading them.

use crate::model::ElfFacts;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
/// Bytes of the file header and of one program header.
const HEADER: u64 = 64;
const PROGRAM_HEADER: u64 = 56;

/// A little-endian 64-bit shared library for x86-64 with these facts, at addresses equal to its offsets. Class, machine
/// and kind of the facts are not looked at.
pub fn elf_file(facts: &ElfFacts) -> Vec<u8> {
    let mut file = Builder { bytes: vec![0; 0x200], strings: vec![0] };
    let interpreter = facts.interpreter.as_ref().map(|path| file.append(&terminated(path)));
    let needs = file.needs(facts);
    let defines = file.defines(facts);
    let mut dynamic: Vec<(u64, u64)> =
        facts.needed.iter().map(|library| (1, file.string(library))).collect();
    let searched = [(15, &facts.rpath), (29, &facts.runpath)];
    dynamic.extend(facts.soname.iter().map(|name| (14, file.string(name))));
    for (tag, path) in searched.into_iter().filter(|(_, path)| !path.is_empty()) {
        dynamic.push((tag, file.string(&path.join(":"))));
    }
    let tables = [(0x6fff_fffe, needs), (0x6fff_fffc, defines)];
    for (tag, (at, count)) in tables.into_iter().filter(|(_, (_, count))| *count > 0) {
        dynamic.extend([(tag, at), (tag + 1, count)]);
    }
    let at = file.bytes.len() as u64;
    let size = 16 * (dynamic.len() as u64 + 3);
    let strings = at + size;
    dynamic.extend([(5, strings), (10, file.strings.len() as u64), (0, 0)]);
    for (tag, value) in dynamic {
        file.append(&tag.to_le_bytes());
        file.append(&value.to_le_bytes());
    }
    let table = std::mem::take(&mut file.strings);
    file.append(&table);
    let mut segments = vec![(PT_LOAD, 0, file.bytes.len() as u64), (PT_DYNAMIC, at, size)];
    if let (Some(at), Some(path)) = (interpreter, &facts.interpreter) {
        segments.push((PT_INTERP, at, path.len() as u64 + 1));
    }
    file.header(&segments);
    file.bytes
}

struct Builder {
    bytes: Vec<u8>,
    strings: Vec<u8>,
}

impl Builder {
    fn append(&mut self, bytes: &[u8]) -> u64 {
        let at = self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        at
    }

    fn string(&mut self, text: &str) -> u64 {
        let at = self.strings.len() as u64;
        self.strings.extend_from_slice(&terminated(text));
        at
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// `Elf_Verneed`, each followed by its `Elf_Vernaux`.
    fn needs(&mut self, facts: &ElfFacts) -> (u64, u64) {
        let at = self.bytes.len() as u64;
        let count = facts.needs_versions.len();
        for (n, (library, versions)) in facts.needs_versions.iter().enumerate() {
            let library = self.string(library);
            let next = if n + 1 == count { 0 } else { 16 * (versions.len() as u64 + 1) };
            self.words(&[1 | (versions.len() as u64) << 16, library, 16, next]);
            for (n, version) in versions.iter().enumerate() {
                let name = self.string(version);
                let next = if n + 1 == versions.len() { 0 } else { 16 };
                self.words(&[0, 0, name, next]);
            }
        }
        (at, count as u64)
    }

    /// `Elf_Verdef`, each followed by its only `Elf_Verdaux`.
    fn defines(&mut self, facts: &ElfFacts) -> (u64, u64) {
        let at = self.bytes.len() as u64;
        let count = facts.defines_versions.len();
        for (n, version) in facts.defines_versions.iter().enumerate() {
            let name = self.string(version);
            let next = if n + 1 == count { 0 } else { 28 };
            self.words(&[1, 2 | 1 << 16, 0, 20, next, name, 0]);
        }
        (at, count as u64)
    }

    fn words(&mut self, words: &[u64]) {
        for word in words {
            self.append(&u32::try_from(*word).unwrap_or(u32::MAX).to_le_bytes());
        }
    }

    fn header(&mut self, segments: &[(u32, u64, u64)]) {
        self.put(0, b"\x7fELF\x02\x01\x01");
        self.put(16, &3_u16.to_le_bytes());
        self.put(18, &62_u16.to_le_bytes());
        self.put(32, &HEADER.to_le_bytes());
        self.put(54, &56_u16.to_le_bytes());
        self.put(56, &u16::try_from(segments.len()).unwrap_or(u16::MAX).to_le_bytes());
        for (n, (kind, at, size)) in segments.iter().enumerate() {
            let header = HEADER + PROGRAM_HEADER * n as u64;
            self.put(header, &kind.to_le_bytes());
            self.put(header + 8, &at.to_le_bytes());
            self.put(header + 16, &at.to_le_bytes());
            self.put(header + 32, &size.to_le_bytes());
        }
    }
}

fn terminated(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}
