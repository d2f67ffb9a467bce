//! Pulling an image into the local store, without unpacking it.

use karman_control::{Cause, SolveError};
use karman_oci::{Descriptor, Manifest, Platform, Reference};

use crate::engine::Engine;
use crate::error::OrFail as _;
use crate::sources::{fetch, from_registry};

/// An image that is in the local store now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Its manifest.
    pub descriptor: Descriptor,
    /// Whether its name stood for something else before, or for nothing.
    pub is_news: bool,
}

impl Engine {
    /// Brings the image of a platform into the local store, every blob verified, and names it.
    /// `on_blob` is told how many of how many blobs are there.
    ///
    /// # Errors
    /// When the registry cannot be reached, denies access, or has no such image.
    pub fn pull_image(
        &self,
        reference: &Reference,
        platform: &Platform,
        on_blob: &dyn Fn(usize, usize),
    ) -> Result<Pulled, SolveError> {
        self.keep_uses()?;
        let (_, one) = from_registry(self, reference, platform)?;
        let manifest: Manifest = serde_json::from_slice(&one.bytes)
            .or_fail(Cause::Fetch, "read the manifest of the image")?;
        let blobs: Vec<&Descriptor> =
            std::iter::once(&manifest.config).chain(&manifest.layers).collect();
        for (at, blob) in blobs.iter().enumerate() {
            fetch(self, reference, blob)?;
            on_blob(at + 1, blobs.len());
        }
        let before = self.images()?.into_iter().find(|i| i.reference == reference.to_string());
        let is_news = before.is_none_or(|i| i.descriptor.digest != one.descriptor.digest);
        self.tag_image(reference, &one.descriptor)?;
        Ok(Pulled { descriptor: one.descriptor, is_news })
    }

    /// Pushes images of the store: each unique blob once for each registry, manifests, and all tags
    /// last. `on_blob` is told how many of how many blobs are there.
    ///
    /// # Errors
    /// When an image is not complete in the store, or a registry cannot be reached or refuses.
    pub fn push_images(
        &self,
        items: &[super::PushItem],
        on_blob: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<super::PushReport, SolveError> {
        self.keep_uses()?;
        super::push(self, items, on_blob)
    }
}
