//! Lines in JSON and as excerpts.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use karman_diag::{SourceFile, Span};
use serde_json::{Value, json};

/// Lines of context around one line; a longer place has half of it.
const CONTEXT: usize = 4;

/// A longer source line is cut: hostile input has lines of many megabytes.
const MAX_LINE_CHARS: usize = 400;

/// The first and the last line of a span.
pub(super) fn lines(span: Span, file: &SourceFile) -> (usize, usize) {
    let first = file.line_column(span.start as usize).line;
    let last = (span.end as usize).saturating_sub(1).max(span.start as usize);
    (first, file.line_column(last).line)
}

/// `pb.Location`: one range for each line, as BuildKit's parser keeps them. The source index is
/// 0, which JSON leaves out.
pub(super) fn location(span: Option<Span>, file: &SourceFile) -> Value {
    let Some(span) = span else { return json!({}) };
    let (first, last) = lines(span, file);
    let ranges: Vec<Value> = (first..=last)
        .map(|line| json!({ "start": { "line": line }, "end": { "line": line } }))
        .collect();
    json!({ "ranges": ranges })
}

/// `pb.SourceInfo`, by the name without its directory.
pub(super) fn source(file: &SourceFile) -> Value {
    let name = file.name.rsplit('/').next().unwrap_or(&file.name);
    json!({ "filename": name, "data": data(file), "language": "Dockerfile" })
}

/// The text of a source as Go encodes bytes.
pub(super) fn data(file: &SourceFile) -> String {
    STANDARD.encode(file.text.as_bytes())
}

/// The lines of a span with some around them, the way buildx shows them.
pub(super) fn excerpt(out: &mut String, span: Span, file: &SourceFile) {
    let (first, last) = lines(span, file);
    let total = file.line_count();
    let (mut from, mut to) = (first, last.min(total));
    let wanted = if first == last { CONTEXT } else { CONTEXT / 2 };
    let mut added = 0;
    // One step more for each round, so that it ends where the file does.
    while added < wanted {
        if from > 1 {
            from -= 1;
            added += 1;
        }
        if to != total {
            to += 1;
            added += 1;
        }
        added += 1;
    }
    const RULE: &str = "--------------------";
    let _ = writeln!(out, "{}:{first}\n{RULE}", file.name);
    for number in from..=to {
        let mark = if (first..=last).contains(&number) { ">>>" } else { "   " };
        let line = file.line(number).unwrap_or_default();
        let end = line.char_indices().nth(MAX_LINE_CHARS).map_or(line.len(), |(at, _)| at);
        let _ = writeln!(out, " {number:>3} | {mark} {}", &line[..end]);
    }
    let _ = writeln!(out, "{RULE}");
}
