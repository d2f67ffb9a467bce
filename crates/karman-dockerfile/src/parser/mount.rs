//! `RUN --mount=`: comma-separated fields, and `RUN --device=`.
//!
//! Values may hold variables, so only what does not depend on them is checked here.

use karman_diag::{Span, nearest};

use super::error::{ParseError, ParseErrorKind};
use crate::instruction::{MountOption, RawMount, Word};

/// The keys of a mount.
const KEYS: &[&str] = &[
    "type", "from", "source", "src", "target", "dst", "destination", "readonly", "ro", "readwrite",
    "rw", "required", "size", "id", "sharing", "mode", "uid", "gid", "env",
];

/// The keys that stand without a value too.
const SWITCHES: &[&str] = &["readonly", "ro", "readwrite", "rw", "required"];

/// A mount that does not parse; worded as BuildKit words it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MountError {
    /// Quotes that do not balance.
    #[error("failed to parse csv mounts: {0}")]
    Csv(CsvError),
    /// `from=$x`.
    #[error("'from' doesn't support variable expansion, define alias stage instead")]
    FromVariable,
    /// A key that needs a value.
    #[error("invalid field '{0}' must be a key=value pair")]
    NoValue(String),
    /// A key there is not.
    #[error("unexpected key '{key}' in '{field}'")]
    UnknownKey {
        /// The key.
        key: String,
        /// The field.
        field: String,
    },
}

/// A text that is no line of comma-separated values; worded as Go words it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CsvError {
    /// Nothing at all.
    #[error("EOF")]
    Empty,
    /// A quote inside a plain field.
    #[error("parse error on line 1, column {0}: bare \" in non-quoted-field")]
    BareQuote(usize),
    /// Text after, or no, closing quote.
    #[error("parse error on line 1, column {0}: extraneous or missing \" in quoted-field")]
    Quote(usize),
}

/// Reads the value of `--mount`.
pub(super) fn parse_mount(flag: &Word) -> Result<RawMount, ParseError> {
    let fail = |error| ParseError::new(ParseErrorKind::Mount(error), flag.span);
    let fields = csv_fields(&flag.value).map_err(|error| fail(MountError::Csv(error)))?;
    let mut options = Vec::with_capacity(fields.len());
    for field in fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value.to_owned())),
            None => (field.to_lowercase(), None),
        };
        check_option(&key, value.as_deref(), &field, flag.span)?;
        options.push(MountOption { key, value, span: flag.span });
    }
    Ok(RawMount { options, span: flag.span })
}

fn check_option(key: &str, value: Option<&str>, field: &str, span: Span) -> Result<(), ParseError> {
    let fail = |error| ParseError::new(ParseErrorKind::Mount(error), span);
    match value {
        Some(value) if key == "from" && has_variable(value) => Err(fail(MountError::FromVariable)),
        None if KEYS.contains(&key) && !SWITCHES.contains(&key) => {
            Err(fail(MountError::NoValue(field.to_owned())))
        }
        _ if KEYS.contains(&key) => Ok(()),
        None => Err(fail(MountError::NoValue(field.to_owned()))),
        Some(_) => {
            let error = MountError::UnknownKey { key: key.to_owned(), field: field.to_owned() };
            let meant = nearest(key, KEYS.iter().copied()).map(str::to_owned);
            Err(ParseError { meant, ..fail(error) })
        }
    }
}

/// A dollar with anything after it.
fn has_variable(value: &str) -> bool {
    value.find('$').is_some_and(|at| at + 1 < value.len())
}

/// One line of comma-separated values; a field in double quotes may hold commas and `""`.
pub(crate) fn csv_fields(text: &str) -> Result<Vec<String>, CsvError> {
    if text.is_empty() {
        return Err(CsvError::Empty);
    }
    let mut out = Vec::new();
    let mut rest = text;
    loop {
        let column = text.len() - rest.len() + 1;
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted, column)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                if let Some(at) = rest[..end].find('"') {
                    return Err(CsvError::BareQuote(column + at));
                }
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        out.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(out),
            None => return Err(CsvError::Quote(text.len() - after.len() + 1)),
        }
    }
}

/// The field after its opening quote, and what follows the closing one.
fn quoted_field(text: &str, column: usize) -> Result<(String, &str), CsvError> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let at = rest.find('"').ok_or(CsvError::Quote(column + text.len() + 1))?;
        field.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Ok((field, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_comma_separated_values() {
        let table: &[(&str, Result<&[&str], &str>)] = &[
            ("type=bind,target=/x", Ok(&["type=bind", "target=/x"])),
            ("a,\"b,c\",d", Ok(&["a", "b,c", "d"])),
            ("\"a\"\"b\"", Ok(&["a\"b"])),
            ("a,", Ok(&["a", ""])),
            ("", Err("EOF")),
            ("a\"b", Err("parse error on line 1, column 2: bare \" in non-quoted-field")),
            (
                "\"a\"b",
                Err("parse error on line 1, column 4: extraneous or missing \" in quoted-field"),
            ),
            (
                "\"ab",
                Err("parse error on line 1, column 4: extraneous or missing \" in quoted-field"),
            ),
        ];
        for (text, expect) in table {
            let found = csv_fields(text).map_err(|e| e.to_string());
            let expect = expect.map(|f| f.iter().map(|&s| s.to_owned()).collect::<Vec<_>>());
            assert_eq!(found, expect.map_err(str::to_owned), "{text:?}");
        }
    }

    #[test]
    fn keys_are_checked_and_values_are_not() {
        let table: &[(&str, &str)] = &[
            ("type=$T,target=/x,sharing=$S", "ok"),
            ("TYPE=cache,Target=/x,RO", "ok"),
            ("type=secret,id=a,env=A,required", "ok"),
            ("type=tmpfs,target=/x,size=$N", "ok"),
            ("from=a$,target=/x", "ok"),
            (
                "from=$S,target=/x",
                "'from' doesn't support variable expansion, define alias stage instead",
            ),
            ("type=bind,target", "invalid field 'target' must be a key=value pair"),
            ("type=bind,whatever", "invalid field 'whatever' must be a key=value pair"),
            ("type=bind,tagret=/x", "unexpected key 'tagret' in 'tagret=/x'"),
        ];
        for (text, expect) in table {
            let flag = Word::new((*text).to_owned(), Span::default());
            let found = parse_mount(&flag).map_or_else(|e| e.kind.to_string(), |_| "ok".to_owned());
            assert_eq!(found, *expect, "{text:?}");
        }
    }
}
