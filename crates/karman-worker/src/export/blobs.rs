//! Layers as blobs, each made once and kept.
//!
//! Bucket `layer-blob`: snapshot and recipe → [`Blob`]. A layer that came with an image is shipped
//! as it came.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use karman_control::{
    CacheExport, Cause, Compression, CompressionKind, Export, Layering, OutputKind, SolveError,
    SolveRequest,
};
use karman_exporter::TimePolicy;
use karman_exporter::layer::{LayerOptions, recompress, write_layer};
use karman_llb::{Graph, Op, VertexDigest};
use karman_oci::{Descriptor, Digest};
use karman_snapshot::SnapshotId;
use karman_sys::fs::Dir;
use serde::{Deserialize, Serialize};

use super::Stoppable;
use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::{OrFail as _, store as store_error};
use crate::layering::LayerTimes;
use crate::layers::{Windows, diff_id_of, name_layer, windows_of};
use crate::solve::locked;
use crate::sources::LAYER_ORIGIN;

pub(super) const BUCKET: &str = "layer-blob";

/// A layer in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Blob {
    pub(crate) diff_id: Digest,
    pub(crate) descriptor: Descriptor,
}

/// Everything that the bytes of a layer blob depend on besides the layer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LayerRecipe {
    pub(crate) compression: Compression,
    pub(crate) force: bool,
    pub(crate) epoch: i64,
    pub(crate) clamp_later: bool,
}

impl LayerRecipe {
    pub(crate) fn of(export: &Export, epoch: Option<i64>) -> Self {
        Self {
            compression: export.compression,
            force: export.force_compression,
            epoch: epoch.unwrap_or(0),
            clamp_later: export.rewrite_timestamp && epoch.is_some(),
        }
    }

    /// The recipe whose uncompressed bytes are those of a blob with that key.
    pub(super) fn plain(key: &str) -> Option<Self> {
        let mut times = key.rsplit(' ');
        let clamp_later = times.next()?.parse().ok()?;
        let epoch = times.next()?.parse().ok()?;
        let mut compression = Compression { kind: CompressionKind::Uncompressed, level: None };
        // Its table of contents is among the uncompressed bytes, and says where compressed ones begin.
        if times.nth(2) == Some("Estargz") {
            let level = key.split("Some(").nth(1).and_then(|l| l.split(')').next()?.parse().ok());
            compression = Compression { kind: CompressionKind::Estargz, level };
        }
        Some(Self { compression, force: true, epoch, clamp_later })
    }

    /// Compression and level.
    pub(crate) fn compression(&self) -> Compression {
        self.compression
    }

    /// Which times entries get.
    pub(crate) fn times(&self) -> LayerTimes {
        LayerTimes { epoch: self.epoch, clamp_later: self.clamp_later }
    }

    /// How layers of a cache are made.
    pub(crate) fn of_cache(export: &CacheExport, epoch: Option<i64>) -> Self {
        Self {
            compression: export.compression,
            force: export.force_compression,
            epoch: epoch.unwrap_or(0),
            clamp_later: false,
        }
    }

    /// Whether a blob is one that this recipe makes: `made` is how it was made, where it did not come
    /// with an image.
    pub(crate) fn is_met_by(&self, made: Option<&Self>, blob: &Descriptor) -> bool {
        match made {
            Some(made) => Self { force: self.force, ..made.clone() } == *self,
            None => !self.force || kind_of(&blob.media_type) == Some(self.compression.kind),
        }
    }

    fn key(&self, id: &SnapshotId) -> String {
        let Compression { kind, level } = self.compression;
        format!("{id} {kind:?} {level:?} {} {} {}", self.force, self.epoch, self.clamp_later)
    }
}

/// One layer being made: whoever comes second waits for the first.
type Slot = Arc<Mutex<Option<Blob>>>;

/// Makes blobs of layers while later steps still run.
pub(crate) struct Compressor {
    shared: Arc<Shared>,
    queue: Option<Sender<SnapshotId>>,
    thread: Option<JoinHandle<()>>,
    /// Vertices whose layers end up in an image.
    wanted: BTreeSet<VertexDigest>,
}

#[derive(Default)]
struct Shared {
    slots: Mutex<BTreeMap<String, Slot>>,
}

impl Compressor {
    /// Starts the thread, where any output will want blobs.
    pub(crate) fn start(engine: &Engine, request: &SolveRequest) -> Self {
        let shared = Arc::new(Shared::default());
        let is_image = |e: &&Export| {
            matches!(e.kind, OutputKind::Oci | OutputKind::Docker | OutputKind::Image)
                && e.layering == Layering::Steps
        };
        let mut recipes: Vec<LayerRecipe> = Vec::new();
        let mut wanted = BTreeSet::new();
        for target in &request.targets {
            for export in target.exports.iter().filter(is_image) {
                recipes.push(LayerRecipe::of(export, request.epoch));
                let roots = target.images.iter().filter_map(|i| i.root);
                roots.for_each(|root| shipped(&request.graph, root, &mut wanted));
            }
        }
        recipes.sort();
        recipes.dedup();
        if recipes.is_empty() {
            return Self { shared, queue: None, thread: None, wanted };
        }
        let (queue, incoming) = channel::<SnapshotId>();
        let (engine, theirs) = (engine.clone(), Arc::clone(&shared));
        let thread = std::thread::spawn(move || {
            while let Ok(id) = incoming.recv() {
                for recipe in &recipes {
                    if engine.cancel_token().is_cancelled() {
                        return;
                    }
                    // A failure shows again, with its vertex, when the export asks for the blob.
                    let _ = theirs.blob(&engine, &id, recipe);
                }
            }
        });
        Self { shared, queue: Some(queue), thread: Some(thread), wanted }
    }

    /// Tells that a vertex has its layers.
    pub(crate) fn offer(&self, vertex: VertexDigest, chain: &Chain) {
        if let Some(queue) = &self.queue
            && self.wanted.contains(&vertex)
        {
            for id in chain {
                // The receiver only ends early when everything is cancelled.
                let _ = queue.send(id.clone());
            }
        }
    }

    /// The blob of a layer.
    pub(crate) fn blob(
        &self,
        engine: &Engine,
        id: &SnapshotId,
        recipe: &LayerRecipe,
    ) -> Result<Blob, SolveError> {
        self.shared.blob(engine, id, recipe)
    }
}

impl Drop for Compressor {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic in there was already reported by the runtime.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn blob(
        &self,
        engine: &Engine,
        id: &SnapshotId,
        recipe: &LayerRecipe,
    ) -> Result<Blob, SolveError> {
        let slot = Arc::clone(locked(&self.slots).entry(recipe.key(id)).or_default());
        let mut slot = locked(&slot);
        if let Some(blob) = &*slot {
            return Ok(blob.clone());
        }
        let blob = make(engine, id, recipe)?;
        *slot = Some(blob.clone());
        Ok(blob)
    }
}

/// Finds the blob in the store or makes it.
fn make(engine: &Engine, id: &SnapshotId, recipe: &LayerRecipe) -> Result<Blob, SolveError> {
    let store = engine.store();
    if let Some(diff_id) = diff_id_of(store, id)?
        && let Some(blob) = as_it_came(engine, &diff_id, recipe)?
    {
        return Ok(blob);
    }
    let key = recipe.key(id);
    if let Some(bytes) = store.get(BUCKET, &key).map_err(store_error)? {
        let blob: Blob = serde_json::from_slice(&bytes).or_fail(Cause::Store, "read a record")?;
        if store.contains(&blob.descriptor.digest).map_err(store_error)? {
            return Ok(blob);
        }
    }
    let (dir, windows) = open_layer(engine, id)?;
    let options = options(engine, recipe, windows.pairs());
    let stoppable = Stoppable::new(engine, store);
    let made = write_layer(&dir, &options, &stoppable).or_fail(Cause::Engine, "make a layer")?;
    let blob = Blob { diff_id: made.diff_id, descriptor: made.descriptor };
    let bytes = serde_json::to_vec(&blob).or_fail(Cause::Engine, "write a record")?;
    store.put(BUCKET, &key, &bytes).map_err(store_error)?;
    name_layer(store, &blob.diff_id, id)?;
    Ok(blob)
}

/// The files of one layer, and the windows in which its step ran.
pub(super) fn open_layer(engine: &Engine, id: &SnapshotId) -> Result<(Dir, Windows), SolveError> {
    let one = std::slice::from_ref(id);
    let dirs = engine.snapshots().lowers(one).or_fail(Cause::Store, "open a layer")?;
    let Some(path) = dirs.first() else { unreachable!("one layer has one directory") };
    let dir = Dir::open(path).or_fail(Cause::Store, "open a layer")?;
    Ok((dir, windows_of(engine.snapshots(), one)?))
}

/// Remembers a blob that was made of a layer elsewhere.
pub(crate) fn remember_blob(
    store: &karman_content::Store,
    id: &SnapshotId,
    recipe: &LayerRecipe,
    blob: &Blob,
) -> Result<(), SolveError> {
    let bytes = serde_json::to_vec(blob).or_fail(Cause::Engine, "write a record")?;
    for force in [false, true] {
        let recipe = LayerRecipe { force, ..recipe.clone() };
        store.put(BUCKET, recipe.key(id), &bytes).map_err(store_error)?;
    }
    Ok(())
}

/// A layer of an image as it came, or in the compression that is forced.
fn as_it_came(
    engine: &Engine,
    diff_id: &Digest,
    recipe: &LayerRecipe,
) -> Result<Option<Blob>, SolveError> {
    let store = engine.store();
    let Some(bytes) = store.get(LAYER_ORIGIN, diff_id.as_bytes()).map_err(store_error)? else {
        return Ok(None);
    };
    let descriptor: Descriptor =
        serde_json::from_slice(&bytes).or_fail(Cause::Store, "read a record")?;
    if !store.contains(&descriptor.digest).map_err(store_error)? {
        return Ok(None);
    }
    if !recipe.force || kind_of(&descriptor.media_type) == Some(recipe.compression.kind) {
        return Ok(Some(Blob { diff_id: *diff_id, descriptor }));
    }
    let options = options(engine, recipe, &[]);
    let stoppable = Stoppable::new(engine, store);
    let made = recompress(store, &descriptor.digest, diff_id, &options, &stoppable)
        .or_fail(Cause::Engine, "compress a layer again")?;
    Ok(Some(Blob { diff_id: made.diff_id, descriptor: made.descriptor }))
}

/// The compression that a media type of a layer names.
pub(super) fn kind_of(media_type: &str) -> Option<CompressionKind> {
    match media_type.rsplit(['.', '+']).next()? {
        "gzip" => Some(CompressionKind::Gzip),
        "zstd" => Some(CompressionKind::Zstd),
        "tar" => Some(CompressionKind::Uncompressed),
        _ => None,
    }
}

pub(super) fn options<'a>(
    engine: &Engine,
    recipe: &LayerRecipe,
    windows: &'a [(i64, i64)],
) -> LayerOptions<'a> {
    LayerOptions {
        compression: recipe.compression,
        times: TimePolicy { epoch: recipe.epoch, windows, clamp_later: recipe.clamp_later },
        oci_media_types: true,
        threads: engine.cores(),
    }
}

/// The vertices whose layers make up the root filesystem of `root`.
pub(crate) fn shipped(graph: &Graph, root: VertexDigest, out: &mut BTreeSet<VertexDigest>) {
    let mut pending = vec![root];
    while let Some(digest) = pending.pop() {
        if !out.insert(digest) {
            continue;
        }
        let Some(vertex) = graph.vertex(&digest) else { continue };
        let below: Vec<usize> = match &vertex.op {
            Op::Exec(exec) => exec.root.into_iter().collect(),
            Op::File(file) => file.base.into_iter().collect(),
            Op::Merge(merge) => merge.inputs.clone(),
            Op::Source(_) | Op::Diff(_) => Vec::new(),
        };
        pending.extend(below.into_iter().filter_map(|i| vertex.inputs.get(i).copied()));
    }
}
