//! The grammar of Go's `filepath.Match`.

use crate::PatternError;

/// Longest pattern in characters. Matching takes time in proportion to pattern times path, so
/// hostile patterns must not be long.
pub(crate) const MAX_PATTERN: usize = 4096;

/// One element of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// This character.
    Char(char),
    /// `?`: one character, not a slash.
    One,
    /// `*`: any characters, no slash.
    Star,
    /// `[…]`: one character in or out of the ranges; a slash may be among them.
    Class { negated: bool, ranges: Vec<(char, char)> },
}

/// Reads a whole pattern. `**` is two stars here.
pub(crate) fn parse(pattern: &str) -> Result<Vec<Token>, PatternError> {
    let length = pattern.chars().count();
    if length > MAX_PATTERN {
        return Err(PatternError::TooLong { length, limit: MAX_PATTERN });
    }
    parse_tokens(pattern).ok_or_else(|| PatternError::Syntax { pattern: pattern.to_owned() })
}

fn parse_tokens(pattern: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        tokens.push(match c {
            '*' => Token::Star,
            '?' => Token::One,
            '\\' => {
                let escaped = rest.chars().next()?;
                rest = &rest[escaped.len_utf8()..];
                Token::Char(escaped)
            }
            '[' => {
                let (class, after) = parse_class(rest)?;
                rest = after;
                class
            }
            other => Token::Char(other),
        });
    }
    Some(tokens)
}

/// Reads a class after its `[`; gives the text after its `]`.
fn parse_class(text: &str) -> Option<(Token, &str)> {
    let (negated, mut rest) = match text.strip_prefix('^') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty()
            && let Some(after) = rest.strip_prefix(']')
        {
            return Some((Token::Class { negated, ranges }, after));
        }
        let (low, after) = class_char(rest)?;
        rest = after;
        let mut high = low;
        if let Some(after) = rest.strip_prefix('-') {
            (high, rest) = class_char(after)?;
        }
        ranges.push((low, high));
    }
}

/// A possibly escaped character of a class. Something must follow it, at least the `]`.
fn class_char(text: &str) -> Option<(char, &str)> {
    let first = text.chars().next()?;
    let text = match first {
        '-' | ']' => return None,
        '\\' => &text[1..],
        _ => text,
    };
    let c = text.chars().next()?;
    let rest = &text[c.len_utf8()..];
    (!rest.is_empty()).then_some((c, rest))
}
