//! Where a download goes, and the digest it must have.

use std::fmt;
use std::io::{self, Seek, Write};

use sha2::{Digest as _, Sha256, Sha512};

/// Receives a body piece by piece. An error ends the download, which is also the way to cancel one.
pub trait Sink {
    /// Forgets everything written so far; called before the first byte and when a download must
    /// begin again.
    fn restart(&mut self) -> io::Result<()>;

    /// Takes the next piece.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;
}

impl Sink for Vec<u8> {
    fn restart(&mut self) -> io::Result<()> {
        self.clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

impl Sink for fs_err::File {
    fn restart(&mut self) -> io::Result<()> {
        self.set_len(0)?;
        self.rewind()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }
}

impl Sink for std::fs::File {
    fn restart(&mut self) -> io::Result<()> {
        self.set_len(0)?;
        self.rewind()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }
}

/// A [`Sink`] over writers that cannot be rewound: a new one is made for every start.
pub struct Reopen<W, F> {
    open: F,
    current: Option<W>,
}

impl<W: Write, F: FnMut() -> io::Result<W>> Reopen<W, F> {
    /// A sink that calls `open` for every start; the former writer is dropped first.
    pub fn new(open: F) -> Self {
        Self { open, current: None }
    }

    /// The writer that received the last start, once the download has succeeded.
    pub fn into_inner(self) -> Option<W> {
        self.current
    }
}

impl<W: Write, F: FnMut() -> io::Result<W>> Sink for Reopen<W, F> {
    fn restart(&mut self) -> io::Result<()> {
        self.current = None;
        self.current = Some((self.open)()?);
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.current {
            Some(writer) => writer.write_all(bytes),
            None => Err(io::Error::from(io::ErrorKind::NotConnected)),
        }
    }
}

/// A digest a body must have.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Checksum {
    /// SHA-256.
    Sha256([u8; 32]),
    /// SHA-512.
    Sha512([u8; 64]),
}

impl Checksum {
    /// Reads `hex`, whose length tells the algorithm (64 or 128 digits).
    pub fn from_hex(hex: &str) -> Option<Self> {
        match hex.len() {
            64 => unhex(hex).map(Self::Sha256),
            128 => unhex(hex).map(Self::Sha512),
            _ => None,
        }
    }

    /// Reads `sha256:hex` or `sha512:hex`.
    pub fn from_digest(text: &str) -> Option<Self> {
        match text.split_once(':')? {
            ("sha256", hex) => unhex(hex).map(Self::Sha256),
            ("sha512", hex) => unhex(hex).map(Self::Sha512),
            _ => None,
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, bytes): (_, &[u8]) = match self {
            Self::Sha256(bytes) => ("sha256", bytes),
            Self::Sha512(bytes) => ("sha512", bytes),
        };
        write!(f, "{name}:")?;
        bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Computes the SHA-256 of what passes, and the SHA-512 where it is asked for.
pub(crate) struct Hasher {
    sha256: Sha256,
    sha512: Option<Sha512>,
}

impl Hasher {
    pub(crate) fn new(expected: Option<Checksum>) -> Self {
        let wide = matches!(expected, Some(Checksum::Sha512(_)));
        Self { sha256: Sha256::new(), sha512: wide.then(Sha512::new) }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
    }

    /// The SHA-256, and the checksum comparable with the expected one.
    pub(crate) fn finish(self) -> ([u8; 32], Checksum) {
        let sha256: [u8; 32] = self.sha256.finalize().into();
        let comparable = match self.sha512 {
            Some(sha512) => Checksum::Sha512(sha512.finalize().into()),
            None => Checksum::Sha256(sha256),
        };
        (sha256, comparable)
    }
}

fn unhex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    if hex.len() != 2 * N || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut out = [0; N];
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_round_trip() {
        let text = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let sum = Checksum::from_digest(text).unwrap();
        assert_eq!(sum.to_string(), text);
        assert_eq!(Hasher::new(Some(sum)).finish().1, sum);
        assert_eq!(Checksum::from_hex(&text[7..]), Some(sum));
        assert_eq!(Checksum::from_digest("md5:00"), None);
        assert_eq!(Checksum::from_digest("sha256:zz"), None);
    }
}
