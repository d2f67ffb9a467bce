//! Why the program ends without success: what people read, and the exit code. The codes are
//! documented in `docs/exit-codes.md`.

use std::path::PathBuf;

use karman_build::PlanError;
use karman_control::SolveError;
use karman_diag::{Diagnostic, ExitCode, SourceMap, render};
use karman_report::{Redactor, render_solve_error};
use karman_sys::identity::IdentityError;

use crate::config::ConfigError;

/// What a command gives: by default the exit code of the program.
pub(crate) type Done<T = u8> = Result<T, Failure>;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line asks for something impossible.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The program cannot become a builder.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The engine failed outside a build.
    #[error("{0}")]
    Engine(Box<SolveError>),
    /// Rendered already, with the lines concerned.
    #[error("{text}")]
    Rendered {
        /// What people read.
        text: String,
        /// The exit code.
        exit: ExitCode,
    },
    /// SIGINT or SIGTERM ended it.
    #[error("the {what} was interrupted")]
    Interrupted {
        /// What.
        what: &'static str,
    },
    /// A file of the caller cannot be read or written.
    #[error("failed to {doing} `{}`", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Something else of the host failed.
    #[error("failed to {doing}")]
    Host {
        /// What was tried.
        doing: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error>,
    },
}

impl From<SolveError> for Failure {
    fn from(error: SolveError) -> Self {
        Self::Engine(Box::new(error))
    }
}

impl Failure {
    /// A usage error.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    /// A usage error with a hint.
    pub(crate) fn usage_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: Some(hint.into()) }
    }

    /// Something of the host failed.
    pub(crate) fn host(doing: &'static str, source: impl Into<Box<dyn std::error::Error>>) -> Self {
        Self::Host { doing, source: source.into() }
    }

    /// Diagnostics of input files, warnings included.
    pub(crate) fn diagnostics(all: &[Diagnostic], sources: &SourceMap, exit: ExitCode) -> Self {
        let text = all.iter().map(|d| render(d, sources)).collect::<Vec<_>>().join("\n");
        Self::Rendered { text, exit }
    }

    /// A build that failed.
    pub(crate) fn build(error: &SolveError, sources: &SourceMap, redactor: &Redactor) -> Self {
        Self::Rendered {
            text: render_solve_error(error, sources, redactor),
            exit: error.exit_code(),
        }
    }

    /// A build that cannot be planned.
    pub(crate) fn plan(error: PlanError, redactor: &Redactor) -> Self {
        let exit = error.exit_code();
        match error {
            PlanError::Diagnostics { diagnostics, sources, .. } => {
                Self::diagnostics(&diagnostics, &sources, exit)
            }
            PlanError::Solve(error) => Self::build(&error, &SourceMap::new(), redactor),
            PlanError::Usage { message, hint } => Self::Usage { message, hint },
        }
    }

    /// The exit code of the program.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage { .. } => ExitCode::Usage,
            Self::Config(_) => ExitCode::Input,
            Self::Identity(_) | Self::Host { .. } => ExitCode::Host,
            Self::Engine(error) => error.exit_code(),
            Self::Rendered { exit, .. } => *exit,
            Self::File { .. } => ExitCode::Input,
            Self::Interrupted { .. } => ExitCode::Interrupted,
        }
    }

    /// What people read; ends with a newline.
    pub(crate) fn render(&self) -> String {
        match self {
            Self::Rendered { text, .. } => text.clone(),
            Self::Config(ConfigError::Parse { rendered, .. }) => rendered.clone(),
            other => {
                let mut text = format!("ERROR: {}\n", chain(other));
                for hint in other.hints() {
                    text.push_str(&format!("hint: {hint}\n"));
                }
                text
            }
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Usage { hint, .. } => hint.iter().cloned().collect(),
            Self::Identity(error) => {
                let doctor = "`karman doctor` shows what this host can do".to_owned();
                error.hint().into_iter().chain([doctor]).collect()
            }
            Self::Engine(error) => error.hints.clone(),
            _ => Vec::new(),
        }
    }
}

/// An error with its causes, without repeating what one already holds.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let text = next.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        cause = next.source();
    }
    message
}
