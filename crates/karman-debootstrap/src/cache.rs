//! A directory of files named by their SHA-256, and how missing ones get there.
//!
//! ```text
//! <dir>/<sha256>        a complete file
//! <dir>/<sha256>.part   the beginning of one; locked while somebody downloads
//! ```
//!
//! Every file is verified whenever it is read, so a damaged one costs a second download and nothing
//! else, and no fsync is needed. Several processes may share the directory.

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use fs_err as fs;
use rustix::fs::FlockOperation;
use sha2::{Digest, Sha256};

use crate::fetch::{Fetch, FetchError, Want};

/// Larger files are not read into memory.
const MAX_FILE: u64 = 2 << 30;

/// A directory of verified files.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
}

/// Why a file is not to be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CacheError {
    /// The cache directory cannot be used.
    #[error("failed to use the package cache")]
    Io(#[from] std::io::Error),
    /// The download failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The archive delivers something else than its index says.
    #[error("`{url}` has digest `{found}`, not `{wanted}`")]
    Digest {
        /// The URL.
        url: String,
        /// SHA-256 of what came.
        found: String,
        /// SHA-256 of what should have come.
        wanted: String,
    },
    /// The index promises an impossible size.
    #[error("`{url}` of {size} bytes is larger than {limit} bytes")]
    TooLarge {
        /// The URL.
        url: String,
        /// The promised size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
}

impl Cache {
    /// Uses `dir`, which is created if it does not exist.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, CacheError> {
        let dir = dir.into();
        fs::create_dir_all(&dir)?;
        Ok(Self { dir })
    }

    /// The verified content of a file, downloaded from `url` if it is not here.
    pub(crate) fn bytes(
        &self,
        fetch: &dyn Fetch,
        url: &str,
        want: &Want<'_>,
    ) -> Result<Vec<u8>, CacheError> {
        if want.size > MAX_FILE {
            return Err(CacheError::TooLarge {
                url: url.to_owned(),
                size: want.size,
                limit: MAX_FILE,
            });
        }
        let path = self.dir.join(want.sha256);
        if let Some(bytes) = read_verified(&path, want)? {
            return Ok(bytes);
        }
        let part = self.dir.join(format!("{}.part", want.sha256));
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&part)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(std::io::Error::from)?;
        // Somebody else may have finished it while we waited for the lock.
        if let Some(bytes) = read_verified(&path, want)? {
            return Ok(bytes);
        }
        if file.metadata()?.len() > want.size {
            file.set_len(0)?;
        }
        fetch.download(url, file.file_mut(), want)?;
        file.seek(SeekFrom::Start(0))?;
        let mut bytes = Vec::with_capacity(want.size as usize);
        file.by_ref().take(want.size + 1).read_to_end(&mut bytes)?;
        let found = sha256_hex(&bytes);
        if found != want.sha256 {
            // Not kept: a resumed download would build on it.
            file.set_len(0)?;
            return Err(CacheError::Digest {
                url: url.to_owned(),
                found,
                wanted: want.sha256.to_owned(),
            });
        }
        fs::rename(&part, &path)?;
        Ok(bytes)
    }
}

/// The file if it is there and right; a wrong one is removed.
fn read_verified(path: &std::path::Path, want: &Want<'_>) -> Result<Option<Vec<u8>>, CacheError> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = Vec::with_capacity(want.size as usize);
    file.take(want.size + 1).read_to_end(&mut bytes)?;
    if sha256_hex(&bytes) == want.sha256 {
        return Ok(Some(bytes));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(None),
    }
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}
