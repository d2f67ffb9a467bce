//! Writing caches, after everything else of the build is there.

use std::collections::{BTreeMap, BTreeSet};

use karman_control::{
    CacheExport, CachePlace, Cause, Event, SolveError, TargetResult, VertexStatus,
};
use karman_exporter::export::{LayoutEntry, add_to_layout, sweep_layout};
use karman_llb::VertexDigest;
use karman_oci::{Descriptor, Digest, Index, Manifest, Reference, media_type};

use super::format::{About, Annotations, Chained, Config, Input, Layer, Made, OfOp, Record};
use super::format::{MEDIA_TYPE, VERSION};
use super::import::name_of;
use super::lazy::{Link, Place, RemoteLayer};
use crate::error::{OrFail as _, chain, interrupted, store as store_error};
use crate::export::{Blob, Compressor, LayerRecipe};
use crate::layers::diff_id_of;
use crate::made_by;
use crate::solve::{Build, Scene};
use crate::transfer::push_cache;

/// Writes the caches of targets. Targets that name one place share it.
pub(crate) fn export_caches(
    scene: &Scene<'_>,
    build: &Build<'_>,
    targets: &[&TargetResult],
    epoch: Option<i64>,
    compressor: &Compressor,
) -> Result<(), SolveError> {
    let mut wanted: BTreeMap<&CacheExport, Vec<VertexDigest>> = BTreeMap::new();
    for target in targets {
        for export in target.cache_to.iter().filter(|e| e.place != CachePlace::Inline) {
            let roots = target.images.iter().filter_map(|i| i.root);
            wanted.entry(export).or_default().extend(roots);
        }
    }
    for (export, roots) in &wanted {
        let title = match &export.place {
            CachePlace::Registry(_) => "exporting cache to registry",
            _ => "exporting cache to client directory",
        };
        let name = name_of(&export.place);
        let vertex = VertexDigest(Digest::sha256_of(format!("{title} {name}").as_bytes()));
        scene.started(vertex, title);
        let writer = Writer { scene, build, export, compressor, vertex };
        let written = writer.write(roots, epoch);
        match written {
            Ok(()) => scene.ended(vertex, VertexStatus::Done),
            Err(error) if export.ignore_error && error.cause != Cause::Interrupted => {
                let message = format!("the cache {name} was not written: {}", error.message);
                (scene.events)(Event::Warning { vertex: Some(vertex), message });
                scene.ended(vertex, VertexStatus::Done);
            }
            Err(error) => {
                scene.ended(vertex, VertexStatus::Failed(error.message.clone()));
                return Err(error);
            }
        }
    }
    wanted.keys().for_each(|export| prune(scene, export));
    Ok(())
}

/// Removes from a directory what its new index does not need: after every cache is written, because another may take layers
/// from what it was before. That it stays larger than it should is no failure of the build.
fn prune(scene: &Scene<'_>, export: &CacheExport) {
    let CachePlace::Local { dir, .. } = &export.place else { return };
    if !export.prune {
        return;
    }
    if let Err(error) = sweep_layout(dir) {
        let message = format!("the cache `{}` was not pruned: {}", dir.display(), chain(&error));
        (scene.events)(Event::Warning { vertex: None, message });
    }
}

struct Writer<'a> {
    scene: &'a Scene<'a>,
    build: &'a Build<'a>,
    export: &'a CacheExport,
    compressor: &'a Compressor,
    vertex: VertexDigest,
}

impl Writer<'_> {
    fn write(&self, roots: &[VertexDigest], epoch: Option<i64>) -> Result<(), SolveError> {
        let recipe = LayerRecipe::of_cache(self.export, epoch);
        let mut collector = Collector::new(self.build, &recipe);
        let vertices = match self.export.all_steps {
            true => self.scene.graph.needed_by(roots.iter().copied()).into_iter().collect(),
            false => self.build.shipped(roots),
        };
        collector.collect(&vertices, &|link| self.blob(link, &recipe))?;
        let engine = self.scene.engine;
        let config = serde_json::to_vec(&collector.config())
            .or_fail(Cause::Engine, "write the cache config")?;
        let store = engine.store();
        let digest = store.put_blob(&config).map_err(store_error)?;
        let config = Descriptor::new(MEDIA_TYPE, digest, config.len() as u64);
        let layers: Vec<Descriptor> =
            collector.blobs.iter().map(|b| b.descriptor.clone()).collect();
        let (kind, document) = self.document(&config, &layers)?;
        let digest = store.put_blob(&document).map_err(store_error)?;
        let top = Descriptor::new(kind, digest, document.len() as u64);
        match &self.export.place {
            CachePlace::Registry(reference) => {
                self.to_registry(reference, &collector, &config, &top)
            }
            CachePlace::Local { dir, tag } => {
                for layer in collector.remote.values().filter(|l| !is_in(l, dir)) {
                    layer.fetch(engine)?;
                }
                let mut blobs: Vec<Digest> = layers.iter().map(|l| l.digest).collect();
                blobs.extend([config.digest, top.digest]);
                let entry = LayoutEntry { top: &top, tag, blobs: &blobs };
                let written = add_to_layout(store, &entry, dir);
                if written.is_err() {
                    // Another build may have pruned what was read here: it is made again then.
                    let own = collector.remote.values().filter(|l| is_in(l, dir));
                    own.for_each(|layer| layer.check_left(engine));
                }
                written.or_fail(Cause::Engine, "write the cache")
            }
            CachePlace::Inline => Ok(()),
        }
    }

    /// The blob of a layer; that of a cache is described, not fetched.
    fn blob(&self, link: &Link, recipe: &LayerRecipe) -> Result<Option<Blob>, SolveError> {
        if self.scene.engine.interrupted() {
            return Err(interrupted());
        }
        match link {
            Link::Here(id) => self.compressor.blob(self.scene.engine, id, recipe).map(Some),
            Link::There(layer) => Ok(Some(layer.as_blob())),
        }
    }

    fn document(
        &self,
        config: &Descriptor,
        layers: &[Descriptor],
    ) -> Result<(&'static str, Vec<u8>), SolveError> {
        let doing = "write the cache manifest";
        if self.export.image_manifest {
            let manifest = Manifest::oci(config.clone(), layers.to_vec());
            let bytes = serde_json::to_vec(&manifest).or_fail(Cause::Engine, doing)?;
            return Ok((media_type::OCI_MANIFEST, bytes));
        }
        let mut index = Index::oci(layers.iter().chain([config]).cloned().collect());
        let kind = match self.export.oci_media_types {
            true => media_type::OCI_INDEX,
            false => media_type::DOCKER_INDEX,
        };
        index.media_type = Some(kind.to_owned());
        Ok((kind, serde_json::to_vec(&index).or_fail(Cause::Engine, doing)?))
    }

    fn to_registry(
        &self,
        reference: &Reference,
        collector: &Collector<'_>,
        config: &Descriptor,
        top: &Descriptor,
    ) -> Result<(), SolveError> {
        let engine = self.scene.engine;
        let mut blobs = vec![config.clone()];
        for blob in &collector.blobs {
            let digest = &blob.descriptor.digest;
            match collector.remote.get(digest) {
                Some(layer) if is_of(layer, reference) => continue,
                Some(layer) if !layer.leave(engine)? => layer.fetch(engine)?,
                _ => {}
            }
            blobs.push(blob.descriptor.clone());
        }
        let on_blob = |current: usize, total: usize| {
            (self.scene.events)(Event::Progress {
                vertex: self.vertex,
                id: "writing layers".to_owned(),
                current: current as u64,
                total: total as u64,
                at: self.scene.begun.elapsed(),
                done: current == total,
            });
        };
        push_cache(engine, reference, &blobs, top, &on_blob)
    }
}

/// Whether a layer's cache is in that repository.
fn is_of(layer: &RemoteLayer, reference: &Reference) -> bool {
    matches!(&layer.origin.place, Place::Registry(from)
        if from.host == reference.host && from.repository == reference.repository)
}

fn is_in(layer: &RemoteLayer, dir: &std::path::Path) -> bool {
    matches!(&layer.origin.place, Place::Layout(from) if from == dir)
}

/// Gathers records and the layers that they name.
pub(super) struct Collector<'a> {
    build: &'a Build<'a>,
    recipe: LayerRecipe,
    pub(super) blobs: Vec<Blob>,
    layers: Vec<Layer>,
    records: Vec<Record>,
    /// Layers that are in another cache, by blob.
    pub(super) remote: BTreeMap<Digest, std::sync::Arc<RemoteLayer>>,
}

/// Gives the blob of a layer; `None` where the layer is not to be written.
type BlobOf<'a> = &'a dyn Fn(&Link) -> Result<Option<Blob>, SolveError>;

impl<'a> Collector<'a> {
    pub(super) fn new(build: &'a Build<'a>, recipe: &LayerRecipe) -> Self {
        Self {
            build,
            recipe: recipe.clone(),
            blobs: Vec::new(),
            layers: Vec::new(),
            records: Vec::new(),
            remote: BTreeMap::new(),
        }
    }

    /// Adds a record for each of `vertices` whose result is known.
    pub(super) fn collect(
        &mut self,
        vertices: &BTreeSet<VertexDigest>,
        blob_of: BlobOf<'_>,
    ) -> Result<(), SolveError> {
        let mut at: BTreeMap<VertexDigest, usize> = BTreeMap::new();
        for result in self.build.results(vertices)? {
            let Some(chain) = self.chain(&result.links, blob_of)? else { continue };
            let link = |input: &VertexDigest| at.get(input).map(|link| Input { link: *link });
            let inputs = result.inputs.iter().map(|i| link(i).into_iter().collect()).collect();
            at.insert(result.vertex, self.records.len());
            let chains = vec![Chained { layers: chain }];
            if let Some((op, key)) = result.content {
                let (chains, karman) = (chains.clone(), Some(OfOp { op }));
                self.records.push(Record {
                    digest: result.key,
                    inputs,
                    chains: chains.clone(),
                    karman: None,
                });
                self.records.push(Record { digest: key, inputs: Vec::new(), chains, karman });
            } else {
                self.records.push(Record { digest: result.key, inputs, chains, karman: None });
            }
        }
        Ok(())
    }

    fn chain(
        &mut self,
        links: &[Link],
        blob_of: BlobOf<'_>,
    ) -> Result<Option<Vec<usize>>, SolveError> {
        let mut chain = Vec::new();
        for link in links {
            let Some(blob) = blob_of(link)? else { return Ok(None) };
            let known =
                self.blobs.iter().position(|b| b.descriptor.digest == blob.descriptor.digest);
            chain.push(match known {
                Some(at) => at,
                None => self.add(link, blob)?,
            });
        }
        Ok(Some(chain))
    }

    fn add(&mut self, link: &Link, blob: Blob) -> Result<usize, SolveError> {
        let engine = self.build.engine();
        let karman = match link {
            Link::There(layer) => {
                self.remote.insert(blob.descriptor.digest, std::sync::Arc::clone(layer));
                layer.recipe.as_ref().map(|recipe| Made::new(recipe, layer.step.clone()))
            }
            Link::Here(id) => match diff_id_of(engine.store(), id)?.is_some() {
                true => None,
                false => {
                    let step = made_by::recall(engine.store(), id)?.map(|made| made.step);
                    Some(Made::new(&self.recipe, step))
                }
            },
        };
        let annotations = Annotations {
            media_type: blob.descriptor.media_type.clone(),
            diff_id: blob.diff_id,
            size: blob.descriptor.size,
        };
        let layer = Layer {
            blob: blob.descriptor.digest,
            parent: -1,
            annotations: Some(annotations),
            karman,
        };
        self.layers.push(layer);
        self.blobs.push(blob);
        Ok(self.layers.len() - 1)
    }

    pub(super) fn config(&self) -> Config {
        Config {
            layers: self.layers.clone(),
            records: self.records.clone(),
            karman: Some(About { version: VERSION }),
        }
    }
}

/// A step's result with its keys.
pub(crate) struct StepResult {
    pub(crate) vertex: VertexDigest,
    pub(crate) inputs: Vec<VertexDigest>,
    /// Its portable key.
    pub(crate) key: Digest,
    /// Op and content key, where they are known.
    pub(crate) content: Option<(Digest, Digest)>,
    pub(crate) links: Vec<Link>,
}
