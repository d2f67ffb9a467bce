//! Downloads that either deliver exactly what was expected or fail.

use std::io::{self, Read as _};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::client::Client;
use crate::error::{Failure, NetError};
use crate::request::Request;
use crate::response::Response;
use crate::sink::{Checksum, Hasher, Sink};
use crate::url::Url;

/// Attempts in all, however much each of them brought; the configured ones count only those in a row
/// that brought next to nothing.
const MAX_TOTAL_ATTEMPTS: u32 = 40;
/// What an attempt must bring to count as progress, in bytes.
const PROGRESS: u64 = 256 * 1024;
/// Slower than this over a whole window, in bytes, is a peer that holds us up.
const MIN_PER_WINDOW: u64 = 16 * 1024;
/// The window for [`MIN_PER_WINDOW`].
const SPEED_WINDOW: Duration = Duration::from_secs(60);
/// Size of one read.
const CHUNK: usize = 64 * 1024;
/// The largest body when the caller names no size: 64 GiB.
const DEFAULT_MAX_BYTES: u64 = 64 << 30;

/// What a body must be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expect {
    /// The exact size in bytes.
    pub size: Option<u64>,
    /// The digest.
    pub checksum: Option<Checksum>,
    /// The largest acceptable size in bytes; 64 GiB where neither this nor `size` is given.
    pub max_bytes: Option<u64>,
}

impl Expect {
    /// Anything up to `max_bytes`.
    pub fn at_most(max_bytes: u64) -> Self {
        Self { max_bytes: Some(max_bytes), ..Self::default() }
    }

    /// Exactly this.
    pub fn exactly(size: u64, checksum: Checksum) -> Self {
        Self { size: Some(size), checksum: Some(checksum), max_bytes: None }
    }

    fn limit(&self) -> u64 {
        let max = self.max_bytes.unwrap_or(DEFAULT_MAX_BYTES);
        self.size.map_or(max, |size| size.min(max))
    }
}

/// A finished, verified download.
#[derive(Clone, Debug)]
pub struct Downloaded {
    /// Bytes received.
    pub size: u64,
    /// Their SHA-256.
    pub sha256: [u8; 32],
    /// `ETag`.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<SystemTime>,
    /// `Content-Disposition`.
    pub content_disposition: Option<String>,
    /// The URL that answered.
    pub url: Url,
    /// Attempts made.
    pub attempts: u32,
}

impl Client {
    /// Downloads `url` into `sink` and verifies it. See [`Client::download_request`].
    pub fn download(
        &self,
        url: &str,
        sink: &mut dyn Sink,
        expect: &Expect,
    ) -> Result<Downloaded, NetError> {
        self.download_request(&Request::get(url), sink, expect)
    }

    /// Downloads what `request` (a `GET`) asks for into `sink`.
    ///
    /// A broken connection is resumed with `Range` and `If-Range`, or begun again where the server
    /// cannot resume. Success means that size and digest are as expected. On failure the sink may
    /// hold a part of the body.
    pub fn download_request(
        &self,
        request: &Request,
        sink: &mut dyn Sink,
        expect: &Expect,
    ) -> Result<Downloaded, NetError> {
        self.download_renewing(request, sink, expect, &mut |_| None)
    }

    /// Like [`Client::download_request`], but asks `renew` for another request after an error that
    /// does not pass by itself, such as expired credentials. What was received is kept.
    pub fn download_renewing(
        &self,
        request: &Request,
        sink: &mut dyn Sink,
        expect: &Expect,
        renew: &mut dyn FnMut(&NetError) -> Option<Request>,
    ) -> Result<Downloaded, NetError> {
        let mut request = request.clone();
        let mut transfer = Transfer::new(sink, expect);
        let (mut fruitless, mut attempts) = (0, 0);
        loop {
            attempts += 1;
            let before = transfer.received;
            let Attempt(mut error, wanted) = match self.attempt(&request, &mut transfer) {
                Ok(response) => return Ok(transfer.finished(&response, attempts)),
                Err(failed) => failed,
            };
            error.attempts = attempts;
            let progress = transfer.received.saturating_sub(before) >= PROGRESS;
            fruitless = if progress { 1 } else { fruitless + 1 };
            if fruitless >= self.retry().max_attempts || attempts >= MAX_TOTAL_ATTEMPTS {
                return Err(error);
            }
            let passing = error.failure.is_transient() || transfer.may_start_over(&error.failure);
            if passing && request.retry {
                match self.pause(fruitless, wanted) {
                    Some(pause) => thread::sleep(pause),
                    None => return Err(error),
                }
            } else {
                match renew(&error) {
                    Some(renewed) => request = renewed,
                    None => return Err(error),
                }
            }
        }
    }

    /// One request and as much of its body as comes.
    fn attempt(&self, request: &Request, transfer: &mut Transfer<'_>) -> Result<Response, Attempt> {
        let mut request = request.clone().once();
        transfer.ask_for_rest(&mut request);
        let mut response = self.send(&request).map_err(Attempt::from)?;
        if response.status() == 416 {
            // What we hold is not a part of what is there now.
            transfer.validator = Validator::None;
            transfer.stale = true;
            let expected = transfer.expect.size;
            return Err(response
                .error(Failure::Truncated { expected, received: transfer.received })
                .into());
        }
        if !matches!(response.status(), 200 | 203 | 206) {
            let status = response.status();
            let failure = response.failure().unwrap_or(Failure::Status { status });
            return Err(Attempt(response.error(failure), response.retry_after()));
        }
        match transfer.receive(&mut response) {
            Ok(()) => Ok(response),
            Err(failure) => Err(response.error(failure).into()),
        }
    }
}

/// A failed attempt and the pause the server asked for.
struct Attempt(NetError, Option<Duration>);

impl From<NetError> for Attempt {
    fn from(error: NetError) -> Self {
        Self(error, None)
    }
}

/// What `If-Range` may carry (RFC 9110 §13.1.5).
#[derive(Clone)]
enum Validator {
    None,
    Strong(String),
}

/// What is known and held between attempts.
struct Transfer<'a> {
    sink: &'a mut dyn Sink,
    expect: &'a Expect,
    hasher: Hasher,
    received: u64,
    validator: Validator,
    /// Part of what is held came from an earlier attempt.
    resumed: bool,
    /// Nothing held may be kept.
    stale: bool,
    done: Option<[u8; 32]>,
}

impl<'a> Transfer<'a> {
    fn new(sink: &'a mut dyn Sink, expect: &'a Expect) -> Self {
        Self {
            sink,
            expect,
            hasher: Hasher::new(expect.checksum),
            received: 0,
            validator: Validator::None,
            resumed: false,
            stale: true,
            done: None,
        }
    }

    /// Adds `Range` where what is held can be continued safely: the server named a strong validator,
    /// or a digest will tell at the end.
    fn ask_for_rest(&self, request: &mut Request) {
        if self.stale || self.received == 0 {
            return;
        }
        let range = format!("bytes={}-", self.received);
        match &self.validator {
            Validator::Strong(value) => {
                request.headers.push(("range".to_owned(), range));
                request.headers.push(("if-range".to_owned(), value.clone()));
            }
            Validator::None if self.expect.checksum.is_some() => {
                request.headers.push(("range".to_owned(), range));
            }
            Validator::None => {}
        }
    }

    fn receive(&mut self, response: &mut Response) -> Result<(), Failure> {
        let continues = response.status() == 206
            && !self.stale
            && range_start(response) == Some(self.received)
            && self.received > 0;
        if response.status() == 206 && !continues {
            self.stale = true;
            return Err(Failure::Truncated { expected: self.expect.size, received: 0 });
        }
        if continues {
            self.resumed = true;
        } else {
            self.restart(response)?;
        }
        let announced = response.content_length().map(|n| n.saturating_add(self.received));
        self.check_announced(announced)?;
        self.pump(response, announced)?;
        self.verify()
    }

    fn restart(&mut self, response: &Response) -> Result<(), Failure> {
        self.sink.restart().map_err(|source| Failure::Sink { source })?;
        self.hasher = Hasher::new(self.expect.checksum);
        self.received = 0;
        self.resumed = false;
        self.stale = false;
        let strong = response.etag().filter(|tag| !tag.starts_with("W/"));
        let date = response.header("last-modified");
        self.validator =
            strong.or(date).map_or(Validator::None, |value| Validator::Strong(value.to_owned()));
        Ok(())
    }

    fn check_announced(&self, announced: Option<u64>) -> Result<(), Failure> {
        let limit = self.expect.limit();
        match (announced, self.expect.size) {
            (Some(n), _) if n > limit => Err(Failure::TooLarge { limit }),
            // A shorter body cannot be the right one; there is no point in fetching it again.
            (Some(n), Some(size)) if n < size => {
                Err(Failure::WrongSize { expected: size, actual: n })
            }
            _ => Ok(()),
        }
    }

    fn pump(&mut self, response: &mut Response, announced: Option<u64>) -> Result<(), Failure> {
        let limit = self.expect.limit();
        let mut chunk = vec![0; CHUNK];
        let mut window = (Instant::now(), self.received);
        loop {
            let n = match response.read(&mut chunk) {
                Ok(0) => return Ok(()),
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(Failure::Truncated {
                        expected: self.expect.size.or(announced),
                        received: self.received,
                    });
                }
                Err(error) => return Err(Failure::of_body(error, response.url().host())),
            };
            if self.received + n as u64 > limit {
                self.stale = true;
                return Err(Failure::TooLarge { limit });
            }
            self.sink.write(&chunk[..n]).map_err(|source| Failure::Sink { source })?;
            self.hasher.update(&chunk[..n]);
            self.received += n as u64;
            if window.0.elapsed() > SPEED_WINDOW {
                if self.received - window.1 < MIN_PER_WINDOW {
                    return Err(Failure::Timeout { phase: "body too slow".to_owned() });
                }
                window = (Instant::now(), self.received);
            }
        }
    }

    fn verify(&mut self) -> Result<(), Failure> {
        if let Some(size) = self.expect.size
            && self.received < size
        {
            return Err(Failure::Truncated { expected: Some(size), received: self.received });
        }
        let hasher = std::mem::replace(&mut self.hasher, Hasher::new(self.expect.checksum));
        let (sha256, actual) = hasher.finish();
        match self.expect.checksum {
            Some(expected) if expected != actual => {
                self.stale = true;
                Err(Failure::DigestMismatch {
                    expected: expected.to_string(),
                    actual: actual.to_string(),
                })
            }
            _ => {
                self.done = Some(sha256);
                Ok(())
            }
        }
    }

    /// A wrong digest of a body pieced together may be the fault of the seam: worth one fresh start.
    fn may_start_over(&mut self, failure: &Failure) -> bool {
        matches!(failure, Failure::DigestMismatch { .. }) && std::mem::take(&mut self.resumed)
    }

    fn finished(&self, response: &Response, attempts: u32) -> Downloaded {
        Downloaded {
            size: self.received,
            sha256: self.done.unwrap_or_default(),
            etag: response.etag().map(str::to_owned),
            last_modified: response.last_modified(),
            content_disposition: response.content_disposition().map(str::to_owned),
            url: response.url().clone(),
            attempts,
        }
    }
}

/// The first byte position of `Content-Range: bytes 5-9/10`.
fn range_start(response: &Response) -> Option<u64> {
    let value = response.header("content-range")?.trim().strip_prefix("bytes")?;
    value.trim_start().split('-').next()?.parse().ok()
}
