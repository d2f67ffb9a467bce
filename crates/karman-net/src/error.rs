//! What can go wrong between a request and its verified body.

use std::fmt;
use std::io;

/// A failed exchange: which URL, after how many attempts, and why.
#[derive(Debug)]
pub struct NetError {
    /// The URL as asked for, without credentials.
    pub url: String,
    /// Attempts made, the failed one included.
    pub attempts: u32,
    /// Why.
    pub failure: Box<Failure>,
}

impl NetError {
    pub(crate) fn new(url: impl Into<String>, attempts: u32, failure: Failure) -> Self {
        Self { url: url.into(), attempts, failure: Box::new(failure) }
    }

    /// The HTTP status behind the error, where there is one.
    pub fn status(&self) -> Option<u16> {
        match *self.failure {
            Failure::NotFound { status }
            | Failure::Auth { status, .. }
            | Failure::Status { status } => Some(status),
            _ => None,
        }
    }

    /// What the user may do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match *self.failure {
            Failure::Tls { untrusted: true, .. } => Some(
                "the certificate is not signed by a trusted authority; set SSL_CERT_FILE to the bundle of your site's CA",
            ),
            Failure::Dns { .. } => {
                Some("check the name, the resolver and whether a proxy is needed")
            }
            Failure::Auth { .. } => {
                Some("log in to this host, or check that the account may read this resource")
            }
            _ => None,
        }
    }
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.url, self.failure)?;
        if self.attempts > 1 {
            write!(f, " (after {} attempts)", self.attempts)?;
        }
        Ok(())
    }
}

impl std::error::Error for NetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        std::error::Error::source(&*self.failure)
    }
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// Status 404 or 410.
    #[error("not found (status {status})")]
    NotFound {
        /// The status.
        status: u16,
    },
    /// Status 401, 403 or 407.
    #[error("access denied (status {status})")]
    Auth {
        /// The status.
        status: u16,
        /// The values of `WWW-Authenticate`.
        challenges: Vec<String>,
    },
    /// Any other status that is not a success.
    #[error("unexpected status {status}")]
    Status {
        /// The status.
        status: u16,
    },
    /// The TLS handshake failed.
    #[error("no trusted TLS connection to `{host}`")]
    Tls {
        /// The host.
        host: String,
        /// The certificate's issuer is unknown: a CA bundle would help.
        untrusted: bool,
        /// What rustls says.
        #[source]
        source: io::Error,
    },
    /// The name does not resolve.
    #[error("name `{host}` does not resolve")]
    Dns {
        /// The host.
        host: String,
        /// What the resolver says.
        #[source]
        source: io::Error,
    },
    /// No connection.
    #[error("connect to `{host}`")]
    Connect {
        /// The host.
        host: String,
        /// What the kernel says.
        #[source]
        source: io::Error,
    },
    /// The proxy did not let us through.
    #[error("proxy `{proxy}` refused the connection: {reason}")]
    Proxy {
        /// The proxy without credentials.
        proxy: String,
        /// What it answered.
        reason: String,
    },
    /// Nothing came for too long.
    #[error("timed out ({phase})")]
    Timeout {
        /// What was waited for.
        phase: String,
    },
    /// The body is larger than allowed.
    #[error("body is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The body ended early.
    #[error("body ended after {received} bytes{}", expected.map(|n| format!(", expected {n}")).unwrap_or_default())]
    Truncated {
        /// The announced or demanded size in bytes.
        expected: Option<u64>,
        /// What came, in bytes.
        received: u64,
    },
    /// The server announces a body of another size than the one asked for.
    #[error("body is {actual} bytes long, expected {expected}")]
    WrongSize {
        /// The size asked for in bytes.
        expected: u64,
        /// The announced size in bytes.
        actual: u64,
    },
    /// The body is not what was asked for.
    #[error("digest is `{actual}`, expected `{expected}`")]
    DigestMismatch {
        /// `algorithm:hex`.
        expected: String,
        /// `algorithm:hex`.
        actual: String,
    },
    /// The connection broke.
    #[error("connection to `{host}` broke")]
    Broken {
        /// The host.
        host: String,
        /// How.
        #[source]
        source: io::Error,
    },
    /// The peer does not speak HTTP as it should.
    #[error("malformed HTTP exchange")]
    Protocol {
        /// What was wrong.
        #[source]
        source: io::Error,
    },
    /// A chain of redirects is longer than allowed.
    #[error("more than {limit} redirects")]
    TooManyRedirects {
        /// The limit.
        limit: u32,
    },
    /// A redirect leads from https to http although the request carries credentials.
    #[error("refused to follow a redirect of an authenticated request from https to `{target}`")]
    InsecureRedirect {
        /// Where to, without credentials.
        target: String,
    },
    /// A redirect without a usable `Location`.
    #[error("redirect to an unusable location")]
    BadRedirect {
        /// Why.
        #[source]
        source: crate::UrlError,
    },
    /// The bytes to send could not be read.
    #[error("read what is to be sent")]
    Source {
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The URL is not usable.
    #[error("unusable URL")]
    BadUrl {
        /// Why.
        #[source]
        source: crate::UrlError,
    },
    /// A header cannot be sent. Its value is not shown, it may be a secret.
    #[error("header `{name}` is not valid")]
    BadHeader {
        /// The name.
        name: String,
    },
    /// What receives the body failed.
    #[error("store the body")]
    Sink {
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Failure {
    /// Whether the same request may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Dns { .. }
            | Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Truncated { .. }
            | Self::Broken { .. } => true,
            Self::Status { status } => crate::retry::is_retryable(*status),
            _ => false,
        }
    }

    /// Whether the request never reached the server, so that repeating it is safe for any method.
    pub(crate) fn is_unsent(&self) -> bool {
        matches!(self, Self::Dns { .. } | Self::Connect { .. })
    }

    /// The failure a status means, or `None` for 1xx, 2xx and 3xx.
    pub(crate) fn of_status(status: u16) -> Option<Self> {
        match status {
            0..=399 => None,
            404 | 410 => Some(Self::NotFound { status }),
            401 | 403 | 407 => Some(Self::Auth { status, challenges: Vec::new() }),
            _ => Some(Self::Status { status }),
        }
    }

    /// Sorts an error of the HTTP library. `host` is the one dialled.
    pub(crate) fn of_ureq(error: ureq::Error, host: &str, proxy: Option<&str>) -> Self {
        let host = host.to_owned();
        match error {
            ureq::Error::Timeout(phase) => Self::Timeout { phase: phase.to_string() },
            ureq::Error::HostNotFound => Self::Dns { host, source: io::Error::other("no address") },
            ureq::Error::Io(source) => Self::of_io(source, host),
            ureq::Error::Rustls(source) => Self::of_tls(io::Error::other(source), host),
            ureq::Error::Tls(reason) => Self::of_tls(io::Error::other(reason), host),
            ureq::Error::ConnectProxyFailed(reason) => {
                Self::Proxy { proxy: proxy.unwrap_or_default().to_owned(), reason }
            }
            ureq::Error::ConnectionFailed => {
                Self::Connect { host, source: io::Error::other("no address answered") }
            }
            other => Self::Protocol { source: io::Error::other(other) },
        }
    }

    /// Sorts an error met while a body was read.
    pub(crate) fn of_body(error: io::Error, host: &str) -> Self {
        if !error.get_ref().is_some_and(|e| e.is::<ureq::Error>()) {
            return Self::of_io(error, host.to_owned());
        }
        match error.into_inner().map(|inner| inner.downcast::<ureq::Error>()) {
            Some(Ok(inner)) => Self::of_ureq(*inner, host, None),
            Some(Err(inner)) => Self::Protocol { source: io::Error::other(inner) },
            None => Self::Protocol { source: io::Error::from(io::ErrorKind::InvalidData) },
        }
    }

    fn of_io(source: io::Error, host: String) -> Self {
        use io::ErrorKind as Kind;
        if source.get_ref().is_some_and(|e| e.is::<rustls::Error>()) {
            return Self::of_tls(source, host);
        }
        match source.kind() {
            Kind::ConnectionRefused
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::AddrNotAvailable
            | Kind::NetworkDown => Self::Connect { host, source },
            Kind::TimedOut | Kind::WouldBlock => Self::Timeout { phase: "network".to_owned() },
            // getaddrinfo's failures have no kind of their own in std.
            _ if source.to_string().contains("failed to lookup address") => {
                Self::Dns { host, source }
            }
            _ => Self::Broken { host, source },
        }
    }

    fn of_tls(source: io::Error, host: String) -> Self {
        let untrusted = matches!(
            source.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()),
            Some(rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer))
        );
        Self::Tls { host, untrusted, source }
    }
}
