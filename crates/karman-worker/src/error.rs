//! Errors of the worker's parts as [`SolveError`]s.

use std::error::Error;

use karman_content::StoreError;
use karman_control::{Cause, SolveError};
use rustix::io::Errno;

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
        self.map_err(|e| {
            let message = format!("failed to {doing}: {}", chain(&e));
            failed(cause, message, &e)
        })
    }
}

/// What builds that were interrupted end with.
pub(crate) fn interrupted() -> SolveError {
    interrupted_while("build")
}

/// What everything else that was interrupted ends with, by its name.
pub(crate) fn interrupted_while(what: &str) -> SolveError {
    SolveError::new(Cause::Interrupted, format!("the {what} was interrupted"))
}

/// An error with a message of its own, whose cause is the full disk where that is why.
pub(crate) fn failed(cause: Cause, message: String, why: &(dyn Error + 'static)) -> SolveError {
    match is_full(why) {
        true => SolveError::new(Cause::Store, message).with_hint(FULL),
        false => SolveError::new(cause, message),
    }
}

/// What to do about a full disk.
const FULL: &str = "make space on the file system that was written to; `karman cache prune` gives back what the store \
                    can do without";

/// Whether something could not be written because the disk, or a quota on it, is full.
fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            let full = io.raw_os_error().map(Errno::from_raw_os_error);
            // What another error was wrapped around is not among its sources.
            let inner = io.get_ref().is_some_and(|inner| is_full(inner));
            if inner || matches!(full, Some(Errno::NOSPC | Errno::DQUOT)) {
                return true;
            }
        }
        if error.downcast_ref::<StoreError>().is_some_and(StoreError::is_full) {
            return true;
        }
        next = error.source();
    }
    false
}

/// An error of the store.
pub(crate) fn store(error: StoreError) -> SolveError {
    let hint = error.hint();
    let told = SolveError::new(Cause::Store, chain(&error));
    match hint {
        Some(hint) => told.with_hint(hint),
        None => told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_found_behind_other_errors() {
        let full = || std::io::Error::from_raw_os_error(Errno::NOSPC.raw_os_error());
        let files = karman_sys::fs::FsError::io("write", "f", full());
        let wrapped = std::io::Error::other(StoreError::Files { dir: "/s".into(), source: files });
        let failed = Err::<(), _>(wrapped).or_fail(Cause::Engine, "export").expect_err("an error");
        assert_eq!(failed.cause, Cause::Store);
        assert_eq!(failed.hints.len(), 1);
        let other = std::io::Error::from(std::io::ErrorKind::NotFound);
        let failed = Err::<(), _>(other).or_fail(Cause::Engine, "export").expect_err("an error");
        assert_eq!((failed.cause, failed.hints.len()), (Cause::Engine, 0));
    }
}
