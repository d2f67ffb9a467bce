//! Why a build failed.

use karman_diag::{ExitCode, Span};
use karman_llb::VertexDigest;

/// A failed build.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct SolveError {
    /// A lower-case fragment, with the causes appended.
    pub message: String,
    /// What kind of failure it is.
    pub cause: Cause,
    /// The vertex that failed, where one did.
    pub vertex: Option<VertexDigest>,
    /// Its name for people.
    pub vertex_name: String,
    /// Where it was written.
    pub spans: Vec<Span>,
    /// The last lines the failed command wrote.
    pub log_tail: Vec<String>,
    /// What to do about it.
    pub hints: Vec<String>,
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A command ended with this code.
    Command(i32),
    /// An input of the build is wrong or missing.
    Input,
    /// Something outside could not be fetched or did not verify.
    Fetch,
    /// The host lacks something.
    Host,
    /// The store is unusable.
    Store,
    /// What was asked for does not exist.
    NotFound,
    /// The build was interrupted.
    Interrupted,
    /// An engine operation failed.
    Engine,
}

impl SolveError {
    /// An error that concerns no vertex yet.
    pub fn new(cause: Cause, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            cause,
            vertex: None,
            vertex_name: String::new(),
            spans: Vec::new(),
            log_tail: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// The same with one more hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The exit code of the program.
    pub fn exit_code(&self) -> ExitCode {
        match self.cause {
            Cause::Command(_) | Cause::Engine => ExitCode::Failure,
            Cause::Input => ExitCode::Input,
            Cause::Fetch => ExitCode::Fetch,
            Cause::Host => ExitCode::Host,
            Cause::Store => ExitCode::Store,
            Cause::NotFound => ExitCode::NotFound,
            Cause::Interrupted => ExitCode::Interrupted,
        }
    }
}
