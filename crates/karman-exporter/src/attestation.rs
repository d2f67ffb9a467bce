//! Attestation manifests: in-toto statements about an image, attached to its index as BuildKit does
//! it (`docs/attestations/attestation-storage.md` of BuildKit).

use std::collections::BTreeMap;

use karman_oci::{Descriptor, ImageConfig, Manifest, Platform, media_type};
use serde::Serialize;
use serde_json::Value;

use crate::blobs::BlobStore;
use crate::image::{ImageError, store_json};

/// The annotation that says what an entry of an index refers to another for.
pub const REFERENCE_TYPE: &str = "vnd.docker.reference.type";
/// The annotation that says which entry it refers to.
pub const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";
/// The annotation that says what a statement is about.
pub const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";
/// The media type of a statement.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";
/// The value of [`REFERENCE_TYPE`].
const ATTESTATION: &str = "attestation-manifest";
/// The type of a statement (<https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md>).
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
/// The name of a subject that has none.
const NAMELESS: &str = "_";

/// What is said about an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// A URI that says what the predicate is.
    pub predicate_type: &'static str,
    /// What is said.
    pub predicate: Value,
}

#[derive(Serialize)]
struct Document<'a> {
    _type: &'static str,
    subject: Vec<Subject<'a>>,
    #[serde(rename = "predicateType")]
    predicate_type: &'a str,
    predicate: &'a Value,
}

#[derive(Serialize)]
struct Subject<'a> {
    name: &'a str,
    digest: BTreeMap<&'static str, String>,
}

/// Stores statements about the image of a manifest and gives the entry for its index. `names` are
/// package URLs of the image.
///
/// # Errors
/// When a document cannot be stored.
pub fn assemble_attestation(
    image: &Descriptor,
    names: &[String],
    statements: &[Statement],
    store: &dyn BlobStore,
) -> Result<Descriptor, ImageError> {
    let digest = || BTreeMap::from([("sha256", image.digest.hex())]);
    let names = names.iter().map(String::as_str);
    let mut subject: Vec<Subject<'_>> =
        names.map(|name| Subject { name, digest: digest() }).collect();
    if subject.is_empty() {
        subject.push(Subject { name: NAMELESS, digest: digest() });
    }
    let mut layers = Vec::new();
    let mut document =
        Document { _type: STATEMENT, subject, predicate_type: "", predicate: &Value::Null };
    for statement in statements {
        (document.predicate_type, document.predicate) =
            (statement.predicate_type, &statement.predicate);
        let mut layer = store_json(&document, "statement", IN_TOTO, store)?;
        let kind = (PREDICATE_TYPE.to_owned(), statement.predicate_type.to_owned());
        layer.annotations = BTreeMap::from([kind]);
        layers.push(layer);
    }
    let unknown = Platform {
        os: "unknown".to_owned(),
        architecture: "unknown".to_owned(),
        variant: None,
        os_version: None,
    };
    let mut config = ImageConfig::scratch(&unknown);
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.digest).collect();
    let config = store_json(&config, "attestation config", media_type::OCI_CONFIG, store)?;
    let manifest = Manifest::oci(config, layers);
    let mut entry = store_json(&manifest, "attestation manifest", media_type::OCI_MANIFEST, store)?;
    entry.platform = Some(unknown);
    entry.annotations = BTreeMap::from([
        (REFERENCE_TYPE.to_owned(), ATTESTATION.to_owned()),
        (REFERENCE_DIGEST.to_owned(), image.digest.to_string()),
    ]);
    Ok(entry)
}
