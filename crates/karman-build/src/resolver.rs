//! Base images through the backend; each question is asked once in a plan.

use std::cell::RefCell;
use std::collections::BTreeMap;

use karman_control::{Backend, Cause, ResolvedImage, Session, SolveError};
use karman_dockerfile::lower::{ResolveError, ResolvedBase, Resolver};
use karman_llb::{DebootstrapSource, ImageSource, OciLayoutSource, SourceOp};
use karman_oci::Platform;

/// Images that were resolved.
#[derive(Default)]
pub(crate) struct Images {
    known: RefCell<BTreeMap<String, ResolvedImage>>,
}

impl Images {
    /// Resolves a source for a platform.
    pub(crate) fn resolve(
        &self,
        backend: &dyn Backend,
        source: &SourceOp,
        platform: &Platform,
        session: &Session,
    ) -> Result<ResolvedImage, Box<SolveError>> {
        let key = format!("{platform} {source:?}");
        if let Some(known) = self.known.borrow().get(&key) {
            return Ok(known.clone());
        }
        let resolved = backend.resolve_image(source, platform, session)?;
        self.known.borrow_mut().insert(key, resolved.clone());
        Ok(resolved)
    }
}

/// What the lowering of one Dockerfile asks.
pub(crate) struct Bases<'a> {
    pub(crate) backend: &'a dyn Backend,
    pub(crate) session: &'a Session,
    pub(crate) images: &'a Images,
    failed: RefCell<Option<(Cause, Vec<String>)>>,
}

impl<'a> Bases<'a> {
    pub(crate) fn new(backend: &'a dyn Backend, session: &'a Session, images: &'a Images) -> Self {
        Self { backend, session, images, failed: RefCell::new(None) }
    }

    /// Why the last question failed, with hints: a diagnostic keeps only the message.
    pub(crate) fn failure(&self) -> Option<(Cause, Vec<String>)> {
        self.failed.take()
    }
}

impl Resolver for Bases<'_> {
    fn image(&self, reference: &str, platform: &Platform) -> Result<ResolvedBase, ResolveError> {
        let source = image_source(reference);
        let found = self.images.resolve(self.backend, &source, platform, self.session);
        let image = found.map_err(|error| {
            *self.failed.borrow_mut() = Some((error.cause, error.hints.clone()));
            ResolveError { reference: reference.to_owned(), source: error }
        })?;
        Ok(ResolvedBase {
            source: Some(image.source),
            config: image.config,
            digest: Some(image.digest),
        })
    }
}

/// The scheme of an image in an OCI layout of the session.
pub(crate) const LAYOUT_SCHEME: &str = "oci-layout://";
/// The scheme of a root filesystem from a signed archive.
const DEBOOTSTRAP_SCHEME: &str = "debootstrap://";

/// The source behind a text the resolver is asked for: a full reference, or one of the schemes.
pub(crate) fn image_source(text: &str) -> SourceOp {
    if let Some(name) = text.strip_prefix(LAYOUT_SCHEME) {
        return SourceOp::OciLayout(OciLayoutSource { name: name.to_owned(), manifest: None });
    }
    if text.starts_with(DEBOOTSTRAP_SCHEME) {
        return SourceOp::Debootstrap(DebootstrapSource { source: text.to_owned() });
    }
    SourceOp::Image(ImageSource { reference: text.to_owned(), manifest: None })
}
