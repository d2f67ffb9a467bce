//! An operating system error that can cross a process boundary.

use serde::{Deserialize, Serialize};

/// An `errno` value, serialisable so that a sandbox stage can report it to the process that started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OsError(i32);

impl OsError {
    /// The raw `errno`.
    pub fn errno(self) -> i32 {
        self.0
    }

    /// Whether this is the error `errno` of rustix.
    pub fn is(self, errno: rustix::io::Errno) -> bool {
        self.0 == errno.raw_os_error()
    }

    /// The calling thread's current `errno`, for raw libc calls.
    pub(crate) fn last() -> Self {
        Self::from(std::io::Error::last_os_error())
    }
}

impl std::fmt::Display for OsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        let text = text.split(" (os error").next().unwrap_or_default();
        // The C library starts its messages with a capital; ours are fragments.
        let mut chars = text.chars();
        match chars.next() {
            Some(first) => write!(f, "{}{}", first.to_ascii_lowercase(), chars.as_str()),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl std::error::Error for OsError {}

impl From<rustix::io::Errno> for OsError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self(errno.raw_os_error())
    }
}

impl From<std::io::Error> for OsError {
    fn from(error: std::io::Error) -> Self {
        Self(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

#[cfg(test)]
mod tests {
    use super::OsError;

    #[test]
    fn displays_as_a_fragment() {
        let error = OsError::from(rustix::io::Errno::NOENT);
        assert_eq!(error.to_string(), "no such file or directory");
    }
}
