//! Walking a layer, or a chain of layers merged, in canonical order and with the data read ahead.
//!
//! One thread lists directories; a few others read small files, so that cold caches and 50,000 small files do not
//! leave the compressor idle; the caller receives the items in order. What is in flight is bounded by
//! [`BATCHES`] × ([`BATCH_BYTES`] + [`INLINE`]) bytes.

mod frame;
mod list;
mod load;
mod tree;

use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use karman_sys::fs::{Dir, FileKind, FsError, Stat, Xattrs};

pub(crate) use list::{Listed, ListedKind, list_merged};
pub(crate) use tree::{is_opaque, open_path};

/// Files up to this size are read into memory ahead; larger ones are only opened.
pub(crate) const INLINE: u64 = 1 << 20;

const BATCH_BYTES: u64 = 4 << 20;
const BATCH_ITEMS: usize = 32;
const BATCHES: usize = 6;
const READERS: usize = 2;

/// A tree that could not be walked.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// A file operation failed.
    #[error("walk `{path}`")]
    File {
        /// The path inside the tree.
        path: String,
        /// The cause.
        #[source]
        source: FsError,
    },
    /// The data of a file could not be read.
    #[error("read `{path}`")]
    Read {
        /// The path inside the tree.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file was replaced while the tree was walked.
    #[error("`{path}` changed while it was read")]
    Changed {
        /// The path inside the tree.
        path: String,
    },
}

/// What a walk shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// One layer with its whiteouts and opaque markers.
    Layer,
    /// What a container would see; whiteouts have done their work.
    Merged,
}

/// One name in the tree.
#[derive(Debug)]
pub(crate) struct Item {
    /// Path without leading or trailing `/`; empty for the root (only for [`What::Opaque`]).
    pub(crate) path: Vec<u8>,
    pub(crate) what: What,
    pub(crate) stat: Stat,
    pub(crate) xattrs: Xattrs,
    /// Index of the layer it is from, topmost 0.
    pub(crate) layer: usize,
}

#[derive(Debug)]
pub(crate) enum What {
    Dir,
    /// Comes before everything else in its directory.
    Opaque,
    Whiteout,
    File(Data),
    /// Another name of an earlier file.
    Link(Vec<u8>),
    Symlink(Vec<u8>),
    Special,
}

#[derive(Debug)]
pub(crate) enum Data {
    Bytes(Vec<u8>),
    Open(File),
    /// Not loaded yet: the directory it is in.
    Later(Arc<Dir>),
}

impl Item {
    /// The last component of the path.
    pub(crate) fn name(&self) -> &[u8] {
        self.path.rsplit(|byte| *byte == b'/').next().unwrap_or(&self.path)
    }

    /// The path of the directory it is in; empty for the root.
    pub(crate) fn parent(&self) -> &[u8] {
        self.path.iter().rposition(|byte| *byte == b'/').map_or(b"", |at| &self.path[..at])
    }

    fn weight(&self) -> u64 {
        if matches!(self.what, What::File(_)) { self.stat.size.min(INLINE) } else { 0 }
    }
}

type Batch = Result<Vec<Item>, WalkError>;
type Job = (Vec<Item>, SyncSender<Batch>);

/// Walks `layers` (topmost first; exactly one for [`Mode::Layer`]) and hands each item, loaded, to `take`.
pub(crate) fn walk<E: From<WalkError>>(
    layers: &[&Dir],
    mode: Mode,
    mut take: impl FnMut(Item) -> Result<(), E>,
) -> Result<(), E> {
    thread::scope(|scope| {
        let (order_in, order_out) = sync_channel::<Receiver<Batch>>(BATCHES);
        let (job_in, job_out) = sync_channel::<Job>(BATCHES);
        let jobs = Arc::new(Mutex::new(job_out));
        for _ in 0..READERS {
            let jobs = Arc::clone(&jobs);
            scope.spawn(move || load::serve(&jobs));
        }
        // Only the readers hold the receiver now: when they end, the walker's sends fail instead of waiting.
        drop(jobs);
        scope.spawn(move || Feeder::new(order_in, job_in).run(layers, mode));
        for reply in order_out {
            // A reply that never comes means that a reader died; its panic is raised when the scope ends.
            let Ok(batch) = reply.recv() else { break };
            for item in batch? {
                take(item)?;
            }
        }
        Ok(())
    })
}

/// Groups items into batches for the readers.
struct Feeder {
    order: SyncSender<Receiver<Batch>>,
    jobs: SyncSender<Job>,
    items: Vec<Item>,
    weight: u64,
}

/// The consumer has gone: nothing to report.
struct Gone;

impl Feeder {
    fn new(order: SyncSender<Receiver<Batch>>, jobs: SyncSender<Job>) -> Self {
        Self { order, jobs, items: Vec::new(), weight: 0 }
    }

    fn run(mut self, layers: &[&Dir], mode: Mode) {
        let mut tree = match tree::Tree::open(layers, mode) {
            Ok(tree) => tree,
            Err(error) => return self.fail(error),
        };
        loop {
            match tree.next_item() {
                Ok(Some(item)) => {
                    if self.push(item).is_err() {
                        return;
                    }
                }
                Ok(None) => break,
                Err(error) => return self.fail(error),
            }
        }
        // A consumer that has gone does not miss the rest.
        let _ = self.flush();
    }

    fn push(&mut self, item: Item) -> Result<(), Gone> {
        self.weight += item.weight();
        self.items.push(item);
        if self.weight >= BATCH_BYTES || self.items.len() >= BATCH_ITEMS {
            return self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Gone> {
        self.weight = 0;
        let (reply_in, reply_out) = sync_channel(1);
        self.order.send(reply_out).map_err(|_| Gone)?;
        self.jobs.send((std::mem::take(&mut self.items), reply_in)).map_err(|_| Gone)
    }

    fn fail(mut self, error: WalkError) {
        let (reply_in, reply_out) = sync_channel(1);
        if self.flush().is_ok() && self.order.send(reply_out).is_ok() {
            // The receiver is in the queue, or its owner has gone.
            let _ = reply_in.send(Err(error));
        }
    }
}

pub(crate) fn show(path: &[u8]) -> String {
    let path = if path.is_empty() { b"/" } else { path };
    String::from_utf8_lossy(path).into_owned()
}

pub(crate) fn os(bytes: &[u8]) -> &std::ffi::OsStr {
    std::ffi::OsStr::from_bytes(bytes)
}

pub(crate) fn file_error(path: &[u8]) -> impl FnOnce(FsError) -> WalkError + '_ {
    move |source| WalkError::File { path: show(path), source }
}

pub(crate) const fn is_special(kind: FileKind) -> bool {
    matches!(kind, FileKind::Fifo | FileKind::Char | FileKind::Block)
}
