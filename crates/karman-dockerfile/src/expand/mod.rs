//! Word expansion: quotes, escapes and `$variables` as BuildKit's shell lexer treats them.
//!
//! ```
//! use karman_dockerfile::expand::Expander;
//!
//! let lookup = |name: &str| (name == "V").then(|| "1.2.3".to_owned());
//! let expander = Expander::new('\\', &lookup);
//! let word = expander.process_word("\"v${V%%.*}\"-${X:-none}")?;
//! assert_eq!(word.text, "v1-none");
//! # Ok::<(), karman_dockerfile::expand::ExpandError>(())
//! ```

mod cursor;
mod error;
mod lex;
mod pattern;
mod words;

use std::collections::BTreeSet;

pub use error::{ExpandError, ExpandErrorKind};
use lex::Lexer;

/// `${a:-${b:-…}}` nests at most so deep; the lexer recurses.
pub const MAX_NESTING: usize = 64;

/// A word expands to at most so many bytes: `ENV A=$A$A` doubles on every line.
pub const MAX_EXPANDED_BYTES: usize = 16 << 20;

/// The values that one word looks up have at most so many bytes together, whether or not they show in the result.
pub const MAX_LOOKED_UP_BYTES: usize = 4 * MAX_EXPANDED_BYTES;

/// Matching `${a#pattern}` and its kin in one word: at most so many characters of values times characters of patterns.
pub const MAX_MATCH_WORK: usize = 64 << 20;

/// Expands raw words with the variables of a moment.
#[derive(Clone, Copy)]
pub struct Expander<'a> {
    /// The escape character of the Dockerfile.
    pub escape: char,
    /// The value of a variable; `None` where it is not set.
    pub lookup: &'a dyn Fn(&str) -> Option<String>,
}

/// An expanded word.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expanded {
    /// The text, quotes and escapes resolved.
    pub text: String,
    /// The names that were looked up and are set.
    pub matched: BTreeSet<String>,
    /// The names that were looked up and are not set.
    pub unmatched: BTreeSet<String>,
}

/// A raw text expanded and split at unquoted blanks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExpandedWords {
    /// The words; blanks from a variable split too, empty words vanish.
    pub words: Vec<String>,
    /// The names that were looked up and are set.
    pub matched: BTreeSet<String>,
    /// The names that were looked up and are not set.
    pub unmatched: BTreeSet<String>,
}

/// How the lexer treats quotes, escapes and unset variables.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct LexMode {
    /// Quotes stay in the text (they still quote).
    pub(crate) keep_quotes: bool,
    /// Escapes stay in the text (they still escape).
    pub(crate) keep_escapes: bool,
    /// Quotes are ordinary characters.
    pub(crate) plain_quotes: bool,
    /// `$x` of an unset variable stays as it is.
    pub(crate) keep_unset: bool,
    /// `<<` and the blanks behind it belong to the word that follows: `<< EOF` is one word.
    pub(crate) join_heredoc: bool,
}

impl<'a> Expander<'a> {
    /// An expander with that escape character and those variables.
    pub fn new(escape: char, lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { escape, lookup }
    }

    /// Expands one word; blanks in it and in values stay (BuildKit's `ProcessWord`).
    ///
    /// # Errors
    /// Unbalanced quotes or braces, unknown modifiers, `${x:?…}` of an unset variable.
    pub fn process_word(&self, raw: &str) -> Result<Expanded, ExpandError> {
        Ok(self.run(raw, LexMode::default())?.0)
    }

    /// Expands and splits at blanks outside quotes (BuildKit's `ProcessWords`, used by `EXPOSE`).
    ///
    /// # Errors
    /// As [`Self::process_word`].
    pub fn process_words(&self, raw: &str) -> Result<ExpandedWords, ExpandError> {
        let (Expanded { matched, unmatched, .. }, words) = self.run(raw, LexMode::default())?;
        Ok(ExpandedWords { words, matched, unmatched })
    }

    /// Expands the body of a `COPY` or `ADD` heredoc: quotes are ordinary characters, a backslash
    /// escapes whatever the `escape` directive says.
    ///
    /// # Errors
    /// As [`Self::process_word`], quotes excepted.
    pub fn process_heredoc(&self, body: &str) -> Result<Expanded, ExpandError> {
        let mode = LexMode { plain_quotes: true, ..LexMode::default() };
        Ok(Self { escape: '\\', ..*self }.run(body, mode)?.0)
    }

    pub(crate) fn run(
        &self,
        raw: &str,
        mode: LexMode,
    ) -> Result<(Expanded, Vec<String>), ExpandError> {
        Lexer::new(self, raw, mode).run().map_err(|kind| ExpandError::new(raw, kind))
    }
}

impl std::fmt::Debug for Expander<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expander").field("escape", &self.escape).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
