//! Fetching one pocket: its signed Release file, and the package indexes that names.

use std::io::Read as _;

use crate::archive::{Mirrors, Pocket};
use crate::cache::{Cache, CacheError, sha256_hex};
use crate::decompress::Compression;
use crate::fetch::{Fetch, FetchError, Want};
use crate::keyring::{Keyring, SignatureError, Signed};
use crate::release::{Listed, Release, ReleaseError};
use crate::source::Source;

/// A Release file; Ubuntu's largest is 300 kB.
const MAX_RELEASE: u64 = 16 << 20;
/// A plain package index; Debian's main has 55 MB.
const MAX_INDEX: u64 = 1 << 30;

/// What planning is done with.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// Fetches files.
    pub fetch: &'a dyn Fetch,
    /// Keys that may sign the archive.
    pub keyring: &'a Keyring,
    /// A site's copies of archives.
    pub mirrors: &'a Mirrors,
    /// Where indexes and packages are kept.
    pub cache: &'a Cache,
    /// Seconds since 1970.
    pub now: u64,
}

/// What went wrong with a pocket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PocketError {
    /// The archive has no such suite.
    #[error("archive `{url}` has no suite `{suite}`")]
    NoSuite {
        /// The archive.
        url: String,
        /// The suite.
        suite: String,
    },
    /// The archive does not answer.
    #[error("suite `{suite}` cannot be fetched")]
    Fetch {
        /// The suite.
        suite: String,
        /// Why.
        #[source]
        source: FetchError,
    },
    /// Nobody we trust signed it.
    #[error("signature of suite `{suite}` from `{url}`")]
    Signature {
        /// The archive.
        url: String,
        /// The suite.
        suite: String,
        /// Why.
        #[source]
        source: SignatureError,
    },
    /// The signed file does not fit.
    #[error("release file of suite `{suite}` from `{url}`")]
    Release {
        /// The archive.
        url: String,
        /// The suite.
        suite: String,
        /// Why.
        #[source]
        source: ReleaseError,
    },
    /// An index cannot be had.
    #[error("package index `{path}` of suite `{suite}`")]
    Index {
        /// The suite.
        suite: String,
        /// The path below `dists/<suite>/`.
        path: String,
        /// Why.
        #[source]
        source: CacheError,
    },
    /// An index cannot be decompressed or is not text.
    #[error("package index `{path}` of suite `{suite}` cannot be read")]
    Read {
        /// The suite.
        suite: String,
        /// The path below `dists/<suite>/`.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl PocketError {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuite { .. } => Some(
                "check the suite; `security=none` and `updates=false` leave pockets out".to_owned(),
            ),
            Self::Fetch { .. } => Some("check the mirror, the proxy and the network".to_owned()),
            Self::Signature { source: SignatureError::UnknownKey { .. }, .. } => Some(
                "give the keyring of this archive, if it is not the distribution's own".to_owned(),
            ),
            Self::Release { source, .. } => source.hint(),
            _ => None,
        }
    }
}

/// A verified pocket.
pub(crate) struct Fetched {
    /// The URL packages are fetched from.
    pub(crate) url: String,
    pub(crate) release: Release,
    /// SHA-256 of the text that was signed.
    pub(crate) digest: String,
    pub(crate) signers: Vec<String>,
    /// The text of `Packages`, one per component.
    pub(crate) indexes: Vec<String>,
}

/// Fetches and verifies a pocket.
pub(crate) fn fetch(
    pocket: &Pocket,
    source: &Source,
    arch: &str,
    env: &Environment<'_>,
) -> Result<Fetched, PocketError> {
    let url = env.mirrors.apply(&pocket.url);
    let base = format!("{url}/dists/{}", pocket.suite);
    // A snapshot is old by intent: neither `Valid-Until` nor the expiry of keys applies to it.
    let now = source.snapshot.is_none().then_some(env.now);
    let signed = signed_release(&base, &url, pocket, env, now)?;
    let wrong =
        |source| PocketError::Release { url: url.clone(), suite: pocket.suite.clone(), source };
    let release = Release::parse(&signed.text).map_err(wrong)?;
    release.check(&pocket.suite, arch, now).map_err(wrong)?;
    let mut indexes = Vec::new();
    for component in &source.components {
        let (path, listed) = release.packages_index(component, arch).map_err(wrong)?;
        let file = IndexFile { base: &base, path: &path, listed, by_hash: release.by_hash };
        indexes.push(file.read(&pocket.suite, env)?);
    }
    Ok(Fetched {
        digest: sha256_hex(signed.text.as_bytes()),
        signers: signed.signers,
        url,
        release,
        indexes,
    })
}

fn signed_release(
    base: &str,
    url: &str,
    pocket: &Pocket,
    env: &Environment<'_>,
    now: Option<u64>,
) -> Result<Signed, PocketError> {
    let suite = || pocket.suite.clone();
    let failed = |source: FetchError| match source {
        FetchError::NotFound { .. } => PocketError::NoSuite { url: url.to_owned(), suite: suite() },
        source => PocketError::Fetch { suite: suite(), source },
    };
    let verified = match env.fetch.get(&format!("{base}/InRelease"), MAX_RELEASE) {
        Ok(message) => env.keyring.verify_inline(&message, now),
        Err(FetchError::NotFound { .. }) => {
            let content = env.fetch.get(&format!("{base}/Release"), MAX_RELEASE).map_err(failed)?;
            let signature =
                env.fetch.get(&format!("{base}/Release.gpg"), MAX_RELEASE).map_err(failed)?;
            env.keyring.verify_detached(&content, &signature, now)
        }
        Err(error) => return Err(failed(error)),
    };
    verified.map_err(|source| PocketError::Signature {
        url: url.to_owned(),
        suite: suite(),
        source,
    })
}

struct IndexFile<'a> {
    base: &'a str,
    path: &'a str,
    listed: &'a Listed,
    by_hash: bool,
}

impl IndexFile<'_> {
    fn read(&self, suite: &str, env: &Environment<'_>) -> Result<String, PocketError> {
        let (suite, path) = (|| suite.to_owned(), || self.path.to_owned());
        let bytes = self.bytes(env).map_err(|source| PocketError::Index {
            suite: suite(),
            path: path(),
            source,
        })?;
        let unreadable = |source| PocketError::Read { suite: suite(), path: path(), source };
        let compression = Compression::of(self.path).unwrap_or(Compression::None);
        let mut reader = compression.reader(&bytes, MAX_INDEX).map_err(unreadable)?;
        let mut text = String::new();
        reader.read_to_string(&mut text).map_err(unreadable)?;
        Ok(text)
    }

    fn bytes(&self, env: &Environment<'_>) -> Result<Vec<u8>, CacheError> {
        let want = Want { size: self.listed.size, sha256: &self.listed.sha256 };
        if let Some((dir, _)) = self.path.rsplit_once('/').filter(|_| self.by_hash) {
            let url = format!("{}/{dir}/by-hash/SHA256/{}", self.base, self.listed.sha256);
            match env.cache.bytes(env.fetch, &url, &want) {
                // Mirrors and snapshots may lack `by-hash` although the Release file promises it.
                Err(CacheError::Fetch(FetchError::NotFound { .. })) => {}
                other => return other,
            }
        }
        env.cache.bytes(env.fetch, &format!("{}/{}", self.base, self.path), &want)
    }
}
