//! Lists of patterns: the last one that matches decides, `!` makes an exception.

use crate::{Pattern, PatternError, clean};

/// Patterns of one list. Each path of a tree is compared with each of them, so their number decides what a walk costs.
pub const MAX_PATTERNS: usize = 100_000;

/// What to do with a path of a tree that is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// The path is part of the tree.
    Keep,
    /// Neither the path nor anything below it is part of the tree.
    Drop,
    /// The directory itself is not part of the tree, but something below it may be; then it is
    /// kept as a parent.
    DropButDescend,
}

/// Which patterns match a directory; handed down to what it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MatchState {
    /// One mark for each pattern; empty for the root of the tree.
    matched: Vec<bool>,
}

/// A compiled list of patterns, such as a `.dockerignore` file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matcher {
    rules: Vec<Rule>,
    has_exceptions: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    pattern: Pattern,
    is_exception: bool,
}

impl Matcher {
    /// Compiles patterns in their order. Blanks around them are trimmed, empty ones skipped, and
    /// paths cleaned, as moby's `patternmatcher.New` does.
    ///
    /// # Errors
    /// When a pattern is malformed or nothing but `!`, or there are more than [`MAX_PATTERNS`].
    pub fn new<S: AsRef<str>>(patterns: &[S]) -> Result<Self, PatternError> {
        let mut rules = Vec::with_capacity(patterns.len().min(MAX_PATTERNS));
        for text in patterns.iter().map(|p| p.as_ref().trim()).filter(|p| !p.is_empty()) {
            if rules.len() == MAX_PATTERNS {
                return Err(PatternError::TooMany { limit: MAX_PATTERNS });
            }
            let cleaned = clean(text);
            let (is_exception, path) = match cleaned.strip_prefix('!') {
                Some("") => return Err(PatternError::EmptyException),
                Some(path) => (true, path),
                None => (false, cleaned.as_str()),
            };
            rules.push(Rule { pattern: Pattern::compile(path)?, is_exception });
        }
        let has_exceptions = rules.iter().any(|r| r.is_exception);
        Ok(Self { rules, has_exceptions })
    }

    /// Whether there is no pattern.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Whether the list excludes a path; a path inside an excluded directory is excluded with it.
    /// The root (`""` or `.`) never is.
    pub fn excluded(&self, path: &str, is_dir: bool) -> bool {
        self.decide(path, is_dir) != Decision::Keep
    }

    /// What a walk does with a path, from the path alone. Inside a walk, [`Matcher::step`] is
    /// cheaper.
    pub fn decide(&self, path: &str, is_dir: bool) -> Decision {
        let path = path.trim_end_matches('/');
        if self.rules.is_empty() || path.is_empty() || path == "." {
            return Decision::Keep;
        }
        let mut state = MatchState::default();
        for (at, _) in path.match_indices('/').filter(|(at, _)| *at > 0) {
            (_, state) = self.matches(&path[..at], &state);
        }
        self.step(path, is_dir, &state).0
    }

    /// What a walk does with a path whose parent directory has the state `parent` (the default
    /// for the root), and the state for what lies below.
    pub fn step(&self, path: &str, is_dir: bool, parent: &MatchState) -> (Decision, MatchState) {
        let (matched, state) = self.matches(path, parent);
        let decision = match (matched, is_dir && self.may_hold_exception(path)) {
            (false, _) => Decision::Keep,
            (true, true) => Decision::DropButDescend,
            (true, false) => Decision::Drop,
        };
        (decision, state)
    }

    /// Whether the list matches a path, and the state for what lies below: moby's
    /// `MatchesUsingParentResults`.
    pub fn matches(&self, path: &str, parent: &MatchState) -> (bool, MatchState) {
        let mut marks = vec![false; self.rules.len()];
        let mut matched = false;
        for (at, rule) in self.rules.iter().enumerate() {
            let inherited = parent.matched.get(at).copied().unwrap_or(false);
            // A rule that would not change the outcome is not tried; its mark stays unset, which
            // is what moby hands down too.
            let hit = inherited || (rule.is_exception == matched && rule.pattern.matches(path));
            marks[at] = hit;
            if hit {
                matched = !rule.is_exception;
            }
        }
        (matched, MatchState { matched: marks })
    }

    /// Whether a pattern that is no exception may match something below the directory.
    pub fn may_match_below(&self, dir: &str) -> bool {
        self.rules.iter().any(|r| !r.is_exception && r.pattern.may_match_below(dir))
    }

    fn may_hold_exception(&self, dir: &str) -> bool {
        self.has_exceptions
            && self.rules.iter().any(|r| r.is_exception && r.pattern.may_match_below(dir))
    }
}
