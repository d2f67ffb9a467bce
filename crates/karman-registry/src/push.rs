//! Writing to a registry: blobs that are not there yet, then manifests.

use karman_net::{Request, Response, Stream};
use karman_oci::{Descriptor, Digest, Reference};
use serde::Deserialize;

use crate::access::Access;
use crate::endpoint::Endpoint;
use crate::error::RegistryError;
use crate::pull::Registry;
use crate::upload::{Job, Upload, arrived};

/// The most of an error body that is read, in bytes.
const MAX_ERROR: u64 = 16 * 1024;
/// The most of a registry's own message that is shown, in characters.
const MAX_MESSAGE: usize = 300;

/// How a blob came to be in a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Existed,
    /// The registry took it from another of its repositories.
    Mounted,
    /// Its bytes were sent.
    Uploaded,
}

/// Remembers where the upload of one blob goes on, for the case that this process does not see its end.
pub trait UploadLog {
    /// The location of an upload that was begun and not ended.
    fn begun(&self) -> Option<String>;
    /// An upload goes on at this location. It may hold secrets of the registry.
    fn note(&self, location: &str);
    /// There is no such upload any more.
    fn ended(&self);
}

/// The errors of a registry (distribution-spec v1.1, "Error Codes").
#[derive(Deserialize, Default)]
struct Errors {
    #[serde(default)]
    errors: Vec<OneError>,
}

#[derive(Deserialize, Default)]
struct OneError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl Registry {
    /// Brings a blob into the repository of `reference`: does nothing where it is, mounts it from the
    /// first of `others` (repositories of the same registry) that has it, or else sends what
    /// `open` gives from an offset in bytes on. Idempotent; an upload that breaks goes on where it
    /// stopped, and so does one of `log`, where the registry still has it.
    ///
    /// # Errors
    /// When the registry cannot be reached, denies access, or refuses the bytes.
    pub fn push_blob(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        others: &[String],
        log: &dyn UploadLog,
        open: impl Fn(u64) -> std::io::Result<Box<dyn std::io::Read + Send>> + Send + Sync + 'static,
    ) -> Result<Pushed, RegistryError> {
        let endpoint = self.registry_of(reference)?;
        if self.has_blob(&endpoint, reference, &blob.digest)? {
            log.ended();
            return Ok(Pushed::Existed);
        }
        let open = std::sync::Arc::new(open);
        let body = move |offset: u64, size: u64| {
            let open = std::sync::Arc::clone(&open);
            Stream::new(size - offset, move || open(offset))
        };
        let job = Job { endpoint: &endpoint, reference, blob, body: &body, log };
        if let Some(location) = log.begun() {
            let found = self.go_on(&job, &location);
            log.ended();
            match found.map(|(location, offset)| self.upload(&job, location, offset)) {
                // What arrived of it may be wrong.
                None | Some(Err(RegistryError::Refused { .. })) => {}
                Some(done) => return done,
            }
        }
        for other in others.iter().filter(|other| **other != endpoint.repository) {
            match self.begin(&endpoint, reference, Some((&blob.digest, other)))? {
                Begun::Mounted => return Ok(Pushed::Mounted),
                // The registry opened an upload instead: it is used, not thrown away.
                Begun::At(location) => return self.upload(&job, location, 0),
                Begun::Refused => {}
            }
        }
        match self.begin(&endpoint, reference, None)? {
            Begun::At(location) => self.upload(&job, location, 0),
            Begun::Mounted | Begun::Refused => Err(endpoint.lacks("a location")),
        }
    }

    /// Brings a blob into the repository of `reference` without its bytes: where it is there already, or can be mounted from one
    /// of `others`. `None` where its bytes must be sent; an upload that the registry opened is in `log` then, for
    /// [`Registry::push_blob`]. Idempotent.
    ///
    /// # Errors
    /// When the registry cannot be reached or denies access.
    pub fn mount_blob(
        &self,
        reference: &Reference,
        blob: &Descriptor,
        others: &[String],
        log: &dyn UploadLog,
    ) -> Result<Option<Pushed>, RegistryError> {
        let endpoint = self.registry_of(reference)?;
        if self.has_blob(&endpoint, reference, &blob.digest)? {
            log.ended();
            return Ok(Some(Pushed::Existed));
        }
        for other in others.iter().filter(|other| **other != endpoint.repository) {
            match self.begin(&endpoint, reference, Some((&blob.digest, other)))? {
                Begun::Mounted => {
                    log.ended();
                    return Ok(Some(Pushed::Mounted));
                }
                // An upload that is thrown away costs less than bytes that come here first: the next may have it.
                Begun::At(location) => log.note(&location),
                Begun::Refused => {}
            }
        }
        Ok(None)
    }

    /// Puts a manifest or an index under the tag of `reference`, or under its digest where `reference`
    /// has no tag. Everything it refers to must be there. Idempotent.
    ///
    /// # Errors
    /// When the registry cannot be reached, denies access, or refuses the manifest.
    pub fn push_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<(), RegistryError> {
        self.put_manifest(reference, media_type, bytes).map(drop)
    }

    /// The digest a tag or a digest stands for in the registry, `None` where it has no such manifest.
    ///
    /// # Errors
    /// When the registry cannot be reached or denies access.
    pub fn manifest_digest(&self, reference: &Reference) -> Result<Option<Digest>, RegistryError> {
        let endpoint = self.registry_of(reference)?;
        let wanted = reference.digest.map(|d| d.to_string()).or(reference.tag.clone());
        let bad = || RegistryError::BadReference { reference: reference.to_string() };
        let url = endpoint.manifest_url(&wanted.ok_or_else(bad)?);
        let mut access = Access::pushing(self, &endpoint, reference, None);
        let accept = crate::pull::accept();
        let response = access.try_send(&|| Request::head(&url).header("accept", &accept))?;
        match response.status() {
            404 => Ok(None),
            _ => {
                let response = response.error_for_status().map_err(|e| access.error(e))?;
                Ok(response.header("docker-content-digest").and_then(|d| d.parse().ok()))
            }
        }
    }

    fn has_blob(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        digest: &Digest,
    ) -> Result<bool, RegistryError> {
        let mut access = Access::pushing(self, endpoint, reference, None);
        let url = endpoint.blob_url(&digest.to_string());
        let response = access.try_send(&|| Request::head(&url))?;
        match response.status() {
            404 => Ok(false),
            _ => response.error_for_status().map(|_| true).map_err(|e| access.error(e)),
        }
    }

    /// Opens an upload, or mounts.
    fn begin(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        mount: Option<(&Digest, &str)>,
    ) -> Result<Begun, RegistryError> {
        let mut access = Access::pushing(self, endpoint, reference, mount.map(|(_, from)| from));
        let digest = mount.map(|(digest, _)| digest.to_string()).unwrap_or_default();
        let url = endpoint.uploads_url(mount.map(|(_, from)| (digest.as_str(), from)));
        let post = || Request::post(&url).header("content-length", "0").safe();
        let response = match access.try_send(&post) {
            // The account may read less than it may write: the bytes are sent then.
            Err(RegistryError::Denied { .. }) if mount.is_some() => return Ok(Begun::Refused),
            other => other?,
        };
        match response.status() {
            201 if mount.is_some() => Ok(Begun::Mounted),
            202 => Ok(Begun::At(endpoint.location(&response)?)),
            400.. if mount.is_some() => Ok(Begun::Refused),
            400.. => Err(refused(&access, reference, "upload".to_owned(), response)),
            _ => Err(endpoint.lacks("a status of 201 or 202")),
        }
    }

    /// How much of an upload that another process began is there, if it is. Trouble with the registry
    /// shows again when an upload is begun.
    fn go_on(&self, job: &Job<'_>, location: &str) -> Option<(String, u64)> {
        let mut access = Access::pushing(self, job.endpoint, job.reference, None);
        arrived(&mut access, job, location).ok().flatten()
    }

    fn upload(
        &self,
        job: &Job<'_>,
        location: String,
        offset: u64,
    ) -> Result<Pushed, RegistryError> {
        let access = Access::pushing(self, job.endpoint, job.reference, None);
        let client = &self.inner.client;
        let again = || match self.begin(job.endpoint, job.reference, None)? {
            Begun::At(location) => Ok(location),
            Begun::Mounted | Begun::Refused => Err(job.endpoint.lacks("a location")),
        };
        Upload { client, access, job, again: &again }.run(location, offset)?;
        job.log.ended();
        Ok(Pushed::Uploaded)
    }
}

/// The answer to the request that opens an upload.
enum Begun {
    Mounted,
    At(String),
    /// The mount cannot be had.
    Refused,
}

impl Endpoint {
    /// Where an upload goes on. A registry may give another host, but no unencrypted one in place of
    /// an encrypted one.
    pub(crate) fn location(&self, response: &Response) -> Result<String, RegistryError> {
        let given = response.header("location").ok_or_else(|| self.lacks("a location"))?;
        let next = response.url().join(given).map_err(|_| self.lacks("a usable location"))?;
        if response.url().is_https() && !next.is_https() {
            return Err(self.lacks("an encrypted location"));
        }
        Ok(next.wire())
    }

    pub(crate) fn lacks(&self, what: &'static str) -> RegistryError {
        RegistryError::MalformedUpload { host: self.host.clone(), what }
    }
}

/// What the registry says about a status of 400 and above.
pub(crate) fn refused(
    access: &Access<'_>,
    reference: &Reference,
    what: String,
    response: Response,
) -> RegistryError {
    let status = response.status();
    if matches!(status, 401 | 403 | 407) {
        return match response.error_for_status() {
            Err(error) => access.error(error),
            Ok(_) => unreachable!("the status is an error"),
        };
    }
    let body = response.read_to_limit(MAX_ERROR).unwrap_or_default();
    let errors: Errors = serde_json::from_slice(&body).unwrap_or_default();
    let first = errors.errors.into_iter().next().unwrap_or_default();
    let clean =
        |text: &str| text.chars().filter(|c| !c.is_control()).take(MAX_MESSAGE).collect::<String>();
    RegistryError::Refused {
        reference: reference.to_string(),
        what,
        status,
        code: clean(&first.code),
        message: clean(&first.message),
    }
}
