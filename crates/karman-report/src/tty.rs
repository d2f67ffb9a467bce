//! The live view of a terminal, in the words of `buildx --progress=tty`.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use karman_control::{Event, VertexStatus};

use crate::Redactor;
use crate::human::human_duration;
use crate::lines::Piece;
use crate::plain::part_line;
use crate::reporter::{SizeFn, View};
use crate::sanitize::sanitize;
use crate::screen::{Line, Screen, Style};
use crate::steps::{Change, Step, Steps};

/// Lines shown of a running command.
const LOG_LINES: usize = 6;
/// Parts shown of a vertex.
const SHOWN_PARTS: usize = 8;
/// Warnings kept for the end.
const MAX_WARNINGS: usize = 200;
/// Taken where the terminal does not tell its size.
const DEFAULT_SIZE: (u16, u16) = (80, 24);
/// Narrower terminals are drawn as if they were this wide.
const MIN_WIDTH: usize = 20;

/// The last lines of a command.
#[derive(Debug, Default)]
struct Log {
    lines: VecDeque<String>,
    /// Whether the next line replaces the last one.
    overwrite: bool,
}

impl Log {
    fn push(&mut self, piece: Piece) {
        let (text, overwrite) = match piece {
            Piece::Line(text) => (text, false),
            Piece::Overwritten(text) => (text, true),
        };
        if std::mem::replace(&mut self.overwrite, overwrite) {
            self.lines.pop_back();
        }
        self.lines.push_back(sanitize(&text));
        if self.lines.len() > LOG_LINES {
            self.lines.pop_front();
        }
    }
}

/// The terminal view.
pub(crate) struct Tty {
    redactor: Redactor,
    steps: Steps,
    logs: Vec<Log>,
    warnings: Vec<String>,
    size: SizeFn,
    screen: Screen,
    canceling: bool,
}

impl Tty {
    pub(crate) fn new(redactor: Redactor, colour: bool, size: SizeFn) -> Self {
        Self {
            redactor,
            steps: Steps::default(),
            logs: Vec::new(),
            warnings: Vec::new(),
            size,
            screen: Screen::new(colour),
            canceling: false,
        }
    }

    fn size(&self) -> (usize, usize) {
        let (columns, rows) = (self.size)().unwrap_or(DEFAULT_SIZE);
        (usize::from(columns).max(MIN_WIDTH), usize::from(rows))
    }

    fn header(&self, now: Duration, width: usize, finished: bool) -> Line {
        let ended = self.steps.all.iter().filter(|s| s.ended.is_some()).count();
        let state = match (finished, self.canceling) {
            (_, true) => " CANCELED",
            (true, false) => " FINISHED",
            (false, false) => "",
        };
        let text = format!(
            "[+] Building {} ({ended}/{}){state}",
            human_duration(now),
            self.steps.all.len()
        );
        Line::spread(&text, "", width, Style::Plain)
    }

    /// The lines of one vertex, its own first.
    fn step_lines(&self, index: usize, now: Duration, width: usize, finished: bool) -> Vec<Line> {
        let step = &self.steps.all[index];
        let (word, style) = match &step.ended {
            None if finished => ("CANCELED ", Style::Warn),
            None => ("", Style::Plain),
            Some((_, VertexStatus::Done)) => ("", Style::Done),
            Some((_, VertexStatus::Cached)) => ("CACHED ", Style::Done),
            Some((_, VertexStatus::Canceled)) => ("CANCELED ", Style::Warn),
            Some((_, VertexStatus::Failed(_))) => ("ERROR ", Style::Bad),
        };
        let left = format!(" => {word}{}", step.name);
        let mut lines = vec![Line::spread(&left, &human_duration(step.elapsed(now)), width, style)];
        if step.ended.is_some() || finished {
            return lines;
        }
        lines.extend(part_lines(step, width));
        let log = self.logs.get(index).into_iter().flat_map(|log| &log.lines);
        lines.extend(log.map(|l| Line::spread(&format!(" => => # {l}"), "", width, Style::Faint)));
        lines
    }

    /// The block while the build runs: what runs comes first when not all of it fits.
    fn running_block(&self, now: Duration, width: usize, rows: usize) -> Vec<Line> {
        let room = rows.saturating_sub(2).max(1);
        let running = |s: &Step| s.ended.is_none();
        let mut chosen: Vec<Option<Vec<Line>>> = vec![None; self.steps.all.len()];
        let mut left = room;
        let first = (0..chosen.len()).rev().filter(|i| running(&self.steps.all[*i]));
        let then = (0..chosen.len()).rev().filter(|i| !running(&self.steps.all[*i]));
        for index in first.chain(then) {
            if left == 0 {
                break;
            }
            let mut lines = self.step_lines(index, now, width, false);
            if lines.len() > left {
                // The newest lines of a log are at its end, the vertex itself stays on top.
                let drop = lines.len() - left;
                lines.drain(1..=drop);
            }
            left -= lines.len();
            chosen[index] = Some(lines);
        }
        let mut block = vec![self.header(now, width, false)];
        block.extend(chosen.into_iter().flatten().flatten());
        block
    }
}

fn part_lines(step: &Step, width: usize) -> impl Iterator<Item = Line> {
    let skip = step.parts.len().saturating_sub(SHOWN_PARTS);
    let lines = step.parts.iter().skip(skip).map(move |part| {
        let text = part_line(part);
        let text = text.strip_suffix(" done").unwrap_or(&text);
        let (left, right) = text.rsplit_once(' ').unwrap_or((text, ""));
        let style = if part.done { Style::Done } else { Style::Plain };
        Line::spread(&format!(" => => {left}"), right, width, style)
    });
    lines.collect::<Vec<_>>().into_iter()
}

impl View for Tty {
    fn event(&mut self, event: &Event, _now: Duration, _out: &mut dyn Write) -> io::Result<()> {
        for change in self.steps.apply(event, &self.redactor) {
            match change {
                Change::Lines(step, _, _, pieces) => {
                    if self.logs.len() <= step {
                        self.logs.resize_with(step + 1, Log::default);
                    }
                    pieces.into_iter().for_each(|piece| self.logs[step].push(piece));
                }
                Change::Warning(_, message) if self.warnings.len() < MAX_WARNINGS => {
                    self.warnings.push(message);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn tick(&mut self, now: Duration, out: &mut dyn Write) -> io::Result<()> {
        if self.steps.all.is_empty() {
            return Ok(());
        }
        let (width, rows) = self.size();
        let block = self.running_block(now, width - 1, rows);
        self.screen.draw(&block, width, out)?;
        // A second signal ends the process at once: the cursor has to be back by then.
        if self.canceling { self.screen.restore(out) } else { Ok(()) }
    }

    fn finish(&mut self, now: Duration, out: &mut dyn Write) -> io::Result<()> {
        if !self.steps.all.is_empty() {
            let (width, _) = self.size();
            let mut block = vec![self.header(now, width - 1, true)];
            for index in 0..self.steps.all.len() {
                block.extend(self.step_lines(index, now, width - 1, true));
            }
            self.screen.draw(&block, width, out)?;
        }
        for warning in std::mem::take(&mut self.warnings) {
            writeln!(out, "WARNING: {warning}")?;
        }
        self.screen.restore(out)
    }

    fn cancel(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.canceling = true;
        self.screen.restore(out)
    }

    fn restore(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.screen.restore(out)
    }

    fn redact(&mut self, redactor: Redactor) {
        self.redactor = redactor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reporter::tests::{ended, log, millis, started};

    fn view(size: (u16, u16), events: &[Event]) -> Tty {
        let redactor = Redactor::new([b"hunter2".to_vec()]);
        let mut view = Tty::new(redactor, false, Box::new(move || Some(size)));
        for event in events {
            view.event(event, Duration::ZERO, &mut Vec::new()).expect("memory takes everything");
        }
        view
    }

    fn block(view: &Tty, now: u64) -> Vec<String> {
        let (width, rows) = view.size();
        view.running_block(millis(now), width - 1, rows).into_iter().map(|l| l.text).collect()
    }

    #[test]
    fn a_running_build_shows_steps_and_the_end_of_their_logs() {
        let v = view(
            (40, 24),
            &[
                started(1, "[base] FROM debian", 0),
                ended(1, VertexStatus::Cached, 0),
                started(2, "[build 2/5] RUN make all the things there are", 100),
                log(2, "one\n10%\r20%\r\u{1b}[2Jhunter2", 200),
                log(2, "\n", 300),
            ],
        );
        let want = [
            "[+] Building 1.3s (1/2)",
            " => CACHED [base] FROM debian      0.0s",
            " => [build 2/5] RUN make all the … 1.2s",
            " => => # one",
            " => => # ***",
        ];
        assert_eq!(block(&v, 1300), want);
    }

    #[test]
    fn a_low_terminal_keeps_what_runs() {
        let mut events: Vec<Event> = Vec::new();
        for n in 1..=9 {
            events.push(started(n, &format!("step {n}"), 0));
            if n != 4 {
                events.push(ended(n, VertexStatus::Done, 0));
            }
        }
        events.push(log(4, "a\nb\nc\nd\n", 0));
        let want = [
            "[+] Building 0.0s (8/9)",
            " => step 4                         0.0s",
            " => => # c",
            " => => # d",
        ];
        assert_eq!(block(&view((40, 5), &events), 0), want);
        assert_eq!(block(&view((40, 9), &events), 0).len(), 8);
    }

    #[test]
    fn the_last_block_lists_everything_and_gives_the_cursor_back() {
        let mut v = view(
            (40, 4),
            &[
                started(1, "one", 0),
                ended(1, VertexStatus::Done, 1000),
                started(2, "two", 0),
                ended(2, VertexStatus::Failed("x".into()), 2000),
                started(3, "three", 0),
                Event::Warning { vertex: None, message: "careful".into() },
            ],
        );
        let mut out = Vec::new();
        v.finish(millis(2000), &mut out).expect("memory takes everything");
        let text = String::from_utf8(out).expect("text");
        let want = "\u{1b}[?25l\
            [+] Building 2.0s (2/3) FINISHED\u{1b}[K\n \
            => one                            1.0s\u{1b}[K\n \
            => ERROR two                      2.0s\u{1b}[K\n \
            => CANCELED three                 2.0s\u{1b}[K\n\
            \u{1b}[JWARNING: careful\n\u{1b}[?25h";
        assert_eq!(text, want);
    }
}
