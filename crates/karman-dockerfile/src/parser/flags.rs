//! Checks the flags of an instruction against those it has.

use karman_diag::{Span, nearest};

use super::error::{ParseError, ParseErrorKind};
use super::statement::Statement;
use crate::instruction::Word;

/// What a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing, `=true` or `=false`.
    Bool,
    /// One value.
    One,
    /// A value each time it is written.
    Many,
}

/// The flags of an instruction, checked.
#[derive(Debug)]
pub(super) struct Flags {
    found: Vec<(&'static str, Word)>,
}

impl Flags {
    /// Checks the flags of `statement`.
    pub(super) fn parse(
        statement: &Statement<'_>,
        known: &[(&'static str, Takes)],
    ) -> Result<Self, ParseError> {
        let mut flags = Self { found: Vec::new() };
        for flag in &statement.flags {
            let span = statement.span_of(flag.range.clone());
            let body = flag.text.strip_prefix("--").unwrap_or(&flag.text);
            let (name, value) = match body.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (body, None),
            };
            let Some(&(name, takes)) = known.iter().find(|(n, _)| *n == name) else {
                return Err(unknown(name, known, span));
            };
            let value = flags
                .check(name, takes, value)
                .map_err(|kind| ParseError::new(kind, span))?
                .to_owned();
            let written = &statement.line.text[flag.range.clone()];
            let from = flag.range.start + written.find('=').map_or(0, |at| at + 1);
            let span = statement.span_of(from..flag.range.end);
            flags.found.push((name, Word::new(value, span)));
        }
        Ok(flags)
    }

    fn check<'v>(
        &self,
        name: &'static str,
        takes: Takes,
        value: Option<&'v str>,
    ) -> Result<&'v str, ParseErrorKind> {
        if takes != Takes::Many && self.found.iter().any(|(n, _)| *n == name) {
            return Err(ParseErrorKind::DuplicateFlag(name.to_owned()));
        }
        match (takes, value) {
            (Takes::Bool, None) => Ok("true"),
            (Takes::Bool, Some("")) | (_, None) => {
                Err(ParseErrorKind::FlagWithoutValue(name.to_owned()))
            }
            (Takes::Bool, Some(value)) if value.eq_ignore_ascii_case("true") => Ok("true"),
            (Takes::Bool, Some(value)) if value.eq_ignore_ascii_case("false") => Ok("false"),
            (Takes::Bool, Some(value)) => Err(ParseErrorKind::FlagNotBoolean {
                name: name.to_owned(),
                value: value.to_owned(),
            }),
            (_, Some(value)) => Ok(value),
        }
    }

    /// The value of a flag; an empty one counts as none, as in BuildKit.
    pub(super) fn one(&self, name: &str) -> Option<Word> {
        self.all(name).find(|word| !word.value.is_empty())
    }

    /// The value of a boolean flag, where it is written.
    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        self.all(name).next().map(|word| word.value == "true")
    }

    /// Every value of a flag.
    pub(super) fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = Word> + 'f {
        self.found.iter().filter(move |(n, _)| *n == name).map(|(_, word)| word.clone())
    }
}

fn unknown(name: &str, known: &[(&'static str, Takes)], span: Span) -> ParseError {
    let meant = nearest(name, known.iter().map(|(n, _)| *n)).map(|n| format!("--{n}"));
    ParseError { kind: ParseErrorKind::UnknownFlag(name.to_owned()), span, meant }
}
