//! eStargz: gzip whose members begin where chunks of files do, with a table of contents (TOC) at the end
//! (stargz-snapshotter `docs/estargz.md`). Any gzip reader sees the layer; a lazy one fetches single files.
//!
//! ```text
//! member: headers of the first entries
//! member: a chunk of a file, padding, headers up to the next chunk        … one for each chunk
//! member: a second archive that holds the TOC (`stargz.index.json`)
//! member: empty, with the offset of the TOC in its extra field            51 bytes
//! ```
//!
//! The TOC stands behind the two zero blocks of the layer, as in BuildKit's lossless form, so that readers of
//! archives do not unpack it as a file. It is part of the uncompressed bytes all the same, hence of the diff id.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use base64::Engine as _;
use karman_oci::{Digest, Hasher, rfc3339};
use serde::Serialize;

use super::encode::Encoded;
use super::gzip::GzipPool;
use crate::blobs::BlobSink;
use crate::tarball::{Entry, EntryKind, Header, Kind, Meta, TarReader, TarWriter};

/// The annotation with the digest of the TOC.
pub const TOC_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";
/// The annotation with the size of the uncompressed layer.
pub const UNCOMPRESSED_SIZE: &str = "io.containers.estargz.uncompressed-size";

/// The name of the TOC.
const TOC_NAME: &[u8] = b"stargz.index.json";
/// The uncompressed size of a file's chunks (stargz-snapshotter's default).
const CHUNK: usize = 4 << 20;
/// Pieces of the layer that wait to be taken apart.
const PIECES: usize = 4;

/// The table of contents.
#[derive(Serialize)]
struct Toc {
    version: u32,
    entries: Vec<TocEntry>,
}

/// An entry of it: what stargz-snapshotter's `TOCEntry` has, without what says nothing.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct TocEntry {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "is_zero")]
    size: u64,
    #[serde(rename = "modtime", skip_serializing_if = "String::is_empty")]
    mod_time: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    link_name: String,
    #[serde(skip_serializing_if = "is_zero")]
    mode: u64,
    #[serde(skip_serializing_if = "is_zero")]
    uid: u64,
    #[serde(skip_serializing_if = "is_zero")]
    gid: u64,
    /// A member first, its place in the blob when all are written.
    #[serde(skip_serializing_if = "is_zero")]
    offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    dev_major: u64,
    #[serde(skip_serializing_if = "is_zero")]
    dev_minor: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    xattrs: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    digest: String,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_offset: u64,
    #[serde(skip_serializing_if = "is_zero")]
    chunk_size: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    chunk_digest: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Takes the bytes of a layer and writes its blob on a thread of its own.
pub(super) struct Estargz {
    pieces: Option<SyncSender<Vec<u8>>>,
    thread: Option<JoinHandle<io::Result<Encoded>>>,
}

impl Estargz {
    pub(super) fn start(sink: Box<dyn BlobSink>, level: u32, threads: usize) -> Self {
        let (pieces, incoming) = sync_channel(PIECES);
        let thread = std::thread::spawn(move || encode(incoming, sink, level, threads));
        Self { pieces: Some(pieces), thread: Some(thread) }
    }

    /// Gives the next piece of the layer.
    pub(super) fn push(&mut self, piece: Vec<u8>) -> io::Result<()> {
        let sent = self.pieces.as_ref().is_some_and(|pieces| pieces.send(piece).is_ok());
        // The thread ended early: it says why.
        if sent { Ok(()) } else { Err(self.join().err().unwrap_or_else(died)) }
    }

    /// Ends the layer, whose bytes have that digest.
    pub(super) fn finish(mut self, tar: Digest) -> io::Result<Encoded> {
        Ok(Encoded { tar, ..self.join()? })
    }

    fn join(&mut self) -> io::Result<Encoded> {
        self.pieces = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(done)) => done,
            Some(Err(_)) | None => Err(died()),
        }
    }
}

impl Drop for Estargz {
    fn drop(&mut self) {
        self.pieces = None;
        if let Some(thread) = self.thread.take() {
            // What it has to say was asked for before, or nobody wants to know.
            let _ = thread.join();
        }
    }
}

fn died() -> io::Error {
    io::Error::other("a compression thread ended early")
}

fn encode(
    incoming: Receiver<Vec<u8>>,
    sink: Box<dyn BlobSink>,
    level: u32,
    threads: usize,
) -> io::Result<Encoded> {
    let mut writer = Writer {
        pool: GzipPool::new(level, threads),
        out: Members { sink, ends: vec![0] },
        member: Vec::new(),
        members: 0,
        hasher: Hasher::new(),
        size: 0,
    };
    let mut entries = Vec::new();
    let tapped = Rc::new(RefCell::new(Vec::new()));
    let pieces = Pieces { incoming, piece: Vec::new(), at: 0 };
    let mut tar = TarReader::new(Tap { input: pieces, tapped: Rc::clone(&tapped) });
    while let Some(entry) = tar.next_entry().map_err(io::Error::other)? {
        if entry.path == TOC_NAME {
            return Err(io::Error::other("the layer is an eStargz layer already"));
        }
        writer.add(&tapped)?;
        let stored = tar.data_offset().is_some();
        let mut first = toc_entry(&entry);
        if entry.kind != EntryKind::File || entry.size == 0 {
            if entry.kind == EntryKind::File {
                first.digest = Digest::sha256_of(b"").to_string();
            }
            entries.push(first);
            // Headers alone must not grow without end.
            if writer.member.len() >= CHUNK {
                writer.start_member()?;
            }
            continue;
        }
        if !stored {
            return Err(io::Error::other("a sparse file cannot be in an eStargz layer"));
        }
        file(&mut writer, &mut tar, &tapped, first, &mut entries)?;
    }
    tar.drain().map_err(io::Error::other)?;
    writer.add(&tapped)?;
    writer.finish(entries)
}

/// Writes the chunks of a file, each at the beginning of a member.
fn file<R: Read>(
    writer: &mut Writer,
    tar: &mut TarReader<R>,
    tapped: &RefCell<Vec<u8>>,
    first: TocEntry,
    entries: &mut Vec<TocEntry>,
) -> io::Result<()> {
    let (size, name, at) = (first.size, first.name.clone(), entries.len());
    let mut whole = Hasher::new();
    let mut next = Some(first);
    let mut done = 0;
    while done < size {
        let mut entry = next.take().unwrap_or_else(|| TocEntry {
            name: name.clone(),
            kind: "chunk",
            ..TocEntry::default()
        });
        let length = (size - done).min(CHUNK as u64);
        let mut chunk = Vec::with_capacity(usize::try_from(length).unwrap_or(CHUNK));
        tar.by_ref().take(length).read_to_end(&mut chunk)?;
        if chunk.len() as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        whole.update(&chunk);
        writer.start_member()?;
        writer.add(tapped)?;
        entry.offset = writer.members;
        entry.chunk_offset = done;
        // The last chunk goes to the end of the file.
        entry.chunk_size = if done + length < size { length } else { 0 };
        entry.chunk_digest = Digest::sha256_of(&chunk).to_string();
        entries.push(entry);
        done += length;
    }
    entries[at].digest = whole.finish().to_string();
    Ok(())
}

fn toc_entry(entry: &Entry) -> TocEntry {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut toc = TocEntry {
        name: text(&entry.path),
        mode: u64::from(entry.mode),
        uid: u64::from(entry.uid),
        gid: u64::from(entry.gid),
        mod_time: rfc3339(entry.mtime.sec),
        ..TocEntry::default()
    };
    let base64 = &base64::engine::general_purpose::STANDARD;
    let xattrs = entry.xattrs.iter();
    toc.xattrs = xattrs
        .map(|(name, value)| (name.to_string_lossy().into_owned(), base64.encode(value)))
        .collect();
    toc.kind = match &entry.kind {
        EntryKind::File => {
            toc.size = entry.size;
            "reg"
        }
        EntryKind::Dir => "dir",
        EntryKind::HardLink(target) => {
            toc.link_name = text(target);
            "hardlink"
        }
        EntryKind::Symlink(target) => {
            toc.link_name = text(target);
            "symlink"
        }
        EntryKind::Fifo => "fifo",
        EntryKind::Char(major, minor) | EntryKind::Block(major, minor) => {
            (toc.dev_major, toc.dev_minor) = (u64::from(*major), u64::from(*minor));
            if matches!(entry.kind, EntryKind::Char(..)) { "char" } else { "block" }
        }
    };
    toc
}

struct Writer {
    pool: GzipPool,
    out: Members,
    /// Uncompressed bytes of the member that is being filled.
    member: Vec<u8>,
    /// Members before it.
    members: u64,
    hasher: Hasher,
    size: u64,
}

impl Writer {
    /// Adds what was read since the last time to the member.
    fn add(&mut self, tapped: &RefCell<Vec<u8>>) -> io::Result<()> {
        let bytes = std::mem::take(&mut *tapped.borrow_mut());
        self.hasher.update(&bytes);
        self.size += bytes.len() as u64;
        self.member.extend_from_slice(&bytes);
        Ok(())
    }

    /// Ends the member, unless it is empty.
    fn start_member(&mut self) -> io::Result<()> {
        if self.member.is_empty() {
            return Ok(());
        }
        self.members += 1;
        self.pool.push(std::mem::take(&mut self.member), &mut self.out)
    }

    fn finish(mut self, mut entries: Vec<TocEntry>) -> io::Result<Encoded> {
        self.start_member()?;
        self.pool.finish(&mut self.out)?;
        for entry in entries.iter_mut().filter(|entry| !entry.chunk_digest.is_empty()) {
            let member = usize::try_from(entry.offset).unwrap_or(usize::MAX);
            entry.offset = self.out.ends.get(member).copied().ok_or_else(died)?;
        }
        let toc = serde_json::to_vec(&Toc { version: 1, entries })?;
        let mut tar = TarWriter::new(Vec::new());
        let meta = Meta { mode: 0o444, ..Meta::default() };
        let header = Header { path: TOC_NAME, kind: Kind::File(toc.len() as u64), meta: &meta };
        tar.append_bytes(&header, &toc)?;
        let archive = tar.finish()?;
        self.hasher.update(&archive);
        self.size += archive.len() as u64;
        let at = self.out.ends.last().copied().unwrap_or_default();
        self.pool.push(archive, &mut self.out)?;
        self.pool.finish(&mut self.out)?;
        self.out.write_all(&footer(at))?;
        let (digest, size) = self.out.sink.commit(None)?;
        let annotations = BTreeMap::from([
            (TOC_DIGEST.to_owned(), Digest::sha256_of(&toc).to_string()),
            (UNCOMPRESSED_SIZE.to_owned(), self.size.to_string()),
        ]);
        let diff_id = self.hasher.finish();
        let (tar, uncompressed_size) = (diff_id, self.size);
        Ok(Encoded { diff_id, tar, uncompressed_size, digest, size, annotations })
    }
}

/// An empty member whose extra field says where the TOC begins.
fn footer(toc: u64) -> Vec<u8> {
    let mut footer = vec![0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255];
    let field = format!("{toc:016x}STARGZ");
    footer.extend_from_slice(&26_u16.to_le_bytes());
    footer.extend_from_slice(b"SG");
    footer.extend_from_slice(&22_u16.to_le_bytes());
    footer.extend_from_slice(field.as_bytes());
    // A stored block without bytes, the last one; checksum and length of nothing.
    footer.extend_from_slice(&[1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    footer
}

/// Writes members, and notes where each ends: the pool writes a member at once.
struct Members {
    sink: Box<dyn BlobSink>,
    ends: Vec<u64>,
}

impl Write for Members {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write_all(bytes)?;
        let before = self.ends.last().copied().unwrap_or_default();
        self.ends.push(before + bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// The pieces as one stream.
struct Pieces {
    incoming: Receiver<Vec<u8>>,
    piece: Vec<u8>,
    at: usize,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            let Ok(piece) = self.incoming.recv() else { return Ok(0) };
            (self.piece, self.at) = (piece, 0);
        }
        let take = buffer.len().min(self.piece.len() - self.at);
        buffer[..take].copy_from_slice(&self.piece[self.at..self.at + take]);
        self.at += take;
        Ok(take)
    }
}

/// Keeps what is read.
struct Tap<R> {
    input: R,
    tapped: Rc<RefCell<Vec<u8>>>,
}

impl<R: Read> Read for Tap<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.tapped.borrow_mut().extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}
