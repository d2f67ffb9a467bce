//! `$NAME` and `${NAME…}` in compose and `.env` files.
//!
//! | form | gives |
//! |---|---|
//! | `$X`, `${X}` | the value, or nothing |
//! | `${X:-y}`, `${X-y}` | `y` where X is unset (with `:` also where it is empty) |
//! | `${X:+y}`, `${X+y}` | `y` where X is set (with `:`: and not empty) |
//! | `${X:?m}`, `${X?m}` | an error with the message `m` where X is unset (or empty) |
//! | `$$` | `$` |
//!
//! `y` is interpolated in turn. Reference: <https://docs.docker.com/reference/compose-file/interpolation/>.

use super::node::{Kind, Node};
use crate::limits::{MAX_INTERPOLATION_DEPTH, MAX_STRING};
use karman_diag::Diagnostic;

/// Finds the value of a variable.
pub(super) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why a text cannot be interpolated, a lower-case fragment, and what to do about it.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) hint: Option<&'static str>,
}

impl Fault {
    fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }
}

/// Interpolates every string of a tree; keys stay as they are.
pub(super) fn tree(node: &mut Node, lookup: Lookup<'_>) -> Result<(), Diagnostic> {
    match &mut node.kind {
        Kind::String(text) if text.contains('$') => {
            *text = expand(text, lookup).map_err(|fault| {
                let d = Diagnostic::error(fault.message, node.span);
                match fault.hint {
                    Some(hint) => d.with_hint(hint),
                    None => d,
                }
            })?;
            Ok(())
        }
        Kind::List(items) => items.iter_mut().try_for_each(|item| tree(item, lookup)),
        Kind::Map(entries) => entries.iter_mut().try_for_each(|e| tree(&mut e.value, lookup)),
        _ => Ok(()),
    }
}

/// The text with its variables replaced.
pub(super) fn expand(text: &str, lookup: Lookup<'_>) -> Result<String, Fault> {
    expand_at(text, lookup, 0)
}

fn expand_at(text: &str, lookup: Lookup<'_>, depth: usize) -> Result<String, Fault> {
    if depth > MAX_INTERPOLATION_DEPTH {
        return Err(Fault::new(format!(
            "variables are nested deeper than {MAX_INTERPOLATION_DEPTH}"
        )));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.bytes().next() {
            Some(b'$') => {
                out.push('$');
                rest = &rest[1..];
            }
            Some(b'{') => {
                let Some(end) = closing(rest) else { return Err(invalid(text)) };
                out.push_str(
                    &braced(&rest[1..end], lookup, depth)
                        .map_err(|fault| fault.unwrap_or_else(|| invalid(text)))?,
                );
                rest = &rest[end + 1..];
            }
            _ => {
                let name = name_of(rest);
                if name.is_empty() {
                    return Err(invalid(text));
                }
                out.push_str(&lookup(name).unwrap_or_default());
                rest = &rest[name.len()..];
            }
        }
        if out.len() > MAX_STRING {
            return Err(Fault::new(format!("the string is longer than {MAX_STRING} bytes")));
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn invalid(text: &str) -> Fault {
    let shown: String = text.chars().take(60).collect();
    Fault {
        message: format!("invalid interpolation format in `{shown}`"),
        hint: Some("write `$$` where a `$` is meant"),
    }
}

/// Where the `}` of the `{` at the start is.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0usize;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'$' if bytes.get(at + 1) == Some(&b'$') => at += 1,
            b'{' if at == 0 || bytes[at - 1] == b'$' => open += 1,
            b'}' => {
                open = open.saturating_sub(1);
                if open == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
        at += 1;
    }
    None
}

fn name_of(text: &str) -> &str {
    let start = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    if !text.bytes().next().is_some_and(start) {
        return "";
    }
    let end = text.bytes().position(|b| !start(b) && !b.is_ascii_digit()).unwrap_or(text.len());
    &text[..end]
}

/// What is between the braces. `Err(None)` is a malformed text.
fn braced(text: &str, lookup: Lookup<'_>, depth: usize) -> Result<String, Option<Fault>> {
    let name = name_of(text);
    if name.is_empty() {
        return Err(None);
    }
    let value = lookup(name);
    let rest = &text[name.len()..];
    let (colon, rest) = match rest.strip_prefix(':') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    let given = value.clone().filter(|v| !colon || !v.is_empty());
    let mut chars = rest.chars();
    let operator = chars.next();
    let word = || expand_at(chars.as_str(), lookup, depth + 1).map_err(Some);
    match operator {
        None if !colon => Ok(value.unwrap_or_default()),
        Some('-') => given.map_or_else(word, Ok),
        Some('+') => given.map_or(Ok(String::new()), |_| word()),
        Some('?') => match given {
            Some(value) => Ok(value),
            None => {
                let message = word()?;
                let message = if message.is_empty() { "it is not set" } else { &message };
                Err(Some(Fault::new(format!("required variable `{name}` is missing: {message}"))))
            }
        },
        _ => Err(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str) -> Result<String, String> {
        let lookup = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "E" => Some(String::new()),
            _ => None,
        };
        expand(text, &lookup).map_err(|f| f.message)
    }

    #[test]
    fn every_form_is_understood() {
        for (text, want) in [
            ("$A-${A}$$A", "a-a$A"),
            ("${E:-x}${E-x}${U-x}", "xx"),
            ("${A:+y}${E:+y}${E+y}${U+y}", "yy"),
            ("${U:-${E:-${A}}}}", "a}"),
            ("${U:-a{b}c", "a{bc"),
            ("${A:?no}", "a"),
            ("${U}$U.", "."),
        ] {
            assert_eq!(with(text).as_deref(), Ok(want), "{text}");
        }
    }

    #[test]
    fn malformed_texts_are_refused() {
        for text in ["$1", "$", "${", "${A", "${1}", "${A!}", "${A:}", "a$ b"] {
            assert!(with(text).expect_err(text).starts_with("invalid interpolation"), "{text}");
        }
        assert_eq!(with("${U:?say $A}"), Err("required variable `U` is missing: say a".into()));
        assert!(with(&"${U:-".repeat(5000)).is_err());
        let deep = format!("{}{}", "${U:-".repeat(200), "}".repeat(200));
        assert!(with(&deep).expect_err("deep").contains("nested deeper"));
    }
}
