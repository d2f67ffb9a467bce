//! `.env` files and the `env_file` of services.
//!
//! Lines are `NAME=value`, `NAME: value`, `export NAME=value` or `NAME` alone (its value in the environment).
//! Values in single quotes are taken as they are; others may name variables, and in double quotes have escapes
//! and may span lines. An unquoted value ends before ` #`.

use std::collections::BTreeMap;

use super::interpolate::expand;

/// The variables of a text in order of appearance, later ones winning; `lookup` finds those of the environment.
///
/// # Errors
/// The 1-based line and what is wrong with it.
pub(super) fn parse(
    text: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<BTreeMap<String, String>, (usize, String)> {
    let mut out: BTreeMap<String, String> = BTreeMap::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text).replace("\r\n", "\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        // Counted only where it is needed: a long file would take time squared.
        let before = text.len() - rest.len();
        let wrong = |message: &str| (text[..before].matches('\n').count() + 1, message.to_owned());
        let trimmed = rest.trim_start_matches([' ', '\t']);
        let end = trimmed.find('\n').map_or(trimmed.len(), |at| at + 1);
        let head = trimmed[..end].trim();
        if head.is_empty() || head.starts_with('#') {
            rest = &trimmed[end..];
            continue;
        }
        let trimmed = match trimmed.strip_prefix("export") {
            Some(after) if after.starts_with([' ', '\t']) => after.trim_start_matches([' ', '\t']),
            _ => trimmed,
        };
        let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-' | '[' | ']');
        let name_end = trimmed.find(|c| !is_name(c)).unwrap_or(trimmed.len());
        let (name, after) = trimmed.split_at(name_end);
        if name.is_empty() {
            return Err(wrong("a variable name is expected"));
        }
        let after = after.trim_start_matches([' ', '\t']);
        let Some(value) = after.strip_prefix(['=', ':']) else {
            let end = after.find('\n').map_or(after.len(), |at| at + 1);
            let tail = after[..end].trim();
            if !tail.is_empty() && !tail.starts_with('#') {
                return Err(wrong("`=` is expected after the name"));
            }
            out.extend(lookup(name).map(|value| (name.to_owned(), value)));
            rest = &after[end..];
            continue;
        };
        let (value, left) = read_value(value).map_err(wrong)?;
        let value = match value {
            Value::Plain(text) => text,
            Value::Template(text) => {
                let find = |name: &str| lookup(name).or_else(|| out.get(name).cloned());
                expand(&text, &find).map_err(|fault| wrong(&fault.message))?
            }
        };
        out.insert(name.to_owned(), value);
        rest = left;
    }
    Ok(out)
}

enum Value {
    Plain(String),
    Template(String),
}

/// The value at the start of the text and what follows its line.
fn read_value(text: &str) -> Result<(Value, &str), &'static str> {
    let text = text.trim_start_matches([' ', '\t']);
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''));
    let Some(quote) = quote else {
        let end = text.find('\n').map_or(text.len(), |at| at + 1);
        let line = &text[..end];
        let comment = line.find(" #").or_else(|| line.find("\t#")).unwrap_or(line.len());
        let value = if line.starts_with('#') { "" } else { line[..comment].trim() };
        return Ok((Value::Template(value.to_owned()), &text[end..]));
    };
    let body = &text[1..];
    let mut value = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => {
                let after = &body[at + 1..];
                let end = after.find('\n').map_or(after.len(), |at| at + 1);
                let tail = after[..end].trim();
                if !tail.is_empty() && !tail.starts_with('#') {
                    return Err("unexpected text after the closing quote");
                }
                let value = if quote == '"' { Value::Template(value) } else { Value::Plain(value) };
                return Ok((value, &after[end..]));
            }
            '\\' if quote == '"' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, 't')) => value.push('\t'),
                // A `$` that is no variable.
                Some((_, '$')) => value.push_str("$$"),
                Some((_, c @ ('"' | '\\'))) => value.push(c),
                Some((_, c)) => value.extend(['\\', c]),
                None => return Err("the quoted value has no end"),
            },
            c => value.push(c),
        }
    }
    Err("the quoted value has no end")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_compose_reads_them() {
        let text = "# head\nA=1 # note\nexport B = two words\nC='$A\"'\nD=\"x\\n${A}\\$\"\nE: y\nF=\nHOME\nG=#no\nH=a#b\n\nI=\"l1\nl2\"\n";
        let lookup = |name: &str| (name == "HOME").then(|| "/h".to_owned());
        let got = parse(text, &lookup).expect("valid");
        let want = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "$A\""),
            ("D", "x\n1$"),
            ("E", "y"),
            ("F", ""),
            ("G", ""),
            ("H", "a#b"),
            ("HOME", "/h"),
            ("I", "l1\nl2"),
        ];
        let want: BTreeMap<String, String> =
            want.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn wrong_lines_are_named() {
        let none = |_: &str| None;
        for (text, line) in [("A=1\n=2\n", 2), ("A=\"x\n\n", 1), ("\nA b\n", 2), ("A=${", 1)] {
            assert_eq!(parse(text, &none).expect_err(text).0, line, "{text}");
        }
    }
}
