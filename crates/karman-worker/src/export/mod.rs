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

use karman_control::{
    Annotation, AnnotationScope, Cause, Event, Export, ImageResult, Layering, OutputKind,
    SolveError, SolveRequest, SolveResponse, TargetResult, VertexStatus,
};
use karman_exporter::image::{ImageLayer, ImageOptions, StoredImage, assemble, assemble_index};
use karman_llb::VertexDigest;
use karman_oci::{Descriptor, Digest, History, ImageConfig, Platform, Reference};

use attest::Made;
pub(crate) use blobs::{Blob, Compressor, LayerRecipe};
pub(crate) use shipped::is_as_shipped;
pub(crate) use write::write_images;

use crate::cache::Chain;
use crate::error::OrFail as _;
use crate::layering::{Cuts, Steps, Wanted, remember_steps};
use crate::solve::{Output, Scene};

/// An output whose blobs exist and which nobody sees yet.
pub(crate) struct Prepared<'a> {
    pub(crate) target: &'a TargetResult,
    export: &'a Export,
    /// The image or index, for outputs that are images.
    pub(crate) top: Option<Descriptor>,
    pub(crate) names: Vec<Reference>,
    pub(crate) chains: Vec<Chain>,
}

/// Makes and writes all outputs.
pub(crate) fn export_all(
    scene: &Scene<'_>,
    request: &SolveRequest,
    outputs: &BTreeMap<VertexDigest, Output>,
    compressor: &Compressor,
    cuts: &Cuts,
) -> Result<SolveResponse, SolveError> {
    let mut response = SolveResponse::default();
    let mut prepared = Vec::new();
    for target in &request.targets {
        for export in &target.exports {
            let stage = Stage { scene, request, outputs, compressor, cuts };
            let vertex = export_vertex(target, export);
            scene
                .started(vertex, &format!("[{}] exporting to {}", target.name, label(export.kind)));
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

fn label(kind: OutputKind) -> &'static str {
    match kind {
        OutputKind::Oci => "oci image format",
        OutputKind::Docker => "docker image format",
        OutputKind::Image => "image",
        OutputKind::Local => "client directory",
        OutputKind::Tar => "client tarball",
        OutputKind::CacheOnly => "cache",
    }
}

struct Stage<'a> {
    scene: &'a Scene<'a>,
    request: &'a SolveRequest,
    outputs: &'a BTreeMap<VertexDigest, Output>,
    compressor: &'a Compressor,
    cuts: &'a Cuts,
}

/// Plans the layers of all outputs that are cut along packages, as far as they were built.
pub(crate) fn plan_layers<'t>(
    scene: &Scene<'_>,
    targets: impl Iterator<Item = &'t TargetResult>,
    epoch: Option<i64>,
    outputs: &BTreeMap<VertexDigest, Output>,
) -> Result<Cuts, SolveError> {
    let wanted = targets.flat_map(|target| {
        let images = target.exports.iter().flat_map(|e| target.images.iter().map(move |i| (e, i)));
        images.filter_map(|(export, image)| {
            wanted(&target.name, export, image, epoch, chain_of(image, outputs))
        })
    });
    let wanted: Vec<Wanted> = wanted.collect();
    if wanted.is_empty() {
        return Ok(Cuts::default());
    }
    let vertex = VertexDigest(Digest::sha256_of(b"plan layers"));
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
fn wanted(
    name: &str,
    export: &Export,
    image: &ImageResult,
    epoch: Option<i64>,
    chain: Chain,
) -> Option<Wanted> {
    let Layering::Packages(layers) = &export.layering else { return None };
    Some(Wanted {
        name: name.to_owned(),
        platform: image.platform.clone(),
        chain,
        recipe: LayerRecipe::of(export, epoch),
        layers: layers.clone(),
    })
}

fn chain_of(image: &ImageResult, outputs: &BTreeMap<VertexDigest, Output>) -> Chain {
    let output = image.root.and_then(|root| outputs.get(&root));
    output.and_then(Output::chain).cloned().unwrap_or_default()
}

impl Stage<'_> {
    fn prepare<'t>(
        &self,
        target: &'t TargetResult,
        export: &'t Export,
        vertex: VertexDigest,
        response: &mut SolveResponse,
    ) -> Result<Prepared<'t>, SolveError> {
        let chains: Vec<Chain> = target.images.iter().map(|i| chain_of(i, self.outputs)).collect();
        let names = names(target, export)?;
        let is_image =
            matches!(export.kind, OutputKind::Oci | OutputKind::Docker | OutputKind::Image);
        let mut top = None;
        if is_image {
            let mut stored = Vec::new();
            for (image, chain) in target.images.iter().zip(&chains) {
                stored.push(self.image(target, export, image, chain, vertex)?);
            }
            let made = target.images.iter().zip(&chains).zip(&stored);
            let made =
                made.map(|((image, chain), stored)| Made { target, export, image, chain, stored });
            let attested = self.attest(made, &names, response)?;
            let descriptor = self.top(export, target, &stored, attested)?;
            response.images.insert(target.name.clone(), descriptor.clone());
            if let ([only], false) = (stored.as_slice(), is_index(target)) {
                response.configs.insert(target.name.clone(), only.config.digest);
            }
            top = Some(descriptor);
        }
        Ok(Prepared { target, export, top, names, chains })
    }

    /// Tells how each image came to be, and gives what is attested of them as entries of the index.
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
            let known = response.provenance.entry(one.target.name.clone()).or_default();
            known.retain(|(platform, _)| *platform != one.image.platform);
            known.push((one.image.platform.clone(), provenance));
        }
        Ok(entries)
    }

    /// Makes one platform's image in the store.
    fn image(
        &self,
        target: &TargetResult,
        export: &Export,
        image: &ImageResult,
        chain: &Chain,
        vertex: VertexDigest,
    ) -> Result<StoredImage, SolveError> {
        let engine = self.scene.engine;
        let mut config = image.config.clone();
        complete_history(&mut config, chain.len());
        let steps = Steps { chain: chain.clone(), history: config.history.clone() };
        let cut = wanted(&target.name, export, image, self.request.epoch, chain.clone());
        let layers = match &cut {
            Some(cut) => {
                let on_layer = |current, total| self.progress(vertex, current, total);
                self.cuts.layers(self.scene.engine, cut, &mut config, &on_layer)?
            }
            None => self.step_layers(export, chain, vertex)?,
        };
        let platform = Some(&image.platform);
        let options = self.options(export, target, AnnotationScope::Manifest, platform);
        let mut stored = assemble(config, &layers, &options, engine.store())
            .or_fail(Cause::Engine, "store the image")?;
        let entry = annotations(export, target, AnnotationScope::ManifestDescriptor, platform);
        stored.manifest.annotations.extend(entry);
        if cut.is_some() {
            remember_steps(self.scene.engine, &stored.manifest.digest, &steps)?;
        }
        Ok(stored)
    }

    /// One layer for each step.
    fn step_layers(
        &self,
        export: &Export,
        chain: &Chain,
        vertex: VertexDigest,
    ) -> Result<Vec<ImageLayer>, SolveError> {
        let recipe = LayerRecipe::of(export, self.request.epoch);
        let mut layers = Vec::new();
        for (at, id) in chain.iter().enumerate() {
            let blob = self.compressor.blob(self.scene.engine, id, &recipe)?;
            self.progress(vertex, at + 1, chain.len());
            layers.push(ImageLayer { descriptor: blob.descriptor, diff_id: blob.diff_id });
        }
        Ok(layers)
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

/// Whether the result is an index: only one has room for attestations.
fn is_index(target: &TargetResult) -> bool {
    target.is_index || !target.attest.is_empty()
}

/// Whether documents have OCI's media types: annotations and attestations exist in OCI's only.
fn is_oci(export: &Export, target: &TargetResult) -> bool {
    let has_any = !export.annotations.is_empty() || !target.annotations.is_empty();
    export.oci_media_types || has_any || !target.attest.is_empty()
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
