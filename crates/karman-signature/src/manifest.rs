//! Where signatures are kept: a manifest in the image's repository, under a tag made of the image's
//! digest, whose layers are payloads (`SIGNATURE_SPEC.md` of cosign).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use karman_oci::{Descriptor, Digest, Manifest, media_type};
use serde_json::json;

/// The media type of a payload.
pub const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of a payload that has its signature.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// A larger payload is none.
pub const MAX_PAYLOAD: u64 = 1 << 20;
/// More signatures of one image are not looked at.
const MAX_SIGNATURES: usize = 1000;
/// What Go writes for a time that was never set.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// Signatures that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SignaturesError {
    /// The manifest is malformed.
    #[error("the manifest of the signatures is malformed")]
    Malformed(#[source] serde_json::Error),
    /// There are too many.
    #[error("there are more than {MAX_SIGNATURES} signatures")]
    TooMany,
}

/// A payload and its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The payload: a layer of the manifest.
    pub payload: Descriptor,
    /// The signature in DER.
    pub signature: Vec<u8>,
}

/// The signatures of an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signatures {
    /// Payloads with their annotations, oldest first.
    layers: Vec<Descriptor>,
}

/// A document and its media type.
type Document = (&'static str, Vec<u8>);

/// The tag under which the signatures of an image are found.
pub fn tag_of(image: &Digest) -> String {
    format!("sha256-{}.sig", image.hex())
}

/// Whether a tag is one of signatures.
pub fn is_signature_tag(tag: &str) -> bool {
    let hex = tag.strip_prefix("sha256-").and_then(|rest| rest.strip_suffix(".sig"));
    hex.is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()))
}

impl Signatures {
    /// Reads the manifest.
    ///
    /// # Errors
    /// When it is malformed, or there are too many.
    pub fn parse(manifest: &[u8]) -> Result<Self, SignaturesError> {
        let manifest: Manifest =
            serde_json::from_slice(manifest).map_err(SignaturesError::Malformed)?;
        if manifest.layers.len() > MAX_SIGNATURES {
            return Err(SignaturesError::TooMany);
        }
        Ok(Self { layers: manifest.layers })
    }

    /// The signatures that are well formed.
    pub fn entries(&self) -> Vec<Entry> {
        let entry = |layer: &Descriptor| {
            let text = layer.annotations.get(SIGNATURE)?;
            let signature = STANDARD.decode(text.trim()).ok()?;
            let is_payload = layer.media_type == PAYLOAD_TYPE && layer.size <= MAX_PAYLOAD;
            is_payload.then(|| Entry { payload: layer.clone(), signature })
        };
        self.layers.iter().filter_map(entry).collect()
    }

    /// Adds a signature, unless it is there.
    pub fn add(&mut self, payload: &[u8], signature: &[u8]) {
        let digest = Digest::sha256_of(payload);
        let mut layer = Descriptor::new(PAYLOAD_TYPE, digest, payload.len() as u64);
        layer.annotations = BTreeMap::from([(SIGNATURE.to_owned(), STANDARD.encode(signature))]);
        if !self.layers.contains(&layer) {
            self.layers.push(layer);
        }
    }

    /// The config and the manifest, to be stored with all payloads.
    pub fn documents(&self) -> [Document; 2] {
        let mut diff_ids: Vec<String> = Vec::new();
        diff_ids.extend(self.layers.iter().map(|layer| layer.digest.to_string()));
        let config = json!({
            "architecture": "",
            "created": NEVER,
            "history": diff_ids.iter().map(|_| json!({ "created": NEVER })).collect::<Vec<_>>(),
            "os": "",
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
            "config": {},
        });
        let config = config.to_string().into_bytes();
        let digest = Digest::sha256_of(&config);
        let descriptor = Descriptor::new(media_type::OCI_CONFIG, digest, config.len() as u64);
        let manifest = Manifest::oci(descriptor, self.layers.clone());
        let manifest = serde_json::to_vec(&manifest)
            .unwrap_or_else(|e| unreachable!("a manifest is plain data: {e}"));
        [(media_type::OCI_CONFIG, config), (media_type::OCI_MANIFEST, manifest)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_kept_and_added_once() {
        let mut all = Signatures::default();
        all.add(b"one", b"s1");
        all.add(b"one", b"s1");
        all.add(b"one", b"s2");
        let [_, (kind, manifest)] = all.documents();
        assert_eq!(kind, media_type::OCI_MANIFEST);
        let read = Signatures::parse(&manifest).expect("a manifest");
        assert_eq!(read, all);
        let signatures: Vec<_> = read.entries().into_iter().map(|e| e.signature).collect();
        assert_eq!(signatures, [b"s1".to_vec(), b"s2".to_vec()]);
    }

    #[test]
    fn tags_name_the_image() {
        let tag = tag_of(&Digest::sha256_of(b"x"));
        assert!(is_signature_tag(&tag), "{tag}");
        assert!(!is_signature_tag("sha256-00.sig") && !is_signature_tag("latest"));
    }

    #[test]
    fn what_is_no_signature_is_passed_over() {
        let mut all = Signatures::default();
        all.add(b"one", b"s1");
        let mut other = all.layers[0].clone();
        other.annotations.clear();
        let mut large = all.layers[0].clone();
        large.size = MAX_PAYLOAD + 1;
        all.layers.extend([other, large]);
        assert_eq!(all.entries().len(), 1);
    }
}
