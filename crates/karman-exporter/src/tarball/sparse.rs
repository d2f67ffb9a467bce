//! Files with holes: GNU's old sparse headers (type `S`) and its three PAX forms (GNU tar manual, "Sparse Formats").

use super::number::get_number;
use super::pax::SparseRecords;

/// The most pieces a file with holes may have.
const MAX_PIECES: usize = 65_536;

/// Where the stored bytes of a file belong.
#[derive(Debug, Default)]
pub(super) struct Map {
    /// Offset and length of each stored piece, ascending.
    pub(super) pieces: Vec<(u64, u64)>,
    /// The size of the file with its holes.
    pub(super) size: u64,
}

/// How a sparse file's map was announced.
pub(super) enum Form {
    /// Not sparse.
    None,
    /// The whole map is known.
    Known(Map),
    /// PAX 1.0: the map is text before the data; the size with holes is known.
    InData(u64),
}

/// What PAX records say about holes; `Err` when they contradict each other.
pub(super) fn from_records(records: &SparseRecords) -> Result<Form, ()> {
    let Some(size) = records.size else {
        return if records.map.is_empty() { Ok(Form::None) } else { Err(()) };
    };
    match (records.major, records.minor) {
        (Some(1), Some(0)) => Ok(Form::InData(size)),
        (None | Some(0), None | Some(0 | 1)) => {
            if !records.map.len().is_multiple_of(2) || records.map.len() / 2 > MAX_PIECES {
                return Err(());
            }
            let pieces = records.map.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
            Ok(Form::Known(Map { pieces, size }))
        }
        _ => Err(()),
    }
}

impl Map {
    /// Takes the offset-length pairs of an old GNU header or extension block; stops at the first empty one.
    pub(super) fn take_pairs(&mut self, pairs: &[u8]) -> Option<()> {
        for pair in pairs.chunks_exact(24) {
            if pair[0] == 0 || pair[12] == 0 {
                break;
            }
            let number = |field: &[u8]| get_number(field).and_then(|n| u64::try_from(n).ok());
            self.pieces.push((number(&pair[..12])?, number(&pair[12..])?));
        }
        (self.pieces.len() <= MAX_PIECES).then_some(())
    }

    /// Whether the pieces ascend without overlap inside the file and hold exactly `stored` bytes.
    pub(super) fn is_consistent(&self, stored: u64) -> bool {
        let mut end = 0;
        let mut sum = 0_u64;
        for (offset, length) in &self.pieces {
            let Some(next) = offset.checked_add(*length) else { return false };
            if *offset < end || next > self.size {
                return false;
            }
            end = next;
            sum += length;
        }
        sum == stored
    }
}

/// Reads the lines of a PAX 1.0 map as they come: first the number of pieces, then offset and length by turns.
#[derive(Debug, Default)]
pub(super) struct TextMap {
    wanted: Option<usize>,
    numbers: Vec<u64>,
    line: Vec<u8>,
}

impl TextMap {
    /// Takes one block; `Some(true)` when the map is complete, `None` when it is malformed.
    pub(super) fn take(&mut self, block: &[u8]) -> Option<bool> {
        for byte in block {
            if self.done() {
                return Some(true);
            }
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > 20 {
                    return None;
                }
                continue;
            }
            let number: u64 = std::str::from_utf8(&self.line).ok()?.parse().ok()?;
            self.line.clear();
            if self.wanted.is_none() {
                let pieces = usize::try_from(number).ok().filter(|pieces| *pieces <= MAX_PIECES)?;
                self.wanted = Some(2 * pieces);
            } else {
                self.numbers.push(number);
            }
        }
        Some(self.done())
    }

    /// The map of a file of `size` bytes.
    pub(super) fn into_map(self, size: u64) -> Map {
        let pieces = self.numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
        Map { pieces, size }
    }

    fn done(&self) -> bool {
        self.wanted.is_some_and(|wanted| self.numbers.len() == wanted)
    }
}
