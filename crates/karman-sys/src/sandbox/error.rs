//! Why a sandbox did not run its command.

use std::path::PathBuf;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::OsError;
use crate::overlay::OverlayError;

/// Exit code of a command that was not found, as in shells and Docker.
pub const EXIT_NOT_FOUND: i32 = 127;

/// Exit code of a command that cannot be executed.
pub const EXIT_NOT_EXECUTABLE: i32 = 126;

/// Exit code of a container that could not be set up, as in Docker.
pub const EXIT_SETUP: i32 = 125;

/// A failure before the command's first instruction.
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum StartError {
    /// The specification contradicts itself.
    #[error("invalid sandbox specification: {problem}")]
    InvalidSpec {
        /// What is wrong with it.
        problem: String,
    },
    /// A step of the set-up failed.
    #[error("failed to {step}")]
    Setup {
        /// What was tried.
        step: String,
        /// The cause.
        #[source]
        source: OsError,
    },
    /// An overlay cannot be mounted.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    /// The source of a mount cannot be used.
    #[error("failed to open mount source `{}`{}", path.display(), selector.as_ref().map(|s| format!(" (path `{s}` in it)")).unwrap_or_default())]
    Source {
        /// Host path.
        path: PathBuf,
        /// Path inside it.
        selector: Option<String>,
        /// The cause.
        #[source]
        source: OsError,
    },
    /// A mount point cannot be made, or nothing mounted there.
    #[error("failed to mount {what} at `{dest}`")]
    Mount {
        /// What was to be mounted.
        what: String,
        /// Path inside the container.
        dest: String,
        /// The cause.
        #[source]
        source: OsError,
    },
    /// The id is not mapped in our user namespace.
    #[error("user {uid} with group {gid} is not available in this user namespace")]
    UnmappedId {
        /// The user id.
        uid: u32,
        /// The group id.
        gid: u32,
        /// The cause.
        #[source]
        source: OsError,
    },
    /// A resource limit cannot be set.
    #[error("failed to set ulimit `{name}`")]
    Ulimit {
        /// Its name.
        name: String,
        /// The cause.
        #[source]
        source: OsError,
    },
    /// The working directory cannot be entered.
    #[error("failed to enter working directory `{path}`")]
    WorkingDirectory {
        /// The directory.
        path: String,
        /// The cause.
        #[source]
        source: OsError,
    },
    /// No directory of `PATH` has the program.
    #[error("exec: \"{program}\": executable file not found in $PATH")]
    NotFound {
        /// The program.
        program: String,
    },
    /// The program cannot be executed.
    #[error("exec: \"{program}\": {source}")]
    Exec {
        /// The program.
        program: String,
        /// The cause.
        #[source]
        source: OsError,
    },
}

impl StartError {
    /// The exit code Docker would report: 127 not found, 126 not executable, 125 anything else.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::NotFound { .. } => EXIT_NOT_FOUND,
            Self::Exec { source, .. } if source.is(Errno::NOENT) || source.is(Errno::NOTDIR) => {
                EXIT_NOT_FOUND
            }
            Self::Exec { .. } => EXIT_NOT_EXECUTABLE,
            _ => EXIT_SETUP,
        }
    }

    pub(super) fn setup<E: Into<OsError>>(step: &str) -> impl FnOnce(E) -> Self + use<E> {
        let step = step.to_owned();
        move |source| Self::Setup { step, source: source.into() }
    }

    pub(super) fn mount<E: Into<OsError>>(
        what: &str,
        dest: &str,
    ) -> impl FnOnce(E) -> Self + use<E> {
        let (what, dest) = (what.to_owned(), dest.to_owned());
        move |source| Self::Mount { what, dest, source: source.into() }
    }
}

/// A failure of the sandbox as the caller sees it.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The command did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The specification does not fit the wire: a path is not UTF-8.
    #[error("failed to encode the sandbox specification")]
    Encode(#[source] serde_json::Error),
    /// The supervisor process cannot be started or spoken to.
    #[error("failed to start the sandbox supervisor")]
    Spawn(#[source] std::io::Error),
    /// The supervisor ended without a report: it was killed from outside, or has a bug.
    #[error("the sandbox supervisor ended without a report ({status})")]
    Lost {
        /// How it ended.
        status: std::process::ExitStatus,
    },
}
