//! Reading from a registry.

use std::fmt;
use std::sync::Arc;

use karman_net::{
    Checksum, Client, Downloaded, Expect, Failure, NetError, Request, Response, Sink,
};
use karman_oci::{Descriptor, Platform, Reference, media_type};

use crate::auth::{Authorization, Tokens};
use crate::endpoint::{Config, Endpoint};
use crate::error::RegistryError;
use crate::resolved::Resolved;
use crate::select::select_platform;

/// The largest manifest or index, in bytes. Registries must take 4 MiB (distribution-spec v1.1) and
/// containerd reads no more.
pub const MAX_MANIFEST: u64 = 4 * 1024 * 1024;
/// How often a 401 is answered in one operation: once at the start, once for a token that ended, and
/// once more for one that ended during a long download.
const MAX_CHALLENGES: u32 = 3;

/// A client for registries. Cloning shares connections and tokens; use it from many threads.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    config: Config,
    tokens: Tokens,
}

impl Registry {
    /// A registry client on top of an HTTP client.
    pub fn new(client: Client, config: Config) -> Self {
        Self { inner: Arc::new(Inner { client, config, tokens: Tokens::default() }) }
    }

    /// Fetches the manifest or index a reference names. A digest in the reference wins over its tag.
    ///
    /// # Errors
    /// When no mirror nor the registry serves a document of the right digest, kind and size.
    pub fn resolve(&self, reference: &Reference) -> Result<Resolved, RegistryError> {
        let wanted = reference.digest.map(|d| d.to_string()).or(reference.tag.clone());
        let bad = || RegistryError::BadReference { reference: reference.to_string() };
        let wanted = wanted.ok_or_else(bad)?;
        self.first(reference, |endpoint| {
            let mut access = Access::new(self, endpoint, reference);
            let response = access.get(&endpoint.manifest_url(&wanted), &accept())?;
            let declared = response.content_type();
            let bytes = response.read_to_limit(MAX_MANIFEST).map_err(|e| access.error(e))?;
            Resolved::new(reference, declared, bytes)
        })
    }

    /// Resolves a reference to the single image for a platform: an index is looked into, a plain
    /// image is taken as it is.
    ///
    /// # Errors
    /// As [`Registry::resolve`] and [`select_platform`].
    pub fn resolve_platform(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Resolved, RegistryError> {
        let resolved = self.resolve(reference)?;
        if !resolved.is_index() {
            return Ok(resolved);
        }
        let descriptor = select_platform(&resolved.index()?, platform)?;
        self.pull_manifest(reference, &descriptor)
    }

    /// Fetches the manifest a descriptor points to, from the repository of `reference`.
    ///
    /// # Errors
    /// As [`Registry::resolve`]; also when size or type differ from the descriptor.
    pub fn pull_manifest(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Resolved, RegistryError> {
        let pinned = reference.clone().with_digest(descriptor.digest);
        let mut resolved = self.resolve(&pinned)?;
        let (expected, actual) = (descriptor.size, resolved.descriptor.size);
        if expected != actual {
            return Err(RegistryError::SizeMismatch {
                reference: pinned.to_string(),
                expected,
                actual,
            });
        }
        if descriptor.media_type != resolved.descriptor.media_type {
            return Err(RegistryError::AmbiguousManifest {
                reference: pinned.to_string(),
                declared: descriptor.media_type.clone(),
                found: resolved.descriptor.media_type,
            });
        }
        resolved.descriptor.platform.clone_from(&descriptor.platform);
        Ok(resolved)
    }

    /// Fetches a blob (layer or config) into `sink`, verified against size and digest. Broken
    /// connections are resumed. After an error the sink may hold a part; it is told to restart
    /// before the first byte.
    ///
    /// # Errors
    /// When no mirror nor the registry serves the right bytes; foreign layers are refused.
    pub fn fetch_blob(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
        sink: &mut dyn Sink,
    ) -> Result<Downloaded, RegistryError> {
        let foreign =
            ["foreign", "nondistributable"].iter().any(|word| descriptor.media_type.contains(word));
        if foreign || !descriptor.urls.is_empty() {
            return Err(RegistryError::ForeignLayer { digest: descriptor.digest });
        }
        let checksum = Checksum::Sha256(*descriptor.digest.as_bytes());
        let expect = Expect::exactly(descriptor.size, checksum);
        self.first(reference, |endpoint| {
            let url = endpoint.blob_url(&descriptor.digest.to_string());
            Access::new(self, endpoint, reference).download(&url, sink, &expect)
        })
    }

    /// The first success among mirrors and registry; the registry's own error when there is none.
    fn first<T>(
        &self,
        reference: &Reference,
        mut ask: impl FnMut(&Endpoint) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let endpoints = self.inner.config.endpoints(reference)?;
        let last = endpoints.len() - 1;
        for (i, endpoint) in endpoints.iter().enumerate() {
            match ask(endpoint) {
                Ok(found) => return Ok(found),
                Err(error) if i == last || error.is_ours() => return Err(error),
                Err(_) => {}
            }
        }
        Err(RegistryError::BadReference { reference: reference.to_string() })
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

/// One operation on one endpoint: what was sent as authorization, and how often we were challenged.
struct Access<'a> {
    registry: &'a Inner,
    endpoint: &'a Endpoint,
    reference: &'a Reference,
    scope: String,
    sent: Option<Authorization>,
    challenges: u32,
}

impl<'a> Access<'a> {
    fn new(registry: &'a Registry, endpoint: &'a Endpoint, reference: &'a Reference) -> Self {
        let registry = &*registry.inner;
        let scope = endpoint.pull_scope();
        let sent = registry.tokens.known(endpoint, &scope);
        Self { registry, endpoint, reference, scope, sent, challenges: 0 }
    }

    fn get(&mut self, url: &str, accept: &str) -> Result<Response, RegistryError> {
        loop {
            let request = self.authorized(url).header("accept", accept);
            let sent = self.registry.client.send(&request).and_then(Response::error_for_status);
            match sent {
                Ok(response) => return Ok(response),
                Err(error) if self.renew(&error)? => {}
                Err(error) => return Err(self.error(error)),
            }
        }
    }

    fn download(
        mut self,
        url: &str,
        sink: &mut dyn Sink,
        expect: &Expect,
    ) -> Result<Downloaded, RegistryError> {
        let request = self.authorized(url);
        let client = self.registry.client.clone();
        let mut refused = None;
        let result = client.download_renewing(&request, sink, expect, &mut |error| match self
            .renew(error)
        {
            Ok(true) => Some(self.authorized(url)),
            Ok(false) => None,
            Err(error) => {
                refused = Some(error);
                None
            }
        });
        match refused {
            Some(error) => Err(error),
            None => result.map_err(|error| self.error(error)),
        }
    }

    fn authorized(&self, url: &str) -> Request {
        let request = Request::get(url);
        match &self.sent {
            Some(authorization) if !authorization.header.is_empty() => {
                request.header("authorization", authorization.header.clone())
            }
            _ => request,
        }
    }

    /// Whether a refusal was answered with something new to send.
    fn renew(&mut self, error: &NetError) -> Result<bool, RegistryError> {
        let Failure::Auth { status: 401, challenges } = &*error.failure else {
            return Ok(false);
        };
        self.challenges += 1;
        if challenges.is_empty() || self.challenges > MAX_CHALLENGES {
            return Ok(false);
        }
        let Inner { client, config, tokens } = self.registry;
        let source = &*config.credentials;
        let fresh = tokens.answer(
            client,
            source,
            self.endpoint,
            &self.scope,
            challenges,
            self.sent.as_ref(),
        )?;
        // The same answer again would meet the same refusal.
        let before = self.sent.as_ref().map_or("", |a| a.header.as_str());
        let changed = fresh.header != before;
        self.sent = Some(fresh);
        Ok(changed)
    }

    fn error(&self, source: NetError) -> RegistryError {
        let identified = self.sent.as_ref().is_some_and(|a| a.identified);
        RegistryError::of_net(self.reference.to_string(), identified, source)
    }
}

/// Everything we can read, the OCI types first.
fn accept() -> String {
    [
        media_type::OCI_INDEX,
        media_type::OCI_MANIFEST,
        media_type::DOCKER_INDEX,
        media_type::DOCKER_MANIFEST,
    ]
    .join(", ")
}
