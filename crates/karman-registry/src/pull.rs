//! Reading from a registry.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use karman_net::{Checksum, Client, Downloaded, Expect, Request, Sink};
use karman_oci::{Descriptor, Platform, Reference, media_type};

use crate::access::Access;
use crate::auth::Tokens;
use crate::endpoint::{Config, Endpoint};
use crate::error::RegistryError;
use crate::resolved::Resolved;
use crate::rules::Need;
use crate::select::select_platform;

/// The largest manifest or index, in bytes. Registries must take 4 MiB (distribution-spec v1.1) and
/// containerd reads no more.
pub const MAX_MANIFEST: u64 = 4 * 1024 * 1024;

/// A client for registries. Cloning shares connections and tokens; use it from many threads.
#[derive(Clone)]
pub struct Registry {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) config: Config,
    pub(crate) tokens: Tokens,
    /// Whether hosts that are not verified speak no TLS at all, by origin.
    plain: Mutex<HashMap<String, bool>>,
    /// Origins of mirrors that could not be reached: they are not asked again.
    gone: Mutex<HashSet<String>>,
}

impl Registry {
    /// A registry client on top of an HTTP client.
    pub fn new(client: Client, config: Config) -> Self {
        let (tokens, plain, gone) = (Tokens::default(), Mutex::default(), Mutex::default());
        Self { inner: Arc::new(Inner { client, config, tokens, plain, gone }) }
    }

    /// The place that is written to.
    pub(crate) fn registry_of(&self, reference: &Reference) -> Result<Endpoint, RegistryError> {
        let mut all = self.inner.config.endpoints(reference, Need::Push)?;
        // The first that is written to, as in containerd; the registry itself where no rule says more.
        let mut endpoint = all.swap_remove(0);
        self.settle(&mut endpoint);
        Ok(endpoint)
    }

    /// Finds out whether a host that need not be verified speaks TLS: docker and podman fall back to plain
    /// HTTP where it does not.
    fn settle(&self, endpoint: &mut Endpoint) {
        if !std::mem::take(&mut endpoint.is_unsure) {
            return;
        }
        let mut known = self.inner.plain.lock().unwrap_or_else(PoisonError::into_inner);
        let plain = known.entry(endpoint.origin.clone()).or_insert_with(|| {
            self.inner.client.send(&Request::get(endpoint.api_url()).once()).is_err()
        });
        if *plain {
            endpoint.without_tls();
        }
    }

    /// Fetches the manifest or index a reference names. A digest in the reference wins over its tag.
    ///
    /// # Errors
    /// When no mirror nor the registry serves a document of the right digest, kind and size.
    pub fn resolve(&self, reference: &Reference) -> Result<Resolved, RegistryError> {
        let wanted = reference.digest.map(|d| d.to_string()).or(reference.tag.clone());
        let bad = || RegistryError::BadReference { reference: reference.to_string() };
        let wanted = wanted.ok_or_else(bad)?;
        let need = if reference.digest.is_some() { Need::Pull } else { Need::Resolve };
        self.first(reference, need, |endpoint| {
            let mut access = Access::pulling(self, endpoint, reference);
            let url = endpoint.manifest_url(&wanted);
            let accept = accept();
            let get = || Request::get(&url).header("accept", &accept);
            let (declared, bytes) = access.read(&get, MAX_MANIFEST)?;
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
        self.first(reference, Need::Pull, |endpoint| {
            let url = endpoint.blob_url(&descriptor.digest.to_string());
            Access::pulling(self, endpoint, reference).download(&url, sink, &expect)
        })
        .map_err(|error| match error {
            RegistryError::NotFound { reference, source } => {
                RegistryError::BlobGone { reference, digest: descriptor.digest, source }
            }
            error => error,
        })
    }

    /// The first success among mirrors and registry; the registry's own error when there is none.
    pub(crate) fn first<T>(
        &self,
        reference: &Reference,
        need: Need,
        mut ask: impl FnMut(&Endpoint) -> Result<T, RegistryError>,
    ) -> Result<T, RegistryError> {
        let endpoints = self.inner.config.endpoints(reference, need)?;
        let last = endpoints.len() - 1;
        let gone = || self.inner.gone.lock().unwrap_or_else(PoisonError::into_inner);
        for (i, mut endpoint) in endpoints.into_iter().enumerate() {
            if i < last && gone().contains(&endpoint.origin) {
                continue;
            }
            self.settle(&mut endpoint);
            match ask(&endpoint) {
                Ok(found) => return Ok(found),
                Err(error) if i == last || error.is_ours() => return Err(error),
                Err(error) if error.is_unreachable() => {
                    gone().insert(endpoint.origin);
                }
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

/// Everything we can read, the OCI types first.
pub(crate) fn accept() -> String {
    [
        media_type::OCI_INDEX,
        media_type::OCI_MANIFEST,
        media_type::DOCKER_INDEX,
        media_type::DOCKER_MANIFEST,
    ]
    .join(", ")
}
