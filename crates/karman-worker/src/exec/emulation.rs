//! Whether programs of another platform run here: through a handler of the kernel's `binfmt_misc`
//! (`Documentation/admin-guide/binfmt-misc.rst`).
//!
//! A handler is found by what it does and not by its name: the beginning of a program of that
//! architecture is held against the handler's magic bytes. Only one with the flag `F` helps, whose
//! interpreter the kernel opened when it was registered: in a sandbox there is none.

use std::path::Path;

use karman_control::{Cause, SolveError};
use karman_oci::Platform;

use super::borrowed::read_limited;

/// Where the kernel lists its handlers.
const BINFMT: &str = "/proc/sys/fs/binfmt_misc";
/// The largest description of a handler: magic and mask have at most 128 bytes each.
const MAX_HANDLER: u64 = 4096;
/// Handlers looked at.
const MAX_HANDLERS: usize = 1000;
/// What is said where nothing else helps.
const HINT: &str = "install `qemu-user-static` and `binfmt-support`, or build this stage on this \
                    host's own platform with `FROM --platform=$BUILDPLATFORM`";

/// Architecture, word size (1 is 32 bits), byte order (1 is little) and machine of an ELF file.
const MACHINES: [(&str, u8, u8, u16); 13] = [
    ("386", 1, 1, 3),
    ("amd64", 2, 1, 62),
    ("arm", 1, 1, 40),
    ("arm64", 2, 1, 183),
    ("loong64", 2, 1, 258),
    ("mips", 1, 2, 8),
    ("mipsle", 1, 1, 8),
    ("mips64", 2, 2, 8),
    ("mips64le", 2, 1, 8),
    ("ppc64", 2, 2, 21),
    ("ppc64le", 2, 1, 21),
    ("riscv64", 2, 1, 243),
    ("s390x", 2, 2, 22),
];

/// Refuses to run programs of a platform that this host cannot run.
pub(crate) fn check_platform(wanted: &Platform) -> Result<(), SolveError> {
    let host = Platform::host();
    if host.matches(wanted).is_some() || wanted.matches(&host).is_some() {
        return Ok(());
    }
    let refuse = |why: &str, hint: &str| {
        let message = format!("exec format error: this host ({host}) {why} {wanted}");
        Err(SolveError::new(Cause::Host, message).with_hint(hint))
    };
    if wanted.os != host.os {
        return refuse("cannot run programs of", "build this stage for a platform of this system");
    }
    let found = handlers(Path::new(BINFMT));
    match found.as_deref().map(|all| support(all, wanted)) {
        // Not mounted here, which says nothing about the kernel; many arm64 cores run arm.
        None | Some(Support::Full) => Ok(()),
        Some(_) if host.architecture == "arm64" && wanted.architecture == "arm" => Ok(()),
        Some(Support::WithoutFix(name)) => refuse(
            "has a handler without the flag `F` for programs of",
            &format!("register `{name}` again with `--fix-binary yes` (update-binfmts)"),
        ),
        Some(Support::None) => refuse("cannot run programs of", HINT),
    }
}

/// What the handlers do for an architecture.
#[derive(Debug, PartialEq, Eq)]
enum Support {
    Full,
    /// The name of a handler whose interpreter is not there in a sandbox.
    WithoutFix(String),
    None,
}

fn support(handlers: &[Handler], wanted: &Platform) -> Support {
    let Some(beginning) = beginning(&wanted.architecture) else { return Support::None };
    let mut fitting = handlers.iter().filter(|h| h.enabled && h.takes(&beginning)).peekable();
    let first = fitting.peek().map(|h| h.name.clone());
    match (fitting.any(|h| h.fixed), first) {
        (true, _) => Support::Full,
        (false, Some(name)) => Support::WithoutFix(name),
        (false, None) => Support::None,
    }
}

/// The first bytes of a static program.
fn beginning(architecture: &str) -> Option<Vec<u8>> {
    let (_, class, order, machine) = MACHINES.iter().find(|m| m.0 == architecture)?;
    let half = |n: u16| if *order == 1 { n.to_le_bytes() } else { n.to_be_bytes() };
    let mut bytes = vec![0x7f, b'E', b'L', b'F', *class, *order, 1, 0];
    bytes.resize(16, 0);
    bytes.extend(half(2));
    bytes.extend(half(*machine));
    Some(bytes)
}

/// One handler.
#[derive(Debug, Default, PartialEq, Eq)]
struct Handler {
    name: String,
    enabled: bool,
    fixed: bool,
    offset: usize,
    magic: Vec<u8>,
    mask: Vec<u8>,
}

impl Handler {
    fn parse(name: &str, text: &str) -> Self {
        let mut handler = Self { name: name.to_owned(), ..Self::default() };
        for line in text.lines() {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            match key {
                "enabled" => handler.enabled = true,
                "flags:" => handler.fixed = value.contains('F'),
                "offset" => handler.offset = value.trim().parse().unwrap_or(0),
                "magic" => handler.magic = unhex(value),
                "mask" => handler.mask = unhex(value),
                _ => {}
            }
        }
        handler
    }

    fn takes(&self, beginning: &[u8]) -> bool {
        // Magic after what we know of the file (another version, flags) may be anything.
        let pairs = self.magic.iter().enumerate();
        !self.magic.is_empty()
            && pairs.into_iter().all(|(at, magic)| {
                let mask = self.mask.get(at).copied().unwrap_or(0xff);
                beginning.get(self.offset + at).is_none_or(|byte| byte & mask == magic & mask)
            })
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = text.trim().as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.chunks(2).filter_map(byte).collect()
}

/// All handlers; `None` where the filesystem is not mounted.
fn handlers(dir: &Path) -> Option<Vec<Handler>> {
    if !dir.join("register").exists() {
        return None;
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).ok()?.flatten().take(MAX_HANDLERS) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if matches!(name.as_str(), "register" | "status") {
            continue;
        }
        if let Ok(bytes) = read_limited(&entry.path(), MAX_HANDLER) {
            found.push(Handler::parse(&name, &String::from_utf8_lossy(&bytes)));
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Debian's `qemu-user-static` registers it.
    const AARCH64: &str = "enabled\ninterpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P\n\
        flags: POCF\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\n\
        mask ffffffffffffff00fffffffffffffffffeffffff\n";

    fn platform(text: &str) -> Platform {
        Platform::parse(text).unwrap_or_else(|e| panic!("{e}"))
    }

    #[test]
    fn a_handler_is_known_by_what_it_takes() {
        let handlers = [Handler::parse("any-name", AARCH64)];
        assert_eq!(support(&handlers, &platform("linux/arm64")), Support::Full);
        for other in ["linux/arm/v7", "linux/riscv64", "linux/s390x", "linux/ppc64le"] {
            assert_eq!(support(&handlers, &platform(other)), Support::None, "{other}");
        }
    }

    #[test]
    fn without_the_flag_the_interpreter_is_missing_in_a_sandbox() {
        let handlers = [Handler::parse("q", &AARCH64.replace("POCF", "POC"))];
        let support = support(&handlers, &platform("linux/arm64"));
        assert_eq!(support, Support::WithoutFix("q".to_owned()));
    }

    #[test]
    fn what_is_disabled_or_goes_by_the_ending_does_not_count() {
        let disabled = Handler::parse("q", &AARCH64.replace("enabled", "disabled"));
        let ending =
            Handler::parse("py", "enabled\ninterpreter /usr/bin/python\nflags: F\nextension .py\n");
        assert_eq!(support(&[disabled, ending], &platform("linux/arm64")), Support::None);
    }

    #[test]
    fn the_hosts_own_platform_needs_no_handler() {
        assert!(check_platform(&Platform::host()).is_ok());
        let error = check_platform(&platform("windows/amd64")).expect_err("another system");
        assert!(error.message.starts_with("exec format error: "), "{}", error.message);
    }
}
