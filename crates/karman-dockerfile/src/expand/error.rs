//! Why a word does not expand; worded as BuildKit words it.

use super::{MAX_EXPANDED_BYTES, MAX_NESTING};

/// A longer word is cut in messages.
const MAX_SHOWN_CHARS: usize = 120;

/// A word that does not expand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("failed to process {word:?}: {kind}")]
pub struct ExpandError {
    /// The raw word, cut where it is long.
    pub word: String,
    /// What is wrong with it.
    #[source]
    pub kind: ExpandErrorKind,
}

impl ExpandError {
    pub(super) fn new(raw: &str, kind: ExpandErrorKind) -> Self {
        let mut word: String = raw.chars().take(MAX_SHOWN_CHARS).collect();
        if word.len() < raw.len() {
            word.push('…');
        }
        Self { word, kind }
    }
}

/// What is wrong with a word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpandErrorKind {
    /// `'…` without its end.
    #[error("unexpected end of statement while looking for matching single-quote")]
    SingleQuote,
    /// `"…` without its end.
    #[error("unexpected end of statement while looking for matching double-quote")]
    DoubleQuote,
    /// `${x…` without its brace.
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// `${x/p` without the second slash.
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    /// `${}`, `${:…`, `${{…`.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// `${x…}` with something other than `:- - :+ + :? ? # ## % %% / //`.
    #[error("unsupported modifier ({modifier}) in substitution")]
    UnsupportedModifier {
        /// What stands there.
        modifier: String,
    },
    /// `${x?message}` of an unset variable, or `${x:?message}` of an empty one.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// What the Dockerfile says, or what is wrong.
        message: String,
    },
    /// A backslash in a pattern before a character that needs none.
    #[error("invalid pattern ({pattern}) in substitution: invalid escape '\\{found}'")]
    PatternEscape {
        /// The pattern.
        pattern: String,
        /// The character; empty at the end of the pattern.
        found: String,
    },
    /// A pattern too large to compile.
    #[error("invalid pattern in substitution: {length} bytes are too many")]
    PatternTooLarge {
        /// Its length in bytes.
        length: usize,
    },
    /// Patterns and values are together larger than [`MAX_MATCH_WORK`](super::MAX_MATCH_WORK).
    #[error("matching patterns against values takes too long in substitutions")]
    MatchTooLong,
    /// Substitutions nest deeper than [`MAX_NESTING`].
    #[error("substitutions are nested more than {MAX_NESTING} deep")]
    TooDeep,
    /// The result is larger than [`MAX_EXPANDED_BYTES`].
    #[error("the expanded text exceeds {MAX_EXPANDED_BYTES} bytes")]
    TooLong,
}
