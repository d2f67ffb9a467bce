//! `FROM [--platform=x] base [AS name]`.

use super::error::{ParseError, ParseErrorKind};
use super::flags::{Flags, Takes};
use super::pairs::Descriptions;
use super::statement::Statement;
use super::words::split_blanks;
use crate::instruction::{Stage, Word};

pub(super) fn stage(statement: &Statement<'_>) -> Result<Stage, ParseError> {
    let words = split_blanks(&statement.line.text, statement.args.clone());
    let words: Vec<Word> = words.into_iter().map(|range| statement.word(range)).collect();
    let (base, name) = match words.as_slice() {
        [base] => (base, None),
        [base, keyword, name] if keyword.value.eq_ignore_ascii_case("as") => {
            (base, Some(stage_name(name)?))
        }
        _ => return Err(statement.error(ParseErrorKind::FromArguments)),
    };
    let flags = Flags::parse(statement, &[("platform", Takes::One)])?;
    let about = Descriptions::new(&statement.line.comments);
    Ok(Stage {
        description: name.as_ref().and_then(|name| about.of(&name.value)),
        name,
        base: base.clone(),
        platform: flags.one("platform"),
        span: statement.span,
        text: statement.line.text.trim().to_owned(),
        instructions: Vec::new(),
    })
}

/// The name in lower case: a letter, then letters, digits, `-`, `_`, `.`.
fn stage_name(word: &Word) -> Result<Word, ParseError> {
    let lower = word.value.to_lowercase();
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    if lower.starts_with(|c: char| c.is_ascii_lowercase()) && lower.chars().all(fits) {
        return Ok(Word::new(lower, word.span));
    }
    Err(ParseError::new(ParseErrorKind::StageName(word.value.clone()), word.span))
}
