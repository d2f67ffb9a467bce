//! Reading archives that others wrote: v7, ustar, PAX and GNU (long names, base-256 numbers, holes).

use std::io::{self, Read};

use karman_sys::fs::{Time, Xattrs};

use super::BLOCK;
use super::number::{checksum_holds, get_number};
use super::pax::Records;
use super::sparse::{self, Form, Map, TextMap};

/// The most bytes a PAX header or a GNU long name may have (Go's `archive/tar` has the same limit).
const MAX_SPECIAL: u64 = 1 << 20;

/// The most headers of headers in a row before an entry.
const MAX_PREFIXES: usize = 64;

/// An archive that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The bytes under the archive could not be had, or end in the middle of it (`UnexpectedEof`).
    #[error("read archive at byte {offset}")]
    Read {
        /// The offset in the uncompressed archive.
        offset: u64,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A header is not one.
    #[error("bad tar header at byte {offset}: {reason}")]
    Header {
        /// The offset in the uncompressed archive.
        offset: u64,
        /// What is wrong.
        reason: &'static str,
    },
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// Another name of the file with this path.
    HardLink(Vec<u8>),
    /// A symbolic link and its text.
    Symlink(Vec<u8>),
    /// A named pipe.
    Fifo,
    /// A character device: major, minor.
    Char(u32, u32),
    /// A block device: major, minor.
    Block(u32, u32),
}

/// One entry.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name as written: untrusted bytes.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: EntryKind,
    /// Permissions and set-id bits (`0o7777`).
    pub mode: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Modification time.
    pub mtime: Time,
    /// Bytes of data, holes included.
    pub size: u64,
    /// Extended attributes (`SCHILY.xattr.*`), sorted by name.
    pub xattrs: Xattrs,
}

/// Reads entry after entry. Between two calls of [`TarReader::next_entry`] it reads (as [`Read`]) the data of the
/// current entry with holes filled.
#[derive(Debug)]
pub struct TarReader<R> {
    input: R,
    offset: u64,
    /// Stored bytes of the current entry not read yet.
    stored: u64,
    /// Fill bytes behind them.
    padding: u64,
    map: Map,
    piece: usize,
    position: u64,
    done: bool,
}

/// What came before the header of an entry.
#[derive(Default)]
struct Prefix {
    records: Records,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
}

impl<R: Read> TarReader<R> {
    /// A reader at the start of an uncompressed archive.
    pub fn new(input: R) -> Self {
        let map = Map::default();
        Self { input, offset: 0, stored: 0, padding: 0, map, piece: 0, position: 0, done: false }
    }

    /// The next entry; `None` at the end of the archive. Data of the current entry not read yet is passed over.
    ///
    /// # Errors
    /// When the archive is malformed or ends inside an entry.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        self.skip()?;
        let mut prefix = Prefix::default();
        for _ in 0..MAX_PREFIXES {
            let Some(block) = self.header()? else { return Ok(None) };
            let size = self.size_field(&block)?;
            match block[156] {
                b'x' => {
                    let data = self.special(size)?;
                    let records = Records::parse(&data);
                    prefix.records = records.ok_or_else(|| self.bad("malformed PAX records"))?;
                }
                b'g' => drop(self.special(size)?),
                b'L' => prefix.long_name = Some(until_zero(&self.special(size)?).to_vec()),
                b'K' => prefix.long_link = Some(until_zero(&self.special(size)?).to_vec()),
                _ => return self.entry(&block, size, prefix).map(Some),
            }
        }
        Err(self.bad("too many extension headers"))
    }

    /// Where the data of the current entry begins in the archive; `None` if it is not stored in one piece.
    pub(crate) fn data_offset(&self) -> Option<u64> {
        (self.map.pieces.len() == 1 && self.position == 0).then_some(self.offset)
    }

    /// Reads to the end of the input, whatever follows the archive.
    ///
    /// # Errors
    /// When the input fails.
    pub fn drain(&mut self) -> Result<(), ReadError> {
        self.skip()?;
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match self.input.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => self.offset += read as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ReadError::Read { offset: self.offset, source }),
            }
        }
    }

    fn entry(
        &mut self,
        block: &[u8; BLOCK],
        size: u64,
        prefix: Prefix,
    ) -> Result<Entry, ReadError> {
        let Prefix { mut records, long_name, long_link } = prefix;
        let flag = block[156];
        let size = records.size.unwrap_or(size);
        let stored = if has_data(flag) { size } else { 0 };
        self.start(block, stored, &records)?;
        let path = records.sparse.name.take().or(records.path.take()).or(long_name);
        let path = path.unwrap_or_else(|| ustar_name(block));
        let link = records.link.take().or(long_link);
        let link = link.unwrap_or_else(|| until_zero(&block[157..257]).to_vec());
        if path.contains(&0) || link.contains(&0) {
            return Err(self.bad("zero byte in a name"));
        }
        let kind = self.kind(block, &path, link)?;
        let id = |at: usize, said: Option<u32>| match said {
            Some(id) => Some(id),
            None => get_number(&block[at..at + 8]).and_then(|id| u32::try_from(id).ok()),
        };
        let uid = id(108, records.uid).ok_or_else(|| self.bad("bad uid"))?;
        let gid = id(116, records.gid).ok_or_else(|| self.bad("bad gid"))?;
        let mode = get_number(&block[100..108]).ok_or_else(|| self.bad("bad mode"))?;
        let (sec, nsec) = match records.mtime {
            Some(time) => time,
            None => (get_number(&block[136..148]).ok_or_else(|| self.bad("bad mtime"))?, 0),
        };
        records.xattrs.sort_unstable();
        Ok(Entry {
            path,
            kind,
            mode: (mode & 0o7777) as u32,
            uid,
            gid,
            mtime: Time { sec, nsec },
            size: self.map.size,
            xattrs: records.xattrs,
        })
    }

    fn kind(&self, block: &[u8], path: &[u8], link: Vec<u8>) -> Result<EntryKind, ReadError> {
        let device = |at: usize| {
            let number = get_number(&block[at..at + 8]).and_then(|n| u32::try_from(n).ok());
            number.ok_or_else(|| self.bad("bad device number"))
        };
        Ok(match block[156] {
            // Before ustar a directory was a file whose name ends in a slash.
            0 if path.ends_with(b"/") => EntryKind::Dir,
            0 | b'0' | b'7' | b'S' => EntryKind::File,
            b'1' => EntryKind::HardLink(link),
            b'2' => EntryKind::Symlink(link),
            b'3' => EntryKind::Char(device(329)?, device(337)?),
            b'4' => EntryKind::Block(device(329)?, device(337)?),
            b'5' => EntryKind::Dir,
            b'6' => EntryKind::Fifo,
            _ => return Err(self.bad("unknown entry type")),
        })
    }

    /// Prepares reading the data: how many bytes are stored, and where they belong.
    fn start(&mut self, block: &[u8], stored: u64, records: &Records) -> Result<(), ReadError> {
        self.stored = stored;
        self.padding = (BLOCK as u64 - stored % BLOCK as u64) % BLOCK as u64;
        self.piece = 0;
        self.position = 0;
        self.map = Map { pieces: vec![(0, stored)], size: stored };
        let form = sparse::from_records(&records.sparse);
        match form.map_err(|()| self.bad("bad sparse records"))? {
            Form::None if block[156] == b'S' => self.map = self.gnu_map(block)?,
            Form::None => return Ok(()),
            Form::Known(map) => self.map = map,
            Form::InData(size) => self.map = self.text_map(size)?,
        }
        if self.map.is_consistent(self.stored) { Ok(()) } else { Err(self.bad("bad sparse map")) }
    }

    fn gnu_map(&mut self, block: &[u8]) -> Result<Map, ReadError> {
        let size = get_number(&block[483..495]).and_then(|size| u64::try_from(size).ok());
        let mut map = Map { pieces: Vec::new(), size: size.ok_or_else(|| self.bad("bad size"))? };
        let mut more = block[482] != 0;
        map.take_pairs(&block[386..482]).ok_or_else(|| self.bad("bad sparse map"))?;
        while more {
            let mut extension = [0; BLOCK];
            self.fill(&mut extension)?;
            map.take_pairs(&extension[..504]).ok_or_else(|| self.bad("bad sparse map"))?;
            more = extension[504] != 0;
            // An extension that adds nothing could repeat without end.
            if more && extension[0] == 0 {
                return Err(self.bad("bad sparse map"));
            }
        }
        Ok(map)
    }

    fn text_map(&mut self, size: u64) -> Result<Map, ReadError> {
        let mut text = TextMap::default();
        loop {
            if self.stored < BLOCK as u64 {
                return Err(self.bad("bad sparse map"));
            }
            let mut block = [0; BLOCK];
            self.fill(&mut block)?;
            self.stored -= BLOCK as u64;
            if text.take(&block).ok_or_else(|| self.bad("bad sparse map"))? {
                return Ok(text.into_map(size));
            }
        }
    }

    /// The next header block; `None` at two zero blocks or at the end of the input.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, ReadError> {
        let mut block = [0; BLOCK];
        if self.done || !self.fill_or_end(&mut block)? {
            self.done = true;
            return Ok(None);
        }
        if block.iter().all(|byte| *byte == 0) {
            let ended = !self.fill_or_end(&mut block)?;
            if ended || block.iter().all(|byte| *byte == 0) {
                self.done = true;
                return Ok(None);
            }
            return Err(self.bad("garbage after a zero block"));
        }
        if checksum_holds(&block) { Ok(Some(block)) } else { Err(self.bad("wrong checksum")) }
    }

    fn size_field(&self, block: &[u8; BLOCK]) -> Result<u64, ReadError> {
        let size = get_number(&block[124..136]).and_then(|size| u64::try_from(size).ok());
        size.filter(|size| *size < 1 << 62).ok_or_else(|| self.bad("bad size"))
    }

    fn special(&mut self, size: u64) -> Result<Vec<u8>, ReadError> {
        if size > MAX_SPECIAL {
            return Err(self.bad("extension header too large"));
        }
        let mut data = vec![0; (size as usize).next_multiple_of(BLOCK)];
        self.fill(&mut data)?;
        data.truncate(size as usize);
        Ok(data)
    }

    /// Passes over what is left of the current entry.
    fn skip(&mut self) -> Result<(), ReadError> {
        let (stored, rest) = (self.stored, self.stored + self.padding);
        (self.stored, self.padding) = (0, 0);
        self.position = self.map.size;
        let skipped = io::copy(&mut self.input.by_ref().take(rest), &mut io::sink());
        let skipped = skipped.map_err(|source| ReadError::Read { offset: self.offset, source })?;
        self.offset += skipped;
        if skipped == rest {
            return Ok(());
        }
        // `umoci insert` ends its archives with the last byte of data; whatever reads tar in Go takes that.
        self.done = true;
        if skipped == stored { Ok(()) } else { Err(self.truncated()) }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), ReadError> {
        let read = self.input.read_exact(buffer);
        read.map_err(|source| ReadError::Read { offset: self.offset, source })?;
        self.offset += buffer.len() as u64;
        Ok(())
    }

    fn fill_or_end(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, ReadError> {
        let mut have = 0;
        while have < BLOCK {
            match self.input.read(&mut block[have..]) {
                Ok(0) if have == 0 => return Ok(false),
                Ok(0) => return Err(self.truncated()),
                Ok(read) => have += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ReadError::Read { offset: self.offset, source }),
            }
        }
        self.offset += BLOCK as u64;
        Ok(true)
    }

    fn truncated(&self) -> ReadError {
        ReadError::Read { offset: self.offset, source: io::ErrorKind::UnexpectedEof.into() }
    }

    fn bad(&self, reason: &'static str) -> ReadError {
        ReadError::Header { offset: self.offset, reason }
    }
}

impl<R: Read> Read for TarReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() || self.position >= self.map.size {
            return Ok(0);
        }
        while self.map.pieces.get(self.piece).is_some_and(|(at, len)| at + len <= self.position) {
            self.piece += 1;
        }
        let (start, length) =
            self.map.pieces.get(self.piece).copied().unwrap_or((self.map.size, 0));
        let (end, hole) =
            if self.position < start { (start, true) } else { (start + length, false) };
        let want = usize::try_from(end - self.position).unwrap_or(usize::MAX).min(buffer.len());
        if hole {
            buffer[..want].fill(0);
            self.position += want as u64;
            return Ok(want);
        }
        let read = self.input.read(&mut buffer[..want])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.stored -= read as u64;
        self.position += read as u64;
        self.offset += read as u64;
        Ok(read)
    }
}

fn has_data(flag: u8) -> bool {
    matches!(flag, 0 | b'0' | b'7' | b'S')
}

fn ustar_name(block: &[u8; BLOCK]) -> Vec<u8> {
    let name = until_zero(&block[..100]);
    let prefix = until_zero(&block[345..500]);
    // GNU's own format uses the same bytes for other fields.
    if prefix.is_empty() || &block[257..263] != b"ustar\0" {
        return name.to_vec();
    }
    [prefix, b"/", name].concat()
}

fn until_zero(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or(field)
}
