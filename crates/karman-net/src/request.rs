//! What is asked for.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ureq::http::Method;

/// Headers that identify the caller; dropped on the way to another origin and never printed.
pub(crate) const SECRET_HEADERS: &[&str] = &["authorization", "cookie", "proxy-authorization"];

/// What stands as itself in a form (WHATWG `application/x-www-form-urlencoded`).
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

/// One request. The URL is checked when it is sent.
#[derive(Clone)]
pub struct Request {
    pub(crate) method: Method,
    pub(crate) url: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) private: Vec<(String, String)>,
    pub(crate) body: Body,
    pub(crate) retry: bool,
    pub(crate) redirects: bool,
    pub(crate) safe: bool,
}

/// The body of a request.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Body {
    /// None.
    #[default]
    Empty,
    /// Bytes in memory, which can be sent again.
    Bytes(Vec<u8>),
    /// Bytes read while they are sent.
    Stream(Stream),
}

/// What opens a body, once for each time it is sent.
type Open = dyn Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync;

/// A body that is read while it is sent, and opened again for a redirect or another attempt.
#[derive(Clone)]
pub struct Stream {
    /// Its size in bytes, sent as `Content-Length`.
    pub(crate) size: u64,
    pub(crate) open: Arc<Open>,
}

impl Stream {
    /// A body of exactly `size` bytes. Whatever `open` gives beyond that is not sent; less breaks the
    /// request.
    pub fn new(
        size: u64,
        open: impl Fn() -> io::Result<Box<dyn Read + Send>> + Send + Sync + 'static,
    ) -> Self {
        Self { size, open: Arc::new(open) }
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Request {
    /// A request without headers or body.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            private: Vec::new(),
            body: Body::Empty,
            retry: true,
            redirects: true,
            safe: false,
        }
    }

    /// A `GET`.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::GET, url)
    }

    /// A `HEAD`.
    pub fn head(url: impl Into<String>) -> Self {
        Self::new(Method::HEAD, url)
    }

    /// A `POST` of an URL-encoded form.
    pub fn post_form(url: impl Into<String>, fields: &[(&str, &str)]) -> Self {
        Self::new(Method::POST, url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(encode_form(fields).into_bytes())
    }

    /// The URL as given, with whatever secrets it holds.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a header that is for the origin of the URL and never goes to another one.
    pub fn private_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.private.push((name.into(), value.into()));
        self
    }

    /// Adds headers.
    pub fn headers(mut self, headers: &[(&str, &str)]) -> Self {
        self.headers.extend(headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
        self
    }

    /// Adds basic credentials.
    pub fn basic(self, user: &str, password: &str) -> Self {
        self.header("authorization", basic(user, password))
    }

    /// A `POST`.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new(Method::POST, url)
    }

    /// A `PUT`.
    pub fn put(url: impl Into<String>) -> Self {
        Self::new(Method::PUT, url)
    }

    /// A `PATCH`.
    pub fn patch(url: impl Into<String>) -> Self {
        Self::new(Method::PATCH, url)
    }

    /// Sets the body.
    pub fn body(mut self, bytes: Vec<u8>) -> Self {
        self.body = Body::Bytes(bytes);
        self
    }

    /// Sets a body that is read while it is sent.
    pub fn stream(mut self, stream: Stream) -> Self {
        self.body = Body::Stream(stream);
        self
    }

    /// Returns a redirect as the response instead of following it: for bodies that hold secrets.
    pub fn no_redirects(mut self) -> Self {
        self.redirects = false;
        self
    }

    /// Says that repeating the request does no harm whatever its method, so that it is tried again after
    /// passing trouble as a `GET` is.
    pub fn safe(mut self) -> Self {
        self.safe = true;
        self
    }

    /// Makes one attempt only.
    pub fn once(mut self) -> Self {
        self.retry = false;
        self
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url =
            crate::Url::parse(&self.url).map_or_else(|e| e.to_string(), |url| url.to_string());
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("url", &url)
            .field("headers", &names)
            .finish_non_exhaustive()
    }
}

/// The value of a basic `Authorization`.
pub(crate) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Encodes a form or a query string.
pub(crate) fn encode_form(fields: &[(&str, &str)]) -> String {
    let part = |text: &str| utf8_percent_encode(text, FORM).to_string();
    let pairs: Vec<String> =
        fields.iter().map(|(k, v)| format!("{}={}", part(k), part(v))).collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_encoded() {
        assert_eq!(
            encode_form(&[("scope", "repository:a/b:pull"), ("q", "ü &=")]),
            "scope=repository%3Aa%2Fb%3Apull&q=%C3%BC%20%26%3D"
        );
    }

    #[test]
    fn debug_shows_no_secret() {
        let request = Request::get("https://u:geheim@h/").basic("u", "geheim");
        assert!(!format!("{request:?}").contains("geheim"));
        assert!(!format!("{request:?}").contains("Basic"));
    }
}
