//! Splits arguments into words.

use std::ops::Range;

use super::statement::is_blank;

/// The words of `range`, split at blanks, quotes or not.
pub(super) fn split_blanks(text: &str, range: Range<usize>) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut start = None;
    for (at, c) in text[range.clone()].char_indices() {
        match (is_blank(c), start) {
            (true, Some(from)) => {
                out.push(from..range.start + at);
                start = None;
            }
            (false, None) => start = Some(range.start + at),
            _ => {}
        }
    }
    out.extend(start.map(|from| from..range.end));
    out
}

/// The words of `range`, split at blanks outside quotes; quotes and escapes stay in them.
/// An escape at the very end is dropped.
pub(super) fn split_quoted(text: &str, range: Range<usize>, escape: char) -> Vec<Range<usize>> {
    let mut out = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut end = range.end;
    let mut chars = text[range.clone()].char_indices().map(|(at, c)| (range.start + at, c));
    while let Some((at, c)) = chars.next() {
        match start {
            None if c.is_whitespace() => continue,
            None => start = Some(at),
            Some(from) if quote.is_none() && c.is_whitespace() => {
                out.push(from..at);
                start = None;
                continue;
            }
            Some(_) => {}
        }
        if c == escape && quote != Some('\'') {
            if chars.next().is_none() {
                end = at;
            }
        } else if quote == Some(c) {
            quote = None;
        } else if quote.is_none() && matches!(c, '"' | '\'') {
            quote = Some(c);
        }
    }
    out.extend(start.map(|from| from..end).filter(|word| !word.is_empty()));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_escapes_hold_a_word_together() {
        let table: &[(&str, &[&str])] = &[
            ("a b\tc", &["a", "b", "c"]),
            ("a=\"x y\" b='1 2'", &["a=\"x y\"", "b='1 2'"]),
            (r"a=x\ y z", &[r"a=x\ y", "z"]),
            (r#"a="x\" y" z"#, &[r#"a="x\" y""#, "z"]),
            (r"a='x\' z", &[r"a='x\'", "z"]),
            (r"a \", &["a"]),
            ("\"\" x", &["\"\"", "x"]),
            ("\"open x", &["\"open x"]),
            (r#"a="x\"#, &[r#"a="x"#]),
        ];
        for (text, expect) in table {
            let words = split_quoted(text, 0..text.len(), '\\');
            let words: Vec<_> = words.into_iter().map(|r| &text[r]).collect();
            assert_eq!(words, *expect, "{text:?}");
        }
    }

    #[test]
    fn blanks_split_whatever_is_quoted() {
        let text = "  \"a b\"\u{b}c ";
        let words: Vec<_> =
            split_blanks(text, 0..text.len()).into_iter().map(|r| &text[r]).collect();
        assert_eq!(words, ["\"a", "b\"", "c"]);
    }
}
