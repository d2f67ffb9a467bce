//! One JSON object per line, for programs: `--progress=rawjson`.
//!
//! The shape follows BuildKit's solve status; times are seconds since the build began. Each line has
//! exactly one of these members, a list with one entry:
//!
//! ```text
//! {"vertexes":[{"digest":"sha256:…","name":"[build 2/5] RUN make","started":0.1}]}
//! {"vertexes":[{"digest":"sha256:…","name":"…","started":0.1,"completed":1.3,"cached":false,"error":"…"}]}
//! {"statuses":[{"vertex":"sha256:…","id":"extract sha256:…","current":1,"total":2,"at":0.2,"completed":false}]}
//! {"logs":[{"vertex":"sha256:…","stream":1,"data":"a whole line\n","at":0.2}]}
//! {"warnings":[{"vertex":"sha256:…","message":"…"}]}
//! ```
//!
//! `error` is absent from a vertex that did not fail and `canceled` where another failed first.
//! `stream` is 1 for standard output and 2 for standard error. Members may be added.

use std::io::{self, Write};
use std::time::Duration;

use karman_control::{Event, Stream, VertexStatus};
use serde_json::{Value, json};

use crate::Redactor;
use crate::lines::Piece;
use crate::reporter::View;
use crate::steps::{Change, Steps};

/// The JSON view.
pub(crate) struct RawJson {
    redactor: Redactor,
    steps: Steps,
}

impl RawJson {
    pub(crate) fn new(redactor: Redactor) -> Self {
        Self { redactor, steps: Steps::default() }
    }

    fn change(&self, change: Change, now: Duration, out: &mut dyn Write) -> io::Result<()> {
        match change {
            Change::Started(step) | Change::Ended(step) => put(out, "vertexes", self.vertex(step)),
            Change::Part(step, part) => {
                let step = &self.steps.all[step];
                let p = &step.parts[part];
                let status = json!({
                    "vertex": step.digest.to_string(), "id": p.id, "current": p.current,
                    "total": p.total, "at": seconds(p.at), "completed": p.done,
                });
                put(out, "statuses", status)
            }
            Change::Lines(step, stream, _, pieces) => {
                let vertex = self.steps.all[step].digest.to_string();
                let stream = if stream == Stream::Stdout { 1 } else { 2 };
                pieces.into_iter().try_for_each(|piece| {
                    let data = match piece {
                        Piece::Line(line) => line + "\n",
                        Piece::Overwritten(line) => line + "\r",
                    };
                    let at = seconds(now);
                    put(
                        out,
                        "logs",
                        json!({"vertex": vertex, "stream": stream, "data": data, "at": at}),
                    )
                })
            }
            Change::Warning(step, message) => {
                let mut warning = json!({ "message": message });
                if let Some(step) = step {
                    warning["vertex"] = self.steps.all[step].digest.to_string().into();
                }
                put(out, "warnings", warning)
            }
        }
    }

    fn vertex(&self, step: usize) -> Value {
        let step = &self.steps.all[step];
        let mut vertex = json!({
            "digest": step.digest.to_string(), "name": step.name, "started": seconds(step.started),
        });
        if let Some((at, status)) = &step.ended {
            vertex["completed"] = seconds(*at);
            vertex["cached"] = (*status == VertexStatus::Cached).into();
            match status {
                VertexStatus::Failed(message) => vertex["error"] = message.as_str().into(),
                VertexStatus::Canceled => vertex["canceled"] = true.into(),
                VertexStatus::Done | VertexStatus::Cached => {}
            }
        }
        vertex
    }
}

/// Milliseconds are enough, and short.
fn seconds(at: Duration) -> Value {
    ((at.as_millis() as f64) / 1000.0).into()
}

fn put(out: &mut dyn Write, member: &str, entry: Value) -> io::Result<()> {
    writeln!(out, "{}", json!({ member: [entry] }))
}

impl View for RawJson {
    fn event(&mut self, event: &Event, now: Duration, out: &mut dyn Write) -> io::Result<()> {
        let changes = self.steps.apply(event, &self.redactor);
        changes.into_iter().try_for_each(|change| self.change(change, now, out))
    }

    fn tick(&mut self, _now: Duration, _out: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _now: Duration, out: &mut dyn Write) -> io::Result<()> {
        out.flush()
    }

    fn redact(&mut self, redactor: Redactor) {
        self.redactor = redactor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reporter::tests::{ended, log, started};

    #[test]
    fn every_line_is_an_object_and_secrets_are_masked() {
        let mut view = RawJson::new(Redactor::new([b"hunter2".to_vec()]));
        let mut out = Vec::new();
        let events = [
            started(1, "RUN x", 100),
            log(1, "a hun", 200),
            log(1, "ter2\n", 300),
            ended(1, VertexStatus::Failed("no hunter2".into()), 1300),
        ];
        for event in &events {
            let now = crate::reporter::time_of(event).unwrap_or_default();
            view.event(event, now, &mut out).expect("memory takes everything");
        }
        let text = String::from_utf8(out).expect("text");
        let digest = view.steps.all[0].digest;
        let want = format!(
            r#"{{"vertexes":[{{"digest":"{digest}","name":"RUN x","started":0.1}}]}}
{{"logs":[{{"vertex":"{digest}","stream":1,"data":"a ***\n","at":0.3}}]}}
{{"vertexes":[{{"digest":"{digest}","name":"RUN x","started":0.1,"completed":1.3,"cached":false,"error":"no ***"}}]}}
"#
        );
        assert_eq!(text, want);
    }
}
