//! Logical lines: physical lines joined over continuations, with a map back to the source.

use std::ops::Range;

use karman_diag::{FileId, Span};

use super::{
    DirectiveName, DirectiveReader, FoundDirective, MAX_LINE_BYTES, PhysicalLine, PhysicalLines,
};

/// One instruction's text on one line.
#[derive(Debug, Clone)]
pub(crate) struct LogicalLine {
    /// The joined text, without leading blanks.
    pub(crate) text: String,
    /// The comment block right above, each line without `#` and blanks around it.
    pub(crate) comments: Vec<String>,
    /// Where an empty line stands inside a continuation.
    pub(crate) empty_continuation: Option<Span>,
    /// From the first to the last character, heredocs not included.
    pub(crate) span: Span,
    /// Text and source offsets at which each physical line begins.
    pieces: Vec<(usize, usize)>,
    /// Every span is this one where the text is not in a source file.
    fixed: Option<Span>,
}

impl LogicalLine {
    /// Where a byte range of [`LogicalLine::text`] stands in the source.
    pub(crate) fn span_of(&self, range: Range<usize>) -> Span {
        if let Some(span) = self.fixed {
            return span;
        }
        let start = self.source_offset(range.start);
        let end = match range.end.checked_sub(1) {
            Some(last) if last >= range.start => self.source_offset(last) + 1,
            _ => start,
        };
        Span::new(self.span.file, start, end)
    }

    fn source_offset(&self, at: usize) -> usize {
        let index = self.pieces.partition_point(|&(text, _)| text <= at).saturating_sub(1);
        self.pieces.get(index).map_or(0, |&(text, source)| source + (at - text))
    }
}

/// Why reading stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ReadError {
    /// A line is longer than [`MAX_LINE_BYTES`].
    #[error("dockerfile line greater than max allowed size of {MAX_LINE_BYTES}")]
    LineTooLong {
        /// Where that line begins.
        at: Span,
    },
}

impl ReadError {
    /// Where.
    pub(crate) fn span(self) -> Span {
        match self {
            Self::LineTooLong { at } => at,
        }
    }
}

/// What stands between two instructions or is one.
#[derive(Debug)]
pub(crate) enum LogicalItem {
    /// A parser directive.
    Directive(FoundDirective),
    /// An instruction.
    Line(LogicalLine),
}

/// The body of a heredoc.
#[derive(Debug)]
pub(crate) struct HeredocBody {
    /// Each line with its end, the terminator line not included.
    pub(crate) content: String,
    /// Where it stands.
    pub(crate) span: Span,
}

/// Reads a source item by item.
#[derive(Debug)]
pub(crate) struct LogicalReader<'a> {
    lines: PhysicalLines<'a>,
    file: FileId,
    /// The escape character; set it when its directive comes by.
    pub(crate) escape: char,
    directives: DirectiveReader,
    comments: Vec<String>,
    fixed: Option<Span>,
    /// One past the last line read, without its line end.
    read_to: usize,
}

impl<'a> LogicalReader<'a> {
    /// A reader of `source`.
    pub(crate) fn new(source: &'a str, file: FileId) -> Self {
        Self {
            lines: PhysicalLines::new(source),
            file,
            escape: '\\',
            directives: DirectiveReader::default(),
            comments: Vec::new(),
            fixed: None,
            read_to: 0,
        }
    }

    /// A reader of a text that is no source file: all its spans are `at`.
    pub(crate) fn detached(source: &'a str, at: Span) -> Self {
        Self { fixed: Some(at), ..Self::new(source, at.file) }
    }

    /// The next directive or instruction.
    pub(crate) fn next_item(&mut self) -> Option<Result<LogicalItem, ReadError>> {
        loop {
            let line = match self.next_line()? {
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            if let Some(directive) = self.directives.read(&line) {
                if directive.name == DirectiveName::Escape {
                    self.set_escape(&directive.value);
                }
                return Some(Ok(LogicalItem::Directive(directive)));
            }
            if line.is_comment() {
                self.note_comment(line.text);
            } else if line.text.trim().is_empty() {
                // Docker's documentation: a comment describes what it stands right above.
                self.comments.clear();
            } else {
                return Some(self.join(line).map(LogicalItem::Line));
            }
        }
    }

    /// A span of this source.
    pub(crate) fn span(&self, start: usize, end: usize) -> Span {
        self.fixed.unwrap_or_else(|| Span::new(self.file, start, end))
    }

    /// The end of the last line read.
    pub(crate) fn end(&self) -> Span {
        self.span(self.read_to, self.read_to)
    }

    /// The lines up to the terminator; `None` where the source ends before it.
    pub(crate) fn heredoc_body(
        &mut self,
        name: &str,
        strip_tabs: bool,
    ) -> Result<Option<HeredocBody>, ReadError> {
        let start = self.lines.offset();
        let mut content = String::new();
        while let Some(line) = self.next_line() {
            let line = line?;
            let shown = if strip_tabs { line.text.trim_start_matches('\t') } else { line.text };
            if shown == name {
                return Ok(Some(HeredocBody { content, span: self.span(start, line.start) }));
            }
            content.push_str(line.raw);
        }
        Ok(None)
    }

    fn next_line(&mut self) -> Option<Result<PhysicalLine<'a>, ReadError>> {
        let line = self.lines.next()?;
        if line.raw.strip_suffix('\n').unwrap_or(line.raw).len() > MAX_LINE_BYTES {
            return Some(Err(ReadError::LineTooLong { at: self.span(line.start, line.end()) }));
        }
        self.read_to = line.end();
        Some(Ok(line))
    }

    fn set_escape(&mut self, value: &str) {
        if let Some(escape) = ['\\', '`'].into_iter().find(|&c| value.chars().eq([c])) {
            self.escape = escape;
        }
    }

    fn note_comment(&mut self, line: &str) {
        let text = line.trim_start().trim_start_matches('#').trim();
        if text.is_empty() {
            self.comments.clear();
        } else {
            self.comments.push(text.to_owned());
        }
    }

    fn join(&mut self, first: PhysicalLine<'a>) -> Result<LogicalLine, ReadError> {
        let start = first.end() - first.text.trim_start().len();
        let (mut text, mut more) = self.cut_continuation(first.text.trim_start());
        let mut joined = String::with_capacity(text.len());
        joined.push_str(text);
        let mut pieces = vec![(0, start)];
        let mut end = first.end();
        let mut empty = None;
        while more {
            let Some(line) = self.next_line() else { break };
            let line = line?;
            if line.is_comment() {
                continue;
            }
            if line.text.trim().is_empty() {
                empty = empty.or(Some(self.span(line.start, line.end())));
                continue;
            }
            (text, more) = self.cut_continuation(line.text);
            pieces.push((joined.len(), line.start));
            joined.push_str(text);
            end = line.end();
        }
        Ok(LogicalLine {
            text: joined,
            comments: std::mem::take(&mut self.comments),
            empty_continuation: empty,
            span: self.span(start, end),
            pieces,
            fixed: self.fixed,
        })
    }

    /// The line without its continuation mark, and whether there was one. A doubled escape at the
    /// end is an escaped escape, not a mark.
    fn cut_continuation(&self, line: &'a str) -> (&'a str, bool) {
        match line.trim_end_matches([' ', '\t']).strip_suffix(self.escape) {
            Some(rest) if !rest.ends_with(self.escape) => (rest, true),
            _ => (line, false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(source: &str) -> Vec<LogicalLine> {
        let mut reader = LogicalReader::new(source, FileId(0));
        let mut out = Vec::new();
        while let Some(item) = reader.next_item() {
            if let LogicalItem::Line(line) = item.expect("short lines") {
                out.push(line);
            }
        }
        out
    }

    #[test]
    fn continuations_join_without_a_blank() {
        let table: &[(&str, &[&str])] = &[
            ("RUN a\\\nb", &["RUN ab"]),
            ("RUN a \\  \t\n  b\nRUN c", &["RUN a   b", "RUN c"]),
            ("RUN a \\\r\nb\r\n", &["RUN a b"]),
            ("RUN a \\\n# comment\n  # more\nb", &["RUN a b"]),
            ("RUN a \\\n\n\nb", &["RUN a b"]),
            ("RUN a \\\\\nb", &["RUN a \\\\", "b"]),
            ("RUN a\\", &["RUN a"]),
            ("\\\nRUN a", &["RUN a"]),
            ("# escape=`\nRUN a `\nb\nRUN c\\\n", &["RUN a b", "RUN c\\"]),
            ("\n# escape=`\nRUN a \\\nb", &["RUN a b"]),
            ("  # x\n   RUN a  ", &["RUN a  "]),
        ];
        for (source, expect) in table {
            let found: Vec<_> = lines(source).into_iter().map(|l| l.text).collect();
            assert_eq!(found, *expect, "{source:?}");
        }
    }

    #[test]
    fn ranges_map_back_over_continuations() {
        let source = "RUN one \\\n  # c\n two\\\nthree";
        let line = &lines(source)[0];
        assert_eq!(line.text, "RUN one  twothree");
        let at = line.text.find("twothree").expect("there");
        let span = line.span_of(at..at + 8);
        assert_eq!(&source[span.start as usize..span.end as usize], "two\\\nthree");
    }

    #[test]
    fn an_empty_continuation_line_is_noted() {
        assert!(lines("RUN a \\\n\nb")[0].empty_continuation.is_some());
        assert!(lines("RUN a \\\n#\nb")[0].empty_continuation.is_none());
    }

    #[test]
    fn comments_stay_with_the_next_instruction() {
        let found = lines("# a x\n# b y\nARG a\n# c\n#\n# d\nARG b");
        assert_eq!(found[0].comments, ["a x", "b y"]);
        assert_eq!(found[1].comments, ["d"]);
    }

    #[test]
    fn a_line_over_the_limit_stops_reading() {
        let fits = format!("RUN {}", "x".repeat(MAX_LINE_BYTES - 4));
        assert_eq!(lines(&fits).len(), 1);
        let long = format!("{fits}x\n");
        let mut reader = LogicalReader::new(&long, FileId(0));
        assert!(matches!(reader.next_item(), Some(Err(ReadError::LineTooLong { .. }))));
    }
}
