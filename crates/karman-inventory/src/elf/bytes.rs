//! Numbers and strings at offsets of a file, in the file's byte order.

use super::{ElfError, MAGIC};
use crate::tree::Content;

/// A file with what its first bytes say of all others.
pub(super) struct Image<'a> {
    content: &'a dyn Content,
    size: u64,
    /// 64-bit words, else 32-bit ones.
    pub(super) is_64: bool,
    is_little: bool,
}

impl<'a> Image<'a> {
    pub(super) fn open(content: &'a dyn Content, size: u64) -> Result<Self, ElfError> {
        let mut image = Self { content, size, is_64: true, is_little: true };
        let ident: [u8; 16] = image.array(0)?;
        if !ident.starts_with(MAGIC) {
            return Err(ElfError::Range("magic number"));
        }
        image.is_64 = match ident[4] {
            1 => false,
            2 => true,
            _ => return Err(ElfError::Range("class")),
        };
        image.is_little = match ident[5] {
            1 => true,
            2 => false,
            _ => return Err(ElfError::Range("byte order")),
        };
        Ok(image)
    }

    fn array<const N: usize>(&self, at: u64) -> Result<[u8; N], ElfError> {
        let end = at.checked_add(N as u64).ok_or(ElfError::Truncated)?;
        if end > self.size {
            return Err(ElfError::Truncated);
        }
        let mut bytes = [0; N];
        match self.fill(at, &mut bytes)? {
            n if n == N => Ok(bytes),
            _ => Err(ElfError::Truncated),
        }
    }

    fn fill(&self, at: u64, bytes: &mut [u8]) -> Result<usize, ElfError> {
        let mut filled = 0;
        while filled < bytes.len() {
            let offset = at + filled as u64;
            match self.content.read_at(offset, &mut bytes[filled..]).map_err(ElfError::Read)? {
                0 => break,
                n => filled += n,
            }
        }
        Ok(filled)
    }

    pub(super) fn u16(&self, at: u64) -> Result<u16, ElfError> {
        let bytes = self.array(at)?;
        Ok(if self.is_little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    }

    pub(super) fn u32(&self, at: u64) -> Result<u32, ElfError> {
        let bytes = self.array(at)?;
        Ok(if self.is_little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    pub(super) fn u64(&self, at: u64) -> Result<u64, ElfError> {
        let bytes = self.array(at)?;
        Ok(if self.is_little { u64::from_le_bytes(bytes) } else { u64::from_be_bytes(bytes) })
    }

    /// A number of the file's word size.
    pub(super) fn word(&self, at: u64) -> Result<u64, ElfError> {
        if self.is_64 { self.u64(at) } else { self.u32(at).map(u64::from) }
    }

    /// A string that ends at a zero byte or after `limit` bytes.
    pub(super) fn string(&self, at: u64, limit: usize) -> Result<String, ElfError> {
        if at >= self.size {
            return Err(ElfError::Truncated);
        }
        let left = usize::try_from(self.size - at).unwrap_or(limit).min(limit);
        // Most strings are short; a long one is read again.
        for size in [left.min(128), left] {
            let mut bytes = vec![0; size];
            let filled = self.fill(at, &mut bytes)?;
            bytes.truncate(filled);
            if let Some(end) = bytes.iter().position(|b| *b == 0) {
                bytes.truncate(end);
                return Ok(crate::tree::path_text(&bytes));
            }
        }
        Err(ElfError::Range("string"))
    }
}
