//! Reading a directory.

use std::cell::RefCell;
use std::ffi::{CStr, OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{FileType, RawDir, SeekFrom};

use super::dir::Dir;
use super::error::{At, FsError, Result};
use super::stat::FileKind;

/// Bytes per `getdents64` call: a directory of a thousand names in one or two calls.
const BUFFER: usize = 32 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(BUFFER));
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name, as bytes.
    pub name: OsString,
    /// What it is.
    pub kind: FileKind,
    /// Its inode number.
    pub ino: u64,
}

impl Dir {
    /// The entries without `.` and `..`, in the order of the file system. Uses a second description of the directory.
    pub fn read_dir(&self) -> Result<Vec<Entry>> {
        self.reopen()?.entries()
    }

    /// Like [`Dir::read_dir`] without opening the directory again: the read position of this descriptor is used, so no
    /// other thread may read it at the same time (hence `&mut`).
    pub fn entries(&mut self) -> Result<Vec<Entry>> {
        SCRATCH.with_borrow_mut(|buffer| self.fill(buffer.spare_capacity_mut()))
    }

    /// Whether the directory has no entries.
    pub fn is_empty(&self) -> Result<bool> {
        self.read_dir().map(|entries| entries.is_empty())
    }

    /// Moves the read position back to the start, for a second [`Dir::entries`].
    pub fn rewind(&mut self) -> Result<()> {
        rustix::fs::seek(&self.fd, SeekFrom::Start(0)).map(drop).at("rewind", Path::new("."))
    }

    fn fill(&self, buffer: &mut [MaybeUninit<u8>]) -> Result<Vec<Entry>> {
        let mut out = Vec::new();
        let mut raw = RawDir::new(&self.fd, buffer);
        while let Some(entry) = raw.next() {
            let entry = entry.map_err(|errno| FsError::new("read directory", ".", errno))?;
            if is_dot(entry.file_name()) {
                continue;
            }
            let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
            let kind = match kind(entry.file_type()) {
                Some(kind) => kind,
                // Some file systems do not say the type in the directory.
                None => match self.try_stat(&name)? {
                    Some(stat) => stat.kind(),
                    None => continue,
                },
            };
            out.push(Entry { name, kind, ino: entry.ino() });
        }
        Ok(out)
    }
}

fn is_dot(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

fn kind(raw: FileType) -> Option<FileKind> {
    Some(match raw {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Dir,
        FileType::Symlink => FileKind::Symlink,
        FileType::Fifo => FileKind::Fifo,
        FileType::Socket => FileKind::Socket,
        FileType::CharacterDevice => FileKind::Char,
        FileType::BlockDevice => FileKind::Block,
        FileType::Unknown => return None,
    })
}
