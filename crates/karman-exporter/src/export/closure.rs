//! All blobs of an image.

use std::collections::BTreeSet;

use karman_oci::{Descriptor, Digest, Index, Manifest, media_type};
use serde::de::DeserializeOwned;

use super::ExportError;
use crate::blobs::{BlobSource, document};

/// The most manifests below one index: far more than platforms and attestations exist.
const MAX_MANIFESTS: usize = 1000;

/// The descriptors of everything an image consists of: indexes, manifests, configs and layers, each digest once, a
/// document before what it refers to.
///
/// # Errors
/// When a document cannot be read, is malformed or of an unknown type, or there are too many.
pub fn closure(source: &dyn BlobSource, top: &Descriptor) -> Result<Vec<Descriptor>, ExportError> {
    let mut out = Vec::new();
    let mut seen = BTreeSet::new();
    let mut todo = vec![top.clone()];
    let mut documents = 0;
    while let Some(next) = todo.pop() {
        if !seen.insert(next.digest) {
            continue;
        }
        documents += 1;
        if documents > MAX_MANIFESTS {
            return Err(ExportError::TooMany(top.digest));
        }
        if media_type::is_index(&next.media_type) {
            let index: Index = read(source, &next.digest)?;
            todo.extend(index.manifests.into_iter().rev());
            out.push(next);
        } else if media_type::is_manifest(&next.media_type) {
            let manifest: Manifest = read(source, &next.digest)?;
            out.push(next);
            for blob in std::iter::once(manifest.config).chain(manifest.layers) {
                if seen.insert(blob.digest) {
                    out.push(blob);
                }
            }
        } else {
            let Descriptor { digest, media_type, .. } = next;
            return Err(ExportError::MediaType { digest, media_type });
        }
    }
    Ok(out)
}

pub(super) fn read<T: DeserializeOwned>(
    source: &dyn BlobSource,
    digest: &Digest,
) -> Result<T, ExportError> {
    let bytes =
        document(source, digest).map_err(|source| ExportError::Blob { digest: *digest, source })?;
    serde_json::from_slice(&bytes)
        .map_err(|source| ExportError::Document { digest: *digest, source })
}
