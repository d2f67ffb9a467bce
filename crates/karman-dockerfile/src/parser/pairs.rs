//! `ENV`, `LABEL`, `ARG`, and the instructions whose argument is the whole line.

use std::collections::HashMap;
use std::ops::Range;

use super::error::{ParseError, ParseErrorKind};
use super::flags::Flags;
use super::statement::{Statement, is_blank, trim};
use super::words::{split_blanks, split_quoted};
use crate::instruction::{ArgPair, InstructionKind, Pair, Word};

pub(super) fn env(statement: &Statement<'_>) -> Result<InstructionKind, ParseError> {
    Ok(InstructionKind::Env(pairs(statement, "ENV")?))
}

pub(super) fn label(statement: &Statement<'_>) -> Result<InstructionKind, ParseError> {
    Ok(InstructionKind::Label(pairs(statement, "LABEL")?))
}

/// `ARG`: BuildKit reads no flags here and minds none.
pub(super) fn arg(statement: &Statement<'_>) -> Result<Vec<ArgPair>, ParseError> {
    let words = split_quoted(&statement.line.text, statement.args.clone(), statement.escape);
    if words.is_empty() {
        return Err(statement.error(ParseErrorKind::AtLeastOneArgument("ARG")));
    }
    let about = Descriptions::new(&statement.line.comments);
    words.into_iter().map(|range| definition(statement, range, &about)).collect()
}

pub(super) fn expose(statement: &Statement<'_>) -> Result<InstructionKind, ParseError> {
    let words = split_blanks(&statement.line.text, statement.args.clone());
    if words.is_empty() {
        return Err(statement.error(ParseErrorKind::AtLeastOneArgument("EXPOSE")));
    }
    Flags::parse(statement, &[])?;
    let mut words: Vec<Word> = words.into_iter().map(|range| statement.word(range)).collect();
    // BuildKit sorts the words as they are written; the history shows them in this order.
    words.sort_by(|a, b| a.value.cmp(&b.value));
    Ok(InstructionKind::Expose(words))
}

/// The argument of an instruction that takes the whole line.
pub(super) fn whole(statement: &Statement<'_>, name: &'static str) -> Result<Word, ParseError> {
    let Some(word) = statement.args_word() else {
        return Err(statement.error(ParseErrorKind::ExactlyOneArgument(name)));
    };
    // BuildKit reads no flags of STOPSIGNAL.
    if name != "STOPSIGNAL" {
        Flags::parse(statement, &[])?;
    }
    Ok(word)
}

/// What the comment block above says: `# NAME description`. The first line for a name counts.
pub(super) struct Descriptions<'c>(HashMap<&'c str, &'c str>);

impl<'c> Descriptions<'c> {
    pub(super) fn new(comments: &'c [String]) -> Self {
        // The last one inserted stays, so the first line is inserted last.
        Self(comments.iter().rev().filter_map(|line| line.split_once(' ')).collect())
    }

    pub(super) fn of(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|text| (*text).to_owned())
    }
}

fn pairs(statement: &Statement<'_>, name: &'static str) -> Result<Vec<Pair>, ParseError> {
    let text = &statement.line.text;
    let words = split_quoted(text, statement.args.clone(), statement.escape);
    let Some(first) = words.first() else {
        Flags::parse(statement, &[])?;
        return Err(statement.error(ParseErrorKind::AtLeastOneArgument(name)));
    };
    let found = if text[first.clone()].contains('=') {
        words.into_iter().map(|range| pair(statement, range)).collect::<Result<Vec<_>, _>>()?
    } else {
        vec![legacy_pair(statement, name)?]
    };
    Flags::parse(statement, &[])?;
    match found.iter().find(|pair| pair.name.value.is_empty()) {
        Some(_) => Err(statement.error(ParseErrorKind::BlankName(name))),
        None => Ok(found),
    }
}

fn pair(statement: &Statement<'_>, range: Range<usize>) -> Result<Pair, ParseError> {
    let (name, value) = cut(statement, &range).ok_or_else(|| {
        let word = statement.line.text[range.clone()].to_owned();
        ParseError::new(ParseErrorKind::NoEqualsSign(word), statement.span_of(range.clone()))
    })?;
    Ok(Pair { name, value, legacy: false })
}

/// `ENV name value with blanks`: split at the first blanks, quotes or not.
fn legacy_pair(statement: &Statement<'_>, name: &'static str) -> Result<Pair, ParseError> {
    let args = statement.args_text();
    let Some(at) = args.find(is_blank) else {
        return Err(statement.error(ParseErrorKind::TwoArguments(name)));
    };
    let split = statement.args.start + at;
    let value = trim(&statement.line.text, split..statement.args.end);
    Ok(Pair {
        name: statement.word(statement.args.start..split),
        value: statement.word(value),
        legacy: true,
    })
}

fn definition(
    statement: &Statement<'_>,
    range: Range<usize>,
    about: &Descriptions<'_>,
) -> Result<ArgPair, ParseError> {
    let (name, value) = match cut(statement, &range) {
        Some((name, value)) => (name, Some(value)),
        None => (statement.word(range), None),
    };
    if name.value.is_empty() {
        return Err(statement.error(ParseErrorKind::BlankName("ARG")));
    }
    let description = about.of(&name.value);
    Ok(ArgPair { name, value, description })
}

/// A word cut at its first `=`.
fn cut(statement: &Statement<'_>, range: &Range<usize>) -> Option<(Word, Word)> {
    let at = range.start + statement.line.text[range.clone()].find('=')?;
    Some((statement.word(range.start..at), statement.word(at + 1..range.end)))
}
