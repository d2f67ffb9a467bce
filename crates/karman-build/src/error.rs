//! Why a build cannot be planned.

use karman_control::{Cause, SolveError};
use karman_diag::{Diagnostic, ExitCode, SourceMap};

/// A build that cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Something is wrong with the targets, their files or their bases: all that was found.
    #[error("{}", first_message(diagnostics))]
    Diagnostics {
        /// What is wrong.
        diagnostics: Vec<Diagnostic>,
        /// What is doubtful besides.
        warnings: Vec<Diagnostic>,
        /// The files that both point into.
        sources: SourceMap,
        /// The exit code that fits: `Input`, the backend's where only a fetch failed, `Failure`
        /// where only checks that are errors did.
        exit: ExitCode,
    },
    /// The backend failed to fetch a context or a Dockerfile.
    #[error(transparent)]
    Solve(Box<SolveError>),
    /// A target asks for something impossible.
    #[error("{message}")]
    Usage {
        /// What is wrong, a lower-case fragment.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

impl PlanError {
    /// A usage error with a hint.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: Some(hint.into()) }
    }

    /// The exit code of the program.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Diagnostics { exit, .. } => *exit,
            Self::Solve(error) => error.exit_code(),
            Self::Usage { .. } => ExitCode::Usage,
        }
    }
}

fn first_message(diagnostics: &[Diagnostic]) -> &str {
    let found = diagnostics.iter().find(|d| d.is_error());
    found.map_or("the build cannot be planned", |d| d.message.as_str())
}

/// What went wrong with one target; collected until all targets were looked at.
#[derive(Debug)]
pub(crate) enum Problem {
    /// Things wrong with files.
    Found(Vec<Diagnostic>),
    /// Warnings of build checks that are errors.
    Violated(Vec<Diagnostic>),
    /// A base image could not be resolved: what to say, and what the backend said.
    Unresolved(Vec<Diagnostic>, Cause),
    /// The backend failed.
    Solve(Box<SolveError>),
    /// The target asks for something impossible.
    Usage(String, Option<String>),
    /// Another target failed, whose problems are known already.
    Known,
}

/// The result of one step.
pub(crate) type Step<T> = Result<T, Problem>;

impl Problem {
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into(), None)
    }

    pub(crate) fn usage_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage(message.into(), Some(hint.into()))
    }

    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::Found(vec![Diagnostic::error(message, None)])
    }

    pub(crate) fn input_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Found(vec![Diagnostic::error(message, None).with_hint(hint)])
    }

    /// Whether looking at the other targets makes no sense any more.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Solve(error) if error.cause == Cause::Interrupted)
    }
}

impl From<Box<SolveError>> for Problem {
    fn from(error: Box<SolveError>) -> Self {
        Self::Solve(error)
    }
}

impl From<SolveError> for Problem {
    fn from(error: SolveError) -> Self {
        Self::Solve(Box::new(error))
    }
}

/// An error with its causes in one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        out.push_str(": ");
        out.push_str(&next.to_string());
        cause = next.source();
    }
    out
}

/// Problems of all targets as one error.
pub(crate) fn gather(
    mut problems: Vec<(String, Problem)>,
    sources: SourceMap,
    named: bool,
) -> PlanError {
    let place = |target: &str, text: String| {
        if named { format!("target `{target}`: {text}") } else { text }
    };
    if let [(target, only)] = problems.as_mut_slice() {
        match only {
            Problem::Usage(message, hint) => {
                let message = place(target, std::mem::take(message));
                return PlanError::Usage { message, hint: hint.take() };
            }
            Problem::Solve(_) => {
                let Some((target, Problem::Solve(error))) = problems.pop() else {
                    unreachable!("the only problem was just seen to be the backend's")
                };
                let message = place(&target, error.message.clone());
                return PlanError::Solve(Box::new(SolveError { message, ..*error }));
            }
            _ => {}
        }
    }
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    let mut exits: Vec<ExitCode> = Vec::new();
    for (target, problem) in problems {
        let (found, exit) = match problem {
            Problem::Known => continue,
            Problem::Found(found) => (found, ExitCode::Input),
            Problem::Violated(found) => (found, ExitCode::Failure),
            Problem::Unresolved(found, cause) => (found, SolveError::new(cause, "").exit_code()),
            Problem::Solve(error) => (vec![of_solve(&error)], error.exit_code()),
            Problem::Usage(message, hint) => {
                let found = Diagnostic::error(message, None);
                (vec![hint.into_iter().fold(found, Diagnostic::with_hint)], ExitCode::Usage)
            }
        };
        exits.push(exit);
        for mut diagnostic in found {
            if diagnostic.span.is_none() {
                diagnostic.message = place(&target, diagnostic.message);
            }
            if !diagnostics.contains(&diagnostic) {
                diagnostics.push(diagnostic);
            }
        }
    }
    let same = exits.first().copied().filter(|first| exits.iter().all(|e| e == first));
    let exit = same.unwrap_or(ExitCode::Input);
    PlanError::Diagnostics { diagnostics, warnings: Vec::new(), sources, exit }
}

fn of_solve(error: &SolveError) -> Diagnostic {
    let found = Diagnostic::error(error.message.clone(), error.spans.first().copied());
    error.hints.iter().cloned().fold(found, Diagnostic::with_hint)
}
