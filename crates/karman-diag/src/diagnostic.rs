//! A problem with its place and what to do about it.

use crate::Span;

/// How bad a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The build goes on.
    Warning,
    /// The build does not start, or stops.
    Error,
}

/// One line of advice, printed as `hint: …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hint(pub String);

/// A problem in a source text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A rule name such as `StageNameCasing`; empty where none applies.
    pub code: String,
    /// A lower-case fragment without a final period.
    pub message: String,
    /// Where it is; `None` when it is about the whole input.
    pub span: Option<Span>,
    /// What it is part of, such as the whole instruction; its lines are marked too.
    pub within: Option<Span>,
    /// What to do about it.
    pub hints: Vec<Hint>,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(message: impl Into<String>, span: impl Into<Option<Span>>) -> Self {
        Self::new(Severity::Error, message, span)
    }

    /// A warning at a place.
    pub fn warning(message: impl Into<String>, span: impl Into<Option<Span>>) -> Self {
        Self::new(Severity::Warning, message, span)
    }

    fn new(severity: Severity, message: impl Into<String>, span: impl Into<Option<Span>>) -> Self {
        Self {
            severity,
            code: String::new(),
            message: message.into(),
            span: span.into(),
            within: None,
            hints: Vec::new(),
        }
    }

    /// The same with a rule name.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// The same with one more hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(Hint(hint.into()));
        self
    }

    /// The same as part of something larger; one without a place is about all of it. What is known
    /// already stays.
    #[must_use]
    pub fn within(mut self, whole: Span) -> Self {
        self.span = self.span.or(Some(whole));
        self.within = self.within.or(Some(whole));
        self
    }

    /// Whether it stops the build.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}
