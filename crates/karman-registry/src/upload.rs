//! One upload: sent in one piece, and resumed where it broke.

use karman_net::{Client, Failure, NetError, Request, Stream};
use karman_oci::{Descriptor, Reference};

use crate::access::Access;
use crate::endpoint::Endpoint;
use crate::error::RegistryError;
use crate::push::{UploadLog, refused};

/// Blobs up to this size, in bytes, are sent with the request that ends the upload: one round trip
/// less, and little to lose.
const WITH_THE_END: u64 = 1024 * 1024;
/// Attempts in all, however much each of them brought; the configured ones count only those in a row
/// that brought nothing.
const MAX_TOTAL_ATTEMPTS: u32 = 40;

/// A blob on its way to a repository.
pub(crate) struct Job<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) reference: &'a Reference,
    pub(crate) blob: &'a Descriptor,
    /// The bytes from an offset to a size.
    pub(crate) body: &'a dyn Fn(u64, u64) -> Stream,
    pub(crate) log: &'a dyn UploadLog,
}

pub(crate) struct Upload<'a> {
    pub(crate) client: &'a Client,
    pub(crate) access: Access<'a>,
    pub(crate) job: &'a Job<'a>,
    /// Opens another upload, where the registry has forgotten this one.
    pub(crate) again: &'a dyn Fn() -> Result<String, RegistryError>,
}

/// How far an attempt came.
enum Attempt {
    Done,
    /// Trouble that may pass, with the patience that the server asks for.
    Broken(RegistryError, Option<std::time::Duration>),
}

impl Upload<'_> {
    /// Uploads to `location`, which has the first `offset` bytes.
    pub(crate) fn run(
        mut self,
        mut location: String,
        mut offset: u64,
    ) -> Result<(), RegistryError> {
        let (mut vain, mut total) = (0, 0);
        loop {
            self.note(&location);
            let (error, wanted) = match self.attempt(&mut location, offset)? {
                Attempt::Done => return Ok(()),
                Attempt::Broken(error, wanted) => (error, wanted),
            };
            total += 1;
            vain += 1;
            if vain >= self.access.retry().max_attempts || total >= MAX_TOTAL_ATTEMPTS {
                return Err(error);
            }
            let Some(pause) = self.client.pause(vain, wanted) else { return Err(error) };
            std::thread::sleep(pause);
            let before = offset;
            (location, offset) = self.resume(location)?;
            if offset > before {
                vain = 0;
            }
        }
    }

    fn attempt(&mut self, location: &mut String, offset: u64) -> Result<Attempt, RegistryError> {
        let size = self.job.blob.size;
        if offset == 0 && size <= WITH_THE_END {
            return self.end(location, Some(0));
        }
        if offset < size {
            let body = (self.job.body)(offset, size);
            let patch = || {
                let request = Request::patch(location.as_str())
                    .header("content-type", "application/octet-stream")
                    .stream(body.clone());
                match offset {
                    0 => request,
                    _ => request.header("content-range", format!("{offset}-{}", size - 1)),
                }
            };
            let sent = self.access.try_send(&patch);
            match self.sort(sent)? {
                Ok(response) => {
                    *location = self.job.endpoint.location(&response)?;
                    self.note(location);
                }
                Err(broken) => return Ok(broken),
            }
        }
        self.end(location, None)
    }

    /// Ends the upload, with the bytes from an offset on where one is given.
    fn end(&mut self, location: &str, from: Option<u64>) -> Result<Attempt, RegistryError> {
        let joint = if location.contains('?') { '&' } else { '?' };
        let url = format!("{location}{joint}digest={}", self.job.blob.digest);
        let body = from.map(|offset| (self.job.body)(offset, self.job.blob.size));
        let put = || {
            let request = Request::put(&url).header("content-type", "application/octet-stream");
            match &body {
                Some(body) => request.stream(body.clone()),
                None => request.header("content-length", "0"),
            }
        };
        let sent = self.access.try_send(&put);
        Ok(match self.sort(sent)? {
            Ok(_) => Attempt::Done,
            Err(broken) => broken,
        })
    }

    /// A success, trouble that may pass, or the end.
    fn sort(
        &self,
        sent: Result<karman_net::Response, RegistryError>,
    ) -> Result<Result<karman_net::Response, Attempt>, RegistryError> {
        match sent {
            Ok(response) if response.status() < 400 => Ok(Ok(response)),
            Ok(response) if is_passing(response.status()) => {
                let wanted = response.retry_after();
                let status = response.status();
                match response.error_for_status() {
                    Err(error) => Ok(Err(Attempt::Broken(self.access.error(error), wanted))),
                    Ok(_) => unreachable!("{status} is an error"),
                }
            }
            Ok(response) => {
                let what = self.job.blob.digest.to_string();
                Err(refused(&self.access, self.job.reference, what, response))
            }
            Err(RegistryError::Push { reference, source }) if is_broken(&source) => {
                Ok(Err(Attempt::Broken(RegistryError::Push { reference, source }, None)))
            }
            Err(error) => Err(error),
        }
    }

    /// Remembers where this goes on. What is sent in one request is as quickly sent again.
    fn note(&self, location: &str) {
        if self.job.blob.size > WITH_THE_END {
            self.job.log.note(location);
        }
    }

    /// Where to go on, and with which byte; an upload that the registry does not know is begun anew.
    fn resume(&mut self, location: String) -> Result<(String, u64), RegistryError> {
        match arrived(&mut self.access, self.job, &location) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Ok(((self.again)()?, 0)),
            // Whoever cannot be reached now may be in a moment: the attempt counts.
            Err(RegistryError::Push { source, .. }) if is_broken(&source) => Ok((location, 0)),
            Err(error) => Err(error),
        }
    }
}

/// Asks how much of an upload arrived (distribution-spec v1.1, "Pushing a blob in chunks"); `None` where the registry
/// does not know it.
pub(crate) fn arrived(
    access: &mut Access<'_>,
    job: &Job<'_>,
    location: &str,
) -> Result<Option<(String, u64)>, RegistryError> {
    let response = access.try_send(&|| Request::get(location))?;
    if !matches!(response.status(), 200 | 202 | 204) {
        return Ok(None);
    }
    let arrived = response.header("range").map_or(Some(0), end_of_range);
    Ok(match (arrived, job.endpoint.location(&response)) {
        (Some(arrived), Ok(location)) if arrived <= job.blob.size => Some((location, arrived)),
        _ => None,
    })
}

/// The number of bytes that `0-N` or `bytes=0-N` stands for. `0-0` is what registries say of nothing
/// and of one byte: nothing is the safe reading, but the next chunk must then begin at zero.
fn end_of_range(value: &str) -> Option<u64> {
    let value = value.trim();
    let (first, last) = value.strip_prefix("bytes=").unwrap_or(value).split_once('-')?;
    let last: u64 = last.parse().ok()?;
    (first == "0").then_some(if last == 0 { 0 } else { last.checked_add(1)? })
}

/// Statuses of an upload after which the rest may be sent again: 404 says that the registry has
/// forgotten the upload, 416 that we and the registry disagree about what has arrived.
fn is_passing(status: u16) -> bool {
    matches!(status, 404 | 408 | 416 | 425 | 429 | 500 | 502 | 503 | 504)
}

fn is_broken(error: &NetError) -> bool {
    error.failure.is_transient() || matches!(*error.failure, Failure::Protocol { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_uploads_are_read() {
        assert_eq!(end_of_range("0-1023"), Some(1024));
        assert_eq!(end_of_range("bytes=0-9"), Some(10));
        assert_eq!(end_of_range("0-0"), Some(0));
        assert_eq!(end_of_range("5-9"), None);
        assert_eq!(end_of_range("0-x"), None);
        assert_eq!(end_of_range("0-18446744073709551615"), None);
    }
}
