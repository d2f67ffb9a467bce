//! Who we are to a registry.

use std::fmt;
use std::path::PathBuf;

/// What proves an identity. `Debug` shows the kind only.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credential {
    /// User and password (or access token used as one).
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// An OAuth2 refresh token as stored by `docker login`.
    IdentityToken(String),
    /// A bearer token for the registry itself.
    RegistryToken(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(***)",
            Self::IdentityToken(_) => "IdentityToken(***)",
            Self::RegistryToken(_) => "RegistryToken(***)",
        })
    }
}

/// Where credentials come from. Asked at most once for each token that is needed.
pub trait CredentialSource: Send + Sync {
    /// The credential for a repository of a registry (`docker.io`, `host:port`), or `None` for an
    /// anonymous caller.
    ///
    /// # Errors
    /// When credentials are configured but cannot be had.
    fn lookup(&self, host: &str, repository: &str) -> Result<Option<Credential>, CredentialError>;
}

/// No credentials at all.
#[derive(Debug, Clone, Copy, Default)]
pub struct Anonymous;

impl CredentialSource for Anonymous {
    fn lookup(
        &self,
        _host: &str,
        _repository: &str,
    ) -> Result<Option<Credential>, CredentialError> {
        Ok(None)
    }
}

/// Configured credentials cannot be had. Never shows a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The file cannot be read.
    #[error("read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file cannot be written.
    #[error("write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is larger than any real one.
    #[error("`{}` is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// The file is not what it should be.
    #[error("`{}` is not a registry credentials file", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// An `auth` entry is not `base64(user:password)`.
    #[error("entry for `{host}` is not base64 of `user:password`")]
    MalformedEntry {
        /// The registry.
        host: String,
    },
    /// The name of a helper is not a plain word.
    #[error("credential helper `{helper}` has a name that is not allowed")]
    HelperName {
        /// The helper.
        helper: String,
    },
    /// A helper cannot be run.
    #[error("run credential helper `{helper}`")]
    RunHelper {
        /// The helper.
        helper: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A helper failed or did not answer as it should.
    #[error("credential helper `{helper}` gave no usable answer for `{host}`")]
    HelperAnswer {
        /// The helper.
        helper: String,
        /// The registry.
        host: String,
    },
}
