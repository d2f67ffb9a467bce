//! What the bytes of a file tell: digest, script, library archive, ELF.

use karman_oci::{Digest, Hasher};
use md5::{Digest as _, Md5};

use crate::claim::Expected;
use crate::elf;
use crate::model::ElfFacts;
use crate::tree::{Content, Node, Tree, TreeError};

/// Bytes read at once.
const CHUNK: usize = 128 << 10;
/// `!<arch>\n`, also of thin archives.
const ARCHIVES: [&[u8]; 2] = [b"!<arch>\n", b"!<thin>\n"];
/// The kernel reads this much of the first line of a script (`BINPRM_BUF_SIZE`).
const MAX_SHEBANG: usize = 256;

/// What one file tells.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileFacts {
    pub(crate) digest: Option<Digest>,
    pub(crate) is_altered: bool,
    pub(crate) interpreter: Option<String>,
    pub(crate) is_archive: bool,
    pub(crate) elf: Option<ElfFacts>,
}

/// Reads a file once from beginning to end, and what its format asks for again.
pub(crate) fn read(
    tree: &dyn Tree,
    node: &Node,
    expected: Option<Expected>,
) -> Result<FileFacts, TreeError> {
    let content = tree.open(node)?;
    let failed = |source| TreeError::Read { path: node.path.clone(), source };
    let mut sha256 = Hasher::new();
    let mut md5 = matches!(expected, Some(Expected::Md5(_))).then(Md5::new);
    let mut buf = vec![0; CHUNK.min(usize::try_from(node.size).unwrap_or(CHUNK).max(1))];
    let mut head = Vec::new();
    let mut at = 0;
    loop {
        let n = content.read_at(at, &mut buf).map_err(failed)?;
        if n == 0 {
            break;
        }
        if head.len() < MAX_SHEBANG {
            head.extend_from_slice(&buf[..n.min(MAX_SHEBANG)]);
        }
        sha256.update(&buf[..n]);
        if let Some(md5) = &mut md5 {
            md5.update(&buf[..n]);
        }
        at += n as u64;
    }
    let digest = sha256.finish();
    let is_altered = match expected {
        Some(Expected::Md5(wanted)) => md5.is_some_and(|m| m.finalize()[..] != wanted),
        Some(Expected::Sha256(wanted)) => digest != wanted,
        None => false,
    };
    let mut facts = formats(&*content, &head, at);
    facts.digest = Some(digest);
    facts.is_altered = is_altered;
    Ok(facts)
}

fn formats(content: &dyn Content, head: &[u8], size: u64) -> FileFacts {
    FileFacts {
        interpreter: interpreter(head),
        is_archive: ARCHIVES.iter().any(|magic| head.starts_with(magic)),
        elf: head.starts_with(elf::MAGIC).then(|| elf::read(content, size)),
        ..FileFacts::default()
    }
}

/// The interpreter of a script: what follows `#!` up to a blank; of `env`, also the program it looks for.
fn interpreter(head: &[u8]) -> Option<String> {
    let line = head.strip_prefix(b"#!")?;
    let line = line.split(|b| *b == b'\n').next()?;
    let line = crate::tree::path_text(&line[..line.len().min(MAX_SHEBANG)]);
    let mut words = line.split_whitespace();
    let program = words.next()?;
    if program.rsplit('/').next() == Some("env") {
        let wanted = words.find(|w| !w.starts_with('-') && !w.contains('='));
        if let Some(wanted) = wanted {
            return Some(format!("{program} {wanted}"));
        }
    }
    Some(program.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_read() {
        let read = |text: &str| interpreter(text.as_bytes());
        assert_eq!(read("#!/bin/sh -e\nx").as_deref(), Some("/bin/sh"));
        assert_eq!(
            read("#! /usr/bin/env -S python3 -I\n").as_deref(),
            Some("/usr/bin/env python3")
        );
        assert_eq!(read("#!\n"), None);
        assert_eq!(read("x"), None);
    }
}
