//! What refers to an image: signatures, bills of materials and the like (distribution-spec v1.1, "Listing Referrers"). A
//! registry that has no such list keeps one as the index of a tag that is named after the image's digest.

use karman_net::{Request, Response};
use karman_oci::{Descriptor, Digest, Index, Reference, media_type};
use serde::Serialize;

use crate::access::Access;
use crate::endpoint::Endpoint;
use crate::error::RegistryError;
use crate::pull::{MAX_MANIFEST, Registry};
use crate::push::refused;

/// The type of an artifact's config, which is empty.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// The bytes of that config.
pub const EMPTY_CONFIG: &[u8] = b"{}";
/// Pages of a list that are read.
const MAX_PAGES: usize = 50;

/// The manifest of an artifact that refers to an image.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Artifact<'a> {
    schema_version: u32,
    media_type: &'static str,
    artifact_type: &'a str,
    config: Descriptor,
    layers: &'a [Descriptor],
    subject: &'a Descriptor,
}

impl Registry {
    /// What refers to a manifest of the repository of `reference`, of one type or of all. A manifest that
    /// nothing refers to, or that is not there, has an empty list.
    ///
    /// # Errors
    /// When the registry cannot be reached or denies access.
    pub fn referrers(
        &self,
        reference: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let pinned = reference.clone().with_digest(*subject);
        let mut found = self.first(&pinned, crate::rules::Need::Pull, |endpoint| {
            match self.listed(endpoint, &pinned, subject)? {
                Some(found) => Ok(found),
                None => Ok(self.tagged(endpoint, &pinned, subject)?.manifests),
            }
        })?;
        found.retain(|one| {
            artifact_type.is_none_or(|kind| one.artifact_type.as_deref() == Some(kind))
        });
        Ok(found)
    }

    /// Puts an artifact over blobs that are in the repository of `reference` (with [`EMPTY_CONFIG`]), and lists it
    /// with its subject where the registry does not do so itself.
    ///
    /// # Errors
    /// When the registry cannot be reached, denies access, or refuses the manifest.
    pub fn push_artifact(
        &self,
        reference: &Reference,
        subject: &Descriptor,
        artifact_type: &str,
        blobs: &[Descriptor],
    ) -> Result<Descriptor, RegistryError> {
        let config = Self::empty_config();
        let bare = Descriptor::new(subject.media_type.clone(), subject.digest, subject.size);
        let artifact = Artifact {
            schema_version: 2,
            media_type: media_type::OCI_MANIFEST,
            artifact_type,
            config,
            layers: blobs,
            subject: &bare,
        };
        let bytes = serde_json::to_vec(&artifact)
            .unwrap_or_else(|e| unreachable!("an artifact is plain data: {e}"));
        let digest = Digest::sha256_of(&bytes);
        let mut descriptor = Descriptor::new(media_type::OCI_MANIFEST, digest, bytes.len() as u64);
        descriptor.artifact_type = Some(artifact_type.to_owned());
        let bare = Reference { tag: None, digest: None, ..reference.clone() };
        let response = self.put_manifest(&bare, media_type::OCI_MANIFEST, &bytes)?;
        if response.header("oci-subject").is_none() {
            self.list(&bare, &subject.digest, &descriptor)?;
        }
        Ok(descriptor)
    }

    /// The config of an artifact.
    #[must_use]
    pub fn empty_config() -> Descriptor {
        Descriptor::new(EMPTY, Digest::sha256_of(EMPTY_CONFIG), EMPTY_CONFIG.len() as u64)
    }

    /// The registry's own list; `None` where it has none.
    fn listed(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        subject: &Digest,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let mut access = Access::pulling(self, endpoint, reference);
        let mut url = endpoint.referrers_url(&subject.to_string());
        let mut all = Vec::new();
        for _ in 0..MAX_PAGES {
            let asked = url.clone();
            let get = || Request::get(&asked).header("accept", media_type::OCI_INDEX);
            let response = access.try_send(&get)?;
            // 400 and 405 are what registries without the list have been seen to say.
            if matches!(response.status(), 400 | 404 | 405) {
                return Ok(None);
            }
            let response = response.error_for_status().map_err(|e| access.error(e))?;
            // Whatever answers every address with something is no list.
            if response.content_type().as_deref() != Some(media_type::OCI_INDEX) {
                return Ok(None);
            }
            let next = next_page(endpoint, &response);
            let bytes = response.read_to_limit(MAX_MANIFEST).map_err(|e| access.error(e))?;
            all.extend(index(reference, &bytes)?.manifests);
            match next {
                Some(next) => url = next,
                None => break,
            }
        }
        Ok(Some(all))
    }

    /// The index of the tag.
    fn tagged(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
        subject: &Digest,
    ) -> Result<Index, RegistryError> {
        let mut access = Access::pulling(self, endpoint, reference);
        let url = endpoint.manifest_url(&tag_of(subject));
        let get = || Request::get(&url).header("accept", media_type::OCI_INDEX);
        let response = access.try_send(&get)?;
        if response.status() == 404 {
            return Ok(Index::oci(Vec::new()));
        }
        let response = response.error_for_status().map_err(|e| access.error(e))?;
        let bytes = response.read_to_limit(MAX_MANIFEST).map_err(|e| access.error(e))?;
        index(reference, &bytes)
    }

    /// Adds an artifact to the index of the tag. Two that do so at once may lose one: the protocol has no better way.
    fn list(
        &self,
        reference: &Reference,
        subject: &Digest,
        artifact: &Descriptor,
    ) -> Result<(), RegistryError> {
        let endpoint = self.registry_of(reference)?;
        let mut index = self.tagged(&endpoint, reference, subject)?;
        if index.manifests.iter().any(|one| one.digest == artifact.digest) {
            return Ok(());
        }
        index.manifests.push(artifact.clone());
        let bytes = serde_json::to_vec(&index)
            .unwrap_or_else(|e| unreachable!("an index is plain data: {e}"));
        let tagged = Reference { tag: Some(tag_of(subject)), ..reference.clone() };
        self.push_manifest(&tagged, media_type::OCI_INDEX, &bytes)
    }

    /// Puts a manifest; gives the answer, which is a success.
    pub(crate) fn put_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Response, RegistryError> {
        let endpoint = self.registry_of(reference)?;
        let digest = Digest::sha256_of(bytes);
        let name = reference.tag.clone().unwrap_or_else(|| digest.to_string());
        let mut access = Access::pushing(self, &endpoint, reference, None);
        let url = endpoint.manifest_url(&name);
        let put =
            || Request::put(&url).header("content-type", media_type).body(bytes.to_vec()).safe();
        let response = access.try_send(&put)?;
        match response.status() {
            ..400 => Ok(response),
            _ => Err(refused(&access, reference, name, response)),
        }
    }
}

/// `sha256-…`, the tag of the fallback.
fn tag_of(subject: &Digest) -> String {
    subject.to_string().replace(':', "-")
}

fn index(reference: &Reference, bytes: &[u8]) -> Result<Index, RegistryError> {
    serde_json::from_slice(bytes).map_err(|source| RegistryError::MalformedManifest {
        reference: reference.to_string(),
        source,
    })
}

/// The address of the next page, which is on the registry itself.
fn next_page(endpoint: &Endpoint, response: &Response) -> Option<String> {
    let link = response.header("link")?;
    let (target, parameters) = link.strip_prefix('<')?.split_once('>')?;
    if !parameters.contains("rel=\"next\"") && !parameters.contains("rel=next") {
        return None;
    }
    let next = response.url().join(target).ok()?.wire();
    endpoint.is_origin_of(&next).then_some(next)
}
