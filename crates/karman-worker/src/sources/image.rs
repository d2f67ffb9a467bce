//! Images of registries and of the local store.

use std::sync::Mutex;

use karman_control::{Cause, Event, ResolvedImage, SolveError};
use karman_exporter::unpack::{
    Limits, LowerLayers, Ownership, UnpackOptions, unpack_layer as unpack_layer_blob,
};
use karman_llb::{ImageSource, SourceOp};
use karman_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, Reference};
use karman_registry::RegistryError;
use karman_snapshot::SnapshotId;
use karman_sys::fs::Dir;

use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::{OrFail as _, chain as error_chain, store as store_error};
use crate::exec::StepEvents;
use crate::images::read_document;
use crate::layers::{by_diff_id, commit_dated, remember_diff_id};

/// Layers fetched and unpacked at once: more only share the same bandwidth.
const PARALLEL_LAYERS: usize = 4;
/// Bucket: diff id → the descriptor the layer came with, so that it is shipped as it came.
pub(crate) const LAYER_ORIGIN: &str = "layer-origin";
/// The largest config read.
const MAX_CONFIG: u64 = 16 << 20;

pub(super) fn resolve(
    engine: &Engine,
    image: &ImageSource,
    platform: &Platform,
) -> Result<ResolvedImage, SolveError> {
    let reference = Reference::parse(&image.reference).or_fail(Cause::Input, "resolve an image")?;
    if !engine.config().pull
        && let Some((top, manifest)) = engine.local_manifest(&reference, platform)?
    {
        let config = config_of(engine, &manifest.digest)?;
        return Ok(resolved(image, manifest.digest, top.digest, config));
    }
    let top = engine.registry().resolve(&reference).map_err(|e| registry_error(&e))?;
    let digest = top.descriptor.digest;
    let one = if top.is_index() {
        let found = top.index().and_then(|index| karman_registry::select_platform(&index, platform));
        let descriptor = found.map_err(|e| registry_error(&e))?;
        engine.registry().pull_manifest(&reference, &descriptor).map_err(|e| registry_error(&e))?
    } else {
        top
    };
    engine.store().put_blob(&one.bytes).map_err(store_error)?;
    let manifest = one.manifest().map_err(|e| registry_error(&e))?;
    fetch(engine, &reference, &manifest.config)?;
    let config = config_of(engine, &one.descriptor.digest)?;
    Ok(resolved(image, one.descriptor.digest, digest, config))
}

fn resolved(image: &ImageSource, manifest: Digest, digest: Digest, config: ImageConfig) -> ResolvedImage {
    let reference = image.reference.clone();
    let source = SourceOp::Image(ImageSource { reference, manifest: Some(manifest) });
    ResolvedImage { source, digest, config }
}

/// The config behind a manifest that is in the store.
pub(super) fn config_of(engine: &Engine, manifest: &Digest) -> Result<ImageConfig, SolveError> {
    let manifest: Manifest = read_document(engine.store(), manifest)?;
    if manifest.config.size > MAX_CONFIG {
        return Err(SolveError::new(Cause::Fetch, "the image config is larger than any real one"));
    }
    read_document(engine.store(), &manifest.config.digest)
}

pub(super) fn run(
    engine: &Engine,
    image: &ImageSource,
    events: &StepEvents,
) -> Result<Chain, SolveError> {
    let reference = Reference::parse(&image.reference).or_fail(Cause::Input, "read a reference")?;
    let manifest = super::pinned(image.manifest, &image.reference)?;
    unpack_image(engine, &manifest, events, &|descriptor| fetch(engine, &reference, descriptor))
}

/// Makes every layer of an image whose manifest and config are in the store. `get` brings a blob
/// into the store.
pub(super) fn unpack_image(
    engine: &Engine,
    manifest: &Digest,
    events: &StepEvents,
    get: &(dyn Fn(&Descriptor) -> Result<(), SolveError> + Sync),
) -> Result<Chain, SolveError> {
    let config = config_of(engine, manifest)?;
    let manifest: Manifest = read_document(engine.store(), manifest)?;
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let message = format!(
            "the image has {} layers but its config names {}",
            manifest.layers.len(),
            diff_ids.len()
        );
        return Err(SolveError::new(Cause::Fetch, message));
    }
    let work: Vec<(&Descriptor, &Digest)> = manifest.layers.iter().zip(diff_ids).collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let done: Mutex<Vec<Option<Result<SnapshotId, SolveError>>>> =
        Mutex::new((0..work.len()).map(|_| None).collect());
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL_LAYERS.min(work.len()) {
            scope.spawn(|| {
                while let Some((descriptor, diff_id)) =
                    work.get(next.fetch_add(1, std::sync::atomic::Ordering::SeqCst))
                {
                    let layer = layer(engine, descriptor, diff_id, events, get);
                    let at = work.iter().position(|w| std::ptr::eq(w.1, *diff_id));
                    let mut slots = done.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if let Some(slot) = at.and_then(|at| slots.get_mut(at)) {
                        *slot = Some(layer);
                    }
                }
            });
        }
    });
    let done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let lost = || SolveError::new(Cause::Engine, "a layer was not unpacked");
    let mut chain = Chain::new();
    for (slot, (descriptor, diff_id)) in done.into_iter().zip(&work) {
        chain.push(match slot.ok_or_else(lost)? {
            Ok(id) => id,
            // A layer may hold hard links to files of the layers below.
            Err(_) if !chain.is_empty() => unpack_layer(engine, descriptor, diff_id, &chain, events)?,
            Err(e) => return Err(e),
        });
    }
    Ok(chain)
}

fn layer(
    engine: &Engine,
    descriptor: &Descriptor,
    diff_id: &Digest,
    events: &StepEvents,
    get: &(dyn Fn(&Descriptor) -> Result<(), SolveError> + Sync),
) -> Result<SnapshotId, SolveError> {
    let (store, snapshots) = (engine.store(), engine.snapshots());
    let origin = serde_json::to_vec(descriptor).or_fail(Cause::Engine, "write a descriptor")?;
    store.put(LAYER_ORIGIN, diff_id.as_bytes(), &origin).map_err(store_error)?;
    if let Some(id) = by_diff_id(store, snapshots, diff_id)? {
        return Ok(id);
    }
    progress(events, descriptor, 0);
    get(descriptor)?;
    unpack_layer(engine, descriptor, diff_id, &Chain::new(), events)
}

/// Unpacks a blob of the store over the layers below it, verified against its diff id.
fn unpack_layer(
    engine: &Engine,
    descriptor: &Descriptor,
    diff_id: &Digest,
    below: &Chain,
    events: &StepEvents,
) -> Result<SnapshotId, SolveError> {
    let (store, snapshots) = (engine.store(), engine.snapshots());
    let doing = format!("unpack layer {}", descriptor.digest);
    let lowers = snapshots.lowers(below).or_fail(Cause::Store, &doing)?;
    let dirs: Result<Vec<Dir>, _> = lowers.iter().map(Dir::open).collect();
    let dirs = dirs.or_fail(Cause::Store, &doing)?;
    let dirs: Vec<&Dir> = dirs.iter().collect();
    let lower = LowerLayers(&dirs);
    let active = snapshots.prepare(below).or_fail(Cause::Store, &doing)?;
    let into = Dir::open(active.fs()).or_fail(Cause::Store, &doing)?;
    let options = UnpackOptions {
        expected: Some(*diff_id),
        lower: if below.is_empty() { None } else { Some(&lower) },
        limits: Limits::default(),
        ownership: Ownership::Exact,
    };
    let blob = store.open_blob(&descriptor.digest).map_err(store_error)?;
    let report = unpack_layer_blob(blob, &into, &options).or_fail(Cause::Fetch, &doing)?;
    for warning in report.warnings.first {
        events.warn(format!("`{}` of the image is left out: {:?}", warning.path, warning.missing));
    }
    progress(events, descriptor, descriptor.size);
    let id = commit_dated(active, "image")?;
    remember_diff_id(store, diff_id, &id)?;
    Ok(id)
}

fn progress(events: &StepEvents, descriptor: &Descriptor, current: u64) {
    let (vertex, at) = (events.vertex, events.begun.elapsed());
    let id = format!("extract {}", descriptor.digest);
    let (total, done) = (descriptor.size, current == descriptor.size);
    (events.sink)(Event::Progress { vertex, id, current, total, at, done });
}

/// Brings a blob from a registry into the store, verified.
fn fetch(engine: &Engine, reference: &Reference, descriptor: &Descriptor) -> Result<(), SolveError> {
    if engine.store().contains(&descriptor.digest).map_err(store_error)? {
        return Ok(());
    }
    let open = || engine.store().writer().map_err(std::io::Error::other);
    let mut sink = karman_net::Reopen::new(open);
    let fetched = engine.registry().fetch_blob(reference, descriptor, &mut sink);
    fetched.map_err(|e| registry_error(&e))?;
    let writer = sink.into_inner();
    let lost = || SolveError::new(Cause::Engine, "the download has no bytes");
    writer.ok_or_else(lost)?.commit(Some(descriptor.digest)).map_err(store_error)?;
    Ok(())
}

fn registry_error(error: &RegistryError) -> SolveError {
    let failed = SolveError::new(Cause::Fetch, error_chain(error));
    match error.hint() {
        Some(hint) => failed.with_hint(hint),
        None => failed,
    }
}
