//! A command's output: events for people, and a tail for the error.

use std::collections::VecDeque;
use std::io::Read;
use std::sync::{Mutex, PoisonError};

/// Lines kept for the error message of a failed command.
const TAIL_LINES: usize = 20;
/// A line in the tail is cut to this many bytes.
const TAIL_LINE_BYTES: usize = 1000;
/// Read at once from a pipe (the kernel's default pipe size).
const CHUNK: usize = 64 * 1024;

/// The last lines of a command's output.
#[derive(Default)]
pub(crate) struct Tail(Mutex<TailState>);

#[derive(Default)]
struct TailState {
    lines: VecDeque<String>,
    partial: Vec<u8>,
}

impl Tail {
    /// Takes more output.
    pub(crate) fn push(&self, data: &[u8]) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in data.split_inclusive(|b| *b == b'\n') {
            let room = TAIL_LINE_BYTES.saturating_sub(state.partial.len());
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            state.partial.extend_from_slice(&text[..text.len().min(room)]);
            if piece.ends_with(b"\n") {
                state.end_line();
            }
        }
    }

    /// The lines, oldest first.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !state.partial.is_empty() {
            state.end_line();
        }
        state.lines.iter().cloned().collect()
    }
}

impl TailState {
    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.partial);
        let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
        if self.lines.len() == TAIL_LINES {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

/// Reads a pipe to its end and hands every chunk on. A broken pipe ends it like an end of file:
/// the command's exit code tells what happened.
pub(crate) fn drain(mut pipe: impl Read, mut each: impl FnMut(&[u8])) {
    let mut buffer = vec![0u8; CHUNK];
    loop {
        match pipe.read(&mut buffer) {
            Ok(0) => return,
            Ok(n) => each(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_keeps_the_last_lines_however_they_arrive() {
        let tail = Tail::default();
        for n in 0..30 {
            tail.push(b"li");
            tail.push(format!("ne {n}\n").as_bytes());
        }
        tail.push(b"no newline");
        let lines = tail.lines();
        assert_eq!(lines.len(), TAIL_LINES);
        assert_eq!(lines.first().map(String::as_str), Some("line 11"));
        assert_eq!(lines.last().map(String::as_str), Some("no newline"));
    }

    #[test]
    fn a_monstrous_line_is_cut() {
        let tail = Tail::default();
        tail.push(&vec![b'x'; 1 << 20]);
        assert_eq!(tail.lines()[0].len(), TAIL_LINE_BYTES);
    }
}
