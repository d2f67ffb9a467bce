//! Reading OCI layouts: directories and archives, as `oci-layout://` contexts and for loading images. What docker, podman
//! and skopeo write in other formats is read as if it were a layout.

mod foreign;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use karman_oci::{Descriptor, Digest, Index, Platform, Reference, media_type};
use karman_sys::fs::Dir;

use crate::blobs::{BlobSource, BlobStore, MAX_DOCUMENT, document};
use crate::export::{ExportError, IMAGE_NAME, REF_NAME, closure};
use crate::tarball::{BLOCK, EntryKind, ReadError, TarReader};
use foreign::Foreign;

/// The most entries of a layout archive.
const MAX_ENTRIES: usize = 100_000;

/// The deepest nesting of indexes.
const MAX_NESTING: usize = 4;

/// The annotation of an entry that has the signatures of another, and its value (cosign's).
pub const SIGNATURES_KIND: (&str, &str) = ("kind", "dev.cosignproject.cosign/sigs");

/// What is wrong with a layout that cannot be read. Which layout, only the caller can say: it may be standard input
/// that was written to a file.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// It is not there, or may not be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// A file without bytes.
    #[error("it is empty")]
    Empty,
    /// A file that does not begin as an archive does.
    #[error("it is no archive")]
    NoArchive,
    /// The archive ends in the middle of an entry.
    #[error("it is cut short: the archive goes on after byte {0}")]
    Short(u64),
    /// The archive is malformed.
    #[error("its archive is malformed")]
    Archive(#[source] ReadError),
    /// There is neither `index.json` nor `manifest.json`.
    #[error("it is neither an OCI layout nor a docker archive: it has no `index.json`")]
    NoIndex,
    /// A file that lists images is malformed, or what it names is not there.
    #[error("its `{name}` is malformed")]
    Listing {
        /// The file.
        name: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// No image has the name.
    #[error("it has no image `{wanted}` (it has {})", have.join(", "))]
    NotFound {
        /// The tag or digest asked for.
        wanted: String,
        /// The names it has.
        have: Vec<String>,
    },
    /// The image is not for the platform.
    #[error("no image for `{wanted}` in `{digest}`; available: {}", have.join(", "))]
    Platform {
        /// The index.
        digest: Digest,
        /// The platform asked for.
        wanted: String,
        /// The platforms it is for.
        have: Vec<String>,
    },
    /// A manifest or blob could not be read or stored.
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// What can be read, for those who gave something else.
const READABLE: &str = "an image is an OCI layout (directory or archive), a docker archive, or a directory of \
                        `skopeo copy dir:`; archives may be compressed";
/// What to do about bytes that are missing.
const INCOMPLETE: &str =
    "it was not written or copied to its end, or changed since: write or copy it again";

impl LayoutError {
    /// What the caller may do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Empty | Self::NoArchive | Self::NoIndex => Some(READABLE),
            Self::Short(_) | Self::Archive(_) => Some(INCOMPLETE),
            Self::Export(ExportError::Blob { .. }) => Some(INCOMPLETE),
            _ => None,
        }
    }
}

/// The platforms of an index, without those of attestations.
fn platforms(index: &Index) -> Vec<String> {
    let all = index.manifests.iter().filter_map(|entry| entry.platform.as_ref());
    all.filter(|p| p.os != "unknown").map(ToString::to_string).collect()
}

/// An open layout.
#[derive(Debug)]
pub struct Layout {
    files: Files,
    index: Index,
    foreign: Foreign,
}

#[derive(Debug)]
enum Files {
    Dir(Dir),
    /// Offset and size of each file in an uncompressed tar.
    Tar(File, BTreeMap<Vec<u8>, (u64, u64)>),
}

impl Layout {
    /// Opens a layout directory or an uncompressed layout archive (docker archives since version 25 are such), an older
    /// docker archive, or a directory of `skopeo copy dir:`.
    ///
    /// # Errors
    /// When there is no layout at `path`, or its index is malformed.
    pub fn open(path: &Path) -> Result<Self, LayoutError> {
        let files = if std::fs::metadata(path).map_err(LayoutError::Read)?.is_dir() {
            Files::Dir(Dir::open(path).map_err(|error| LayoutError::Read(io::Error::other(error)))?)
        } else {
            scan(path)?
        };
        let listing = |name| move |source| LayoutError::Listing { name, source };
        let mut foreign = Foreign::default();
        let index = match files.document("index.json").map_err(listing("index.json"))? {
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| listing("index.json")(error.into()))?,
            None => {
                let read = foreign::read(&files).map_err(listing("manifest.json"))?;
                foreign = read.unwrap_or_default();
                foreign.index.take().ok_or(LayoutError::NoIndex)?
            }
        };
        Ok(Self { files, index, foreign })
    }

    /// The entries of the index.
    #[must_use]
    pub fn images(&self) -> &[Descriptor] {
        &self.index.manifests
    }

    /// Finds an image by tag, whole name or digest; `None` means the only image, or else the tag `latest`.
    ///
    /// # Errors
    /// When no image has the name.
    pub fn resolve(&self, wanted: Option<&str>) -> Result<Descriptor, LayoutError> {
        let (name, signatures) = SIGNATURES_KIND;
        let is_image =
            |e: &&Descriptor| e.annotations.get(name).is_none_or(|kind| kind != signatures);
        let manifests: Vec<&Descriptor> = self.index.manifests.iter().filter(is_image).collect();
        if let (None, [only]) = (wanted, manifests.as_slice()) {
            return Ok((*only).clone());
        }
        let wanted = wanted.unwrap_or("latest").trim_start_matches('@');
        let found = manifests.iter().find(|entry| is_called(entry, wanted));
        found.map(|entry| (*entry).clone()).ok_or_else(|| LayoutError::NotFound {
            wanted: wanted.to_owned(),
            have: manifests.iter().map(|entry| name_of(entry)).collect(),
        })
    }

    /// The manifest of an image for a platform: the image itself, or the best entry of its index.
    ///
    /// # Errors
    /// When the index has nothing for the platform, or cannot be read.
    pub fn select(&self, top: &Descriptor, wanted: &Platform) -> Result<Descriptor, LayoutError> {
        let mut current = top.clone();
        for _ in 0..MAX_NESTING {
            if !media_type::is_index(&current.media_type) {
                return Ok(current);
            }
            let digest = current.digest;
            let bytes = self.document(&digest)?;
            let index: Index = serde_json::from_slice(&bytes)
                .map_err(|source| ExportError::Document { digest, source })?;
            let rank = |entry: &Descriptor| match &entry.platform {
                Some(platform) => platform.matches(wanted),
                // An entry without a platform may be a nested index or the only image.
                None => Some(u32::MAX),
            };
            let ranked = index.manifests.iter().filter_map(|entry| Some((rank(entry)?, entry)));
            let best = ranked.reduce(|best, next| if next.0 < best.0 { next } else { best });
            let (_, next) = best.ok_or_else(|| LayoutError::Platform {
                digest,
                wanted: wanted.to_string(),
                have: platforms(&index),
            })?;
            current = next.clone();
        }
        Err(LayoutError::Export(ExportError::TooMany(top.digest)))
    }

    /// The raw bytes of a manifest, index or config, verified.
    ///
    /// # Errors
    /// When it is missing, too large or damaged.
    pub fn document(&self, digest: &Digest) -> Result<Vec<u8>, LayoutError> {
        document(self, digest)
            .map_err(|source| ExportError::Blob { digest: *digest, source }.into())
    }

    /// Copies an image with all its blobs into a store, verified, and returns what was copied or already there.
    ///
    /// # Errors
    /// When a blob is missing or damaged, or the store cannot be written.
    pub fn import(
        &self,
        top: &Descriptor,
        store: &dyn BlobStore,
    ) -> Result<Vec<Descriptor>, LayoutError> {
        let blobs = closure(self, top)?;
        let import = |blob: &Descriptor| self.import_blob(&blob.digest, store);
        // What is not complete leaves nothing in the store.
        let is_there = |blob: &Descriptor| match store.has_blob(&blob.digest)? {
            true => Ok(()),
            false => self.open_blob(&blob.digest).map(drop),
        };
        for step in [&is_there as &dyn Fn(&Descriptor) -> io::Result<()>, &import] {
            for blob in &blobs {
                step(blob).map_err(|source| ExportError::Blob { digest: blob.digest, source })?;
            }
        }
        Ok(blobs)
    }

    /// Copies one blob into a store, verified.
    ///
    /// # Errors
    /// When the blob is missing or damaged, or the store cannot be written.
    pub fn import_blob(&self, digest: &Digest, store: &dyn BlobStore) -> io::Result<()> {
        if store.has_blob(digest)? {
            return Ok(());
        }
        let mut sink = store.begin()?;
        io::copy(&mut self.open_blob(digest)?, &mut sink)?;
        sink.commit(Some(*digest)).map(drop)
    }
}

impl BlobSource for Layout {
    fn open_blob(&self, digest: &Digest) -> io::Result<Box<dyn Read + Send + '_>> {
        let Foreign { documents, names, is_flat, .. } = &self.foreign;
        if let Some(bytes) = documents.get(digest) {
            return Ok(Box::new(bytes.as_slice()));
        }
        let hex = digest.hex();
        match names.get(digest) {
            Some(name) => self.files.open(name),
            None if *is_flat => self.files.open(&hex).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => self.files.open(&format!("{hex}.manifest.json")),
                _ => Err(error),
            }),
            None => self.files.open(&format!("blobs/sha256/{hex}")),
        }
    }

    /// Never: the files of a layout are their owner's to change, so they are not to be linked.
    fn blob_path(&self, _: &Digest) -> Option<PathBuf> {
        None
    }
}

impl Files {
    /// The bytes of a small file, `None` where there is none.
    fn document(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let file = match self.open(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = Vec::new();
        file.take(MAX_DOCUMENT).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn Read + Send + '_>> {
        match self {
            Self::Dir(dir) => match dir.open_in_root(name) {
                Ok(file) => Ok(Box::new(file)),
                Err(error) if error.is_not_found() => Err(missing(name)),
                Err(error) => Err(io::Error::other(error)),
            },
            Self::Tar(file, entries) => {
                let (at, size) = entries.get(name.as_bytes()).ok_or_else(|| missing(name))?;
                Ok(Box::new(Slice { file, at: *at, end: at + size }))
            }
        }
    }
}

fn missing(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no `{name}` in it"))
}

fn scan(path: &Path) -> Result<Files, LayoutError> {
    let file = File::open(path).map_err(LayoutError::Read)?;
    let mut entries = BTreeMap::new();
    let mut links: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut tar = TarReader::new(&file);
    let mut is_first = true;
    while let Some(entry) = tar.next_entry().map_err(|error| broken(&file, error, is_first))? {
        is_first = false;
        let name = crate::unpack::clean(&entry.path).join(&b'/');
        if entry.kind == EntryKind::File
            && let Some(offset) = tar.data_offset()
        {
            entries.insert(name, (offset, entry.size));
        } else if let EntryKind::Symlink(to) = entry.kind {
            // Old docker archives link a layer that they have twice.
            let parent = name.rsplitn(2, |byte| *byte == b'/').nth(1).unwrap_or_default();
            let target = crate::unpack::clean(&[parent, b"/", &to].concat()).join(&b'/');
            links.push((name, target));
        }
        if entries.len() + links.len() > MAX_ENTRIES {
            return Err(LayoutError::Read(io::ErrorKind::FileTooLarge.into()));
        }
    }
    if is_first && file.metadata().is_ok_and(|found| found.len() == 0) {
        return Err(LayoutError::Empty);
    }
    for (name, target) in links {
        if let Some(at) = entries.get(&target).copied() {
            entries.insert(name, at);
        }
    }
    Ok(Files::Tar(file, entries))
}

/// What is wrong with a file that is no archive, or ends before it does.
fn broken(file: &File, error: ReadError, is_first: bool) -> LayoutError {
    let size = file.metadata().map_or(0, |found| found.len());
    match error {
        ReadError::Read { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof => {
            match is_first && size < BLOCK as u64 {
                true => LayoutError::NoArchive,
                false => LayoutError::Short(size),
            }
        }
        ReadError::Header { .. } if is_first => LayoutError::NoArchive,
        other => LayoutError::Archive(other),
    }
}

fn is_called(entry: &Descriptor, wanted: &str) -> bool {
    let name = entry.annotations.get(IMAGE_NAME).and_then(|name| Reference::parse(name).ok());
    entry.annotations.get(REF_NAME).is_some_and(|tag| tag == wanted)
        || entry.digest.to_string() == wanted
        || name.is_some_and(|name| {
            name.tag.as_deref() == Some(wanted)
                || Reference::parse(wanted).is_ok_and(|wanted| wanted == name)
        })
}

fn name_of(entry: &Descriptor) -> String {
    let name = entry.annotations.get(IMAGE_NAME).or_else(|| entry.annotations.get(REF_NAME));
    name.map_or_else(|| entry.digest.to_string(), |name| format!("`{name}`"))
}

/// A part of a file, read without moving the file's position.
struct Slice<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Slice<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let want = buffer.len().min(left);
        let read = self.file.read_at(&mut buffer[..want], self.at)?;
        if read == 0 && want > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        Ok(read)
    }
}
