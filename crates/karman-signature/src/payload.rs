//! What is signed: the simple-signing document
//! (<https://github.com/containers/image/blob/main/docs/containers-signature.5.md>).

use std::collections::BTreeMap;

use karman_oci::Digest;
use serde::{Deserialize, Serialize};

/// cosign's word for what the document is.
const KIND: &str = "cosign container image signature";

/// What a payload says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// What must be understood.
    pub critical: Critical,
    /// What else is said.
    #[serde(default)]
    pub optional: Option<BTreeMap<String, serde_json::Value>>,
}

/// What must be understood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Critical {
    /// Which image.
    pub identity: Identity,
    /// Which bytes.
    pub image: Image,
    /// What the document is.
    #[serde(rename = "type")]
    pub kind: String,
}

/// Which image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The repository.
    #[serde(rename = "docker-reference")]
    pub reference: String,
}

/// Which bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The digest of the manifest or index.
    #[serde(rename = "docker-manifest-digest")]
    pub digest: String,
}

impl Claim {
    /// Reads a payload; nothing where it is no such document.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let claim: Self = serde_json::from_slice(bytes).ok()?;
        (claim.critical.kind == KIND).then_some(claim)
    }

    /// Whether it is about a digest and has these annotations.
    pub fn is_about(&self, digest: &Digest, annotations: &BTreeMap<String, String>) -> bool {
        let optional = self.optional.as_ref();
        let has = |name: &String, value: &String| {
            let found = optional.and_then(|all| all.get(name));
            found.and_then(|v| v.as_str()) == Some(value.as_str())
        };
        self.critical.image.digest == digest.to_string()
            && annotations.iter().all(|(name, value)| has(name, value))
    }
}

/// The bytes to sign for an image. `repository` is its name without tag.
pub fn payload(
    repository: &str,
    digest: &Digest,
    annotations: &BTreeMap<String, String>,
) -> Vec<u8> {
    let optional = annotations.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect();
    let claim = Claim {
        critical: Critical {
            identity: Identity { reference: repository.to_owned() },
            image: Image { digest: digest.to_string() },
            kind: KIND.to_owned(),
        },
        optional: (!annotations.is_empty()).then_some(optional),
    };
    serde_json::to_vec(&claim).unwrap_or_else(|e| unreachable!("a claim is plain data: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_that_of_cosign() {
        let digest = Digest::sha256_of(b"x");
        let bytes = payload("r.example/a", &digest, &BTreeMap::new());
        let text = format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"r.example/a"}},"image":{{"docker-manifest-digest":"{digest}"}},"type":"cosign container image signature"}},"optional":null}}"#
        );
        assert_eq!(String::from_utf8(bytes.clone()), Ok(text));
        let claim = Claim::parse(&bytes).expect("a claim");
        assert!(claim.is_about(&digest, &BTreeMap::new()));
        assert!(!claim.is_about(&Digest::sha256_of(b"y"), &BTreeMap::new()));
    }

    #[test]
    fn annotations_are_part_of_what_is_signed() {
        let digest = Digest::sha256_of(b"x");
        let git = BTreeMap::from([("git".to_owned(), "abc".to_owned())]);
        let claim = Claim::parse(&payload("a", &digest, &git)).expect("a claim");
        assert!(claim.is_about(&digest, &git) && claim.is_about(&digest, &BTreeMap::new()));
        let other = BTreeMap::from([("git".to_owned(), "abd".to_owned())]);
        assert!(!claim.is_about(&digest, &other));
        assert_eq!(Claim::parse(b"{}"), None);
    }
}
