//! Shell patterns of `${x#p}`, `${x%p}` and `${x/p/r}`: `*`, `?` and backslash escapes.
//!
//! Bracket expressions are literal, as in BuildKit. A pattern becomes a regular expression, whose
//! matching time is linear whatever the pattern.

use regex::{Regex, RegexBuilder};

use super::ExpandErrorKind;

/// Which match a pattern takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// The shortest: `#`, `%`.
    Shortest,
    /// The longest: `##`, `%%`, `/`.
    Longest,
}

/// `value` without the prefix that matches.
pub(super) fn trim_prefix(
    pattern: &str,
    value: &str,
    reach: Reach,
) -> Result<String, ExpandErrorKind> {
    let regex = compile(pattern, &format!("^{}", translate(pattern, reach)?))?;
    Ok(regex.find(value).map_or(value, |m| &value[m.end()..]).to_owned())
}

/// `value` without the suffix that matches.
pub(super) fn trim_suffix(
    pattern: &str,
    value: &str,
    reach: Reach,
) -> Result<String, ExpandErrorKind> {
    // A regular expression finds the leftmost match, so both are turned round.
    let turned: String = value.chars().rev().collect();
    let found = trim_prefix(&reverse_pattern(pattern), &turned, reach)?;
    Ok(found.chars().rev().collect())
}

/// `value` with the first match replaced.
pub(super) fn replace_first(
    pattern: &str,
    value: &str,
    replacement: &str,
) -> Result<String, ExpandErrorKind> {
    let regex = compile(pattern, &translate(pattern, Reach::Longest)?)?;
    Ok(match regex.find(value) {
        Some(m) => format!("{}{replacement}{}", &value[..m.start()], &value[m.end()..]),
        None => value.to_owned(),
    })
}

/// `value` with every match replaced.
pub(super) fn replace_all(
    pattern: &str,
    value: &str,
    replacement: &str,
) -> Result<String, ExpandErrorKind> {
    let regex = compile(pattern, &translate(pattern, Reach::Longest)?)?;
    // Go's `ReplaceAllString` reads `$1` in the replacement as a group, and BuildKit calls it.
    Ok(regex.replace_all(value, replacement).into_owned())
}

fn compile(pattern: &str, regex: &str) -> Result<Regex, ExpandErrorKind> {
    RegexBuilder::new(regex)
        .build()
        .map_err(|_| ExpandErrorKind::PatternTooLarge { length: pattern.len() })
}

fn translate(pattern: &str, reach: Reach) -> Result<String, ExpandErrorKind> {
    let star = if reach == Reach::Longest { ".*" } else { ".*?" };
    let mut out = String::with_capacity(pattern.len() + 4);
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' => out.push_str(star),
            '?' => out.push('.'),
            // A brace or slash is escaped for the substitution's sake, not for the pattern's.
            '\\' if matches!(chars.peek(), Some('}' | '/')) => {}
            '\\' => match chars.next() {
                Some(c @ ('*' | '?' | '\\')) => push_literal(&mut out, c),
                found => {
                    return Err(ExpandErrorKind::PatternEscape {
                        pattern: pattern.to_owned(),
                        found: found.map(String::from).unwrap_or_default(),
                    });
                }
            },
            c => push_literal(&mut out, c),
        }
    }
    Ok(out)
}

fn push_literal(out: &mut String, c: char) {
    out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
}

/// The pattern backwards, escapes kept in front of what they escape.
fn reverse_pattern(pattern: &str) -> String {
    let mut units: Vec<String> = Vec::new();
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        let mut unit = String::from(c);
        if c == '\\' {
            unit.extend(chars.next());
        }
        units.push(unit);
    }
    units.into_iter().rev().collect()
}
