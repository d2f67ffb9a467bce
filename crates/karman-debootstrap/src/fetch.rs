//! How bytes of an archive are fetched: a trait, so that tests need no network.

use std::fs::File;

/// The reason a fetch failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The server says there is no such file.
    #[error("`{url}` does not exist")]
    NotFound {
        /// The URL.
        url: String,
    },
    /// The file is larger than it may be.
    #[error("`{url}` is larger than {limit} bytes")]
    TooLarge {
        /// The URL.
        url: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// Anything else between us and the server.
    #[error("failed to fetch `{url}`")]
    Transport {
        /// The URL.
        url: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A file of known size and digest.
#[derive(Clone, Copy, Debug)]
pub struct Want<'a> {
    /// Bytes.
    pub size: u64,
    /// SHA-256 in lower-case hexadecimal digits.
    pub sha256: &'a str,
}

/// Fetches files over HTTP. Implementations retry by themselves; callers verify digests again.
pub trait Fetch: Sync {
    /// The body of `url`, at most `limit` bytes. Idempotent.
    fn get(&self, url: &str, limit: u64) -> Result<Vec<u8>, FetchError>;

    /// Writes the body of `url` to `file`, which may hold the beginning of it from an interrupted
    /// attempt. On success the file is exactly `want.size` bytes long.
    fn download(&self, url: &str, file: &mut File, want: &Want<'_>) -> Result<(), FetchError>;
}
