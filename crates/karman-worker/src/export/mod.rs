//! From layers to blobs, manifests and outputs.
//!
//! First every blob and document of every target is made, which nobody sees; then the outputs
//! appear, each whole or not at all; then what goes to registries is there; names in the local store
//! move last.

mod attest;
mod blobs;
mod publish;
mod shipped;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use karman_control::{
    Annotation, AnnotationScope, CachePlace, Cause, Event, Export, ImageResult, Layering,
    OutputKind, Push, SolveError, SolveRequest, SolveResponse, TargetResult, VertexStatus,
};
use karman_exporter::image::{ImageLayer, ImageOptions, StoredImage, assemble, assemble_index};
use karman_llb::VertexDigest;
use karman_oci::{Descriptor, Digest, History, ImageConfig, Platform, Reference};

use attest::{Made, remember};
pub(crate) use attest::{PROVENANCE, recall};
pub(crate) use blobs::{Blob, Compressor, LayerRecipe, remember_blob, shipped};
pub(crate) use shipped::is_as_shipped;
pub(crate) use write::write_images;

use crate::cache::Chain;
use crate::error::OrFail as _;
use crate::exec::StepEvents;
use crate::layering::{Cuts, Steps, Wanted, remember_steps};
use crate::remote::{Link, RemoteLayer, inline_config};
use crate::solve::{Build, Scene};

/// An output whose blobs exist and which nobody sees yet.
pub(crate) struct Prepared<'a> {
    pub(crate) target: &'a TargetResult,
    export: &'a Export,
    /// The image or index, for outputs that are images.
    pub(crate) top: Option<Descriptor>,
    pub(crate) names: Vec<Reference>,
    pub(crate) chains: Vec<Chain>,
    /// Layers of caches that were not fetched, as a push may not need their bytes.
    left: Vec<Arc<RemoteLayer>>,
}

/// Makes and writes all outputs.
pub(crate) fn export_all(
    scene: &Scene<'_>,
    request: &SolveRequest,
    build: &Build<'_>,
    compressor: &Compressor,
    cuts: &Cuts,
) -> Result<SolveResponse, SolveError> {
    let mut response = SolveResponse::default();
    let mut prepared = Vec::new();
    for target in &request.targets {
        for export in &target.exports {
            let stage = Stage { scene, request, build, compressor, cuts };
            let vertex = export_vertex(target, export);
            scene.started(vertex, &format!("[{}] {}", target.name, label(export)));
            let one = stage.prepare(target, export, vertex, &mut response);
            if let Err(error) = &one {
                scene.ended(vertex, VertexStatus::Failed(error.message.clone()));
            }
            prepared.push((vertex, one?));
        }
    }
    crate::inventory::check(scene, &prepared)?;
    let is_name = |(_, one): &&(VertexDigest, Prepared<'_>)| one.export.kind == OutputKind::Image;
    write_all(scene, request, prepared.iter().filter(|one| !is_name(one)))?;
    publish::publish(scene, prepared.iter().map(|(_, one)| one))?;
    write_all(scene, request, prepared.iter().filter(is_name))?;
    Ok(response)
}

/// Makes prepared outputs appear.
fn write_all<'p>(
    scene: &Scene<'_>,
    request: &SolveRequest,
    prepared: impl Iterator<Item = &'p (VertexDigest, Prepared<'p>)>,
) -> Result<(), SolveError> {
    for (vertex, one) in prepared {
        let written = write::write(scene, one, request.epoch.unwrap_or(0));
        let status = match &written {
            Ok(()) => VertexStatus::Done,
            Err(error) => VertexStatus::Failed(error.message.clone()),
        };
        scene.ended(*vertex, status);
        written?;
    }
    Ok(())
}

fn export_vertex(target: &TargetResult, export: &Export) -> VertexDigest {
    VertexDigest(Digest::sha256_of(format!("export {} {export:?}", target.name).as_bytes()))
}

fn label(export: &Export) -> String {
    if let Some(loader) = export.load {
        return format!("loading into {}", loader.program());
    }
    let what = match export.kind {
        OutputKind::Oci => "oci image format",
        OutputKind::Docker => "docker image format",
        OutputKind::Image => "image",
        OutputKind::Local => "client directory",
        OutputKind::Tar => "client tarball",
        OutputKind::CacheOnly => "cache",
    };
    format!("exporting to {what}")
}

struct Stage<'a> {
    scene: &'a Scene<'a>,
    request: &'a SolveRequest,
    build: &'a Build<'a>,
    compressor: &'a Compressor,
    cuts: &'a Cuts,
}

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
fn one_wanted(
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
    fn prepare<'t>(
        &self,
        target: &'t TargetResult,
        export: &'t Export,
        vertex: VertexDigest,
        response: &mut SolveResponse,
    ) -> Result<Prepared<'t>, SolveError> {
        let names = names(target, export)?;
        let is_image =
            matches!(export.kind, OutputKind::Oci | OutputKind::Docker | OutputKind::Image);
        // Images are made of blobs; only files, and whoever looks at files, need layers unpacked.
        let needs_files = !is_image && export.kind != OutputKind::CacheOnly;
        let mut chains = Vec::new();
        if needs_files || target.attest.sbom || self.scene.engine.gate().is_some() {
            for image in &target.images {
                chains.push(self.chain(image, vertex)?);
            }
        }
        let (mut top, mut left) = (None, Vec::new());
        if is_image {
            let mut stored = Vec::new();
            for image in &target.images {
                stored.push(self.image(target, export, image, vertex)?);
                left.extend(self.left(export, image));
            }
            // Only a bill of materials looks at the layers.
            let none = Chain::new();
            let made =
                target.images.iter().zip(&stored).enumerate().map(|(at, (image, stored))| {
                    let chain = chains.get(at).unwrap_or(&none);
                    Made { target, export, image, chain, stored }
                });
            let attested = self.attest(made, &names, response)?;
            let descriptor = self.top(export, target, &stored, attested)?;
            response.images.insert(target.name.clone(), descriptor.clone());
            if let ([only], false) = (stored.as_slice(), is_index(target)) {
                response.configs.insert(target.name.clone(), only.config.digest);
            }
            top = Some(descriptor);
        }
        Ok(Prepared { target, export, top, names, chains, left })
    }

    /// Keeps how each image came to be, and gives what is attested of them as entries of the index.
    fn attest<'m>(
        &self,
        made: impl Iterator<Item = Made<'m>>,
        names: &[Reference],
        response: &mut SolveResponse,
    ) -> Result<Vec<Descriptor>, SolveError> {
        let mut entries = Vec::new();
        for one in made {
            let provenance = one.provenance(self.scene)?;
            entries.extend(one.attestation(self.scene, names, provenance.as_ref())?);
            let Some(provenance) = provenance else { continue };
            remember(self.scene.engine.store(), &one.stored.manifest.digest, &provenance)?;
            let known = response.provenance.entry(one.target.name.clone()).or_default();
            known.retain(|(platform, _)| *platform != one.image.platform);
            known.push((one.image.platform.clone(), provenance));
        }
        Ok(entries)
    }

    /// The layers of an image, unpacked.
    fn chain(&self, image: &ImageResult, vertex: VertexDigest) -> Result<Chain, SolveError> {
        chain_of(self.scene, self.build, image, vertex)
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
    fn left(&self, export: &Export, image: &ImageResult) -> Vec<Arc<RemoteLayer>> {
        let output = image.root.filter(|_| is_pushed(export)).and_then(|r| self.build.output(&r));
        let links = output.map(|output| output.links()).unwrap_or_default();
        let there = |link: Link| match link {
            Link::There(layer) => Some(layer),
            Link::Here(_) => None,
        };
        links.into_iter().filter_map(there).collect()
    }

    /// Makes one platform's image in the store.
    fn image(
        &self,
        target: &TargetResult,
        export: &Export,
        image: &ImageResult,
        vertex: VertexDigest,
    ) -> Result<StoredImage, SolveError> {
        let engine = self.scene.engine;
        let mut config = image.config.clone();
        // That of a base image says nothing about this one.
        config.inline_cache = None;
        let chain = || self.chain(image, vertex);
        let cut = one_wanted(&target.name, export, image, self.request.epoch, &chain)?;
        let mut steps = None;
        let layers = match &cut {
            Some(cut) => {
                complete_history(&mut config, cut.chain.len());
                let history = config.history.clone();
                steps = Some(Steps { chain: cut.chain.clone(), history });
                let on_layer = |current, total| self.progress(vertex, current, total);
                self.cuts.layers(engine, cut, &mut config, &on_layer)?
            }
            None => self.step_layers(target, export, image, &mut config, vertex)?,
        };
        let platform = Some(&image.platform);
        let options = self.options(export, target, AnnotationScope::Manifest, platform);
        let mut stored = assemble(config, &layers, &options, engine.store())
            .or_fail(Cause::Engine, "store the image")?;
        let entry = annotations(export, target, AnnotationScope::ManifestDescriptor, platform);
        stored.manifest.annotations.extend(entry);
        if let Some(steps) = &steps {
            remember_steps(engine, &stored.manifest.digest, steps)?;
        }
        Ok(stored)
    }

    /// One layer for each step.
    fn step_layers(
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

    fn progress(&self, vertex: VertexDigest, current: usize, total: usize) {
        (self.scene.events)(Event::Progress {
            vertex,
            id: "exporting layers".to_owned(),
            current: current as u64,
            total: total as u64,
            at: self.scene.begun.elapsed(),
            done: current == total,
        });
    }

    /// How documents are written.
    fn options(
        &self,
        export: &Export,
        target: &TargetResult,
        scope: AnnotationScope,
        platform: Option<&Platform>,
    ) -> ImageOptions {
        ImageOptions {
            oci_media_types: is_oci(export, target),
            annotations: annotations(export, target, scope, platform),
        }
    }

    /// The manifest of one platform, or an index over several.
    fn top(
        &self,
        export: &Export,
        target: &TargetResult,
        stored: &[StoredImage],
        attested: Vec<Descriptor>,
    ) -> Result<Descriptor, SolveError> {
        if let ([only], false) = (stored, is_index(target)) {
            return Ok(only.manifest.clone());
        }
        let mut manifests: Vec<Descriptor> = stored.iter().map(|s| s.manifest.clone()).collect();
        manifests.extend(attested);
        let options = self.options(export, target, AnnotationScope::Index, None);
        let mut top = assemble_index(&manifests, &options, self.scene.engine.store())
            .or_fail(Cause::Engine, "store the index")?;
        top.annotations.extend(annotations(export, target, AnnotationScope::IndexDescriptor, None));
        Ok(top)
    }
}

/// Whether an image goes to a registry: it may have its layers before us.
fn is_pushed(export: &Export) -> bool {
    export.kind == OutputKind::Image && export.push != Push::No
}

/// Whether the result is an index: only one has room for attestations.
fn is_index(target: &TargetResult) -> bool {
    target.is_index || !target.attest.is_empty()
}

/// Whether documents have OCI's media types: annotations and attestations exist in OCI's only.
fn is_oci(export: &Export, target: &TargetResult) -> bool {
    let has_any = !export.annotations.is_empty() || !target.annotations.is_empty();
    export.oci_media_types || has_any || !target.attest.is_empty()
}

fn has_inline_cache(target: &TargetResult) -> bool {
    target.cache_to.iter().any(|cache| cache.place == CachePlace::Inline)
}

/// The annotations of the target win, as those of `--annotation` do in buildx.
fn annotations(
    export: &Export,
    target: &TargetResult,
    scope: AnnotationScope,
    platform: Option<&Platform>,
) -> BTreeMap<String, String> {
    let all = export.annotations.iter().chain(&target.annotations);
    Annotation::select(all, scope, platform)
}

/// The names of an output: the target's tags, or without any the output's own, as in buildx.
fn names(target: &TargetResult, export: &Export) -> Result<Vec<Reference>, SolveError> {
    let mut names = Vec::new();
    for name in if target.tags.is_empty() { &export.names } else { &target.tags } {
        let reference = Reference::parse(name).or_fail(Cause::Input, "read a tag")?;
        if !names.contains(&reference) {
            names.push(reference);
        }
    }
    Ok(names)
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
