//! What a client is told about its surroundings.

use std::path::PathBuf;
use std::time::Duration;

use crate::url::UrlError;

/// Everything a [`Client`](crate::Client) needs to know. Nothing is read from the environment.
#[derive(Clone, Debug)]
pub struct Config {
    /// A PEM bundle that *replaces* the default trust roots, as `SSL_CERT_FILE` does for OpenSSL.
    pub ca_bundle: Option<PathBuf>,
    /// PEM bundles trusted in addition to the others.
    pub extra_roots: Vec<PathBuf>,
    /// The proxies, in curl's words.
    pub proxies: Proxies,
    /// The value of `User-Agent`.
    pub user_agent: String,
    /// The longest wait for name resolution, and again for connecting including TLS.
    pub connect_timeout: Duration,
    /// The longest silence of a server while a response is awaited or read.
    pub read_timeout: Duration,
    /// Hosts (`host` or `host:port`) whose certificate is not verified.
    pub insecure_hosts: Vec<String>,
    /// Trust and certificates for single hosts; the first that fits counts.
    pub host_tls: Vec<HostTls>,
    /// How often and how patiently to try again.
    pub retry: Retry,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ca_bundle: None,
            extra_roots: Vec::new(),
            proxies: Proxies::default(),
            user_agent: concat!("karman/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(30),
            read_timeout: Duration::from_secs(60),
            insecure_hosts: Vec::new(),
            host_tls: Vec::new(),
            retry: Retry::default(),
        }
    }
}

/// How TLS is spoken with one host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostTls {
    /// `host` or `host:port`.
    pub host: String,
    /// PEM bundles trusted for this host in addition to those for all.
    pub roots: Vec<PathBuf>,
    /// Our own certificate chain and its key, as PEM files, for a host that asks who we are. Both may be in
    /// one file.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Whether its certificate is not verified.
    pub insecure: bool,
}

/// The values of `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy` as curl understands them.
///
/// A proxy is `[http|https|socks5|socks5h://][user:password@]host[:port]`. An empty string is no
/// proxy. `no_proxy` is a list of host suffixes, addresses, CIDR blocks or `*`, separated by commas
/// or blanks. `localhost` and loopback addresses are never sent to a proxy, as in Docker.
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    /// For `http://` URLs.
    pub http: Option<String>,
    /// For `https://` URLs.
    pub https: Option<String>,
    /// For both where the specific one is not set.
    pub all: Option<String>,
    /// Hosts reached without a proxy.
    pub no_proxy: Option<String>,
}

/// How failed attempts are repeated.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Attempts in all, at least one.
    pub max_attempts: u32,
    /// The first pause; it doubles with every attempt.
    pub base_delay: Duration,
    /// The longest pause chosen by us.
    pub max_delay: Duration,
    /// The longest pause a server may ask for by `Retry-After`; a longer one ends the attempts.
    pub max_retry_after: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            base_delay: Duration::from_millis(250),
            max_delay: Duration::from_secs(10),
            max_retry_after: Duration::from_secs(60),
        }
    }
}

/// A [`Config`] no client can be made of.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A CA bundle cannot be read.
    #[error("read CA bundle `{}`", path.display())]
    ReadBundle {
        /// The bundle.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A CA bundle is larger than any real one.
    #[error("CA bundle `{}` is larger than {limit} bytes", path.display())]
    BundleTooLarge {
        /// The bundle.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// A CA bundle holds no usable certificate.
    #[error("CA bundle `{}` holds no certificate in PEM form", path.display())]
    EmptyBundle {
        /// The bundle.
        path: PathBuf,
    },
    /// A client certificate or its key cannot be used.
    #[error("client certificate `{}` with key `{}` {problem}", cert.display(), key.display())]
    Identity {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A proxy is not understood. Its credentials are not part of the message.
    #[error("proxy for `{variable}` is not understood")]
    Proxy {
        /// `http_proxy`, `https_proxy` or `all_proxy`.
        variable: &'static str,
        /// Why.
        #[source]
        source: UrlError,
    },
    /// The user agent cannot be sent as a header.
    #[error("user agent `{value}` is not a header value")]
    UserAgent {
        /// The value.
        value: String,
    },
}
