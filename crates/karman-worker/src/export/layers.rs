//! Which layers an image has: one for each step, or cut along packages.

use std::sync::Arc;

use karman_control::{
    CachePlace, Export, ImageResult, Layering, OutputKind, Push, SolveError, TargetResult,
    VertexStatus,
};
use karman_exporter::image::ImageLayer;
use karman_llb::VertexDigest;
use karman_oci::{Digest, History, ImageConfig};

use super::blobs::{Blob, LayerRecipe};
use super::prepare::Stage;
use crate::cache::Chain;
use crate::exec::StepEvents;
use crate::layering::{Cuts, Wanted};
use crate::remote::{Link, RemoteLayer, inline_config};
use crate::solve::{Build, Scene};

/// Plans the layers of all outputs that are cut along packages, as far as they were built.
pub(crate) fn plan_layers<'t>(
    scene: &Scene<'_>,
    targets: impl Iterator<Item = &'t TargetResult>,
    epoch: Option<i64>,
    build: &Build<'_>,
) -> Result<Cuts, SolveError> {
    let vertex = VertexDigest(Digest::sha256_of(b"plan layers"));
    let mut wanted = Vec::new();
    for target in targets {
        for export in &target.exports {
            for image in &target.images {
                let chain = || chain_of(scene, build, image, vertex);
                wanted.extend(one_wanted(&target.name, export, image, epoch, &chain)?);
            }
        }
    }
    if wanted.is_empty() {
        return Ok(Cuts::default());
    }
    scene.started(vertex, "planning layers along packages");
    let cuts = Cuts::of(scene.engine, wanted);
    let status = match &cuts {
        Ok(_) => VertexStatus::Done,
        Err(error) => VertexStatus::Failed(error.message.clone()),
    };
    scene.ended(vertex, status);
    cuts
}

/// An output whose layers are cut along packages; nothing for others.
pub(super) fn one_wanted(
    name: &str,
    export: &Export,
    image: &ImageResult,
    epoch: Option<i64>,
    chain: &dyn Fn() -> Result<Chain, SolveError>,
) -> Result<Option<Wanted>, SolveError> {
    let Layering::Packages(layers) = &export.layering else { return Ok(None) };
    Ok(Some(Wanted {
        name: name.to_owned(),
        platform: image.platform.clone(),
        chain: chain()?,
        recipe: LayerRecipe::of(export, epoch),
        layers: layers.clone(),
    }))
}

/// The layers of an image, unpacked; those of a cache are fetched for `vertex`.
fn chain_of(
    scene: &Scene<'_>,
    build: &Build<'_>,
    image: &ImageResult,
    vertex: VertexDigest,
) -> Result<Chain, SolveError> {
    let Some(output) = image.root.and_then(|root| build.output(&root)) else {
        return Ok(Chain::new());
    };
    let (sink, begun) = (Arc::clone(scene.events), scene.begun);
    let events = StepEvents { sink, vertex, begun };
    Ok(output.layers(scene.engine, &events)?.cloned().unwrap_or_default())
}

impl Stage<'_> {
    /// The layers of an image, unpacked.
    pub(super) fn chain(
        &self,
        image: &ImageResult,
        vertex: VertexDigest,
    ) -> Result<Chain, SolveError> {
        chain_of(self.scene, self.build, image, vertex)
    }

    /// One layer for each step.
    pub(super) fn step_layers(
        &self,
        target: &TargetResult,
        export: &Export,
        image: &ImageResult,
        config: &mut ImageConfig,
        vertex: VertexDigest,
    ) -> Result<Vec<ImageLayer>, SolveError> {
        let recipe = LayerRecipe::of(export, self.request.epoch);
        let (links, blobs) = self.blobs(image, export, vertex)?;
        complete_history(config, blobs.len());
        if let (true, Some(root)) = (has_inline_cache(target), image.root) {
            config.inline_cache = inline_config(self.build, root, &links, &blobs, &recipe)?;
        }
        let layer = |b: Blob| ImageLayer { descriptor: b.descriptor, diff_id: b.diff_id };
        Ok(blobs.into_iter().map(layer).collect())
    }

    /// The layers of an image, and their blobs in the store. Layers of a cache are fetched, but not
    /// unpacked, where they are as the recipe would make them; those of an image that is pushed not even that.
    fn blobs(
        &self,
        image: &ImageResult,
        export: &Export,
        vertex: VertexDigest,
    ) -> Result<(Vec<Link>, Vec<Blob>), SolveError> {
        let recipe = &LayerRecipe::of(export, self.request.epoch);
        let engine = self.scene.engine;
        let output = image.root.and_then(|root| self.build.output(&root));
        let links = output.map(|output| output.links()).unwrap_or_default();
        let mut blobs = Vec::new();
        for (at, link) in links.iter().enumerate() {
            let blob = match link {
                Link::Here(id) => Some(self.compressor.blob(engine, id, recipe)?),
                Link::There(layer) => layer.blob(engine, recipe, is_pushed(export))?,
            };
            blobs.push(match blob {
                Some(blob) => blob,
                None => self.compressor.blob(engine, &self.chain(image, vertex)?[at], recipe)?,
            });
            self.progress(vertex, at + 1, links.len());
        }
        Ok((links, blobs))
    }

    /// The layers of caches of which an export may have left the blobs where they are.
    pub(super) fn left(&self, export: &Export, image: &ImageResult) -> Vec<Arc<RemoteLayer>> {
        let output = image.root.filter(|_| is_pushed(export)).and_then(|r| self.build.output(&r));
        let links = output.map(|output| output.links()).unwrap_or_default();
        let there = |link: Link| match link {
            Link::There(layer) => Some(layer),
            Link::Here(_) => None,
        };
        links.into_iter().filter_map(there).collect()
    }
}

/// Whether an image goes to a registry: it may have its layers before us.
fn is_pushed(export: &Export) -> bool {
    export.kind == OutputKind::Image && export.push != Push::No
}

/// Whether the configuration of an image holds its cache.
pub(super) fn has_inline_cache(target: &TargetResult) -> bool {
    target.cache_to.iter().any(|cache| cache.place == CachePlace::Inline)
}

/// Gives layers of a base without history an entry each, so that entries and layers agree.
pub(crate) fn complete_history(config: &mut ImageConfig, layers: usize) {
    let told = config.history.iter().filter(|h| !h.empty_layer).count();
    if config.history.is_empty() || told >= layers {
        return;
    }
    let missing = History { created_by: Some("imported layer".to_owned()), ..History::default() };
    let entries = std::iter::repeat_n(missing, layers - told);
    config.history.splice(0..0, entries);
}
