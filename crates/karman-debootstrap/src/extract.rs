//! Unpacking the data archive of one package into a root filesystem.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use md5::{Digest as _, Md5};
use tar::EntryType;

use crate::cache::hex;
use crate::slim::Filter;
use crate::tree::{Meta, Tree, TreeError, clean};

/// Entries of one package; the largest in Debian have about 100 000.
const MAX_ENTRIES: usize = 1_000_000;
/// Targets of symbolic links longer than this cannot exist.
const MAX_LINK: usize = 4095;

/// What is learned from a data archive.
#[derive(Debug, Default)]
pub(crate) struct Extracted {
    /// The content of dpkg's `.list`: every path, also those that were left out.
    pub(crate) list: Vec<u8>,
    /// MD5 of configuration files by absolute path, as dpkg keeps them.
    pub(crate) conffiles: BTreeMap<String, String>,
    /// The newest time of an entry not after the limit.
    pub(crate) newest: u64,
}

/// A data archive that cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// The archive is damaged.
    #[error("data archive cannot be read")]
    Read(#[from] std::io::Error),
    /// A path points out of the root filesystem.
    #[error("path `{path}` is not a path inside the root filesystem")]
    Path {
        /// The path.
        path: String,
    },
    /// A symbolic link has no usable target.
    #[error("link `{path}` has no usable target")]
    Link {
        /// The path.
        path: String,
    },
    /// An entry of a kind packages do not have, such as a sparse file.
    #[error("`{path}` is of a kind that is not supported")]
    Kind {
        /// The path.
        path: String,
    },
    /// An owner beyond 32 bits.
    #[error("owner of `{path}` is out of range")]
    Owner {
        /// The path.
        path: String,
    },
    /// Too many entries.
    #[error("data archive has more than {limit} entries")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// The root filesystem refuses.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// How to unpack.
pub(crate) struct Extractor<'a> {
    pub(crate) tree: &'a mut Tree,
    pub(crate) filter: Filter,
    /// Configuration files of the package, as absolute paths.
    pub(crate) conffiles: &'a BTreeSet<String>,
    /// Times after this one do not count as the newest.
    pub(crate) not_after: u64,
}

impl Extractor<'_> {
    /// Unpacks a tar stream.
    pub(crate) fn run(&mut self, data: impl Read) -> Result<Extracted, ExtractError> {
        let mut out = Extracted::default();
        for (count, entry) in tar::Archive::new(data).entries()?.enumerate() {
            if count >= MAX_ENTRIES {
                return Err(ExtractError::TooMany { limit: MAX_ENTRIES });
            }
            self.entry(&mut entry?, &mut out)?;
        }
        Ok(out)
    }

    fn entry<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        out: &mut Extracted,
    ) -> Result<(), ExtractError> {
        let raw = entry.path_bytes().into_owned();
        let path =
            clean(&raw).filter(|path| !path.contains(&b'\n')).ok_or_else(|| wrong_path(&raw))?;
        out.list.push(b'/');
        out.list.extend_from_slice(if path.is_empty() { b"." } else { &path });
        out.list.push(b'\n');
        let header = entry.header();
        let kind = header.entry_type();
        let meta = Meta {
            mode: header.mode()?,
            uid: u32::try_from(header.uid()?).map_err(|_| wrong_owner(&raw))?,
            gid: u32::try_from(header.gid()?).map_err(|_| wrong_owner(&raw))?,
            mtime: header.mtime()?,
        };
        if self.filter.skips(&path, matches!(kind, EntryType::Directory | EntryType::Symlink)) {
            return Ok(());
        }
        if meta.mtime <= self.not_after {
            out.newest = out.newest.max(meta.mtime);
        }
        match kind {
            EntryType::Directory => self.tree.put_dir(&path, &meta)?,
            EntryType::Regular | EntryType::Continuous => self.file(&path, &meta, entry, out)?,
            EntryType::Symlink => {
                let target = link_target(entry, &raw)?;
                self.tree.put_symlink(&path, &target, &meta)?;
            }
            EntryType::Link => {
                let target = clean(&link_target(entry, &raw)?).ok_or_else(|| wrong_path(&raw))?;
                self.tree.put_hard_link(&path, &target)?;
            }
            // Devices and pipes are made by whoever runs the result; packages do not ship them.
            EntryType::Char | EntryType::Block | EntryType::Fifo | EntryType::XGlobalHeader => {}
            _ => {
                return Err(ExtractError::Kind {
                    path: String::from_utf8_lossy(&path).into_owned(),
                });
            }
        }
        Ok(())
    }

    fn file<R: Read>(
        &mut self,
        path: &[u8],
        meta: &Meta,
        entry: &mut tar::Entry<'_, R>,
        out: &mut Extracted,
    ) -> Result<(), ExtractError> {
        let absolute = std::str::from_utf8(path).ok().map(|path| format!("/{path}"));
        let Some(conffile) = absolute.filter(|path| self.conffiles.contains(path)) else {
            let size = entry.size();
            let mut reader = Exactly { inner: entry, left: size };
            return Ok(self.tree.put_file(path, meta, &mut reader)?);
        };
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        self.tree.put_file(path, meta, &mut content.as_slice())?;
        out.conffiles.insert(conffile, hex(&Md5::digest(&content)));
        Ok(())
    }
}

/// The tar reader ends a file early when its stream does; here that is an error.
struct Exactly<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exactly<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(count as u64);
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(count)
    }
}

fn link_target<R: Read>(entry: &tar::Entry<'_, R>, path: &[u8]) -> Result<Vec<u8>, ExtractError> {
    let target = entry.link_name_bytes().map(|target| target.into_owned());
    target
        .filter(|target| !target.is_empty() && target.len() <= MAX_LINK && !target.contains(&0))
        .ok_or_else(|| ExtractError::Link { path: String::from_utf8_lossy(path).into_owned() })
}

fn wrong_owner(path: &[u8]) -> ExtractError {
    ExtractError::Owner { path: String::from_utf8_lossy(path).into_owned() }
}

fn wrong_path(path: &[u8]) -> ExtractError {
    ExtractError::Path { path: String::from_utf8_lossy(path).into_owned() }
}
