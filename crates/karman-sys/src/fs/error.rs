//! The error of a failed system call: which operation, on which path, and why.

use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// The result of a file operation.
pub type Result<T> = std::result::Result<T, FsError>;

/// A file operation the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{op}{}", Named(path))]
pub struct FsError {
    /// What was tried, in the words of the system call (`open`, `create directory`, …).
    pub op: &'static str,
    /// The name as it was given, relative to the directory it was given for.
    pub path: PathBuf,
    /// The kernel's answer.
    #[source]
    pub source: std::io::Error,
}

impl FsError {
    /// An error from a kernel error number.
    pub fn new(op: &'static str, path: impl AsRef<Path>, errno: Errno) -> Self {
        Self { op, path: path.as_ref().to_owned(), source: errno.into() }
    }

    /// An error from the standard library.
    pub fn io(op: &'static str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self { op, path: path.as_ref().to_owned(), source }
    }

    /// The kernel error number, if there is one.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        Errno::from_io_error(&self.source)
    }

    /// Whether the thing named does not exist (`ENOENT`, or `ENOTDIR` on the way to it).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self.errno(), Some(Errno::NOENT | Errno::NOTDIR))
    }

    /// Whether the name is taken already (`EEXIST`).
    #[must_use]
    pub fn is_exists(&self) -> bool {
        self.errno() == Some(Errno::EXIST)
    }

    /// The same error with the directory prepended to its path.
    #[must_use]
    pub fn within(mut self, dir: &Path) -> Self {
        self.path = dir.join(&self.path);
        self
    }
}

/// A path to print after an operation; an empty one (the caller names the file) prints nothing.
struct Named<'a>(&'a Path);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0.as_os_str().is_empty() { Ok(()) } else { write!(f, " `{}`", self.0.display()) }
    }
}

/// Adds operation and path to a kernel error number.
pub(super) trait At<T> {
    /// Names the operation and the path.
    fn at(self, op: &'static str, path: &Path) -> Result<T>;
}

impl<T> At<T> for std::result::Result<T, Errno> {
    fn at(self, op: &'static str, path: &Path) -> Result<T> {
        self.map_err(|errno| FsError::new(op, path, errno))
    }
}
