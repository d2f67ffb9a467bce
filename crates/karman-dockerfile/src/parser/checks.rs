//! Build checks that need no more than the text.
//!
//! As in BuildKit they end at the first error, except for empty continuation lines.

use super::Parser;
use super::statement::Statement;
use super::words::split_blanks;
use crate::check::syntax::{self, Seen};
use crate::text::LogicalLine;

impl Parser<'_> {
    /// Call it when the line is read and its heredocs are not.
    pub(super) fn check_line(&mut self, line: &LogicalLine) {
        if line.empty_continuation.is_some() && !self.trigger {
            self.tree.found.push(syntax::empty_continuation(self.reader.end()));
        }
    }

    pub(super) fn check_statement(&mut self, statement: &Statement<'_>) {
        if self.is_checked() {
            let comments = &statement.line.comments;
            self.tree.local_checks.extend(syntax::local_check(comments, statement.span));
            let text = &statement.line.text;
            let ranges = split_blanks(text, statement.args.clone());
            let words: Vec<&str> = ranges.into_iter().map(|range| &text[range]).collect();
            self.tree.found.extend(syntax::before(&seen(statement, &words)));
        }
    }

    /// The comment above what defines `names`.
    pub(super) fn check_description<'n>(
        &mut self,
        statement: &Statement<'_>,
        names: impl Iterator<Item = &'n str>,
    ) {
        if self.is_checked() {
            let names: Vec<&str> = names.collect();
            self.tree.found.extend(syntax::description(&seen(statement, &[]), &names));
        }
    }

    fn is_checked(&self) -> bool {
        !self.trigger && self.problems.is_empty()
    }
}

fn seen<'s>(statement: &'s Statement<'_>, words: &'s [&'s str]) -> Seen<'s> {
    Seen {
        keyword: statement.keyword_text(),
        words,
        comments: &statement.line.comments,
        span: statement.span,
    }
}
