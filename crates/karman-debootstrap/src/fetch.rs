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

impl Want<'_> {
    /// The digest as bytes; zeros where the text is not a digest, which then never matches.
    pub fn digest(&self) -> [u8; 32] {
        let mut out = [0; 32];
        for (byte, digits) in out.iter_mut().zip(self.sha256.as_bytes().chunks(2)) {
            let digits = std::str::from_utf8(digits).unwrap_or("");
            *byte = u8::from_str_radix(digits, 16).unwrap_or(0);
        }
        out
    }
}

/// Fetches files over HTTP. Implementations retry by themselves; callers verify digests again.
pub trait Fetch: Sync {
    /// The body of `url`, at most `limit` bytes. Idempotent.
    fn get(&self, url: &str, limit: u64) -> Result<Vec<u8>, FetchError>;

    /// Writes the body of `url` to `file`, which may hold the beginning of it from an interrupted
    /// attempt. On success the file is exactly `want.size` bytes long.
    fn download(&self, url: &str, file: &mut File, want: &Want<'_>) -> Result<(), FetchError>;
}
