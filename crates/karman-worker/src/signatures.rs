//! Signatures of images, kept where the image is: in the store, in its layout, in its repository.

use karman_control::{Cause, SolveError};
use karman_exporter::export::{Named, REF_NAME, write_layout};
use karman_exporter::layout::{Layout, SIGNATURES_KIND};
use karman_oci::{Descriptor, Digest, Reference, media_type};
use karman_signature::{Signatures, tag_of};

use crate::engine::Engine;
use crate::error::{OrFail as _, store as store_error};
use crate::images::{MAX_DOCUMENT, manifests_of};
use crate::inventory::ImageSpec;
use crate::sources::{fetch, registry_error};
use crate::transfer::{PushItem, push};

/// What of an image is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signable {
    /// Its manifest, or the index over platforms.
    pub digest: Digest,
    /// Manifests below the index.
    pub images: Vec<Digest>,
    /// Its name without tag; of a layout that names nothing, the layout's own.
    pub repository: String,
}

/// A payload with its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedPayload {
    /// What is signed.
    pub payload: Vec<u8>,
    /// The signature in DER.
    pub signature: Vec<u8>,
}

impl Engine {
    /// What of an image is signed.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn signable(&self, spec: &ImageSpec) -> Result<Signable, SolveError> {
        self.keep_uses()?;
        match spec {
            ImageSpec::Local(name) => {
                let image = self.find_image(name)?;
                let below = manifests_of(self.store(), &image.descriptor)?;
                let repository = Reference::parse(&image.reference).map(|r| bare(&r));
                Ok(signable(&image.descriptor, &below, repository.unwrap_or_default()))
            }
            ImageSpec::Layout { name, .. } => {
                let (layout, top) = self.opened(spec)?;
                let below = match media_type::is_index(&top.media_type) {
                    true => {
                        let doing = "read the index of the layout";
                        layout
                            .import_blob(&top.digest, self.store())
                            .or_fail(Cause::Input, doing)?;
                        manifests_of(self.store(), &top)?
                    }
                    false => vec![top.clone()],
                };
                let named = top.annotations.get(karman_exporter::export::IMAGE_NAME);
                let repository = named.and_then(|n| Reference::parse(n).ok()).map(|r| bare(&r));
                Ok(signable(&top, &below, repository.unwrap_or_else(|| name.clone())))
            }
            ImageSpec::Registry(text) => {
                let reference = Reference::parse(text).or_fail(Cause::Input, "read a reference")?;
                let top = self.registry().resolve(&reference).map_err(|e| registry_error(&e))?;
                self.store().put_blob(&top.bytes).map_err(store_error)?;
                let below = manifests_of(self.store(), &top.descriptor)?;
                Ok(signable(&top.descriptor, &below, bare(&reference)))
            }
        }
    }

    /// The signatures that are kept with an image, of `digest`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn signatures(
        &self,
        spec: &ImageSpec,
        digest: &Digest,
    ) -> Result<Vec<SignedPayload>, SolveError> {
        self.keep_uses()?;
        let place = self.place_of_signatures(spec, digest)?;
        let Some(kept) = self.kept(&place)? else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for entry in kept.entries() {
            let payload = self.payload(&place, &entry.payload)?;
            all.push(SignedPayload { payload, signature: entry.signature });
        }
        Ok(all)
    }

    /// Keeps a signature of `digest` with an image, beside those that are there.
    ///
    /// # Errors
    /// When it cannot be written there.
    pub fn add_signature(
        &self,
        spec: &ImageSpec,
        digest: &Digest,
        signed: &SignedPayload,
    ) -> Result<(), SolveError> {
        self.keep_uses()?;
        let place = self.place_of_signatures(spec, digest)?;
        let mut all = self.kept(&place)?.unwrap_or_default();
        for entry in all.entries() {
            // The manifest is written again, with everything that it refers to.
            let payload = self.payload(&place, &entry.payload)?;
            self.store().put_blob(&payload).map_err(store_error)?;
        }
        all.add(&signed.payload, &signed.signature);
        self.store().put_blob(&signed.payload).map_err(store_error)?;
        let mut top = None;
        for (kind, bytes) in all.documents() {
            let digest = self.store().put_blob(&bytes).map_err(store_error)?;
            top = Some(Descriptor::new(kind, digest, bytes.len() as u64));
        }
        let Some(top) = top else { unreachable!("there are two documents") };
        self.keep_signatures(&place, top)
    }

    /// The signatures of an image of the store, where it has any.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn signatures_of(
        &self,
        name: &Reference,
        digest: &Digest,
    ) -> Result<Option<PushItem>, SolveError> {
        let name = with_tag(name, digest);
        let found = self.images()?.into_iter().find(|i| i.reference == name.to_string());
        Ok(found.map(|image| PushItem { top: image.descriptor, names: vec![name] }))
    }

    fn opened(&self, spec: &ImageSpec) -> Result<(Layout, Descriptor), SolveError> {
        let ImageSpec::Layout { path, wanted, .. } = spec else {
            unreachable!("asked for layouts only");
        };
        let doing = format!("read OCI layout `{}`", path.display());
        let layout = Layout::open(path).or_fail(Cause::Input, &doing)?;
        let top = layout.resolve(wanted.as_deref()).or_fail(Cause::NotFound, &doing)?;
        Ok((layout, top))
    }

    fn place_of_signatures(&self, spec: &ImageSpec, digest: &Digest) -> Result<Place, SolveError> {
        Ok(match spec {
            ImageSpec::Local(name) => {
                let image = self.find_image(name)?;
                let reference =
                    Reference::parse(&image.reference).or_fail(Cause::Store, "read a name")?;
                Place::Store(with_tag(&reference, digest))
            }
            ImageSpec::Layout { path, .. } => Place::Layout(path.clone(), tag_of(digest)),
            ImageSpec::Registry(text) => {
                let reference = Reference::parse(text).or_fail(Cause::Input, "read a reference")?;
                Place::Registry(with_tag(&reference, digest))
            }
        })
    }

    /// The signatures of a place; nothing where there are none.
    fn kept(&self, place: &Place) -> Result<Option<Signatures>, SolveError> {
        let bytes = match place {
            Place::Store(name) => {
                let found = self.images()?.into_iter().find(|i| i.reference == name.to_string());
                let Some(image) = found else { return Ok(None) };
                let digest = image.descriptor.digest;
                self.store().read_blob(&digest, MAX_DOCUMENT).map_err(store_error)?
            }
            Place::Layout(path, tag) => {
                let doing = format!("read OCI layout `{}`", path.display());
                let layout = Layout::open(path).or_fail(Cause::Input, &doing)?;
                let is_it = |entry: &&Descriptor| entry.annotations.get(REF_NAME) == Some(tag);
                let Some(entry) = layout.images().iter().find(is_it) else { return Ok(None) };
                layout.document(&entry.digest).or_fail(Cause::Input, &doing)?
            }
            Place::Registry(name) => {
                let there =
                    self.registry().manifest_digest(name).map_err(|e| registry_error(&e))?;
                if there.is_none() {
                    return Ok(None);
                }
                self.registry().resolve(name).map_err(|e| registry_error(&e))?.bytes
            }
        };
        Signatures::parse(&bytes).or_fail(Cause::Input, "read the signatures").map(Some)
    }

    fn payload(&self, place: &Place, payload: &Descriptor) -> Result<Vec<u8>, SolveError> {
        match place {
            Place::Store(_) => {}
            Place::Layout(path, _) => {
                let doing = format!("read OCI layout `{}`", path.display());
                let layout = Layout::open(path).or_fail(Cause::Input, &doing)?;
                layout.import_blob(&payload.digest, self.store()).or_fail(Cause::Input, &doing)?;
            }
            Place::Registry(name) => fetch(self, name, payload)?,
        }
        let limit = karman_signature::MAX_PAYLOAD;
        self.store().read_blob(&payload.digest, limit).map_err(store_error)
    }

    fn keep_signatures(&self, place: &Place, mut top: Descriptor) -> Result<(), SolveError> {
        match place {
            Place::Store(name) => self.tag_image(name, &top),
            Place::Layout(path, tag) => {
                top.annotations.insert(REF_NAME.to_owned(), tag.clone());
                let (name, kind) = SIGNATURES_KIND;
                top.annotations.insert(name.to_owned(), kind.to_owned());
                let doing = format!("write OCI layout `{}`", path.display());
                if !path.is_dir() {
                    let message = format!("`{}` is an archive", path.display());
                    let error = SolveError::new(Cause::Input, message);
                    return Err(error.with_hint(
                        "signatures go into layouts that are directories (`tar=false`), stores and registries",
                    ));
                }
                let image = Named { top: &top, names: &[] };
                write_layout(self.store(), &[image], path).or_fail(Cause::Input, &doing)
            }
            Place::Registry(name) => {
                let item = PushItem { top, names: vec![name.clone()] };
                push(self, &[item], &|_, _| {}).map(drop)
            }
        }
    }
}

/// Where signatures are.
enum Place {
    /// Under a name of the store.
    Store(Reference),
    /// Under a tag in a layout.
    Layout(std::path::PathBuf, String),
    /// Under a tag of the repository.
    Registry(Reference),
}

fn signable(top: &Descriptor, below: &[Descriptor], repository: String) -> Signable {
    let images = below.iter().map(|d| d.digest).filter(|d| *d != top.digest).collect();
    Signable { digest: top.digest, images, repository }
}

/// A repository as it is written into payloads: in full, as cosign has it.
fn bare(reference: &Reference) -> String {
    let host = match reference.host.as_str() {
        "docker.io" => "index.docker.io",
        host => host,
    };
    format!("{host}/{}", reference.repository)
}

fn with_tag(reference: &Reference, digest: &Digest) -> Reference {
    Reference { tag: Some(tag_of(digest)), digest: None, ..reference.clone() }
}
