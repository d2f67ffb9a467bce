//! Rust source with comments and literals blanked, so that words and braces in them do not count.

/// `text` with every character of comments, strings and character literals replaced by a space.
/// Lines keep their numbers.
pub(crate) fn mask(text: &str) -> String {
    let source: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < source.len() {
        let end = literal_end(&source, at).unwrap_or(at);
        if end == at {
            out.push(source[at]);
            at += 1;
            continue;
        }
        out.extend(source[at..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
        at = end;
    }
    out
}

/// Where the comment or literal that begins at `at` ends; `None` where none begins.
fn literal_end(source: &[char], at: usize) -> Option<usize> {
    let next = source.get(at + 1).copied();
    match source[at] {
        '/' if next == Some('/') => Some(find(source, at, |rest| rest[0] == '\n')),
        '/' if next == Some('*') => Some(block_comment_end(source, at)),
        '"' => Some(string_end(source, at)),
        'r' if !is_inside_word(source, at) => raw_string_end(source, at),
        '\'' => char_end(source, at),
        _ => None,
    }
}

fn find(source: &[char], from: usize, found: impl Fn(&[char]) -> bool) -> usize {
    (from..source.len()).find(|&at| found(&source[at..])).unwrap_or(source.len())
}

fn block_comment_end(source: &[char], start: usize) -> usize {
    let (mut depth, mut at) = (0usize, start);
    while at < source.len() {
        match source[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    source.len()
}

fn string_end(source: &[char], start: usize) -> usize {
    let mut at = start + 1;
    while at < source.len() {
        match source[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    source.len()
}

/// `r"…"` and `r#"…"#`; a raw identifier such as `r#type` is none.
fn raw_string_end(source: &[char], start: usize) -> Option<usize> {
    let hashes = source[start + 1..].iter().take_while(|&&c| c == '#').count();
    let open = start + 1 + hashes;
    if source.get(open) != Some(&'"') {
        return None;
    }
    let closes = |rest: &[char]| {
        rest[0] == '"' && rest.len() > hashes && rest[1..=hashes].iter().all(|&c| c == '#')
    };
    Some((find(source, open + 1, closes) + 1 + hashes).min(source.len()))
}

/// `'x'` and `'\n'`; a lifetime such as `'a` is none.
fn char_end(source: &[char], start: usize) -> Option<usize> {
    if source.get(start + 1) == Some(&'\\') {
        return Some((find(source, start + 3, |rest| rest[0] == '\'') + 1).min(source.len()));
    }
    (source.get(start + 2) == Some(&'\'')).then_some(start + 3)
}

/// `br"…"` and `cr"…"` are literals too, but the `r` of `var"` is not one.
fn is_inside_word(source: &[char], at: usize) -> bool {
    let word = |c: &char| c.is_alphanumeric() || *c == '_';
    let before = at.checked_sub(1).map(|i| source[i]);
    let prefix = before.is_some_and(|c| matches!(c, 'b' | 'c'));
    let start = if prefix { at.checked_sub(2) } else { at.checked_sub(1) };
    start.and_then(|i| source.get(i)).is_some_and(word)
}

/// Whether `text` has `word` at `at` as a whole word.
pub(crate) fn is_word_at(text: &str, at: usize, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let before = text[..at].chars().next_back().is_some_and(part);
    let after = text[at + word.len()..].chars().next().is_some_and(part);
    !before && !after
}

/// The 1-based line of a byte offset.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text[..offset].bytes().filter(|&b| b == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn literals_and_comments_are_blanked() {
        for (source, left) in [
            ("a // {\nb", "a b"),
            ("a /* { /* } */ \n } */ b", "a b"),
            (r#"f("{\"}", x)"#, "f( , x)"),
            ("let s = r#\"{\"}\"#;", "let s = ;"),
            ("br\"{\" r#type", "b r#type"),
            ("'{' '\\'' 'a '\\u{1F600}' x", "'a x"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("\"unterminated {", ""),
        ] {
            let got = mask(source);
            assert_eq!(got.split_whitespace().collect::<Vec<_>>().join(" "), left, "{source}");
            assert_eq!(got.chars().count(), source.chars().count());
            assert_eq!(got.matches('\n').count(), source.matches('\n').count());
        }
    }
}
