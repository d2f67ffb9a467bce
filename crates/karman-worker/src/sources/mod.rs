//! Sources: how files enter the store.
//!
//! Every source has three moments: it is *resolved* (an image's config is needed before the graph
//! exists), *identified* (what its definition key rests on), and *run* (its layers are made).

mod bootstrap;
mod git;
mod git_program;
mod http;
mod image;
mod layout;
mod local;
mod material;

use std::collections::BTreeMap;

use karman_control::{Cause, ResolvedImage, Session, SolveError};
use karman_llb::{ImageSource, SourceOp, Vertex};
use karman_oci::{Digest, Platform};
use karman_solver::Cancel;

use crate::engine::Engine;
use crate::exec::StepEvents;
use crate::solve::Output;

pub(crate) use image::{
    LAYER_ORIGIN, discard_damaged, fetch, fetch_document, fetch_of, from_registry,
    layer as image_layer, registry_error, unpack,
};
pub(crate) use local::{context_view, local_view};
pub(crate) use material::{encoded, materials};

/// What was resolved in the life of an engine: the same question gets the same answer.
#[derive(Default)]
pub(crate) struct Resolutions {
    images: BTreeMap<String, ResolvedImage>,
    plans: BTreeMap<String, std::sync::Arc<karman_debootstrap::Plan>>,
    commits: BTreeMap<String, String>,
}

/// Finds an image's config and pins it.
pub(crate) fn resolve(
    engine: &Engine,
    source: &SourceOp,
    platform: &Platform,
    session: &Session,
) -> Result<ResolvedImage, SolveError> {
    // A layout's name is the session's: another session may mean another place by it.
    let place = match source {
        SourceOp::OciLayout(layout) => layout::place(layout, session),
        _ => None,
    };
    let key = format!("{platform} {source:?} {place:?}");
    if let Some(known) = lock(engine).images.get(&key) {
        return Ok(known.clone());
    }
    let resolved = match source {
        SourceOp::Image(image) => image::resolve(engine, image, platform)?,
        SourceOp::OciLayout(layout) => layout::resolve(engine, layout, platform, session)?,
        SourceOp::Debootstrap(source) => bootstrap::resolve(source, platform)?,
        SourceOp::Local(_) | SourceOp::Git(_) | SourceOp::Http(_) => {
            let message = "this source is a directory or a file, not an image";
            return Err(SolveError::new(Cause::Input, message));
        }
    };
    lock(engine).images.insert(key, resolved.clone());
    Ok(resolved)
}

fn lock(engine: &Engine) -> std::sync::MutexGuard<'_, Resolutions> {
    engine.resolutions().lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What the definition key of a source rests on. May ask the network.
pub(crate) fn identify(
    engine: &Engine,
    source: &SourceOp,
    platform: &Platform,
    session: &Session,
) -> Result<Digest, SolveError> {
    match source {
        SourceOp::Image(image) => pinned(image.manifest, &image.reference),
        SourceOp::OciLayout(layout) => pinned(layout.manifest, &layout.name),
        SourceOp::Local(local) => local::identity(engine, local, session),
        SourceOp::Git(git) => git::identity(engine, git, session),
        SourceOp::Http(http) => http::identity(engine, http),
        SourceOp::Debootstrap(source) => bootstrap::identity(engine, source, platform),
    }
}

fn pinned(manifest: Option<Digest>, name: &str) -> Result<Digest, SolveError> {
    manifest.ok_or_else(|| {
        SolveError::new(
            Cause::Engine,
            format!("image `{name}` reached the solver without a digest"),
        )
    })
}

/// The layers of an image whose blobs are in the store.
pub(crate) fn stored_image(
    engine: &Engine,
    manifest: &Digest,
    events: &StepEvents,
) -> Result<crate::cache::Chain, SolveError> {
    if let Some(steps) = crate::layering::steps_of(engine, manifest)? {
        return Ok(steps.chain);
    }
    image::unpack_image(engine, manifest, events, &|descriptor| match crate::transfer::bring(
        engine, descriptor,
    )? {
        true => Ok(()),
        false => {
            let message = format!("layer {} of the image is gone", descriptor.digest);
            Err(SolveError::new(Cause::Store, message).with_hint("build or pull the image again"))
        }
    })
}

/// The result of an image of a registry of which nobody reads files; nothing is fetched.
pub(crate) fn unread(engine: &Engine, image: &ImageSource) -> Result<Output, SolveError> {
    image::links(engine, image).map(Output::of_links)
}

/// Makes the source's result.
pub(crate) fn run(
    engine: &Engine,
    vertex: &Vertex,
    source: &SourceOp,
    session: &Session,
    events: &StepEvents,
    cancel: &Cancel,
) -> Result<Output, SolveError> {
    Ok(match source {
        SourceOp::Image(image) => Output::Layers(image::run(engine, image, events)?),
        SourceOp::OciLayout(layout) => {
            Output::Layers(layout::run(engine, layout, session, events)?)
        }
        SourceOp::Local(local) => Output::Context(local::output(local, session)?),
        SourceOp::Git(git) => Output::Layers(git::run(engine, git, session)?),
        SourceOp::Http(http) => Output::Layers(http::run(engine, http)?),
        SourceOp::Debootstrap(source) => {
            Output::Layers(bootstrap::run(engine, source, &vertex.platform, events, cancel)?)
        }
    })
}
