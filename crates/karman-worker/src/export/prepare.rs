//! One output of one target: blobs and documents in the store, which nobody sees yet.

use karman_control::{
    AnnotationScope, Cause, Event, Export, ImageResult, OutputKind, SolveError, SolveRequest,
    SolveResponse, TargetResult,
};
use karman_exporter::image::{StoredImage, assemble, assemble_index};
use karman_llb::VertexDigest;
use karman_oci::{Descriptor, Reference};

use super::Prepared;
use super::attest::{Made, remember};
use super::blobs::Compressor;
use super::documents::{annotations, is_index, names, options};
use super::layers::{complete_history, one_wanted};
use crate::cache::Chain;
use crate::error::OrFail as _;
use crate::layering::{Cuts, Steps, remember_steps};
use crate::solve::{Build, Scene};

/// What the outputs of a request are prepared with.
pub(super) struct Stage<'a> {
    pub(super) scene: &'a Scene<'a>,
    pub(super) request: &'a SolveRequest,
    pub(super) build: &'a Build<'a>,
    pub(super) compressor: &'a Compressor,
    pub(super) cuts: &'a Cuts,
}

impl Stage<'_> {
    /// Makes everything that an output consists of.
    pub(super) fn prepare<'t>(
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
        let options = options(export, target, AnnotationScope::Manifest, platform);
        let mut stored = assemble(config, &layers, &options, engine.store())
            .or_fail(Cause::Engine, "store the image")?;
        let entry = annotations(export, target, AnnotationScope::ManifestDescriptor, platform);
        stored.manifest.annotations.extend(entry);
        if let Some(steps) = &steps {
            remember_steps(engine, &stored.manifest.digest, steps)?;
        }
        Ok(stored)
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
        let options = options(export, target, AnnotationScope::Index, None);
        let mut top = assemble_index(&manifests, &options, self.scene.engine.store())
            .or_fail(Cause::Engine, "store the index")?;
        top.annotations.extend(annotations(export, target, AnnotationScope::IndexDescriptor, None));
        Ok(top)
    }

    pub(super) fn progress(&self, vertex: VertexDigest, current: usize, total: usize) {
        (self.scene.events)(Event::Progress {
            vertex,
            id: "exporting layers".to_owned(),
            current: current as u64,
            total: total as u64,
            at: self.scene.begun.elapsed(),
            done: current == total,
        });
    }
}
