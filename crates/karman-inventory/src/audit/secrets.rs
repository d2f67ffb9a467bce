//! Keys and tokens: by what they look like, and by the very values that were lent to the build.
//!
//! A value is never kept. A [`Mark`] of it has a random salt, the value's length, 32 bits of a rolling hash that finds
//! candidates at every offset of a file, and a stretched digest that decides. Whoever reads a mark can try guesses, as
//! with a hashed password, at the price of [`ROUNDS`] digests each; marks stay in the local store.

use std::sync::OnceLock;

use karman_oci::{Digest, Hasher, ImageConfig};
use regex::bytes::Regex;
use serde::{Deserialize, Serialize};

use super::Finding;
use crate::model::{Entry, Inventory, Kind, Origin};
use crate::tree::{Content, TreeError};

/// Digests to compute for one guess: some 20 ms.
const ROUNDS: u32 = 50_000;
/// A shorter value would be found in places that have nothing to do with it.
const MIN_VALUE: usize = 6;
/// The same for one line of a longer value, such as a configuration file.
const MIN_LINE: usize = 12;
/// Lines of one value that are looked for by themselves.
const MAX_LINES: usize = 64;
/// Bytes read at once.
const CHUNK: usize = 1 << 20;
/// What a pattern matches is not longer than this.
const OVERLAP: usize = 512;

/// What is kept of a secret that was lent to a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The name of the secret.
    pub id: String,
    /// Bytes of the value.
    len: usize,
    /// Random text.
    salt: String,
    /// The upper half of the rolling hash.
    filter: u32,
    /// The stretched digest.
    digest: Digest,
}

/// Marks of a value: of the whole without the line breaks at its ends, and of its longer lines.
pub fn marks(id: &str, value: &[u8], salt: &str) -> Vec<Mark> {
    let whole = trimmed(value);
    let mut values = vec![whole];
    let lines = whole.split(|b| *b == b'\n').map(trimmed).filter(|l| l.len() >= MIN_LINE);
    values.extend(lines.take(MAX_LINES).filter(|line| line.len() < whole.len()));
    values.retain(|v| v.len() >= MIN_VALUE);
    let mark = |value: &[u8]| Mark {
        id: id.to_owned(),
        len: value.len(),
        salt: salt.to_owned(),
        filter: upper(value.iter().fold(0, |hash, b| push(hash, base(salt), *b))),
        digest: stretched(salt, value),
    };
    values.into_iter().map(mark).collect()
}

fn trimmed(value: &[u8]) -> &[u8] {
    let is_break = |b: &u8| matches!(b, b'\n' | b'\r');
    let from = value.iter().position(|b| !is_break(b)).unwrap_or(value.len());
    let to = value.iter().rposition(|b| !is_break(b)).map_or(from, |at| at + 1);
    &value[from..to]
}

/// The base of the rolling hash, odd, from the salt.
fn base(salt: &str) -> u64 {
    let digest = Digest::sha256_of(salt.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.as_bytes()[..8]);
    u64::from_le_bytes(bytes) | 1
}

fn push(hash: u64, base: u64, byte: u8) -> u64 {
    // Bytes are spread first: in a polynomial modulo 2^64 the upper bits of short texts would depend on few of them.
    hash.wrapping_mul(base).wrapping_add(spread(byte))
}

fn spread(byte: u8) -> u64 {
    (u64::from(byte) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

fn upper(hash: u64) -> u32 {
    u32::try_from(hash >> 32).unwrap_or_default()
}

fn stretched(salt: &str, value: &[u8]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.field(salt.as_bytes());
    hasher.field(value);
    let mut digest = hasher.finish();
    for _ in 0..ROUNDS {
        digest = Digest::sha256_of(digest.as_bytes());
    }
    digest
}

/// Looks for marked values in the bytes of a file; gives the names of those found.
///
/// # Errors
/// When the file cannot be read.
pub fn find_marked(
    path: &str,
    content: &dyn Content,
    marks: &[Mark],
) -> Result<Vec<String>, TreeError> {
    let longest = marks.iter().map(|m| m.len).max().unwrap_or(0);
    let mut found: Vec<String> = Vec::new();
    if longest == 0 {
        return Ok(found);
    }
    each_chunk(path, content, longest, &mut |bytes| {
        for mark in marks {
            if !found.contains(&mark.id) && holds(bytes, mark) {
                found.push(mark.id.clone());
            }
        }
    })?;
    Ok(found)
}

fn holds(bytes: &[u8], mark: &Mark) -> bool {
    if bytes.len() < mark.len {
        return false;
    }
    let base = base(&mark.salt);
    let lead = (0..mark.len).fold(1_u64, |power, _| power.wrapping_mul(base));
    let mut hash = bytes[..mark.len].iter().fold(0, |hash, b| push(hash, base, *b));
    let mut at = 0;
    loop {
        let window = &bytes[at..at + mark.len];
        if upper(hash) == mark.filter && stretched(&mark.salt, window) == mark.digest {
            return true;
        }
        let Some(next) = bytes.get(at + mark.len) else { return false };
        hash = push(hash, base, *next).wrapping_sub(lead.wrapping_mul(spread(bytes[at])));
        at += 1;
    }
}

/// Files that are looked into for patterns: not those that a package or a distribution delivered as they are, since
/// what is in these is public anyway (test keys, examples).
pub fn may_hold_secrets(entry: &Entry) -> bool {
    let is_public = matches!(entry.origin, Origin::Dpkg { .. } | Origin::Python { .. });
    entry.kind == Kind::File
        && entry.size > 0
        && (!is_public || entry.altered)
        && entry.elf.is_none()
}

/// What keys and tokens look like.
fn patterns() -> &'static [(Regex, &'static str)] {
    static PATTERNS: OnceLock<Vec<(Regex, &'static str)>> = OnceLock::new();
    PATTERNS.get_or_init(|| {
        let sources: [(&str, &str); 9] = [
            (r"-----BEGIN (?:[A-Z0-9]{1,12} )?PRIVATE[ ]KEY-----", "a private key"),
            (r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b", "an AWS access key"),
            (r"\bgh[opsur]_[0-9A-Za-z]{36}", "a GitHub token"),
            (r"\bgithub_pat_[0-9A-Za-z_]{60}", "a GitHub token"),
            (r"\bglpat-[0-9A-Za-z_-]{20}", "a GitLab token"),
            (r"\bxox[abprs]-[0-9A-Za-z-]{20}", "a Slack token"),
            (r"\bpypi-[0-9A-Za-z_-]{80}", "a PyPI token"),
            (r"\bnpm_[0-9A-Za-z]{36}\b", "an npm token"),
            (r"\bAIza[0-9A-Za-z_-]{35}\b", "a Google API key"),
        ];
        let compiled = sources.into_iter().map(|(source, what)| {
            let regex = Regex::new(source);
            (regex.unwrap_or_else(|e| unreachable!("the pattern of {what} is valid: {e}")), what)
        });
        compiled.collect()
    })
}

/// Files that hold credentials by their purpose.
const CREDENTIAL_FILES: &[&str] =
    &[".git-credentials", ".netrc", ".pypirc", "id_dsa", "id_ecdsa", "id_ed25519", "id_rsa"];

/// Looks for patterns in the bytes of a file; gives what they look like.
///
/// # Errors
/// When the file cannot be read.
pub fn find_patterns(path: &str, content: &dyn Content) -> Result<Vec<&'static str>, TreeError> {
    let mut found = Vec::new();
    let name = path.rsplit('/').next().unwrap_or_default();
    if CREDENTIAL_FILES.contains(&name) {
        found.push("credentials, by its name");
    }
    each_chunk(path, content, OVERLAP, &mut |bytes| match_patterns(bytes, &mut found))?;
    Ok(found)
}

fn match_patterns(bytes: &[u8], found: &mut Vec<&'static str>) {
    for (regex, what) in patterns() {
        if !found.contains(what) && regex.is_match(bytes) {
            found.push(what);
        }
    }
}

/// Looks for patterns, and for marked values, in environment, labels, command and history.
pub fn in_config(config: &ImageConfig, marks: &[Mark]) -> Vec<Finding> {
    // Every text of the document, however it is nested, one a line.
    let mut text = Vec::new();
    if let Ok(value) = serde_json::to_value(config) {
        strings(&value, &mut text);
    }
    let mut found = Vec::new();
    match_patterns(&text, &mut found);
    let mut findings: Vec<Finding> = found
        .into_iter()
        .map(|what| Finding::new("secret-pattern", "config", format!("it holds {what}")))
        .collect();
    let url = Regex::new(r"[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s:@]+@[^/\s]+");
    if url.is_ok_and(|url| url.is_match(&text)) {
        let message = "it holds a URL with a password";
        findings.push(Finding::new("secret-pattern", "config", message));
    }
    for mark in marks {
        if holds(&text, mark) {
            findings.push(of_build("config", &mark.id));
        }
    }
    super::sort(&mut findings);
    findings
}

fn strings(value: &serde_json::Value, out: &mut Vec<u8>) {
    use serde_json::Value;
    match value {
        Value::String(text) => {
            out.extend_from_slice(text.as_bytes());
            out.push(b'\n');
        }
        Value::Array(items) => items.iter().for_each(|item| strings(item, out)),
        Value::Object(items) => items.values().for_each(|item| strings(item, out)),
        _ => {}
    }
}

/// The finding of a value that was lent to the build.
pub fn of_build(subject: &str, id: &str) -> Finding {
    let message = format!("it holds the value of the secret `{id}`");
    Finding::new("secret-of-build", subject, message).with_hint(
        "a secret that was in a layer is public: replace it, then keep it out of the step",
    )
}

/// The finding of a file's pattern.
pub fn of_pattern(inventory: &Inventory, entry: &Entry, what: &str) -> Finding {
    Finding::at(inventory, entry, "secret-pattern", &format!("it holds {what}"))
}

/// Calls with pieces of a file, each beginning with the last `overlap` bytes of the one before.
fn each_chunk(
    path: &str,
    content: &dyn Content,
    overlap: usize,
    piece: &mut dyn FnMut(&[u8]),
) -> Result<(), TreeError> {
    let mut buf = vec![0; overlap + CHUNK];
    let (mut kept, mut at) = (0, 0_u64);
    loop {
        let read = content.read_at(at, &mut buf[kept..]);
        let n = read.map_err(|source| TreeError::Read { path: path.to_owned(), source })?;
        if n == 0 {
            return Ok(());
        }
        at += n as u64;
        let filled = kept + n;
        piece(&buf[..filled]);
        kept = filled.min(overlap);
        buf.copy_within(filled - kept..filled, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_wherever_they_are() {
        let marks = marks("token", b"hunter2-and-more\n", "salt");
        assert_eq!(marks.len(), 1);
        for at in [0, 1, CHUNK - 5, CHUNK + 3] {
            let mut file = vec![b'x'; at];
            file.extend_from_slice(b"hunter2-and-more");
            file.extend_from_slice(&[b'y'; 100]);
            let found = find_marked("f", &file, &marks).expect("memory");
            assert_eq!(found, ["token"], "at {at}");
        }
        let other = b"hunter2-and-mor".to_vec();
        assert_eq!(find_marked("f", &other, &marks).expect("memory"), Vec::<String>::new());
    }

    #[test]
    fn lines_of_a_long_value_are_found_alone_and_short_ones_are_not() {
        let marks = marks("conf", b"[a]\npassword = sesame\n", "salt");
        assert_eq!(marks.len(), 2);
        let file = b"echo password = sesame".to_vec();
        assert_eq!(find_marked("f", &file, &marks).expect("memory"), ["conf"]);
        assert!(super::marks("short", b"12345", "salt").is_empty());
    }

    #[test]
    fn a_mark_does_not_hold_the_value() {
        let marks = marks("token", b"hunter2-and-more", "salt");
        let text = serde_json::to_string(&marks).expect("plain data");
        assert!(!text.contains("hunter2"), "{text}");
    }

    #[test]
    fn patterns_are_found() {
        let found = |text: &str| find_patterns("/f", &text.as_bytes().to_vec()).expect("memory");
        let key = ["-----BEGIN RSA PRIVATE", " KEY-----"].concat();
        assert_eq!(found(&key), ["a private key"]);
        assert_eq!(found(&["AKI", "AIOSFODNN7EXAMPLE"].concat()), ["an AWS access key"]);
        assert_eq!(found(&format!("gh{}{}", "p_", "a".repeat(36))), ["a GitHub token"]);
        assert!(found("PRIVATE KEY, glpat-short").is_empty());
        assert!(!find_patterns("/root/.netrc", &vec![1]).expect("memory").is_empty());
    }

    #[test]
    fn the_configuration_is_looked_through() {
        let mut config = ImageConfig::default();
        config.config.env = Some(vec!["INDEX=https://user:pass@index.example/simple".to_owned()]);
        config.config.cmd = Some(vec!["--password=hunter2-and-more".to_owned()]);
        let ids: Vec<_> = in_config(&config, &marks("token", b"hunter2-and-more", "salt"))
            .iter()
            .map(|f| f.id)
            .collect();
        assert_eq!(ids, ["secret-pattern", "secret-of-build"]);
    }
}
