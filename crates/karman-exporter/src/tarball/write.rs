//! Writing an archive.

use std::io::{self, Read, Write};

use super::header::{Header, Kind, Meta};
use super::{BLOCK, OPAQUE_MARKER, WHITEOUT_PREFIX};

const COPY_BUFFER: usize = 256 * 1024;

/// Writes entries in the order they are given; the order is the caller's part of being canonical.
#[derive(Debug)]
pub struct TarWriter<W> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    /// A writer at the start of an archive.
    pub fn new(out: W) -> Self {
        Self { out, buffer: Vec::new() }
    }

    /// Writes an entry whose data, if any, is in memory.
    ///
    /// # Errors
    /// When the output fails, or with `InvalidInput` when the data has another length than the header says.
    pub fn append_bytes(&mut self, header: &Header<'_>, data: &[u8]) -> io::Result<()> {
        check_size(header, data.len() as u64)?;
        self.out.write_all(&header.encode())?;
        self.out.write_all(data)?;
        self.pad(data.len() as u64)
    }

    /// Writes a file whose data is read from `data`.
    ///
    /// # Errors
    /// When reading or writing fails, or with `InvalidInput` when there is more or less data than the header says.
    pub fn append_reader(&mut self, header: &Header<'_>, data: &mut dyn Read) -> io::Result<()> {
        let Kind::File(size) = header.kind else {
            return check_size(header, 0).and_then(|()| self.append_bytes(header, &[]));
        };
        self.out.write_all(&header.encode())?;
        self.buffer.resize(COPY_BUFFER, 0);
        let mut total = 0;
        loop {
            let read = match data.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            total += read as u64;
            if total > size {
                break;
            }
            self.out.write_all(&self.buffer[..read])?;
        }
        check_size(header, total)?;
        self.pad(size)
    }

    /// Writes a whiteout: the marker that `name` in `dir` (empty for the root) is gone.
    ///
    /// # Errors
    /// When the output fails.
    pub fn append_whiteout(&mut self, dir: &[u8], name: &[u8], mtime: i64) -> io::Result<()> {
        self.marker(dir, &[WHITEOUT_PREFIX, name].concat(), mtime)
    }

    /// Writes an opaque marker: nothing of lower layers is seen in `dir` (empty for the root).
    ///
    /// # Errors
    /// When the output fails.
    pub fn append_opaque(&mut self, dir: &[u8], mtime: i64) -> io::Result<()> {
        self.marker(dir, OPAQUE_MARKER, mtime)
    }

    /// Ends the archive with two zero blocks and gives the output back.
    ///
    /// # Errors
    /// When the output fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        Ok(self.out)
    }

    fn marker(&mut self, dir: &[u8], name: &[u8], mtime: i64) -> io::Result<()> {
        let path = if dir.is_empty() { name.to_vec() } else { [dir, b"/", name].concat() };
        let meta = Meta { mode: 0, mtime, ..Meta::default() };
        self.append_bytes(&Header { path: &path, kind: Kind::File(0), meta: &meta }, &[])
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        let over = (size % BLOCK as u64) as usize;
        if over == 0 { Ok(()) } else { self.out.write_all(&[0; BLOCK][over..]) }
    }
}

fn check_size(header: &Header<'_>, have: u64) -> io::Result<()> {
    let want = if let Kind::File(size) = header.kind { size } else { 0 };
    if want == have {
        return Ok(());
    }
    let path = String::from_utf8_lossy(header.path);
    let text =
        format!("`{path}` changed its size while it was read: {have} bytes instead of {want}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}
