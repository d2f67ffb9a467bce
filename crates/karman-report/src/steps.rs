//! What is known about each vertex, in first-seen order.

use std::collections::BTreeMap;
use std::time::Duration;

use karman_control::{Event, Stream, VertexStatus};
use karman_llb::VertexDigest;

use crate::Redactor;
use crate::lines::{LineBuffer, Piece};
use crate::sanitize::sanitize;

/// More parts of one vertex than this are not told apart.
const MAX_PARTS: usize = 256;

/// A part of a vertex that makes progress.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) id: String,
    pub(crate) current: u64,
    pub(crate) total: u64,
    pub(crate) started: Duration,
    pub(crate) at: Duration,
    pub(crate) done: bool,
}

/// A vertex.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) digest: VertexDigest,
    pub(crate) name: String,
    pub(crate) started: Duration,
    pub(crate) ended: Option<(Duration, VertexStatus)>,
    pub(crate) parts: Vec<Part>,
    stdout: LineBuffer,
    stderr: LineBuffer,
}

impl Step {
    /// How long it has run, or ran.
    pub(crate) fn elapsed(&self, now: Duration) -> Duration {
        self.ended.as_ref().map_or(now, |(at, _)| *at).saturating_sub(self.started)
    }
}

/// What an event changed.
#[derive(Debug)]
pub(crate) enum Change {
    Started(usize),
    /// Lines of a stream, written this long after the vertex began.
    Lines(usize, Stream, Duration, Vec<Piece>),
    Part(usize, usize),
    Ended(usize),
    Warning(Option<usize>, String),
}

/// All vertices.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    pub(crate) all: Vec<Step>,
    index: BTreeMap<VertexDigest, usize>,
}

impl Steps {
    /// Takes an event in. All text of the changes is masked; names are one line. An end gives the
    /// unfinished lines first.
    pub(crate) fn apply(&mut self, event: &Event, redactor: &Redactor) -> Vec<Change> {
        match event {
            Event::Started { vertex, name, at } => {
                let i = self.find(*vertex, *at);
                self.all[i].name = sanitize(&redactor.mask(name));
                self.all[i].started = *at;
                self.all[i].ended = None;
                vec![Change::Started(i)]
            }
            Event::Log { vertex, stream, data, at } => {
                let i = self.find(*vertex, *at);
                let step = &mut self.all[i];
                let after = at.saturating_sub(step.started);
                let buffer = match stream {
                    Stream::Stdout => &mut step.stdout,
                    Stream::Stderr => &mut step.stderr,
                };
                let pieces = buffer.push(data, redactor);
                let any = !pieces.is_empty();
                any.then_some(Change::Lines(i, *stream, after, pieces)).into_iter().collect()
            }
            Event::Progress { vertex, id, current, total, at, done } => {
                let i = self.find(*vertex, *at);
                let id = sanitize(&redactor.mask(id));
                let part = self.all[i].part(id, *at);
                let p = &mut self.all[i].parts[part];
                (p.current, p.total, p.at, p.done) = (*current, *total, *at, *done);
                vec![Change::Part(i, part)]
            }
            Event::Ended { vertex, status, at } => self.end(*vertex, status, *at, redactor),
            Event::Warning { vertex, message } => {
                let step = vertex.and_then(|v| self.index.get(&v).copied());
                vec![Change::Warning(step, sanitize(&redactor.mask(message)))]
            }
        }
    }

    fn end(
        &mut self,
        vertex: VertexDigest,
        status: &VertexStatus,
        at: Duration,
        redactor: &Redactor,
    ) -> Vec<Change> {
        let i = self.find(vertex, at);
        let step = &mut self.all[i];
        let after = at.saturating_sub(step.started);
        let rests = [
            (Stream::Stdout, step.stdout.finish(redactor)),
            (Stream::Stderr, step.stderr.finish(redactor)),
        ];
        let rests = rests.into_iter().filter_map(|(stream, rest)| Some((stream, rest?)));
        let mut changes: Vec<Change> =
            rests.map(|(stream, rest)| Change::Lines(i, stream, after, vec![rest])).collect();
        let status = match status {
            VertexStatus::Failed(message) => VertexStatus::Failed(redactor.mask(message)),
            other => other.clone(),
        };
        step.ended = Some((at, status));
        changes.push(Change::Ended(i));
        changes
    }

    fn find(&mut self, vertex: VertexDigest, at: Duration) -> usize {
        let next = self.all.len();
        let index = *self.index.entry(vertex).or_insert(next);
        if index == next {
            self.all.push(Step {
                digest: vertex,
                name: vertex.0.short(),
                started: at,
                ended: None,
                parts: Vec::new(),
                stdout: LineBuffer::default(),
                stderr: LineBuffer::default(),
            });
        }
        index
    }
}

impl Step {
    fn part(&mut self, id: String, at: Duration) -> usize {
        if let Some(found) = self.parts.iter().position(|p| p.id == id) {
            return found;
        }
        if self.parts.len() == MAX_PARTS {
            self.parts.pop();
        }
        self.parts.push(Part { id, current: 0, total: 0, started: at, at, done: false });
        self.parts.len() - 1
    }
}
