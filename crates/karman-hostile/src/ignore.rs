//! The ignore matcher: an ignore file, a line `--`, then paths. Compared with moby's way, which is a regular
//! expression for each pattern (`patternmatcher.Pattern.compile`).

use karman_pattern::{Decision, MatchState, Matcher, Pattern, glob_match, read_ignore_file};
use regex::Regex;

/// Paths looked at.
const MAX_PATHS: usize = 8;
/// Longer patterns are not compared: the regular expression would be what takes the time.
const MAX_COMPARED: usize = 64;

pub(crate) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (file, paths) = text.split_once("\n--\n").unwrap_or((&text, "a/b\nsrc/main.rs"));
    let patterns = read_ignore_file(file);
    let paths: Vec<&str> = paths.lines().take(MAX_PATHS).filter(|p| is_path(p)).collect();
    for pattern in patterns.iter().filter(|p| !p.starts_with('!') && p.len() <= MAX_COMPARED) {
        compare(pattern, &paths);
    }
    let Ok(matcher) = Matcher::new(&patterns) else { return };
    paths.iter().for_each(|path| walk(&matcher, path));
}

/// What a walk of a tree may come to: relative and clean.
fn is_path(path: &str) -> bool {
    !path.is_empty() && !path.starts_with('/') && karman_pattern::clean(path) == path && path != "."
}

/// A walk that hands states down says what a question about the path alone says, and never drops a directory that
/// holds something to keep.
fn walk(matcher: &Matcher, path: &str) {
    let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
    let mut state = MatchState::default();
    let mut dropped = false;
    for end in ends {
        let (decision, below) = matcher.step(&path[..end], true, &state);
        assert_eq!(decision, matcher.decide(&path[..end], true), "{:?}", &path[..end]);
        assert!(!dropped || decision != Decision::Keep, "{:?} is hidden", &path[..end]);
        dropped |= decision == Decision::Drop;
        state = below;
    }
}

fn compare(pattern: &str, paths: &[&str]) {
    let compiled = Pattern::compile(pattern);
    assert_eq!(compiled.is_ok(), glob_match(pattern, "x").is_ok(), "{pattern:?}");
    let (Ok(compiled), Some(reference)) = (compiled, Reference::new(pattern)) else { return };
    for path in paths {
        assert_eq!(compiled.matches(path), reference.matches(path), "{pattern:?} on {path:?}");
    }
}

/// moby's matching, for patterns without classes and escapes (there Go's regular expressions and ours differ).
enum Reference {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Regex(Regex),
}

/// Which of them it is: what was read last decides, as in moby.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Exact,
    Prefix,
    Suffix,
    Regex,
}

impl Reference {
    fn new(pattern: &str) -> Option<Self> {
        if pattern.contains(['[', ']', '\\']) {
            return None;
        }
        let mut regex = "^(?s)".to_owned();
        let mut way = Way::Exact;
        let mut chars = pattern.chars().peekable();
        let mut is_first = true;
        while let Some(c) = chars.next() {
            let (next, text) = match c {
                '*' if chars.next_if_eq(&'*').is_some() => {
                    chars.next_if_eq(&'/');
                    match (chars.peek(), way) {
                        (None, Way::Exact) => (Way::Prefix, ".*"),
                        (None, _) => (Way::Regex, ".*"),
                        (Some(_), _) => (Way::Regex, "(.*/)?"),
                    }
                }
                '*' => (Way::Regex, "[^/]*"),
                '?' => (Way::Regex, "[^/]"),
                c => {
                    regex.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
                    (way, "")
                }
            };
            regex.push_str(text);
            way = if is_first && pattern.starts_with("**") { Way::Suffix } else { next };
            is_first = false;
        }
        Some(match way {
            Way::Exact => Self::Exact(pattern.to_owned()),
            Way::Prefix => Self::Prefix(pattern[..pattern.len() - 2].to_owned()),
            Way::Suffix => Self::Suffix(pattern[2..].to_owned()),
            Way::Regex => Self::Regex(Regex::new(&(regex + "$")).ok()?),
        })
    }

    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(text) => path == text,
            Self::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Self::Suffix(suffix) => {
                path.ends_with(suffix.as_str()) || suffix.strip_prefix('/') == Some(path)
            }
            Self::Regex(regex) => regex.is_match(path),
        }
    }
}
