//! Diagnostics as plain text with the source lines concerned.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use crate::{Diagnostic, Severity, SourceFile, SourceMap, Span};

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
    let place = lines(file, span);
    let first = file.line_column(span.start as usize);
    let marked = marked_lines(file, diagnostic, span);
    let _ = writeln!(out, "{}:{}", file.name, first.line);
    let from = marked.start().saturating_sub(CONTEXT_LINES).max(1);
    for number in from..=marked.end() + CONTEXT_LINES {
        let Some(text) = file.line(number) else { break };
        if number == file.line_count() && text.is_empty() && number > *marked.end() {
            break;
        }
        let mark = if marked.contains(&number) { ">>>" } else { "   " };
        let _ = writeln!(out, "{number:>4} | {mark} {}", cut(text));
        if number == first.line && place.start() == place.end() && first.column > 1 {
            let width = (span.end.saturating_sub(span.start)).clamp(1, 80) as usize;
            let pad = " ".repeat((first.column - 1).min(MAX_LINE_CHARS));
            let _ = writeln!(out, "     |     {pad}{}", "^".repeat(width));
        }
    }
}

/// The lines of the place and, where that is not too much, of what it is part of.
fn marked_lines(file: &SourceFile, diagnostic: &Diagnostic, span: Span) -> RangeInclusive<usize> {
    let place = lines(file, span);
    let whole = diagnostic.within.filter(|whole| whole.file == span.file);
    let whole = whole.map(|whole| lines(file, whole.to(span)));
    match whole.filter(|whole| whole.end() - whole.start() < MAX_MARKED_LINES) {
        Some(whole) => whole,
        None => *place.start()..=(*place.end()).min(place.start() + MAX_MARKED_LINES - 1),
    }
}

fn lines(file: &SourceFile, span: Span) -> RangeInclusive<usize> {
    let last = (span.end as usize).saturating_sub(1).max(span.start as usize);
    file.line_column(span.start as usize).line..=file.line_column(last).line
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
    fn all_lines_of_the_instruction_are_marked() {
        let mut sources = SourceMap::new();
        let id = sources.add("Dockerfile", "FROM a\nCOPY --link \\\n  --x \\\n  a b\n");
        let d = Diagnostic::error("bad", Span::new(id, 23, 26)).within(Span::new(id, 7, 34));
        let expect = "ERROR: bad\nDockerfile:3\n   1 |     FROM a\n   2 | >>> COPY --link \\\n   3 | >>>   --x \\\n     |       ^^^\n   4 | >>>   a b\n";
        assert_eq!(render(&d, &sources), expect);
        let text = format!("RUN a{}", "\\\n b".repeat(100));
        let id = sources.add("Long", text.as_str());
        let far = Diagnostic::error("bad", Span::new(id, 200, 201)).within(Span::new(id, 0, 400));
        assert_eq!(render(&far, &sources).matches(">>>").count(), 1);
    }

    #[test]
    fn a_monstrous_line_is_cut() {
        let mut sources = SourceMap::new();
        let id = sources.add("Dockerfile", "x".repeat(1 << 20));
        let d = Diagnostic::error("bad", Span::new(id, 0, 1 << 20));
        assert!(render(&d, &sources).len() < 4 * MAX_LINE_CHARS);
    }
}
