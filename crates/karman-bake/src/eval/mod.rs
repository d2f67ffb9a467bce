//! Evaluation of expressions against a [`Scope`]: every error has the place of the expression it is about.

mod expr;
mod ops;
mod template;
mod traverse;

use karman_diag::{Diagnostic, Span, nearest};

use crate::value::Value;

/// The result of evaluating something.
pub(crate) type Eval<T> = Result<T, Diagnostic>;

/// Names bound by a matrix, a `for` or the parameters of a function, innermost first.
#[derive(Clone, Copy, Default)]
pub(crate) struct Locals<'p> {
    vars: &'p [(String, Value)],
    parent: Option<&'p Locals<'p>>,
}

impl<'p> Locals<'p> {
    /// Only these names.
    pub(crate) fn new(vars: &'p [(String, Value)]) -> Self {
        Self { vars, parent: None }
    }

    /// These names before those already bound.
    pub(crate) fn with(&'p self, vars: &'p [(String, Value)]) -> Self {
        Self { vars, parent: Some(self) }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        match self.vars.iter().find(|(n, _)| n == name) {
            Some((_, value)) => Some(value),
            None => self.parent?.get(name),
        }
    }

    /// All names, for suggestions.
    pub(crate) fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.vars.iter().map(|(n, _)| n.as_str()).collect();
        if let Some(parent) = self.parent {
            names.extend(parent.names());
        }
        names
    }
}

/// An error at a place.
pub(crate) fn fail<T>(message: impl Into<String>, span: Span) -> Eval<T> {
    Err(Diagnostic::error(message, span))
}

/// The error with a hint naming the candidate nearest to `word`, where one is near.
pub(crate) fn suggest<'a>(
    error: Diagnostic,
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Diagnostic {
    match nearest(word, candidates) {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error,
    }
}
