//! A manifest or an index as its bytes, checked but not changed.

use karman_oci::{Descriptor, Digest, Index, Manifest, Reference, media_type};
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::error::RegistryError;

/// The media types of Docker's schema 1.
const SCHEMA1: &[&str] = &[
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// A manifest or an index whose digest was computed from the bytes held here.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What was asked for.
    pub reference: Reference,
    /// Type, digest and size of `bytes`.
    pub descriptor: Descriptor,
    /// The document exactly as the registry sent it.
    pub bytes: Vec<u8>,
}

/// The parts by which a document tells what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    #[serde(default)]
    schema_version: u32,
    media_type: Option<String>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
    manifests: Option<IgnoredAny>,
}

impl Resolved {
    /// Checks `bytes` against the pin of `reference`, and finds out what they are.
    pub(crate) fn new(
        reference: &Reference,
        declared: Option<String>,
        bytes: Vec<u8>,
    ) -> Result<Self, RegistryError> {
        let digest = Digest::sha256_of(&bytes);
        if let Some(expected) = reference.digest.filter(|pinned| *pinned != digest) {
            return Err(RegistryError::DigestMismatch {
                reference: reference.to_string(),
                expected,
                actual: digest,
            });
        }
        let media_type = kind(reference, declared, &bytes)?;
        let descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
        Ok(Self { reference: reference.clone(), descriptor, bytes })
    }

    /// Whether this is an index rather than a single image.
    pub fn is_index(&self) -> bool {
        media_type::is_index(&self.descriptor.media_type)
    }

    /// The manifest of a single image.
    ///
    /// # Errors
    /// When it is an index, or malformed.
    pub fn manifest(&self) -> Result<Manifest, RegistryError> {
        if self.is_index() {
            return Err(self.not_an_image());
        }
        serde_json::from_slice(&self.bytes).map_err(|source| malformed(&self.reference, source))
    }

    /// The index.
    ///
    /// # Errors
    /// When it is a single image, or malformed.
    pub fn index(&self) -> Result<Index, RegistryError> {
        if !self.is_index() {
            return Err(self.not_an_image());
        }
        serde_json::from_slice(&self.bytes).map_err(|source| malformed(&self.reference, source))
    }

    fn not_an_image(&self) -> RegistryError {
        RegistryError::NotAnImage {
            reference: self.reference.to_string(),
            media_type: self.descriptor.media_type.clone(),
        }
    }
}

/// What the document is. Server, document and structure must agree, or two readers of one digest
/// could see two different images (CVE-2021-41190).
fn kind(
    reference: &Reference,
    declared: Option<String>,
    bytes: &[u8],
) -> Result<String, RegistryError> {
    let declared = declared.filter(|t| t.starts_with("application/vnd."));
    if declared.as_deref().is_some_and(|t| SCHEMA1.contains(&t)) {
        return Err(RegistryError::Schema1 { reference: reference.to_string() });
    }
    let shape: Shape =
        serde_json::from_slice(bytes).map_err(|source| malformed(reference, source))?;
    if shape.schema_version == 1 || shape.fs_layers.is_some() {
        return Err(RegistryError::Schema1 { reference: reference.to_string() });
    }
    let ambiguous = |declared: &str, found: &str| RegistryError::AmbiguousManifest {
        reference: reference.to_string(),
        declared: declared.to_owned(),
        found: found.to_owned(),
    };
    if let (Some(declared), Some(own)) = (&declared, &shape.media_type)
        && declared != own
    {
        return Err(ambiguous(declared, own));
    }
    let structure =
        match (shape.manifests.is_some(), shape.config.is_some() || shape.layers.is_some()) {
            (true, true) => return Err(ambiguous(media_type::OCI_INDEX, media_type::OCI_MANIFEST)),
            (true, false) => media_type::OCI_INDEX,
            (false, _) => media_type::OCI_MANIFEST,
        };
    let stated = declared.or(shape.media_type).unwrap_or_else(|| structure.to_owned());
    if !media_type::is_index(&stated) && !media_type::is_manifest(&stated) {
        return Err(RegistryError::NotAnImage {
            reference: reference.to_string(),
            media_type: stated,
        });
    }
    if media_type::is_index(&stated) != media_type::is_index(structure) {
        return Err(ambiguous(&stated, structure));
    }
    Ok(stated)
}

fn malformed(reference: &Reference, source: serde_json::Error) -> RegistryError {
    RegistryError::MalformedManifest { reference: reference.to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(declared: Option<&str>, body: &str) -> Result<String, RegistryError> {
        let reference = Reference::parse("h.example/a").unwrap();
        kind(&reference, declared.map(str::to_owned), body.as_bytes())
    }

    #[test]
    fn a_type_is_found_without_being_declared() {
        let plain = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;
        assert_eq!(kind_of(None, plain).unwrap(), media_type::OCI_MANIFEST);
        assert_eq!(
            kind_of(Some("application/json"), r#"{"manifests":[]}"#).unwrap(),
            media_type::OCI_INDEX
        );
        assert_eq!(
            kind_of(Some(media_type::DOCKER_MANIFEST), plain).unwrap(),
            media_type::DOCKER_MANIFEST
        );
    }

    #[test]
    fn two_faced_documents_are_refused() {
        let both = r#"{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}"#;
        assert!(matches!(kind_of(None, both), Err(RegistryError::AmbiguousManifest { .. })));
        let own = format!(r#"{{"mediaType":"{}","manifests":[]}}"#, media_type::OCI_INDEX);
        assert!(matches!(
            kind_of(Some(media_type::OCI_MANIFEST), &own),
            Err(RegistryError::AmbiguousManifest { .. })
        ));
        let lies = kind_of(Some(media_type::OCI_INDEX), r#"{"config":{},"layers":[]}"#);
        assert!(matches!(lies, Err(RegistryError::AmbiguousManifest { .. })));
    }

    #[test]
    fn schema_1_is_named() {
        assert!(matches!(kind_of(Some(SCHEMA1[1]), "{}"), Err(RegistryError::Schema1 { .. })));
        assert!(matches!(
            kind_of(None, r#"{"schemaVersion":1,"fsLayers":[]}"#),
            Err(RegistryError::Schema1 { .. })
        ));
    }
}
