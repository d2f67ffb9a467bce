//! The HTTP client of Karman: TLS roots, proxies, redirects, retries, limits and verified downloads.
//!
//! Only this crate opens sockets; `karman-registry` and `karman-debootstrap` go through it.
//! Everything it needs to know about its surroundings (CA bundle, proxies, user agent) is handed in
//! with [`Config`]: it never reads the environment.
//!
//! It stands on `ureq` 3 (blocking, rustls with ring) rather than on reqwest: the engine is
//! synchronous and works with threads, so an async client would bring a second runtime for nothing,
//! and ureq needs about a third of the dependencies. What ureq leaves open is decided here:
//!
//! - redirects are followed by [`Client::send`] itself, because credentials must be dropped on the way
//!   to another origin and never travel from https to http;
//! - plain `http://` goes to an HTTP proxy in absolute form as curl does, because package proxies
//!   (squid, apt-cacher-ng) refuse `CONNECT` to port 80; `https://` is tunnelled;
//! - names are resolved once a minute and only for new connections, because getaddrinfo has no cache
//!   and a lost query costs it five seconds;
//! - retries, `Retry-After`, resumed downloads and every limit.
//!
//! One [`Client`] holds one connection pool and is cheap to clone; share it between threads.
//!
//! ```no_run
//! use karman_net::{Client, Config, Expect};
//!
//! let client = Client::new(Config::default())?;
//! let mut body = Vec::new();
//! let done = client.download("https://example.com/file", &mut body, &Expect::at_most(1 << 20))?;
//! assert_eq!(done.size, body.len() as u64);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod client;
mod config;
mod dial;
mod download;
mod error;
mod forward;
mod proxy;
mod request;
mod resolve;
mod response;
mod retry;
mod roots;
mod sink;
mod url;

pub use client::Client;
pub use config::{Config, ConfigError, HostTls, Proxies, Retry};
pub use download::{Downloaded, Expect};
pub use error::{Failure, NetError};
pub use request::{Body, Request, Stream};
pub use response::Response;
pub use sink::{Checksum, Reopen, Sink};
pub use ureq::http::Method;
pub use url::{Url, UrlError};
