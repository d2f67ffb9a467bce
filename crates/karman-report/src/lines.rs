//! From chunks of output to whole, masked lines.

use crate::Redactor;

/// A line without an end is given out in parts of about this size.
const MAX_LINE: usize = 64 << 10;

/// A piece of output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// A line, without its end.
    Line(String),
    /// A line that ended in a carriage return: the next one is written over it.
    Overwritten(String),
}

/// Collects chunks that may be cut anywhere. A piece is only given out once its end is known, so a
/// secret that comes in two chunks is still found.
#[derive(Debug, Default)]
pub(crate) struct LineBuffer {
    held: Vec<u8>,
}

impl LineBuffer {
    /// Takes a chunk and gives the pieces it completed.
    pub(crate) fn push(&mut self, data: &[u8], redactor: &Redactor) -> Vec<Piece> {
        self.held.extend_from_slice(data);
        let mut pieces = Vec::new();
        let mut start = 0;
        let mut at = 0;
        while at < self.held.len() {
            let (piece, next) = match self.held[at] {
                b'\n' => (Piece::Line as fn(String) -> Piece, at + 1),
                // What follows decides; it may not be there yet.
                b'\r' if at + 1 == self.held.len() => break,
                b'\r' if self.held[at + 1] == b'\n' => (Piece::Line as _, at + 2),
                b'\r' => (Piece::Overwritten as _, at + 1),
                _ => {
                    at += 1;
                    continue;
                }
            };
            pieces.push(piece(text(&redactor.mask_bytes(&self.held[start..at]))));
            start = next;
            at = next;
        }
        self.held.drain(..start);
        if self.held.len() > MAX_LINE {
            pieces.push(Piece::Line(self.cut(redactor)));
        }
        pieces
    }

    /// The last line, where it had no end.
    pub(crate) fn finish(&mut self, redactor: &Redactor) -> Option<Piece> {
        let held = std::mem::take(&mut self.held);
        let line = held.strip_suffix(b"\r").unwrap_or(&held);
        (!line.is_empty()).then(|| Piece::Line(text(&redactor.mask_bytes(line))))
    }

    /// Gives out most of an endless line and keeps what may be the beginning of a secret.
    fn cut(&mut self, redactor: &Redactor) -> String {
        let keep = redactor.longest().saturating_sub(1).min(MAX_LINE);
        let mut end = self.held.len() - keep;
        if let Some((_, last)) =
            redactor.matches(&self.held).into_iter().find(|(a, b)| *a < end && end < *b)
        {
            end = last;
        }
        let head: Vec<u8> = self.held.drain(..end).collect();
        text(&redactor.mask_bytes(&head))
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(chunks: &[&str], redactor: &Redactor) -> Vec<String> {
        let mut buffer = LineBuffer::default();
        let mut out: Vec<Piece> =
            chunks.iter().flat_map(|c| buffer.push(c.as_bytes(), redactor)).collect();
        out.extend(buffer.finish(redactor));
        out.into_iter()
            .map(|p| match p {
                Piece::Line(t) => t,
                Piece::Overwritten(t) => format!("{t}<cr>"),
            })
            .collect()
    }

    #[test]
    fn lines_come_whole_however_they_are_cut() {
        let r = Redactor::default();
        assert_eq!(all(&["a", "b\nc\r", "\nd"], &r), ["ab", "c", "d"]);
        assert_eq!(all(&["1%\r2%\r3%\n"], &r), ["1%<cr>", "2%<cr>", "3%"]);
    }

    #[test]
    fn a_secret_over_two_chunks_is_masked() {
        let r = Redactor::new([b"hunter2".to_vec()]);
        assert_eq!(all(&["x hun", "ter2 y\n"], &r), ["x *** y"]);
    }

    #[test]
    fn a_secret_at_the_cut_of_an_endless_line_is_masked() {
        let r = Redactor::new([b"hunter2".to_vec()]);
        for shift in 0..12 {
            let first = format!("{}hun", "x".repeat(MAX_LINE - shift));
            let out = all(&[&first, &"y".repeat(shift), "", "ter2"], &r).concat();
            assert!(!out.contains("hunter2"), "{shift}");
            let secret = format!("{}hunter2hunter2", "x".repeat(MAX_LINE - shift));
            let out = all(&[&secret], &r).concat();
            assert!(!out.contains("hun") && out.ends_with("***"), "{shift}");
        }
    }
}
