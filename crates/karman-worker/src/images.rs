//! Images by name in the local store.
//!
//! Bucket `images`: full reference → [`Record`]. Manifests, configs and layers are blobs.

use karman_content::Store;
use karman_control::{Cause, SolveError};
use karman_exporter::attestation::REFERENCE_TYPE;
use karman_oci::{
    Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, media_type,
};
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::error::{OrFail as _, store as store_error};

const BUCKET: &str = "images";
/// The largest manifest, index or config read (as registries limit them).
pub(crate) const MAX_DOCUMENT: u64 = 16 << 20;

#[derive(Serialize, Deserialize)]
struct Record {
    descriptor: Descriptor,
}

/// An image in the local store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalImage {
    /// Its full reference.
    pub reference: String,
    /// Its manifest or index.
    pub descriptor: Descriptor,
    /// When the name was last set, nanoseconds since 1970.
    pub created: i64,
}

/// An image in full.
#[derive(Debug, Clone)]
pub struct ImageDetails {
    /// The name and the descriptor it stands for.
    pub image: LocalImage,
    /// One platform's manifest descriptor, manifest and config.
    pub platforms: Vec<(Descriptor, Manifest, ImageConfig)>,
}

impl ImageDetails {
    /// Bytes of the compressed layers of all platforms, each blob once.
    pub fn size(&self) -> u64 {
        let layers = self.platforms.iter().flat_map(|(_, manifest, _)| &manifest.layers);
        let sizes: std::collections::BTreeMap<_, _> = layers.map(|l| (l.digest, l.size)).collect();
        sizes.values().sum()
    }
}

impl Engine {
    /// Names an image, replacing what had the name.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn tag_image(
        &self,
        reference: &Reference,
        descriptor: &Descriptor,
    ) -> Result<(), SolveError> {
        let record = Record { descriptor: descriptor.clone() };
        let bytes = serde_json::to_vec(&record).or_fail(Cause::Store, "write an image record")?;
        self.store().put(BUCKET, reference.to_string(), &bytes).map_err(store_error)
    }

    /// All named images, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn images(&self) -> Result<Vec<LocalImage>, SolveError> {
        let rows = self.store().list(BUCKET, "").map_err(store_error)?;
        let mut images = Vec::new();
        for row in rows {
            let record: Record =
                serde_json::from_slice(&row.value).or_fail(Cause::Store, "read an image record")?;
            let reference = String::from_utf8_lossy(&row.key).into_owned();
            images.push(LocalImage {
                reference,
                descriptor: record.descriptor,
                created: row.created,
            });
        }
        Ok(images)
    }

    /// The image of a name (with a digest, too, as `pull` prints it), or of a digest or the beginning of one.
    ///
    /// # Errors
    /// When there is none, or more than one begins so.
    pub fn find_image(&self, name: &str) -> Result<LocalImage, SolveError> {
        let images = self.images()?;
        if let Ok(reference) = Reference::parse(name) {
            let full = reference.to_string();
            let pinned = || images.iter().find(|image| is_pinned(image, &reference));
            if let Some(image) = images.iter().find(|i| i.reference == full).or_else(pinned) {
                return Ok(image.clone());
            }
        }
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        let mut found: Vec<&LocalImage> = images
            .iter()
            .filter(|i| hex.len() >= 4 && i.descriptor.digest.hex().starts_with(hex))
            .collect();
        found.dedup_by_key(|i| i.descriptor.digest);
        match found[..] {
            [one] => Ok(one.clone()),
            [] => Err(not_found(name, &images)),
            _ => Err(SolveError::new(
                Cause::NotFound,
                format!("more than one image begins with `{name}`"),
            )),
        }
    }

    /// An image with its manifests and configs.
    ///
    /// # Errors
    /// When it does not exist or its blobs are damaged.
    pub fn inspect_image(&self, name: &str) -> Result<ImageDetails, SolveError> {
        let image = self.find_image(name)?;
        let mut platforms = Vec::new();
        for descriptor in manifests_of(self.store(), &image.descriptor)? {
            let manifest: Manifest = read_document(self.store(), &descriptor.digest)?;
            let config: ImageConfig = read_document(self.store(), &manifest.config.digest)?;
            platforms.push((descriptor, manifest, config));
        }
        Ok(ImageDetails { image, platforms })
    }

    /// The manifest for a platform below a manifest or index of the store.
    ///
    /// # Errors
    /// When there is none for it.
    pub fn manifest_for(&self, top: &Descriptor, wanted: &Platform) -> Result<Digest, SolveError> {
        let mut best: Option<(u32, Digest)> = None;
        for descriptor in manifests_of(self.store(), top)? {
            let manifest: Manifest = read_document(self.store(), &descriptor.digest)?;
            let config: ImageConfig = read_document(self.store(), &manifest.config.digest)?;
            if let Some(rank) = config.platform().matches(wanted)
                && best.as_ref().is_none_or(|(r, _)| rank < *r)
            {
                best = Some((rank, descriptor.digest));
            }
        }
        best.map(|(_, digest)| digest).ok_or_else(|| {
            SolveError::new(Cause::NotFound, format!("the image has nothing for {wanted}"))
        })
    }

    /// Takes a name away; the bytes go with the next prune.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn remove_image(&self, name: &str) -> Result<LocalImage, SolveError> {
        let image = self.find_image(name)?;
        self.store().delete(BUCKET, &image.reference).map_err(store_error)?;
        Ok(image)
    }

    /// The manifest of a named image for a platform; `None` where the store has no such name.
    pub(crate) fn local_manifest(
        &self,
        reference: &Reference,
        platform: &Platform,
    ) -> Result<Option<(Descriptor, Descriptor)>, SolveError> {
        let Some(bytes) = self.store().get(BUCKET, reference.to_string()).map_err(store_error)?
        else {
            return Ok(None);
        };
        let record: Record =
            serde_json::from_slice(&bytes).or_fail(Cause::Store, "read an image record")?;
        let mut best: Option<(u32, Descriptor)> = None;
        for descriptor in manifests_of(self.store(), &record.descriptor)? {
            let manifest: Manifest = read_document(self.store(), &descriptor.digest)?;
            let config: ImageConfig = read_document(self.store(), &manifest.config.digest)?;
            if let Some(rank) = config.platform().matches(platform)
                && best.as_ref().is_none_or(|(r, _)| rank < *r)
            {
                best = Some((rank, descriptor));
            }
        }
        Ok(best.map(|(_, manifest)| (record.descriptor, manifest)))
    }
}

/// Whether `NAME@DIGEST` is the image. Whichever tag it has: the digest says all, as in docker.
fn is_pinned(image: &LocalImage, wanted: &Reference) -> bool {
    let of_repository = |r: &Reference| r.host == wanted.host && r.repository == wanted.repository;
    wanted.digest == Some(image.descriptor.digest)
        && Reference::parse(&image.reference).is_ok_and(|r| of_repository(&r))
}

fn not_found(name: &str, images: &[LocalImage]) -> SolveError {
    let error = SolveError::new(Cause::NotFound, format!("no image `{name}` in the local store"));
    let familiar: Vec<String> = images.iter().map(|i| familiar(&i.reference)).collect();
    match karman_diag::nearest(name, familiar.iter().map(String::as_str)) {
        Some(near) => error.with_hint(format!("did you mean `{near}`?")),
        None => error.with_hint("`karman image ls` shows what is there"),
    }
}

fn familiar(reference: &str) -> String {
    let parsed = Reference::parse(reference);
    parsed.map_or_else(
        |_| reference.to_owned(),
        |r| r.familiar().trim_end_matches(":latest").to_owned(),
    )
}

/// The image manifests behind a descriptor: itself, or an index's entries without attestations.
pub(crate) fn manifests_of(store: &Store, top: &Descriptor) -> Result<Vec<Descriptor>, SolveError> {
    if !media_type::is_index(&top.media_type) {
        return Ok(vec![top.clone()]);
    }
    let index: Index = read_document(store, &top.digest)?;
    Ok(index.manifests.into_iter().filter(|d| !attests(d)).collect())
}

/// The manifests behind a descriptor that say something about its images.
pub(crate) fn attestations_of(
    store: &Store,
    top: &Descriptor,
) -> Result<Vec<Descriptor>, SolveError> {
    if !media_type::is_index(&top.media_type) {
        return Ok(Vec::new());
    }
    let index: Index = read_document(store, &top.digest)?;
    Ok(index.manifests.into_iter().filter(attests).collect())
}

fn attests(entry: &Descriptor) -> bool {
    entry.annotations.contains_key(REFERENCE_TYPE)
}

/// Reads a JSON document of the store.
pub(crate) fn read_document<T: serde::de::DeserializeOwned>(
    store: &Store,
    digest: &Digest,
) -> Result<T, SolveError> {
    let bytes = store.read_blob(digest, MAX_DOCUMENT).map_err(store_error)?;
    serde_json::from_slice(&bytes).or_fail(Cause::Store, &format!("read document {digest}"))
}
