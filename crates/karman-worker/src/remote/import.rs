//! Reading caches: their configs, once something is looked up that the own cache does not have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use base64::Engine as _;
use karman_control::{CacheImport, CachePlace, Cause, Event, EventSink, SolveError, VertexStatus};
use karman_exporter::layout::Layout;
use karman_llb::VertexDigest;
use karman_oci::{
    Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference, media_type,
};

use super::format::{self, Config};
use super::lazy::{Link, Origin, Place, RemoteLayer};
use crate::engine::Engine;
use crate::error::OrFail as _;
use crate::sources::{fetch_document, registry_error};

/// Images of one index whose inline caches are read.
const MAX_IMAGES: usize = 32;

/// The caches that a build may look into.
pub(crate) struct Imports<'a> {
    engine: &'a Engine,
    wanted: &'a [CacheImport],
    events: EventSink,
    begun: Instant,
    loaded: OnceLock<Vec<Loaded>>,
}

/// A cache whose config was read.
pub(super) struct Loaded {
    origin: Arc<Origin>,
    layers: Vec<Arc<RemoteLayer>>,
    keys: BTreeMap<Digest, Vec<usize>>,
    /// Ops that have content keys.
    ops: BTreeSet<Digest>,
}

impl<'a> Imports<'a> {
    pub(crate) fn new(
        engine: &'a Engine,
        wanted: &'a [CacheImport],
        events: &EventSink,
        begun: Instant,
    ) -> Self {
        Self { engine, wanted, events: Arc::clone(events), begun, loaded: OnceLock::new() }
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// The layers behind a key. Reads the caches when it is called first.
    pub(crate) fn find(&self, key: &Digest) -> Option<Vec<Link>> {
        let good = self.loaded().iter().filter(|loaded| !loaded.origin.is_spoiled());
        good.filter_map(|loaded| loaded.find(key)).next()
    }

    /// Whether some cache has content keys of an op. Reads the caches when it is called first.
    pub(crate) fn knows_content(&self, op: &Digest) -> bool {
        let mut good = self.loaded().iter().filter(|loaded| !loaded.origin.is_spoiled());
        good.any(|loaded| loaded.ops.contains(op))
    }

    /// Caches that were in use and failed.
    pub(crate) fn spoiled(&self) -> BTreeSet<String> {
        let loaded = self.loaded.get().map(Vec::as_slice).unwrap_or_default();
        let bad = loaded.iter().filter(|loaded| loaded.origin.is_spoiled());
        bad.map(|loaded| loaded.origin.name.clone()).collect()
    }

    fn loaded(&self) -> &[Loaded] {
        self.loaded.get_or_init(|| self.wanted.iter().filter_map(|one| self.load(one)).collect())
    }

    /// Reads one cache; one that cannot be read is told and passed over.
    fn load(&self, wanted: &CacheImport) -> Option<Loaded> {
        let name = name_of(&wanted.place);
        let title = format!("importing cache manifest from {name}");
        let vertex = VertexDigest(Digest::sha256_of(title.as_bytes()));
        (self.events)(Event::Started { vertex, name: title, at: self.begun.elapsed() });
        let read = read(self.engine, wanted, &name);
        if let Err(error) = &read {
            let message = format!("the cache {name} is not used: {}", error.message);
            (self.events)(Event::Warning { vertex: Some(vertex), message });
        }
        let (status, at) = (VertexStatus::Done, self.begun.elapsed());
        (self.events)(Event::Ended { vertex, status, at });
        read.ok()
    }
}

impl Loaded {
    fn new(origin: Arc<Origin>) -> Self {
        Self { origin, layers: Vec::new(), keys: BTreeMap::new(), ops: BTreeSet::new() }
    }

    fn find(&self, key: &Digest) -> Option<Vec<Link>> {
        let chain = self.keys.get(key)?;
        Some(chain.iter().map(|at| Link::There(Arc::clone(&self.layers[*at]))).collect())
    }

    /// Adds a config whose layers have these descriptors.
    fn add(&mut self, config: &Config, blobs: &[Descriptor]) -> Result<(), SolveError> {
        config.check().or_fail(Cause::Fetch, "read the cache config")?;
        let first = self.layers.len();
        for layer in &config.layers {
            self.layers.push(Arc::new(remote_layer(layer, blobs, &self.origin)?));
        }
        for (key, chain) in config.by_key() {
            let chain = chain.iter().map(|at| first + at).collect();
            self.keys.entry(key).or_insert(chain);
        }
        self.ops.extend(config.records.iter().filter_map(|r| Some(r.karman.as_ref()?.op)));
        Ok(())
    }
}

fn remote_layer(
    layer: &format::Layer,
    blobs: &[Descriptor],
    origin: &Arc<Origin>,
) -> Result<RemoteLayer, SolveError> {
    let wrong = |what: &str| {
        let message = format!("layer {} of the cache {what}", layer.blob);
        Err(SolveError::new(Cause::Fetch, message))
    };
    let Some(told) = &layer.annotations else { return wrong("is not described") };
    let Some(blob) = blobs.iter().find(|b| b.digest == layer.blob) else {
        return wrong("is not in its manifest");
    };
    let made = layer.karman.as_ref();
    let recipe = match made.map(format::Made::recipe) {
        Some(None) => return wrong("has an unknown compression"),
        Some(known) => known,
        None => None,
    };
    Ok(RemoteLayer {
        descriptor: Descriptor {
            annotations: blob.annotations.clone(),
            ..Descriptor::new(&blob.media_type, blob.digest, blob.size)
        },
        diff_id: told.diff_id,
        recipe,
        turn: Mutex::default(),
        step: made.and_then(|made| made.step.clone()),
        origin: Arc::clone(origin),
    })
}

/// A place as people write it.
pub(super) fn name_of(place: &CachePlace) -> String {
    match place {
        CachePlace::Registry(reference) => reference.familiar(),
        CachePlace::Local { dir, tag } => format!("{}:{tag}", dir.display()),
        CachePlace::Inline => "inline".to_owned(),
    }
}

fn read(engine: &Engine, wanted: &CacheImport, name: &str) -> Result<Loaded, SolveError> {
    match &wanted.place {
        CachePlace::Registry(reference) => read_registry(engine, reference, name),
        CachePlace::Local { dir, tag } => read_layout(dir, tag, wanted.digest.as_ref(), name),
        CachePlace::Inline => Err(SolveError::new(Cause::Input, "an inline cache has no place")),
    }
}

fn read_registry(engine: &Engine, reference: &Reference, name: &str) -> Result<Loaded, SolveError> {
    let place = Place::Registry(reference.clone());
    let mut loaded = Loaded::new(Arc::new(Origin::new(place, name.to_owned())));
    let top = engine.registry().resolve(reference).map_err(|e| registry_error(&e))?;
    let document = |descriptor: &Descriptor| fetch_document(engine, reference, descriptor);
    if !top.is_index() {
        let manifest = top.manifest().map_err(|e| registry_error(&e))?;
        read_manifest(&mut loaded, &manifest, &document)?;
        return Ok(loaded);
    }
    let index = top.index().map_err(|e| registry_error(&e))?;
    if read_index(&mut loaded, &index, &document)? {
        return Ok(loaded);
    }
    for entry in images(&index) {
        let one = engine.registry().pull_manifest(reference, entry);
        let manifest = one.and_then(|one| one.manifest()).map_err(|e| registry_error(&e))?;
        read_manifest(&mut loaded, &manifest, &document)?;
    }
    Ok(loaded)
}

fn read_layout(
    dir: &Path,
    tag: &str,
    digest: Option<&Digest>,
    name: &str,
) -> Result<Loaded, SolveError> {
    let doing = "open the cache";
    let place = Place::Layout(dir.to_owned());
    let mut loaded = Loaded::new(Arc::new(Origin::new(place, name.to_owned())));
    let layout = Layout::open(dir).or_fail(Cause::Fetch, doing)?;
    let pin = digest.map(ToString::to_string);
    let top = layout.resolve(Some(pin.as_deref().unwrap_or(tag))).or_fail(Cause::Fetch, doing)?;
    let document = |d: &Descriptor| layout.document(&d.digest).or_fail(Cause::Fetch, doing);
    let bytes = document(&top)?;
    if media_type::is_index(&top.media_type) {
        let index: Index = serde_json::from_slice(&bytes).or_fail(Cause::Fetch, doing)?;
        if !read_index(&mut loaded, &index, &document)? {
            return Err(no_cache());
        }
    } else {
        let manifest: Manifest = serde_json::from_slice(&bytes).or_fail(Cause::Fetch, doing)?;
        read_manifest(&mut loaded, &manifest, &document)?;
    }
    Ok(loaded)
}

/// Reads a document that a descriptor names.
type ReadDocument<'a> = &'a dyn Fn(&Descriptor) -> Result<Vec<u8>, SolveError>;

fn no_cache() -> SolveError {
    SolveError::new(Cause::Fetch, "it holds no cache")
}

/// A manifest whose config is a cache config, or that of an image with one inside.
fn read_manifest(
    loaded: &mut Loaded,
    manifest: &Manifest,
    document: ReadDocument<'_>,
) -> Result<(), SolveError> {
    let bytes = document(&manifest.config)?;
    if manifest.config.media_type == format::MEDIA_TYPE {
        let config: Config =
            serde_json::from_slice(&bytes).or_fail(Cause::Fetch, "read the cache config")?;
        return loaded.add(&config, &manifest.layers);
    }
    let image: ImageConfig =
        serde_json::from_slice(&bytes).or_fail(Cause::Fetch, "read the image config")?;
    let inline = image.inline_cache.ok_or_else(no_cache)?;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(inline)
        .or_fail(Cause::Fetch, "read the inline cache")?;
    let config: Config =
        serde_json::from_slice(&bytes).or_fail(Cause::Fetch, "read the inline cache")?;
    loaded.add(&config, &manifest.layers)
}

/// An index that lists the layers and the config of a cache; says whether it is one.
fn read_index(
    loaded: &mut Loaded,
    index: &Index,
    document: ReadDocument<'_>,
) -> Result<bool, SolveError> {
    let is_config = |entry: &&Descriptor| entry.media_type == format::MEDIA_TYPE;
    let Some(entry) = index.manifests.iter().find(is_config) else { return Ok(false) };
    let config: Config =
        serde_json::from_slice(&document(entry)?).or_fail(Cause::Fetch, "read the cache config")?;
    loaded.add(&config, &index.manifests)?;
    Ok(true)
}

/// The images of an index that may have a cache: those for this host first.
fn images(index: &Index) -> Vec<&Descriptor> {
    let host = Platform::host();
    let is_image = |d: &&Descriptor| {
        media_type::is_manifest(&d.media_type)
            && !d.annotations.contains_key("vnd.docker.reference.type")
    };
    let mut all: Vec<&Descriptor> = index.manifests.iter().filter(is_image).collect();
    all.sort_by_key(|d| d.platform.as_ref().and_then(|p| p.matches(&host)).unwrap_or(u32::MAX));
    all.truncate(MAX_IMAGES);
    all
}
