//! Images of any place, with their layers in the store.

use std::path::PathBuf;

use karman_control::{Cause, Session, SolveError};
use karman_llb::{ImageSource, OciLayoutSource, SourceOp, Vertex};
use karman_oci::{Digest, History, ImageConfig, Platform};

use crate::cache::Chain;
use crate::engine::Engine;
use crate::images::read_document;
use crate::layering::steps_of;
use crate::running::silent;

/// The session's name for the one layout that is opened.
const LAYOUT: &str = "image";

/// Which image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageSpec {
    /// Name or digest in the local store.
    Local(String),
    /// An OCI layout, directory or archive.
    Layout {
        /// As people wrote it.
        name: String,
        /// Where it is.
        path: PathBuf,
        /// The tag or `@digest` in it; `None` for its only image.
        wanted: Option<String>,
    },
    /// A reference of a registry.
    Registry(String),
}

impl ImageSpec {
    /// The name as people wrote it.
    pub fn name(&self) -> &str {
        match self {
            Self::Local(name) | Self::Layout { name, .. } | Self::Registry(name) => name,
        }
    }
}

/// An image whose layers are in the store.
pub(crate) struct Opened {
    /// None for an output of a build that is no image.
    pub(crate) manifest: Option<Digest>,
    pub(crate) config: ImageConfig,
    pub(crate) chain: Chain,
    /// The history of the chain, where the image's own layers are cut along packages.
    pub(crate) steps: Option<Vec<History>>,
}

impl Opened {
    /// The config of an image of the chain's layers.
    pub(crate) fn layer_config(&self) -> ImageConfig {
        let mut config = self.config.clone();
        if let Some(history) = &self.steps {
            config.history.clone_from(history);
            config.rootfs.diff_ids.clear();
        }
        config
    }

    /// What names it: its manifest, else its layers.
    pub(super) fn digest(&self) -> Digest {
        let layers = || self.chain.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(" ");
        self.manifest.unwrap_or_else(|| Digest::sha256_of(layers().as_bytes()))
    }
}

/// Finds an image and brings its layers into the store.
pub(crate) fn open(
    engine: &Engine,
    spec: &ImageSpec,
    platform: &Platform,
    session: &Session,
) -> Result<Opened, SolveError> {
    match spec {
        ImageSpec::Local(name) => local(engine, name, platform),
        ImageSpec::Layout { path, wanted, .. } => {
            let mut session = session.clone();
            session.layouts.insert(LAYOUT.to_owned(), path.clone());
            let name = match wanted.as_deref() {
                None => LAYOUT.to_owned(),
                Some(digest) if digest.starts_with('@') => format!("{LAYOUT}{digest}"),
                Some(tag) => format!("{LAYOUT}:{tag}"),
            };
            let source = SourceOp::OciLayout(OciLayoutSource { name, manifest: None });
            fetched(engine, &source, platform, &session)
        }
        ImageSpec::Registry(reference) => {
            let source = ImageSource { reference: reference.clone(), manifest: None };
            fetched(engine, &SourceOp::Image(source), platform, session)
        }
    }
}

fn local(engine: &Engine, name: &str, platform: &Platform) -> Result<Opened, SolveError> {
    let details = engine.inspect_image(name)?;
    let ranked = details.platforms.iter().filter_map(|(descriptor, _, config)| {
        Some((config.platform().matches(platform)?, descriptor, config))
    });
    let (_, descriptor, config) = ranked.min_by_key(|r| r.0).ok_or_else(|| {
        SolveError::new(Cause::NotFound, format!("image `{name}` has nothing for {platform}"))
    })?;
    let steps = steps_of(engine, &descriptor.digest)?.map(|steps| steps.history);
    let chain = crate::sources::stored_image(engine, &descriptor.digest, &silent())?;
    Ok(Opened { manifest: Some(descriptor.digest), config: config.clone(), chain, steps })
}

fn fetched(
    engine: &Engine,
    source: &SourceOp,
    platform: &Platform,
    session: &Session,
) -> Result<Opened, SolveError> {
    let resolved = crate::sources::resolve(engine, source, platform, session)?;
    let manifest = match &resolved.source {
        SourceOp::Image(image) => image.manifest,
        SourceOp::OciLayout(layout) => layout.manifest,
        _ => None,
    };
    let manifest = manifest.unwrap_or(resolved.digest);
    let op = karman_llb::Op::Source(resolved.source.clone());
    let vertex = Vertex { op, inputs: Vec::new(), platform: platform.clone() };
    let cancel = engine.cancel_token();
    let output =
        crate::sources::run(engine, &vertex, &resolved.source, session, &silent(), &cancel)?;
    let chain = output.chain().cloned().unwrap_or_default();
    let document: karman_oci::Manifest = read_document(engine.store(), &manifest)?;
    let config = read_document(engine.store(), &document.config.digest)?;
    Ok(Opened { manifest: Some(manifest), config, chain, steps: None })
}
