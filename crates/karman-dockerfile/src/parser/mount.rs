//! `RUN --mount=`: comma-separated fields.
//!
//! Values may hold variables, so BuildKit checks keys and values only when it lowers a stage that is
//! needed; here only `from`, which links stages, is checked.

use super::error::{ParseError, ParseErrorKind};
use crate::instruction::{MountOption, RawMount, Word};

/// A mount that does not parse; worded as BuildKit words it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MountError {
    /// Quotes that do not balance.
    #[error("failed to parse csv mounts: {0}")]
    Csv(CsvError),
    /// `from=$x`.
    #[error("'from' doesn't support variable expansion, define alias stage instead")]
    FromVariable,
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
        if key == "from" && value.as_deref().is_some_and(has_variable) {
            return Err(fail(MountError::FromVariable));
        }
        options.push(MountOption { key, value, span: flag.span });
    }
    Ok(RawMount { options, span: flag.span })
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
    use karman_diag::Span;

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
    fn only_from_is_checked_before_variables_are_known() {
        let table: &[(&str, &str)] = &[
            ("type=$T,target=/x,sharing=$S", "ok"),
            ("type=bind,whatever", "ok"),
            ("from=a$,target=/x", "ok"),
            (
                "FROM=$S,target=/x",
                "'from' doesn't support variable expansion, define alias stage instead",
            ),
        ];
        for (text, expect) in table {
            let flag = Word::new((*text).to_owned(), Span::default());
            let found = parse_mount(&flag).map_or_else(|e| e.kind.to_string(), |_| "ok".to_owned());
            assert_eq!(found, *expect, "{text:?}");
        }
    }
}
