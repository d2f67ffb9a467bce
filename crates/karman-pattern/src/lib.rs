//! Path patterns as Docker understands them: Go's `filepath.Match` wildcards, and moby's
//! `.dockerignore` matching with `**`, exceptions and parent directories. No I/O.
//!
//! Paths are slash-separated and relative, without a leading `./`.

mod clean;
mod ignore_file;
mod matcher;
mod nfa;
mod pattern;
mod syntax;

pub use clean::clean;
pub use ignore_file::read_ignore_file;
pub use matcher::{Decision, MAX_PATTERNS, MatchState, Matcher};
pub use pattern::{Glob, Pattern, glob_match, has_wildcard};

/// Why a pattern is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Go's `ErrBadPattern`.
    #[error("syntax error in pattern `{pattern}`")]
    Syntax {
        /// The pattern.
        pattern: String,
    },
    /// `!` with nothing after it.
    #[error("illegal exclusion pattern: `!`")]
    EmptyException,
    /// More patterns than any sane list has.
    #[error("more than {limit} patterns")]
    TooMany {
        /// Patterns there may be.
        limit: usize,
    },
    /// More wildcards and characters than any sane pattern has.
    #[error("pattern of {length} characters is longer than {limit}")]
    TooLong {
        /// Characters it has.
        length: usize,
        /// Characters it may have.
        limit: usize,
    },
}
