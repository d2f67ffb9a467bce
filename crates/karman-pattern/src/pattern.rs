//! One pattern: Go's `filepath.Match`, and moby's with `**`.

use crate::PatternError;
use crate::nfa::Nfa;
use crate::syntax::{self, Token};

/// A compiled pattern of Go's `filepath.Match`: `*` and `?` stop at slashes, `**` is no more than
/// `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Nfa);

impl Glob {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn new(pattern: &str) -> Result<Self, PatternError> {
        Ok(Self(Nfa::new(&syntax::parse(pattern)?, false)))
    }

    /// Whether the whole name matches.
    pub fn matches(&self, name: &str) -> bool {
        self.0.matches(name)
    }
}

/// Whether `name` matches the wildcards of `pattern` as Go's `filepath.Match` says: `*` and `?`
/// stop at slashes, the whole name must match.
///
/// # Errors
/// When the pattern is malformed, whether or not the name would have matched its beginning.
pub fn glob_match(pattern: &str, name: &str) -> Result<bool, PatternError> {
    Ok(Glob::new(pattern)?.matches(name))
}

/// Whether a path holds an unescaped wildcard.
pub fn has_wildcard(path: &str) -> bool {
    let mut chars = path.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

/// A compiled pattern with moby's `**`. It says nothing of parent directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    kind: Kind,
    fixed: Fixed,
}

/// The ways to match, cheapest first. Which one applies is part of moby's behaviour: `**foo`
/// matches `xfoo` by its ending, `**foo*` does not match `xfoo1`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Exact,
    Prefix(String),
    Suffix(String),
    Automaton(Nfa),
}

/// The elements of a path before the first wildcard.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fixed {
    parts: Vec<String>,
    /// Whether nothing follows them.
    whole: bool,
}

impl Pattern {
    /// Compiles a cleaned pattern without `!`.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn compile(text: &str) -> Result<Self, PatternError> {
        let tokens = syntax::parse(text)?;
        Ok(Self { text: text.to_owned(), kind: kind(text, &tokens), fixed: fixed(text) })
    }

    /// The pattern as it was compiled.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it matches the whole path.
    pub fn matches(&self, path: &str) -> bool {
        match &self.kind {
            Kind::Exact => self.text == path,
            Kind::Prefix(prefix) => path.starts_with(prefix.as_str()),
            Kind::Suffix(suffix) => {
                path.ends_with(suffix.as_str()) || suffix.strip_prefix('/') == Some(path)
            }
            Kind::Automaton(nfa) => nfa.matches(path),
        }
    }

    /// Whether it may match something below the directory `dir`.
    pub fn may_match_below(&self, dir: &str) -> bool {
        let mut fixed = self.fixed.parts.iter();
        for part in dir.split('/').filter(|p| !p.is_empty() && *p != ".") {
            match fixed.next() {
                Some(want) if want == part => {}
                Some(_) => return false,
                None => return !self.fixed.whole,
            }
        }
        !self.fixed.whole || fixed.next().is_some()
    }
}

fn kind(text: &str, tokens: &[Token]) -> Kind {
    let is_plain = |t: &str| !t.contains(['*', '?', '[', ']', '\\']);
    if is_plain(text) {
        return Kind::Exact;
    }
    match text.strip_prefix("**") {
        Some(rest) if is_plain(rest) => return Kind::Suffix(rest.to_owned()),
        _ => {}
    }
    match text.strip_suffix("**") {
        Some(rest) if is_plain(rest) => Kind::Prefix(rest.to_owned()),
        _ => Kind::Automaton(Nfa::new(tokens, true)),
    }
}

fn fixed(text: &str) -> Fixed {
    let all: Vec<&str> = text.split('/').collect();
    let is_fixed = |p: &&&str| !p.contains(['*', '?', '[', ']', '\\']);
    let parts: Vec<String> = all.iter().take_while(is_fixed).map(|p| (*p).to_owned()).collect();
    Fixed { whole: parts.len() == all.len(), parts }
}
