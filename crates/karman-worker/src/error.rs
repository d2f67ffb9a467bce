//! Errors of the worker's parts as [`SolveError`]s.

use std::error::Error;

use karman_control::{Cause, SolveError};

/// The message of an error with all its sources, without repeating what one already holds.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let text = inner.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        source = inner.source();
    }
    message
}

/// Turns an error of a part into a [`SolveError`] of a cause.
pub(crate) trait OrFail<T> {
    /// The value, or an error `failed to DOING: …`.
    fn or_fail(self, cause: Cause, doing: &str) -> Result<T, SolveError>;
}

impl<T, E: Error + 'static> OrFail<T> for Result<T, E> {
    fn or_fail(self, cause: Cause, doing: &str) -> Result<T, SolveError> {
        self.map_err(|e| SolveError::new(cause, format!("failed to {doing}: {}", chain(&e))))
    }
}

/// An error of the store.
pub(crate) fn store(error: karman_content::StoreError) -> SolveError {
    let hint = error.hint();
    let failed = SolveError::new(Cause::Store, chain(&error));
    match hint {
        Some(hint) => failed.with_hint(hint),
        None => failed,
    }
}
