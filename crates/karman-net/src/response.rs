//! What comes back.

use std::io::{self, Read};
use std::time::{Duration, Instant, SystemTime};

use ureq::BodyReader;
use ureq::http::HeaderMap;

use crate::error::{Failure, NetError};
use crate::retry::parse_retry_after;
use crate::url::Url;

/// The longest time a body read into memory may take, against peers that drip.
const IN_MEMORY_DEADLINE: Duration = Duration::from_secs(120);

/// The most that is read of a body nobody wants, in bytes and reads, to keep its connection.
const DRAIN: (u64, usize) = (16 * 1024, 16);

/// A response whose body is still to be read (`impl Read`; not decompressed).
pub struct Response {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) url: Url,
    pub(crate) asked: String,
    pub(crate) attempts: u32,
    pub(crate) body: BodyReader<'static>,
}

impl Response {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The URL that answered, after redirects.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Attempts made until this response.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// Every value of a header.
    pub fn header_all(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().filter_map(|v| v.to_str().ok()).collect()
    }

    /// The announced size of the body in bytes.
    pub fn content_length(&self) -> Option<u64> {
        self.header("content-length").and_then(|v| v.trim().parse().ok())
    }

    /// `Content-Type` without parameters, in lower case.
    pub fn content_type(&self) -> Option<String> {
        let value = self.header("content-type")?.split(';').next()?;
        Some(value.trim().to_ascii_lowercase())
    }

    /// `ETag`.
    pub fn etag(&self) -> Option<&str> {
        self.header("etag")
    }

    /// `Last-Modified`.
    pub fn last_modified(&self) -> Option<SystemTime> {
        self.header("last-modified").and_then(|v| httpdate::parse_http_date(v).ok())
    }

    /// `Content-Disposition`.
    pub fn content_disposition(&self) -> Option<&str> {
        self.header("content-disposition")
    }

    /// What `Retry-After` asks for.
    pub fn retry_after(&self) -> Option<Duration> {
        self.header("retry-after").and_then(|v| parse_retry_after(v, SystemTime::now()))
    }

    /// Turns a status of 400 and above into an error.
    pub fn error_for_status(mut self) -> Result<Self, NetError> {
        match self.failure() {
            None => Ok(self),
            Some(failure) => {
                drain(&self.headers, &mut self.body);
                Err(self.error(failure))
            }
        }
    }

    /// What the status means, with the challenges of a refusal.
    pub(crate) fn failure(&self) -> Option<Failure> {
        let failure = Failure::of_status(self.status)?;
        let Failure::Auth { status, .. } = failure else {
            return Some(failure);
        };
        let values = self.header_all("www-authenticate");
        let challenges = values.into_iter().map(str::to_owned).collect();
        Some(Failure::Auth { status, challenges })
    }

    /// Reads the whole body, at most `limit` bytes, within two minutes.
    pub fn read_to_limit(mut self, limit: u64) -> Result<Vec<u8>, NetError> {
        let announced = self.content_length();
        if announced.is_some_and(|n| n > limit) {
            return Err(self.error(Failure::TooLarge { limit }));
        }
        let started = Instant::now();
        let mut bytes = Vec::new();
        let mut chunk = [0; 16 * 1024];
        loop {
            let n = match self.body.read(&mut chunk) {
                Ok(0) => return Ok(bytes),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    let received = bytes.len() as u64;
                    return Err(self.error(Failure::Truncated { expected: announced, received }));
                }
                Err(error) => return Err(self.error(Failure::of_body(error, self.url.host()))),
            };
            if (bytes.len() + n) as u64 > limit {
                return Err(self.error(Failure::TooLarge { limit }));
            }
            if started.elapsed() > IN_MEMORY_DEADLINE {
                return Err(self.error(Failure::Timeout { phase: "receive body".to_owned() }));
            }
            bytes.extend_from_slice(&chunk[..n]);
        }
    }

    /// An error about this response.
    pub(crate) fn error(&self, failure: Failure) -> NetError {
        NetError::new(self.asked.clone(), self.attempts, failure)
    }
}

/// Reads the rest of a short body, so that the connection can be used again: a redirect or a
/// challenge should not cost the next request a TLS handshake.
pub(crate) fn drain(headers: &HeaderMap, body: &mut impl Read) {
    let length = headers.get("content-length").and_then(|v| v.to_str().ok()?.parse::<u64>().ok());
    if length.is_none_or(|n| n > DRAIN.0) {
        return;
    }
    let mut chunk = [0; 4096];
    for _ in 0..DRAIN.1 {
        if !matches!(body.read(&mut chunk), Ok(n) if n > 0) {
            return;
        }
    }
}

impl Read for Response {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.body.read(buf)
    }
}

impl std::fmt::Debug for Response {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Response")
            .field("status", &self.status)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
