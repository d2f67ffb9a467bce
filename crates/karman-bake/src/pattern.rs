//! Name patterns after Go's `path.Match`: `*`, `?`, `[a-z]`, `\`.

/// Whether the text has a pattern character at all.
pub(crate) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', ']'])
}

/// Whether the whole name matches; malformed patterns match nothing.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // One row of a table, since backtracking over many `*` takes exponential time.
    let mut row = vec![false; name.len() + 1];
    row[0] = true;
    let mut at = 0;
    while at < pattern.len() {
        let mut next = vec![false; name.len() + 1];
        if pattern[at] == '*' {
            let mut reached = false;
            for (i, cell) in next.iter_mut().enumerate() {
                reached |= row[i];
                *cell = reached;
            }
            at += 1;
        } else {
            let Some((class, used)) = one(&pattern[at..]) else { return false };
            for i in 0..name.len() {
                next[i + 1] = row[i] && class.has(name[i]);
            }
            at += used;
        }
        row = next;
    }
    row[name.len()]
}

enum Class<'p> {
    Any,
    Is(char),
    Set(&'p [char], bool),
}

impl Class<'_> {
    fn has(&self, c: char) -> bool {
        match self {
            Self::Any => c != '/',
            Self::Is(wanted) => c == *wanted,
            Self::Set(set, negated) => {
                let mut found = false;
                let mut at = 0;
                while at < set.len() {
                    if set.get(at + 1) == Some(&'-') && at + 2 < set.len() {
                        found |= (set[at]..=set[at + 2]).contains(&c);
                        at += 3;
                    } else {
                        found |= set[at] == c;
                        at += 1;
                    }
                }
                found != *negated
            }
        }
    }
}

/// What the pattern's start matches and how many characters of it that took.
fn one(pattern: &[char]) -> Option<(Class<'_>, usize)> {
    match pattern.first()? {
        '?' => Some((Class::Any, 1)),
        '\\' => Some((Class::Is(*pattern.get(1)?), 2)),
        '[' => {
            let negated = pattern.get(1) == Some(&'^');
            let start = 1 + usize::from(negated);
            let end = start + pattern[start..].iter().position(|c| *c == ']')?;
            (end > start).then_some((Class::Set(&pattern[start..end], negated), end + 1))
        }
        c => Some((Class::Is(*c), 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, name) in [
            ("*", "app"),
            ("app*", "app-1"),
            ("a?p", "app"),
            ("[a-c]pp", "bpp"),
            ("[^a]x", "bx"),
            ("\\*", "*"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("app", "app-1"), ("a?", "a"), ("[a-c]", "d"), ("[a", "a"), ("", "a")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn many_stars_take_no_exponential_time() {
        assert!(!matches(&"*a".repeat(200), &"a".repeat(199)));
    }
}
