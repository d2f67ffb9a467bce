//! Diagnostics as plain text with the source lines concerned.

use std::fmt::Write as _;

use crate::{Diagnostic, Severity, SourceMap};

/// Lines shown before the first and after the last line concerned.
const CONTEXT_LINES: usize = 2;
/// A span over more lines than this is cut: a heredoc can be hundreds of lines long.
const MAX_MARKED_LINES: usize = 12;
/// A longer source line is cut: hostile input has lines of many megabytes.
const MAX_LINE_CHARS: usize = 400;

/// The diagnostic as people read it in a log, ending with a newline.
///
/// ```text
/// ERROR: unknown instruction `RUM`
/// Dockerfile:3
///    2 |     COPY a /a
///    3 | >>> RUM make
/// hint: did you mean `RUN`?
/// ```
pub fn render(diagnostic: &Diagnostic, sources: &SourceMap) -> String {
    let mut out = String::new();
    let head = match diagnostic.severity {
        Severity::Error => "ERROR",
        Severity::Warning => "WARNING",
    };
    let code =
        if diagnostic.code.is_empty() { String::new() } else { format!("{}: ", diagnostic.code) };
    let _ = writeln!(out, "{head}: {code}{}", diagnostic.message);
    render_excerpt(&mut out, diagnostic, sources);
    for hint in &diagnostic.hints {
        let _ = writeln!(out, "hint: {}", hint.0);
    }
    out
}

fn render_excerpt(out: &mut String, diagnostic: &Diagnostic, sources: &SourceMap) {
    let Some(span) = diagnostic.span else { return };
    let Some(file) = sources.get(span.file) else { return };
    let first = file.line_column(span.start as usize);
    let last_offset = (span.end as usize).saturating_sub(1).max(span.start as usize);
    let last = file.line_column(last_offset).line.min(first.line + MAX_MARKED_LINES - 1);
    let _ = writeln!(out, "{}:{}", file.name, first.line);
    let from = first.line.saturating_sub(CONTEXT_LINES).max(1);
    for number in from..=last + CONTEXT_LINES {
        let Some(text) = file.line(number) else { break };
        if number == file.line_count() && text.is_empty() && number > last {
            break;
        }
        let marked = (first.line..=last).contains(&number);
        let _ = writeln!(out, "{number:>4} | {} {}", if marked { ">>>" } else { "   " }, cut(text));
        if marked && first.line == last && first.column > 1 {
            let width = (span.end.saturating_sub(span.start)).clamp(1, 80) as usize;
            let pad = " ".repeat((first.column - 1).min(MAX_LINE_CHARS));
            let _ = writeln!(out, "     |     {pad}{}", "^".repeat(width));
        }
    }
}

fn cut(line: &str) -> String {
    if line.chars().nth(MAX_LINE_CHARS).is_none() {
        return line.to_owned();
    }
    line.chars().take(MAX_LINE_CHARS).chain("…".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Span;

    #[test]
    fn an_error_shows_its_line_a_caret_and_its_hint() {
        let mut sources = SourceMap::new();
        let id = sources.add("Dockerfile", "FROM a\nRUN --mont=x true\n");
        let d = Diagnostic::error("unknown flag `--mont`", Span::new(id, 11, 17))
            .with_hint("did you mean `--mount`?");
        let expect = "ERROR: unknown flag `--mont`\nDockerfile:2\n   1 |     FROM a\n   2 | >>> RUN --mont=x true\n     |         ^^^^^^\nhint: did you mean `--mount`?\n";
        assert_eq!(render(&d, &sources), expect);
    }

    #[test]
    fn a_monstrous_line_is_cut() {
        let mut sources = SourceMap::new();
        let id = sources.add("Dockerfile", "x".repeat(1 << 20));
        let d = Diagnostic::error("bad", Span::new(id, 0, 1 << 20));
        assert!(render(&d, &sources).len() < 4 * MAX_LINE_CHARS);
    }
}
