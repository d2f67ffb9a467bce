//! `ADD`, `COPY`, `VOLUME`.

use std::ops::Range;

use super::error::{ParseError, ParseErrorKind};
use super::flags::{Flags, Takes};
use super::heredoc::{find_heredoc, heredoc_word};
use super::json::{JsonArray, json_array};
use super::statement::Statement;
use super::words::split_blanks;
use crate::instruction::{Add, Copy, Files, InstructionKind, SourceWord, Word};
use crate::text::MAX_SOURCE_BYTES;

const ADD_FLAGS: &[(&str, Takes)] = &[
    ("chown", Takes::One),
    ("chmod", Takes::One),
    ("link", Takes::Bool),
    ("keep-git-dir", Takes::Bool),
    ("checksum", Takes::One),
    ("unpack", Takes::Bool),
    ("exclude", Takes::Many),
];

const COPY_FLAGS: &[(&str, Takes)] = &[
    ("chown", Takes::One),
    ("from", Takes::One),
    ("chmod", Takes::One),
    ("link", Takes::Bool),
    ("parents", Takes::Bool),
    ("exclude", Takes::Many),
];

pub(super) fn add(statement: &Statement<'_>) -> Result<InstructionKind, ParseError> {
    let words = at_least_two(statement, "ADD")?;
    let flags = Flags::parse(statement, ADD_FLAGS)?;
    Ok(InstructionKind::Add(Add {
        files: files(statement, words, &flags, "ADD")?,
        keep_git_dir: flags.boolean("keep-git-dir"),
        checksum: flags.one("checksum"),
        unpack: flags.boolean("unpack"),
    }))
}

pub(super) fn copy(statement: &Statement<'_>) -> Result<InstructionKind, ParseError> {
    let words = at_least_two(statement, "COPY")?;
    let flags = Flags::parse(statement, COPY_FLAGS)?;
    let from = flags.one("from");
    Ok(InstructionKind::Copy(Copy { files: files(statement, words, &flags, "COPY")?, from }))
}

pub(super) fn volume(statement: &Statement<'_>) -> Result<InstructionKind, ParseError> {
    let words = list(statement)?;
    if words.is_empty() {
        return Err(statement.error(ParseErrorKind::AtLeastOneArgument("VOLUME")));
    }
    Flags::parse(statement, &[])?;
    let trimmed = words.into_iter().map(|word| Word::new(word.value.trim().to_owned(), word.span));
    let words: Vec<Word> = trimmed.collect();
    match words.iter().find(|word| word.value.is_empty()) {
        Some(empty) => Err(ParseError::new(ParseErrorKind::EmptyVolume, empty.span)),
        None => Ok(InstructionKind::Volume(words)),
    }
}

/// Whether the arguments are a JSON array, which cannot announce heredocs.
pub(super) fn is_json(statement: &Statement<'_>) -> bool {
    json_array(statement.args_text()) != JsonArray::No
}

fn at_least_two(statement: &Statement<'_>, name: &'static str) -> Result<Vec<Word>, ParseError> {
    let words = list(statement)?;
    if words.len() < 2 {
        return Err(statement.error(ParseErrorKind::NoDestination(name)));
    }
    Ok(words)
}

fn files(
    statement: &Statement<'_>,
    mut words: Vec<Word>,
    flags: &Flags,
    name: &'static str,
) -> Result<Files, ParseError> {
    let fail = |kind, word: &Word| ParseError::new(kind, word.span);
    let Some(dest) = words.pop() else {
        return Err(statement.error(ParseErrorKind::NoDestination(name)));
    };
    if matches!(heredoc_word(&dest.value), Ok(Some(_))) {
        return Err(fail(ParseErrorKind::HeredocDestination(name), &dest));
    }
    let sources = sources(statement, words, name)?;
    Ok(Files {
        sources,
        dest,
        chown: flags.one("chown"),
        chmod: flags.one("chmod"),
        link: flags.boolean("link").unwrap_or(false),
        parents: flags.boolean("parents").unwrap_or(false),
        exclude: flags.all("exclude").collect(),
    })
}

fn sources(
    statement: &Statement<'_>,
    words: Vec<Word>,
    name: &'static str,
) -> Result<Vec<SourceWord>, ParseError> {
    let mut out = Vec::with_capacity(words.len());
    let mut bytes = 0;
    for word in words {
        let found = source(statement, word);
        if let SourceWord::Heredoc(heredoc) = &found {
            // `COPY <<A <<A` names one body twice, so a small file could ask for much memory.
            bytes += heredoc.body.value.len();
            if bytes > MAX_SOURCE_BYTES {
                return Err(statement.error(ParseErrorKind::HeredocsTooLarge(name)));
            }
        }
        out.push(found);
    }
    Ok(out)
}

fn source(statement: &Statement<'_>, word: Word) -> SourceWord {
    match heredoc_word(&word.value).ok().flatten() {
        Some(announced) => SourceWord::Heredoc(find_heredoc(statement, &announced, word.span)),
        None => SourceWord::Path(word),
    }
}

/// The arguments as a JSON array, or split at blanks.
fn list(statement: &Statement<'_>) -> Result<Vec<Word>, ParseError> {
    let shift =
        |range: Range<usize>| statement.args.start + range.start..statement.args.start + range.end;
    match json_array(statement.args_text()) {
        JsonArray::Strings(words) => Ok(words
            .into_iter()
            .map(|(word, range)| Word::new(word, statement.span_of(shift(range))))
            .collect()),
        JsonArray::Mixed => Err(statement.error(ParseErrorKind::NotStringArray)),
        JsonArray::No => {
            let words = split_blanks(&statement.line.text, statement.args.clone());
            Ok(words.into_iter().map(|range| statement.word(range)).collect())
        }
    }
}
