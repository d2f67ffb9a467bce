//! The exit codes of the `karman` binary; documented in `docs/exit-codes.md`.

/// Why `karman` ended. Numbers are stable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// All done.
    Success = 0,
    /// The build failed: a command in it, or an engine operation.
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// An input file is wrong: Dockerfile, bake file, constraints, policy.
    Input = 3,
    /// Something outside could not be fetched or did not verify.
    Fetch = 4,
    /// The host lacks what the build needs (`karman doctor` tells).
    Host = 5,
    /// The local store is unusable or of a newer version.
    Store = 6,
    /// The name asked for does not exist (image, target, stage).
    NotFound = 7,
    /// `karman verify`: the rebuild is not the image, or nobody with the key signed it.
    Unverified = 8,
    /// Interrupted by a signal.
    Interrupted = 130,
}

impl ExitCode {
    /// The number given to the operating system.
    pub fn code(self) -> u8 {
        self as u8
    }
}
