//! Decompression and hashing on a thread of their own, ahead of the unpacking.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use karman_oci::{Digest, Hasher};

use super::{Limits, RATIO_FLOOR, UnpackError};
use crate::decompress::decompress;

const PIECE: usize = 256 * 1024;
const PIECES: usize = 16;

/// What came out of the decompressor in all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Total {
    pub(super) diff_id: Digest,
    pub(super) size: u64,
}

/// Decompresses `input` beside `consume`, which reads the result. The input is read to its end even when the
/// consumer stops earlier without an error.
pub(super) fn feed<T>(
    input: impl Read + Send,
    limits: Limits,
    consume: impl FnOnce(&mut Pieces) -> Result<T, UnpackError>,
) -> Result<(T, Total), UnpackError> {
    let taken = Arc::new(AtomicU64::new(0));
    let counted = Counted { input, taken: Arc::clone(&taken) };
    let mut plain = decompress(counted)?;
    thread::scope(|scope| {
        let (pieces_in, pieces_out) = sync_channel(PIECES);
        let worker = scope.spawn(move || pump(&mut plain, &taken, limits, &pieces_in));
        let mut pieces = Pieces { from: pieces_out, piece: Vec::new(), at: 0, over: None };
        let consumed = consume(&mut pieces);
        let over = pieces.over;
        // A worker that waits for room must not wait for ever.
        drop(pieces);
        let total = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        if let Some((what, limit)) = over {
            return Err(UnpackError::Limit { what, limit });
        }
        Ok((consumed?, total))
    })
}

enum Piece {
    Data(Vec<u8>),
    Failed(io::Error),
    Over(&'static str, u64),
}

fn pump(plain: &mut dyn Read, taken: &AtomicU64, limits: Limits, out: &SyncSender<Piece>) -> Total {
    let mut hasher = Hasher::new();
    let mut size = 0;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = plain.take(PIECE as u64).read_to_end(&mut piece);
        hasher.update(&piece);
        size += piece.len() as u64;
        let end = piece.is_empty();
        let next = match read {
            Err(error) => Piece::Failed(error),
            Ok(_) if size > limits.bytes => Piece::Over("bytes", limits.bytes),
            Ok(_) if is_bomb(size, taken.load(Ordering::Relaxed), limits.ratio) => {
                Piece::Over("bytes for each compressed byte", limits.ratio)
            }
            Ok(_) => Piece::Data(piece),
        };
        let last = end || !matches!(next, Piece::Data(_));
        if end && matches!(next, Piece::Data(_)) || out.send(next).is_err() || last {
            return Total { diff_id: hasher.finish(), size };
        }
    }
}

fn is_bomb(size: u64, taken: u64, ratio: u64) -> bool {
    size > RATIO_FLOOR && size / ratio > taken
}

/// The decompressed bytes as they come.
pub(super) struct Pieces {
    from: Receiver<Piece>,
    piece: Vec<u8>,
    at: usize,
    over: Option<(&'static str, u64)>,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.piece.len() {
            match self.from.recv() {
                Err(_) => return Ok(0),
                Ok(Piece::Data(piece)) => (self.piece, self.at) = (piece, 0),
                Ok(Piece::Failed(error)) => return Err(error),
                Ok(Piece::Over(what, limit)) => {
                    self.over = Some((what, limit));
                    return Err(io::Error::other("over a limit"));
                }
            }
        }
        let read = buffer.len().min(self.piece.len() - self.at);
        buffer[..read].copy_from_slice(&self.piece[self.at..self.at + read]);
        self.at += read;
        Ok(read)
    }
}

/// Counts compressed bytes.
struct Counted<R> {
    input: R,
    taken: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.taken.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
