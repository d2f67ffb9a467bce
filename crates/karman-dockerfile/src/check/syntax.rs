//! Rules about one statement, found while the text is read.

use karman_diag::{Diagnostic, Span};

use super::rules::{self, Rule};
use crate::instruction::Word;

/// A statement as the rules see it.
pub(crate) struct Seen<'a> {
    /// The keyword as written.
    pub(crate) keyword: &'a str,
    /// What follows the flags.
    pub(crate) words: &'a [&'a str],
    /// The comment block above.
    pub(crate) comments: &'a [String],
    /// The whole instruction.
    pub(crate) span: Span,
}

/// An empty line inside a continuation, reported once for each instruction where it ends.
pub(crate) fn empty_continuation(at: Span) -> Diagnostic {
    finding(&rules::NO_EMPTY_CONTINUATION, at, "Empty continuation line".to_owned())
}

/// What can be said before an instruction is known to be right.
pub(crate) fn before(seen: &Seen<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    if seen.keyword.eq_ignore_ascii_case("MAINTAINER") {
        let message = "Maintainer instruction is deprecated in favor of using label".to_owned();
        found.push(finding(&rules::MAINTAINER_DEPRECATED, seen.span, message));
    }
    if seen.keyword.eq_ignore_ascii_case("FROM")
        && let [_, keyword, name] = seen.words
    {
        if *name != name.to_lowercase() {
            let message = format!("Stage name '{name}' should be lowercase");
            found.push(finding(&rules::STAGE_NAME_CASING, seen.span, message));
        }
        if !matches_case(seen.keyword, keyword) {
            let from = seen.keyword;
            let message = format!("'{keyword}' and '{from}' keywords' casing do not match");
            found.push(finding(&rules::FROM_AS_CASING, seen.span, message));
        }
    }
    found
}

/// Whether `as` is written as `from` is; a `From` is another rule's business.
fn matches_case(from: &str, word: &str) -> bool {
    if from == from.to_lowercase() {
        word == word.to_lowercase()
    } else if from == from.to_uppercase() {
        word == word.to_uppercase()
    } else {
        true
    }
}

/// The comment right above a definition should describe it. `names` are what is defined.
pub(crate) fn description(seen: &Seen<'_>, names: &[&str]) -> Option<Diagnostic> {
    let first = names.first()?;
    let word = seen.comments.last()?.split(' ').next().unwrap_or_default();
    if names.contains(&word) {
        return None;
    }
    let keyword = seen.keyword.to_uppercase();
    let name = if names.len() > 1 { "<arg_key>" } else { first };
    let message =
        format!("Comment for {keyword} should follow the format: `# {name} <description>`");
    Some(finding(&rules::INVALID_DEFINITION_DESCRIPTION, seen.span, message))
}

/// The value of the first `check=…` among the comments above an instruction.
pub(crate) fn local_check(comments: &[String], span: Span) -> Option<Word> {
    let value = |comment: &String| {
        let (name, value) = comment.split_once('=')?;
        let value = value.trim();
        (name.trim_end().eq_ignore_ascii_case("check") && !value.is_empty())
            .then(|| Word::new(value.to_owned(), span))
    };
    comments.iter().find_map(value)
}

fn finding(rule: &Rule, span: Span, message: String) -> Diagnostic {
    Diagnostic::warning(message, span).with_code(rule.name)
}
