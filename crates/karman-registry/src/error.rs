//! What can go wrong between a reference and its verified bytes.

use karman_net::{Failure, NetError};
use karman_oci::Digest;

use crate::credentials::CredentialError;

/// Whether something is read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Pull,
    Push,
}

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
    /// What was to be uploaded did not get there.
    #[error("push `{reference}`")]
    Push {
        /// The reference.
        reference: String,
        /// Why.
        #[source]
        source: NetError,
    },
    /// The registry refuses what was uploaded, and says why.
    #[error("registry refused `{what}` for `{reference}` (status {status}){}", said(code, message))]
    Refused {
        /// The reference.
        reference: String,
        /// The digest or the tag.
        what: String,
        /// The HTTP status.
        status: u16,
        /// The registry's error code (distribution-spec v1.1 §error-codes), empty where it gave none.
        code: String,
        /// The registry's message, without control characters.
        message: String,
    },
    /// The registry's answer to an upload lacks what the protocol asks for.
    #[error("registry `{host}` answered an upload without {what}")]
    MalformedUpload {
        /// The registry.
        host: String,
        /// What is missing or wrong.
        what: &'static str,
    },
    /// `registries.conf` says that the registry is not to be used.
    #[error("`{reference}` is blocked by `registries.conf`")]
    Blocked {
        /// The reference.
        reference: String,
    },
    /// The rules of a host leave no place for what is wanted.
    #[error("`hosts.toml` names no host that `{reference}` could be read from or written to")]
    NoPlace {
        /// The reference.
        reference: String,
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
    /// The registry has the image, but not one of its blobs.
    #[error("`{reference}` names the blob `{digest}`, which the registry does not have")]
    BlobGone {
        /// The reference.
        reference: String,
        /// The blob.
        digest: Digest,
        /// The exchange.
        #[source]
        source: NetError,
    },
    /// The registry cannot be asked about an account.
    #[error("log in to `{host}`")]
    Login {
        /// The registry.
        host: String,
        /// Why.
        #[source]
        source: NetError,
    },
    /// The registry does not let an account in.
    #[error("registry `{host}` refuses the user or the password")]
    WrongAccount {
        /// The registry.
        host: String,
        /// The exchange.
        #[source]
        source: NetError,
    },
    /// The registry denies access, with or without credentials.
    #[error("{} `{reference}` is denied: {}", if *pushing { "push to" } else { "access to" }, if *pushing { "the account may not write there, or a login is needed" } else { "it does not exist or needs a login" })]
    Denied {
        /// Whether it was to be written.
        pushing: bool,
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
            Self::Denied { with_credentials: true, pushing: true, .. } => {
                Some("check the name, and that the account may push to it".to_owned())
            }
            Self::Denied { with_credentials: false, .. } => {
                Some("check the name, or log in with `karman login`".to_owned())
            }
            Self::Denied { .. } => {
                Some("check the name, and that the account may pull it".to_owned())
            }
            Self::BlobGone { .. } => {
                Some("push the image again, or build with another base or cache".to_owned())
            }
            Self::WrongAccount { .. } => Some(
                "nothing was kept; some registries want an access token as the password".to_owned(),
            ),
            Self::Schema1 { .. } => {
                Some("push the image again with a current tool to convert it".to_owned())
            }
            Self::NoPlatform { .. } => Some("choose another with --platform".to_owned()),
            Self::Pull { source, .. }
            | Self::Push { source, .. }
            | Self::Login { source, .. }
            | Self::Token { source, .. } => source.hint().map(str::to_owned),
            _ => None,
        }
    }

    /// Sorts a failed exchange about `reference`.
    pub(crate) fn of_net(
        reference: String,
        direction: Direction,
        with_credentials: bool,
        source: NetError,
    ) -> Self {
        let pushing = direction == Direction::Push;
        match (&*source.failure, direction) {
            (Failure::Auth { .. }, _) => {
                Self::Denied { reference, pushing, with_credentials, source }
            }
            (Failure::NotFound { .. }, Direction::Pull) => Self::NotFound { reference, source },
            (_, Direction::Pull) => Self::Pull { reference, source },
            (_, Direction::Push) => Self::Push { reference, source },
        }
    }

    /// Whether nobody answered at all, which will not be otherwise a moment later.
    pub(crate) fn is_unreachable(&self) -> bool {
        let Self::Pull { source, .. } = self else { return false };
        matches!(
            *source.failure,
            Failure::Dns { .. }
                | Failure::Connect { .. }
                | Failure::Tls { .. }
                | Failure::Timeout { .. }
        )
    }

    /// Whether the receiver of the bytes failed, so that another source would not help.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self, Self::Pull { source, .. } if matches!(*source.failure, Failure::Sink { .. }))
            || matches!(self, Self::BadReference { .. } | Self::ForeignLayer { .. })
    }
}

/// The registry's own words, for the end of a message.
fn said(code: &str, message: &str) -> String {
    match (code, message) {
        ("", "") => String::new(),
        ("", text) | (text, "") => format!(": {text}"),
        (code, message) => format!(": {code}: {message}"),
    }
}
