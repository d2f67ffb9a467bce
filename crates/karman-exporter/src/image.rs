//! Images from layers: config, manifest and index documents, stored as blobs.
//!
//! Documents are written with the fields in the order of their structs and maps sorted, without times but those in
//! the config, so equal inputs give equal bytes.

use std::collections::BTreeMap;
use std::io;

use karman_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, media_type};
use serde::Serialize;

use crate::blobs::{BlobStore, put};
use crate::layer::{DOCKER_LAYER, LayerBlob};

/// An image that could not be assembled.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The history does not tell of as many layers as there are.
    #[error("the history has {history} entries with a layer, but there are {layers} layers")]
    History {
        /// Entries that are not `empty_layer`.
        history: usize,
        /// Layers given.
        layers: usize,
    },
    /// A document could not be written as JSON.
    #[error("write {what} as JSON")]
    Json {
        /// Which document.
        what: &'static str,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// A document could not be stored.
    #[error("store {what}")]
    Store {
        /// Which document.
        what: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// A layer of an image: its blob, and the digest of its uncompressed bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLayer {
    /// Media type, digest and size of the blob.
    pub descriptor: Descriptor,
    /// The digest of the uncompressed layer.
    pub diff_id: Digest,
}

impl From<&LayerBlob> for ImageLayer {
    fn from(blob: &LayerBlob) -> Self {
        Self { descriptor: blob.descriptor.clone(), diff_id: blob.diff_id }
    }
}

/// How documents are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageOptions {
    /// OCI media types, else Docker's.
    pub oci_media_types: bool,
    /// Annotations of the manifest (or of the index, for [`assemble_index`]).
    pub annotations: BTreeMap<String, String>,
}

impl Default for ImageOptions {
    fn default() -> Self {
        Self { oci_media_types: true, annotations: BTreeMap::new() }
    }
}

/// An image in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredImage {
    /// The manifest, with its platform.
    pub manifest: Descriptor,
    /// The config: its digest is the image id.
    pub config: Descriptor,
}

/// Stores config and manifest of an image. `config.rootfs` is replaced by the layers' digests.
///
/// # Errors
/// When the history contradicts the layers, or a document cannot be stored.
pub fn assemble(
    mut config: ImageConfig,
    layers: &[ImageLayer],
    options: &ImageOptions,
    store: &dyn BlobStore,
) -> Result<StoredImage, ImageError> {
    let history = config.history.iter().filter(|entry| !entry.empty_layer).count();
    if !config.history.is_empty() && history != layers.len() {
        return Err(ImageError::History { history, layers: layers.len() });
    }
    config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id).collect();
    let oci = options.oci_media_types;
    let (config_type, manifest_type) = match oci {
        true => (media_type::OCI_CONFIG, media_type::OCI_MANIFEST),
        false => (media_type::DOCKER_CONFIG, media_type::DOCKER_MANIFEST),
    };
    let stored = store_json(&config, "image config", config_type, store)?;
    let layers = layers.iter().map(|layer| {
        let from = &layer.descriptor;
        let mut to =
            Descriptor::new(convert_layer_type(&from.media_type, oci), from.digest, from.size);
        to.annotations = from.annotations.clone();
        to
    });
    let mut manifest = Manifest::oci(stored.clone(), layers.collect());
    manifest.media_type = Some(manifest_type.to_owned());
    manifest.annotations.clone_from(&options.annotations);
    let mut manifest = store_json(&manifest, "manifest", manifest_type, store)?;
    manifest.platform = Some(config.platform());
    Ok(StoredImage { manifest, config: stored })
}

/// Stores an index over images, one for each platform, in the order given.
///
/// # Errors
/// When the index cannot be stored.
pub fn assemble_index(
    manifests: &[Descriptor],
    options: &ImageOptions,
    store: &dyn BlobStore,
) -> Result<Descriptor, ImageError> {
    let kind =
        if options.oci_media_types { media_type::OCI_INDEX } else { media_type::DOCKER_INDEX };
    let mut index = Index::oci(manifests.to_vec());
    index.media_type = Some(kind.to_owned());
    index.annotations.clone_from(&options.annotations);
    store_json(&index, "index", kind, store)
}

/// The same layer type in the other family; types without a counterpart stay.
fn convert_layer_type(media_type: &str, oci: bool) -> &str {
    match (media_type, oci) {
        (media_type::DOCKER_LAYER_GZIP, true) => media_type::OCI_LAYER_GZIP,
        (DOCKER_LAYER, true) => media_type::OCI_LAYER,
        (media_type::OCI_LAYER_GZIP, false) => media_type::DOCKER_LAYER_GZIP,
        (media_type::OCI_LAYER, false) => DOCKER_LAYER,
        (other, _) => other,
    }
}

/// Stores a document as JSON.
pub(crate) fn store_json(
    document: &impl Serialize,
    what: &'static str,
    media_type: &str,
    store: &dyn BlobStore,
) -> Result<Descriptor, ImageError> {
    let bytes = serde_json::to_vec(document).map_err(|source| ImageError::Json { what, source })?;
    let digest = put(store, &bytes).map_err(|source| ImageError::Store { what, source })?;
    Ok(Descriptor::new(media_type, digest, bytes.len() as u64))
}
