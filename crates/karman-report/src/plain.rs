//! Plain text for logs, in the words of `buildx --progress=plain`.
//!
//! One vertex has the floor. Lines of others wait until it ends or has had its time; then its header
//! is printed again, so that every block of lines says whose they are.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use karman_control::{Event, VertexStatus};

use crate::Redactor;
use crate::human::{human_duration, progress, stamp};
use crate::lines::Piece;
use crate::reporter::View;
use crate::sanitize::sanitize;
use crate::steps::{Change, Part, Steps};

/// Another vertex gets the floor when it waited this long and the one that has it was silent as long.
const PATIENCE: Duration = Duration::from_secs(1);
/// Another vertex gets the floor when it waited this long.
const MAX_WAIT: Duration = Duration::from_secs(5);
/// A part that goes on is shown again after this long.
const PART_PERIOD: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
struct Waiting {
    text: String,
    since: Option<Duration>,
}

/// The plain view.
pub(crate) struct Plain {
    redactor: Redactor,
    steps: Steps,
    waiting: Vec<Waiting>,
    /// When each part was last shown: step, part, time.
    shown: VecDeque<(usize, String, Duration)>,
    floor: Option<usize>,
    last_output: Duration,
}

/// Parts whose last line is remembered.
const MAX_SHOWN: usize = 1024;

impl Plain {
    pub(crate) fn new(redactor: Redactor) -> Self {
        Self {
            redactor,
            steps: Steps::default(),
            waiting: Vec::new(),
            shown: VecDeque::new(),
            floor: None,
            last_output: Duration::ZERO,
        }
    }

    fn queue(&mut self, step: usize, at: Duration, text: &str) {
        if self.waiting.len() <= step {
            self.waiting.resize_with(step + 1, Waiting::default);
        }
        let waiting = &mut self.waiting[step];
        waiting.text.push_str(text);
        waiting.since.get_or_insert(at);
    }

    fn change(&mut self, change: Change, at: Duration, out: &mut dyn Write) -> io::Result<()> {
        match change {
            Change::Started(step) => self.queue(step, at, ""),
            Change::Lines(step, _, after, pieces) => {
                let mut text = String::new();
                for piece in pieces {
                    // What was written over is not worth a line of a log.
                    if let Piece::Line(line) = piece {
                        let _ =
                            writeln!(text, "#{} {} {}", step + 1, stamp(after), sanitize(&line));
                    }
                }
                if !text.is_empty() {
                    self.queue(step, at, &text);
                }
            }
            Change::Part(step, part) => self.part(step, part, at),
            Change::Ended(step) => self.ended(step, at),
            Change::Warning(_, message) => writeln!(out, "WARNING: {message}")?,
        }
        Ok(())
    }

    fn part(&mut self, step: usize, part: usize, at: Duration) {
        let part = &self.steps.all[step].parts[part];
        let last = self.shown.iter().find(|(s, id, _)| *s == step && *id == part.id);
        if !part.done && last.is_some_and(|(_, _, shown)| at.saturating_sub(*shown) < PART_PERIOD) {
            return;
        }
        let text = format!("#{} {}\n", step + 1, part_line(part));
        let id = part.id.clone();
        self.shown.retain(|(s, i, _)| *s != step || *i != id);
        self.shown.push_back((step, id, at));
        if self.shown.len() > MAX_SHOWN {
            self.shown.pop_front();
        }
        self.queue(step, at, &text);
    }

    fn ended(&mut self, step: usize, at: Duration) {
        let s = &self.steps.all[step];
        let number = step + 1;
        let line = match &s.ended {
            Some((_, VertexStatus::Cached)) => format!("#{number} CACHED\n"),
            Some((_, VertexStatus::Canceled)) => format!("#{number} CANCELED\n"),
            Some((_, VertexStatus::Failed(why))) => format!("#{number} ERROR: {}\n", sanitize(why)),
            _ => format!("#{number} DONE {}\n", human_duration(s.elapsed(at))),
        };
        self.queue(step, at, &line);
    }

    /// Writes what may be written now.
    fn schedule(&mut self, now: Duration, out: &mut dyn Write) -> io::Result<()> {
        loop {
            let Some(floor) = self.floor else {
                let Some(next) = self.longest_waiting(None) else { return Ok(()) };
                self.give_floor(next, out)?;
                continue;
            };
            let waiting = &mut self.waiting[floor];
            if waiting.since.take().is_some() {
                out.write_all(waiting.text.as_bytes())?;
                waiting.text.clear();
                self.last_output = now;
            }
            if self.steps.all[floor].ended.is_some() {
                writeln!(out)?;
                self.floor = None;
                continue;
            }
            let Some(next) = self.longest_waiting(Some(floor)) else { return Ok(()) };
            let waited = now.saturating_sub(self.waiting[next].since.unwrap_or(now));
            let silent = now.saturating_sub(self.last_output);
            if waited < MAX_WAIT && waited.min(silent) < PATIENCE {
                return Ok(());
            }
            writeln!(out, "#{} ...\n", floor + 1)?;
            self.give_floor(next, out)?;
            self.last_output = now;
        }
    }

    fn give_floor(&mut self, step: usize, out: &mut dyn Write) -> io::Result<()> {
        self.floor = Some(step);
        writeln!(out, "#{} {}", step + 1, self.steps.all[step].name)
    }

    fn longest_waiting(&self, except: Option<usize>) -> Option<usize> {
        let waiting = self.waiting.iter().enumerate().filter(|(i, _)| Some(*i) != except);
        waiting.filter_map(|(i, w)| Some((w.since?, i))).min().map(|(_, i)| i)
    }
}

/// `extract sha256:… 10.0MB / 20.0MB 0.3s done`.
pub(crate) fn part_line(part: &Part) -> String {
    let mut line = part.id.clone();
    if (part.current, part.total) != (0, 0) {
        let _ = write!(line, " {}", progress(part.current, part.total));
    }
    let _ = write!(line, " {}", human_duration(part.at.saturating_sub(part.started)));
    if part.done {
        line.push_str(" done");
    }
    line
}

impl View for Plain {
    fn event(&mut self, event: &Event, now: Duration, out: &mut dyn Write) -> io::Result<()> {
        for change in self.steps.apply(event, &self.redactor) {
            self.change(change, now, out)?;
        }
        self.schedule(now, out)
    }

    fn tick(&mut self, now: Duration, out: &mut dyn Write) -> io::Result<()> {
        self.schedule(now, out)
    }

    fn finish(&mut self, now: Duration, out: &mut dyn Write) -> io::Result<()> {
        while let Some(next) = self.longest_waiting(None) {
            if self.floor != Some(next) {
                if let Some(floor) = self.floor {
                    writeln!(out, "#{} ...\n", floor + 1)?;
                }
                self.give_floor(next, out)?;
            }
            self.schedule(now, out)?;
        }
        out.flush()
    }

    fn redact(&mut self, redactor: Redactor) {
        self.redactor = redactor;
    }
}

#[cfg(test)]
mod tests {
    use karman_control::Stream;
    use karman_llb::VertexDigest;
    use karman_oci::Digest;

    use super::*;
    use crate::reporter::tests::{ended, log, millis, started};

    fn run(events: &[Event]) -> String {
        let mut view = Plain::new(Redactor::new([b"hunter2".to_vec()]));
        let mut out = Vec::new();
        let mut now = Duration::ZERO;
        for event in events {
            now = crate::reporter::time_of(event).unwrap_or(now);
            view.event(event, now, &mut out).expect("memory takes everything");
        }
        view.finish(now, &mut out).expect("memory takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_step_reads_as_in_buildx() {
        let out = run(&[
            started(1, "[internal] load build definition", 0),
            ended(1, VertexStatus::Done, 40),
            started(2, "[build 2/5] RUN make", 100),
            log(2, "par", 150),
            log(2, "t hun", 200),
            log(2, "ter2\n1%\r2%\nno end", 223),
            ended(2, VertexStatus::Done, 1300),
            started(3, "[build 3/5] COPY a b", 1300),
            ended(3, VertexStatus::Cached, 1300),
            started(4, "[build 4/5] RUN false", 1300),
            ended(4, VertexStatus::Failed("exit code: 1".into()), 1400),
            started(5, "[x] RUN sleep", 1300),
            ended(5, VertexStatus::Canceled, 1400),
        ]);
        let want = "\
#1 [internal] load build definition
#1 DONE 0.0s

#2 [build 2/5] RUN make
#2 0.123 part ***
#2 0.123 2%
#2 1.200 no end
#2 DONE 1.2s

#3 [build 3/5] COPY a b
#3 CACHED

#4 [build 4/5] RUN false
#4 ERROR: exit code: 1

#5 [x] RUN sleep
#5 CANCELED

";
        assert_eq!(out, want);
    }

    #[test]
    fn parallel_steps_take_turns_and_say_whose_lines_follow() {
        let out = run(&[
            started(1, "one", 0),
            started(2, "two", 0),
            log(1, "a\n", 100),
            log(2, "b\n", 200),
            log(1, "c\n", 300),
            log(2, "d\n", 1400),
            log(1, "e\n", 1500),
            ended(2, VertexStatus::Done, 1600),
            ended(1, VertexStatus::Done, 1700),
        ]);
        let want = "\
#1 one
#1 0.100 a
#1 0.300 c
#1 ...

#2 two
#2 0.200 b
#2 1.400 d
#2 DONE 1.6s

#1 one
#1 1.500 e
#1 DONE 1.7s

";
        assert_eq!(out, want);
    }

    #[test]
    fn parts_show_their_sizes_and_end() {
        let part = |current, at, done| Event::Progress {
            vertex: VertexDigest(Digest::sha256_of(b"1")),
            id: "extract sha256:abc".into(),
            current,
            total: 20_000_000,
            at: millis(at),
            done,
        };
        let events = [
            started(1, "pull", 0),
            part(0, 0, false),
            part(10_000_000, 200, false),
            part(20_000_000, 300, true),
            ended(1, VertexStatus::Done, 300),
        ];
        let want = "\
#1 pull
#1 extract sha256:abc 0B / 20.0MB 0.0s
#1 extract sha256:abc 20.0MB / 20.0MB 0.3s done
#1 DONE 0.3s

";
        assert_eq!(run(&events), want);
    }

    #[test]
    fn an_unfinished_build_still_shows_everything() {
        let mut events = vec![started(1, "one", 0), started(2, "two", 0)];
        events.push(Event::Log {
            vertex: VertexDigest(Digest::sha256_of(b"2")),
            stream: Stream::Stderr,
            data: b"b\n".to_vec(),
            at: millis(10),
        });
        assert_eq!(run(&events), "#1 one\n#1 ...\n\n#2 two\n#2 0.010 b\n");
    }
}
