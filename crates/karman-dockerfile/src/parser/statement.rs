//! A logical line as keyword, flags and arguments.

use std::ops::Range;

use karman_diag::Span;

use super::error::{ParseError, ParseErrorKind};
use crate::instruction::{Heredoc, Word};
use crate::text::LogicalLine;

/// A flag as written, quotes and escapes resolved.
#[derive(Debug, Clone)]
pub(super) struct FlagWord {
    /// `--name` or `--name=value`.
    pub(super) text: String,
    /// Where it stands in the line.
    pub(super) range: Range<usize>,
}

/// An instruction before its arguments are understood.
#[derive(Debug, Clone)]
pub(super) struct Statement<'l> {
    pub(super) line: &'l LogicalLine,
    /// The keyword as written.
    pub(super) keyword: Range<usize>,
    pub(super) flags: Vec<FlagWord>,
    /// What follows the flags, trimmed.
    pub(super) args: Range<usize>,
    pub(super) heredocs: Vec<Heredoc>,
    pub(super) escape: char,
    /// The instruction with its heredocs.
    pub(super) span: Span,
}

impl<'l> Statement<'l> {
    /// Splits `line` from byte `from` on.
    pub(super) fn split(line: &'l LogicalLine, from: usize, escape: char) -> Self {
        let whole = trim(&line.text, from..line.text.len());
        let rest = &line.text[whole.clone()];
        let length = rest.find(is_blank).unwrap_or(rest.len());
        let keyword = whole.start..whole.start + length;
        let (flags, at) = split_flags(&line.text, keyword.end..whole.end);
        let args = trim(&line.text, at..whole.end);
        let span = line.span_of(whole.start..line.text.len());
        Self { line, keyword, flags, args, heredocs: Vec::new(), escape, span }
    }

    /// The keyword as written.
    pub(super) fn keyword_text(&self) -> &'l str {
        &self.line.text[self.keyword.clone()]
    }

    /// The arguments as written.
    pub(super) fn args_text(&self) -> &'l str {
        &self.line.text[self.args.clone()]
    }

    /// Where a range of the line stands.
    pub(super) fn span_of(&self, range: Range<usize>) -> Span {
        self.line.span_of(range)
    }

    /// A range of the line as a word.
    pub(super) fn word(&self, range: Range<usize>) -> Word {
        Word::new(self.line.text[range.clone()].to_owned(), self.span_of(range))
    }

    /// All arguments as one word; `None` where there are none.
    pub(super) fn args_word(&self) -> Option<Word> {
        (!self.args.is_empty()).then(|| self.word(self.args.clone()))
    }

    /// An error about the keyword and its arguments.
    pub(super) fn error(&self, kind: ParseErrorKind) -> ParseError {
        ParseError::new(kind, self.span_of(self.keyword.start..self.args.end))
    }
}

/// BuildKit's blanks between words.
pub(super) fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ')
}

/// The range without blanks around it.
pub(super) fn trim(text: &str, range: Range<usize>) -> Range<usize> {
    let part = &text[range.clone()];
    let start = range.start + (part.len() - part.trim_start().len());
    start..(start + part.trim().len())
}

/// The leading `--flags` and where the arguments begin. A lone `--` ends the flags.
fn split_flags(text: &str, range: Range<usize>) -> (Vec<FlagWord>, usize) {
    let mut flags = Vec::new();
    let mut at = range.start;
    loop {
        let rest = &text[at..range.end];
        at += rest.len() - rest.trim_start().len();
        let rest = &text[at..range.end];
        if !rest.starts_with("--") {
            return (flags, at);
        }
        let (word, length) = flag_word(rest);
        let start = at;
        at += length;
        if word == "--" {
            return (flags, at);
        }
        flags.push(FlagWord { text: word, range: start..at });
    }
}

/// The flag at the start of `text` without its quotes and backslashes, and its length as written.
/// The backslash escapes here whatever the `escape` directive says.
fn flag_word(text: &str) -> (String, usize) {
    let mut word = String::new();
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (c, quote) {
            ('\\', _) => word.extend(chars.next().map(|(_, c)| c)),
            (c, Some(open)) if c == open => quote = None,
            (c, Some(_)) => word.push(c),
            ('"' | '\'', None) => quote = Some(c),
            (c, None) if c.is_whitespace() => return (word, at),
            (c, None) => word.push(c),
        }
    }
    (word, text.len())
}
