//! What can go wrong between a reference and its verified bytes.

use karman_net::{Failure, NetError};
use karman_oci::Digest;

use crate::credentials::CredentialError;

/// An operation on a registry failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The registry or what it redirects to cannot be reached or answered with an error.
    #[error("pull `{reference}`")]
    Pull {
        /// The reference.
        reference: String,
        /// Why.
        #[source]
        source: NetError,
    },
    /// The registry says that there is no such image.
    #[error("`{reference}` does not exist")]
    NotFound {
        /// The reference.
        reference: String,
        /// The exchange.
        #[source]
        source: NetError,
    },
    /// The registry denies access, with or without credentials.
    #[error("access to `{reference}` is denied: it does not exist or needs a login")]
    Denied {
        /// The reference.
        reference: String,
        /// Whether credentials were sent.
        with_credentials: bool,
        /// The exchange.
        #[source]
        source: NetError,
    },
    /// The token server failed.
    #[error("get a token for `{host}`")]
    Token {
        /// The registry.
        host: String,
        /// Why.
        #[source]
        source: NetError,
    },
    /// The token server's answer is not a token.
    #[error("token server of `{host}` sent no token")]
    MalformedToken {
        /// The registry.
        host: String,
        /// What is wrong with its JSON, where it is that.
        #[source]
        source: Option<serde_json::Error>,
    },
    /// The registry refuses without naming a way to authenticate that we know.
    #[error("registry `{host}` asks for an unknown kind of authentication")]
    UnknownChallenge {
        /// The registry.
        host: String,
    },
    /// Credentials or tokens would travel unencrypted.
    #[error("refused to authenticate to `{host}` over plain http at `{realm}`")]
    Unencrypted {
        /// The registry.
        host: String,
        /// Where to.
        realm: String,
    },
    /// The stored credentials are not usable.
    #[error("look up the credentials for `{host}`")]
    Credentials {
        /// The registry.
        host: String,
        /// Why.
        #[source]
        source: CredentialError,
    },
    /// A reference with a part that cannot be put into a URL.
    #[error("`{reference}` is not a reference a registry can serve")]
    BadReference {
        /// The reference.
        reference: String,
    },
    /// The bytes are not those of the digest.
    #[error("`{reference}` has digest `{actual}`, expected `{expected}`")]
    DigestMismatch {
        /// The reference.
        reference: String,
        /// The digest asked for.
        expected: Digest,
        /// The digest of what came.
        actual: Digest,
    },
    /// The bytes are not as many as the descriptor says.
    #[error("`{reference}` is {actual} bytes long, expected {expected}")]
    SizeMismatch {
        /// The reference.
        reference: String,
        /// The size asked for in bytes.
        expected: u64,
        /// The size of what came in bytes.
        actual: u64,
    },
    /// The manifest is not valid JSON or lacks required parts.
    #[error("manifest of `{reference}` is malformed")]
    MalformedManifest {
        /// The reference.
        reference: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The manifest could be read as two kinds of document (CVE-2021-41190).
    #[error("manifest of `{reference}` is ambiguous: `{declared}` and `{found}`")]
    AmbiguousManifest {
        /// The reference.
        reference: String,
        /// The type the server or the descriptor declares.
        declared: String,
        /// The type the document itself has.
        found: String,
    },
    /// Docker's schema 1 of 2014.
    #[error("`{reference}` has a manifest of Docker's schema 1, which is not supported")]
    Schema1 {
        /// The reference.
        reference: String,
    },
    /// Neither manifest nor index.
    #[error("`{reference}` is `{media_type}`, not an image or an index")]
    NotAnImage {
        /// The reference.
        reference: String,
        /// What it is.
        media_type: String,
    },
    /// An index without the wanted platform.
    #[error("no image for `{wanted}`; available: {}", if available.is_empty() { "none".to_owned() } else { available.join(", ") })]
    NoPlatform {
        /// The platform asked for.
        wanted: String,
        /// The platforms of the index.
        available: Vec<String>,
    },
    /// A layer that is to be had elsewhere.
    #[error("`{digest}` is a foreign layer kept outside the registry, which is not fetched")]
    ForeignLayer {
        /// The layer.
        digest: Digest,
    },
}

impl RegistryError {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Denied { with_credentials: false, .. } => {
                Some("check the name, or log in with `karman login`".to_owned())
            }
            Self::Denied { .. } => {
                Some("check the name, and that the account may pull it".to_owned())
            }
            Self::Schema1 { .. } => {
                Some("push the image again with a current tool to convert it".to_owned())
            }
            Self::NoPlatform { .. } => Some("choose another with --platform".to_owned()),
            Self::Pull { source, .. } | Self::Token { source, .. } => {
                source.hint().map(str::to_owned)
            }
            _ => None,
        }
    }

    /// Sorts a failed exchange about `reference`.
    pub(crate) fn of_net(reference: String, with_credentials: bool, source: NetError) -> Self {
        match *source.failure {
            Failure::NotFound { .. } => Self::NotFound { reference, source },
            Failure::Auth { .. } => Self::Denied { reference, with_credentials, source },
            _ => Self::Pull { reference, source },
        }
    }

    /// Whether the receiver of the bytes failed, so that another source would not help.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Pull { source, .. } if matches!(*source.failure, Failure::Sink { .. }))
            || matches!(self, Self::BadReference { .. } | Self::ForeignLayer { .. })
    }
}
