//! Strings.

use regex::{Regex, RegexBuilder};
use unicode_segmentation::UnicodeSegmentation as _;

use super::args::check_length;
use super::{Args, Fault, Out, fault};
use crate::value::Value;

/// Largest compiled regular expression in bytes.
const MAX_REGEX: usize = 1 << 20;

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

fn index(n: i128) -> usize {
    usize::try_from(n.max(0)).unwrap_or(usize::MAX)
}

pub(super) fn basename(a: Args) -> Out {
    let text = a.text(0)?;
    let trimmed = text.trim_end_matches('/');
    Ok(Value::text(match trimmed.rsplit('/').next() {
        _ if text.is_empty() => ".",
        Some("") | None => "/",
        Some(last) => last,
    }))
}

/// Go's `path.Dir`: everything before the last slash, cleaned.
pub(super) fn dirname(a: Args) -> Out {
    let text = a.text(0)?;
    let dir = text.rfind('/').map_or("", |at| &text[..=at]);
    Ok(Value::text(clean(dir)))
}

/// Go's `path.Clean`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut out: Vec<&str> = Vec::new();
    for part in path.split('/').filter(|p| !p.is_empty() && *p != ".") {
        match (part, out.last()) {
            ("..", Some(&last)) if last != ".." => {
                out.pop();
            }
            ("..", None) if rooted => {}
            _ => out.push(part),
        }
    }
    match (rooted, out.join("/")) {
        (true, rest) => format!("/{rest}"),
        (false, rest) if rest.is_empty() => ".".to_owned(),
        (false, rest) => rest,
    }
}

pub(super) fn byteslen(a: Args) -> Out {
    Ok(Value::int(a.text(0)?.len() as u64))
}

/// The bytes of a string from an offset on; they must be a string again.
pub(super) fn bytesslice(a: Args) -> Out {
    let (text, offset, length) = (a.text(0)?, a.int(1)?, a.int(2)?);
    let range = usize::try_from(offset).ok().zip(usize::try_from(length).ok());
    let end = range.and_then(|(start, length)| start.checked_add(length));
    let Some(((start, _), end)) = range.zip(end).filter(|(_, end)| *end <= text.len()) else {
        return fault(format!("the range is not within the {} bytes", text.len()));
    };
    match text.get(start..end) {
        Some(slice) => Ok(Value::text(slice)),
        None => fault("the range cuts through a character"),
    }
}

pub(super) fn chomp(a: Args) -> Out {
    Ok(Value::text(a.text(0)?.trim_end_matches(['\r', '\n'])))
}

pub(super) fn indent(a: Args) -> Out {
    let (spaces, text) = (index(a.int(0)?), a.text(1)?);
    let lines = text.matches('\n').count();
    check_length(lines.max(1).checked_mul(spaces).and_then(|n| n.checked_add(text.len())))?;
    Ok(Value::text(text.replace('\n', &format!("\n{}", " ".repeat(spaces)))))
}

pub(super) fn join(mut a: Args) -> Out {
    let separator = a.text(0)?;
    let mut all = Vec::new();
    for i in 1..a.len() {
        all.extend(a.texts(i)?);
    }
    let bytes = all.iter().map(String::len).sum::<usize>();
    check_length(separator.len().checked_mul(all.len()).and_then(|n| n.checked_add(bytes)))?;
    Ok(Value::text(all.join(&separator)))
}

/// Go maps each character to one, where Rust may give several.
fn mapped<I: ExactSizeIterator<Item = char>>(text: &str, map: fn(char) -> I) -> String {
    let one = |c: char| {
        let mut all = map(c);
        if all.len() == 1 { all.next().unwrap_or(c) } else { c }
    };
    text.chars().map(one).collect()
}

pub(super) fn lower(a: Args) -> Out {
    Ok(Value::text(mapped(&a.text(0)?, char::to_lowercase)))
}
pub(super) fn upper(a: Args) -> Out {
    Ok(Value::text(mapped(&a.text(0)?, char::to_uppercase)))
}

/// Go's `strings.Title`: a letter is raised after anything that is no letter, digit or `_`; outside of ASCII
/// only after white space.
pub(super) fn title(a: Args) -> Out {
    let separates = |c: char| match c.is_ascii() {
        true => !(c.is_ascii_alphanumeric() || c == '_'),
        false => !c.is_alphanumeric() && c.is_whitespace(),
    };
    let mut start = true;
    let mut out = String::new();
    for c in a.text(0)?.chars() {
        match start {
            true => out.push_str(&mapped(&c.to_string(), char::to_uppercase)),
            false => out.push(c),
        }
        start = separates(c);
    }
    Ok(Value::text(out))
}

pub(super) fn replace(a: Args) -> Out {
    let (text, from, to) = (a.text(0)?, a.text(1)?, a.text(2)?);
    let hits = text.matches(from.as_str()).count();
    check_length(hits.checked_mul(to.len()).and_then(|n| n.checked_add(text.len())))?;
    Ok(Value::text(text.replace(&from, &to)))
}

pub(super) fn reverse(a: Args) -> Out {
    Ok(Value::text(a.text(0)?.graphemes(true).rev().collect::<String>()))
}

/// Only what a target name may hold; the rest becomes `_`.
pub(super) fn sanitize(a: Args) -> Out {
    let keep = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    Ok(Value::text(a.text(0)?.chars().map(keep).collect::<String>()))
}

pub(super) fn split(a: Args) -> Out {
    let (separator, text) = (a.text(0)?, a.text(1)?);
    if separator.is_empty() {
        return Ok(Value::List(text.chars().map(Value::text).collect()));
    }
    Ok(Value::List(text.split(&separator).map(Value::text).collect()))
}

pub(super) fn strlen(a: Args) -> Out {
    Ok(Value::int(a.text(0)?.graphemes(true).count() as u64))
}

pub(super) fn substr(a: Args) -> Out {
    let (text, offset, length) = (a.text(0)?, a.int(1)?, a.int(2)?);
    let text: Vec<&str> = text.graphemes(true).collect();
    let len = text.len() as i128;
    let start = if offset < 0 { offset.saturating_add(len).max(0) } else { offset.min(len) };
    let end = if length < 0 { len } else { start.saturating_add(length).min(len) };
    Ok(Value::text(text[index(start)..index(end.max(start))].concat()))
}

pub(super) fn trim(a: Args) -> Out {
    let cut = chars(&a.text(1)?);
    Ok(Value::text(a.text(0)?.trim_matches(cut.as_slice())))
}

pub(super) fn trimprefix(a: Args) -> Out {
    let (text, prefix) = (a.text(0)?, a.text(1)?);
    Ok(Value::text(text.strip_prefix(&prefix).unwrap_or(&text)))
}

pub(super) fn trimsuffix(a: Args) -> Out {
    let (text, suffix) = (a.text(0)?, a.text(1)?);
    Ok(Value::text(text.strip_suffix(&suffix).unwrap_or(&text)))
}

pub(super) fn trimspace(a: Args) -> Out {
    Ok(Value::text(a.text(0)?.trim()))
}

fn compile(pattern: &str) -> Result<Regex, Fault> {
    let built = RegexBuilder::new(pattern).size_limit(MAX_REGEX).build();
    built.map_err(|_| Fault(format!("invalid regular expression `{pattern}`")))
}

/// Named groups make an object, unnamed ones a list, none the matched text.
fn captured(regex: &Regex, found: &regex::Captures<'_>) -> Value {
    let text = |m: Option<regex::Match<'_>>| m.map_or(Value::Null, |m| Value::text(m.as_str()));
    let names: Vec<&str> = regex.capture_names().flatten().collect();
    if !names.is_empty() {
        let all = names.into_iter().map(|n| (n.to_owned(), text(found.name(n))));
        return Value::Object(all.collect());
    }
    match regex.captures_len() {
        1 => text(found.get(0)),
        n => Value::List((1..n).map(|i| text(found.get(i))).collect()),
    }
}

pub(super) fn regex(a: Args) -> Out {
    let regex = compile(&a.text(0)?)?;
    match regex.captures(&a.text(1)?) {
        Some(found) => Ok(captured(&regex, &found)),
        None => fault("the pattern did not match any part of the given string"),
    }
}

pub(super) fn regexall(a: Args) -> Out {
    let regex = compile(&a.text(0)?)?;
    let text = a.text(1)?;
    Ok(Value::List(regex.captures_iter(&text).map(|found| captured(&regex, &found)).collect()))
}

pub(super) fn regex_replace(a: Args) -> Out {
    let (text, regex, to) = (a.text(0)?, compile(&a.text(1)?)?, a.text(2)?);
    // One group of the replacement may bring in the whole text, hence the product.
    let most = to.len().checked_add(text.len() * usize::from(to.contains('$')));
    let hits = regex.find_iter(&text).count();
    check_length(most.and_then(|n| n.checked_mul(hits)).and_then(|n| n.checked_add(text.len())))?;
    Ok(Value::text(regex.replace_all(&text, to.as_str())))
}
