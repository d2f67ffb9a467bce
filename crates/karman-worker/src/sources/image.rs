//! Images of registries and of the local store.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use karman_content::{Store, StoreError};
use karman_control::{Cause, Event, ResolvedImage, SolveError};
use karman_exporter::unpack::{
    Limits, LowerLayers, Ownership, UnpackOptions, unpack_layer as unpack_layer_blob,
};
use karman_llb::{ImageSource, SourceOp};
use karman_oci::{Descriptor, Digest, ImageConfig, Index, Manifest, Platform, Reference};
use karman_registry::RegistryError;
use karman_snapshot::{Active, SnapshotId};
use karman_sys::fs::Dir;

use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::{OrFail as _, chain as error_chain, failed, store as store_error};
use crate::exec::StepEvents;
use crate::images::{MAX_DOCUMENT, read_document};
use crate::layers::{by_diff_id, commit_image, remember_diff_id};
use crate::remote::{Link, Origin, Place, RemoteLayer};
use crate::transfer::bring;

/// Layers fetched and unpacked at once: more only share the same bandwidth.
const PARALLEL_LAYERS: usize = 4;
/// Bucket: diff id → the descriptor the layer came with, so that it is shipped as it came.
pub(crate) const LAYER_ORIGIN: &str = "layer-origin";
/// The largest config read.
pub(super) const MAX_CONFIG: u64 = 16 << 20;

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
    if let Some(manifest) = pinned_manifest(engine, &reference, platform)? {
        let config = config_of(engine, &manifest)?;
        let digest = reference.digest.unwrap_or(manifest);
        return Ok(resolved(image, manifest, digest, config));
    }
    let (digest, one) = from_registry(engine, &reference, platform)?;
    let manifest = one.manifest().map_err(|e| registry_error(&e))?;
    fetch(engine, &reference, &manifest.config)?;
    let config = config_of(engine, &one.descriptor.digest)?;
    Ok(resolved(image, one.descriptor.digest, digest, config))
}

/// Asks the registry for the image of a platform; its manifest is in the store then. Gives also the
/// digest that names the image: of the index where there is one.
pub(crate) fn from_registry(
    engine: &Engine,
    reference: &Reference,
    platform: &Platform,
) -> Result<(Digest, karman_registry::Resolved), SolveError> {
    let top = engine.registry().resolve(reference).map_err(|e| registry_error(&e))?;
    let digest = top.descriptor.digest;
    let one = if top.is_index() {
        if reference.digest.is_some() {
            engine.store().put_blob(&top.bytes).map_err(store_error)?;
        }
        let found =
            top.index().and_then(|index| karman_registry::select_platform(&index, platform));
        let descriptor = found.map_err(|e| registry_error(&e))?;
        engine.registry().pull_manifest(reference, &descriptor).map_err(|e| registry_error(&e))?
    } else {
        top
    };
    engine.store().put_blob(&one.bytes).map_err(store_error)?;
    Ok((digest, one))
}

/// The manifest that a reference with a digest stands for, where the store has it with its config:
/// such a reference never means anything else, so no registry is asked.
fn pinned_manifest(
    engine: &Engine,
    reference: &Reference,
    platform: &Platform,
) -> Result<Option<Digest>, SolveError> {
    let store = engine.store();
    let has = |digest: &Digest| store.contains(digest).map_err(store_error);
    let Some(pin) = reference.digest else { return Ok(None) };
    if !has(&pin)? {
        return Ok(None);
    }
    // A manifest also reads as an index without entries, so the stricter type goes first.
    let manifest = if read_document::<Manifest>(store, &pin).is_ok() {
        pin
    } else if !has(&pin)? {
        // It was damaged, and is gone now.
        return Ok(None);
    } else {
        let index: Index = read_document(store, &pin)?;
        match karman_registry::select_platform(&index, platform) {
            Ok(descriptor) => descriptor.digest,
            // The registry's answer explains what there is.
            Err(_) => return Ok(None),
        }
    };
    if !has(&manifest)? {
        return Ok(None);
    }
    let Ok(document) = read_document::<Manifest>(store, &manifest) else { return Ok(None) };
    Ok(has(&document.config.digest)?.then_some(manifest))
}

fn resolved(
    image: &ImageSource,
    manifest: Digest,
    digest: Digest,
    config: ImageConfig,
) -> ResolvedImage {
    let reference = image.reference.clone();
    let source = SourceOp::Image(ImageSource { reference, manifest: Some(manifest) });
    ResolvedImage { source, digest, config }
}

/// The config behind a manifest that is in the store.
pub(super) fn config_of(engine: &Engine, manifest: &Digest) -> Result<ImageConfig, SolveError> {
    let manifest: Manifest = read_document(engine.store(), manifest)?;
    if manifest.config.size > MAX_CONFIG {
        let size = manifest.config.size;
        let message =
            format!("the image config has {size} bytes, and at most {MAX_CONFIG} are read");
        return Err(SolveError::new(Cause::Fetch, message));
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
    unpack_image(engine, &manifest, events, &|descriptor| fetch_of(engine, &reference, descriptor))
}

/// The layers of an image of a registry, fetched only where something wants them: for images of which no step reads a file.
pub(super) fn links(engine: &Engine, image: &ImageSource) -> Result<Vec<Link>, SolveError> {
    let reference = Reference::parse(&image.reference).or_fail(Cause::Input, "read a reference")?;
    let manifest = super::pinned(image.manifest, &image.reference)?;
    let origin = Arc::new(Origin::new(Place::Registry(reference), image.reference.clone()));
    let mut links = Vec::new();
    for (descriptor, diff_id) in layers(engine, &manifest)? {
        links.push(match by_diff_id(engine.store(), engine.snapshots(), &diff_id)? {
            Some(id) => Link::Here(id),
            None => {
                let origin = Arc::clone(&origin);
                let (recipe, step, turn) = (None, None, Mutex::default());
                let layer = RemoteLayer { descriptor, diff_id, recipe, step, origin, turn };
                Link::There(Arc::new(layer))
            }
        });
    }
    Ok(links)
}

/// The layers of an image, whose manifest and config are in the store, with their diff ids.
fn layers(engine: &Engine, manifest: &Digest) -> Result<Vec<(Descriptor, Digest)>, SolveError> {
    let config = config_of(engine, manifest)?;
    let manifest: Manifest = read_document(engine.store(), manifest)?;
    let diff_ids = config.rootfs.diff_ids;
    if diff_ids.len() != manifest.layers.len() {
        let message = format!(
            "the image has {} layers but its config names {}",
            manifest.layers.len(),
            diff_ids.len()
        );
        return Err(SolveError::new(Cause::Fetch, message));
    }
    Ok(manifest.layers.into_iter().zip(diff_ids).collect())
}

/// Makes every layer of an image whose manifest and config are in the store. `get` brings a blob
/// into the store: several at once, while the layers that are there are unpacked in order. A layer
/// may link to files of those below and leaves out directories that are there, so each is
/// unpacked over the ones before it.
pub(super) fn unpack_image(
    engine: &Engine,
    manifest: &Digest,
    events: &StepEvents,
    get: &(dyn Fn(&Descriptor) -> Result<(), SolveError> + Sync),
) -> Result<Chain, SolveError> {
    let layers = layers(engine, manifest)?;
    let fetched: Vec<OnceLock<Result<(), SolveError>>> =
        layers.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let fetch_next = || {
        let at = next.fetch_add(1, Ordering::SeqCst);
        let (descriptor, diff_id) = layers.get(at)?;
        fetched[at].get_or_init(|| {
            match by_diff_id(engine.store(), engine.snapshots(), diff_id)? {
                Some(_) => Ok(()),
                None => get(descriptor),
            }
        });
        Some(())
    };
    std::thread::scope(|scope| {
        for _ in 1..PARALLEL_LAYERS.min(layers.len()) {
            scope.spawn(|| while fetch_next().is_some() {});
        }
        let mut chain = Chain::new();
        for (at, (descriptor, diff_id)) in layers.iter().enumerate() {
            while fetched[at].get().is_none() && fetch_next().is_some() {}
            if let Err(error) = fetched[at].wait() {
                next.store(layers.len(), Ordering::SeqCst);
                return Err(SolveError::new(error.cause, error.message.clone()));
            }
            chain.push(layer(engine, descriptor, diff_id, &chain, events, get)?);
        }
        Ok(chain)
    })
}

/// The snapshot of a layer of an image: the one that is there, or a new one over the layers below.
pub(crate) fn layer(
    engine: &Engine,
    descriptor: &Descriptor,
    diff_id: &Digest,
    below: &Chain,
    events: &StepEvents,
    get: &(dyn Fn(&Descriptor) -> Result<(), SolveError> + Sync),
) -> Result<SnapshotId, SolveError> {
    let store = engine.store();
    // The descriptor goes into the manifests of what is built on this image.
    let there = store.blob_size(&descriptor.digest).map_err(store_error)?;
    if let Some(size) = there.filter(|size| *size != descriptor.size) {
        let Descriptor { digest, size: said, .. } = descriptor;
        let message = format!("layer {digest} has {size} bytes, and its manifest says {said}");
        return Err(SolveError::new(Cause::Fetch, message));
    }
    let origin = serde_json::to_vec(descriptor).or_fail(Cause::Engine, "write a descriptor")?;
    if store.get(LAYER_ORIGIN, diff_id.as_bytes()).map_err(store_error)?.is_none() {
        store.put(LAYER_ORIGIN, diff_id.as_bytes(), &origin).map_err(store_error)?;
    }
    match by_diff_id(store, engine.snapshots(), diff_id)? {
        Some(id) => Ok(id),
        None => {
            progress(events, descriptor, 0);
            match unpack_layer(engine, descriptor, diff_id, below, events) {
                Err(_) if discard_damaged(store, &descriptor.digest)? => {
                    get(descriptor)?;
                    unpack_layer(engine, descriptor, diff_id, below, events)
                }
                other => other,
            }
        }
    }
}

/// Whether a blob of the store is not what its name says any more. It is gone then.
pub(crate) fn discard_damaged(store: &Store, digest: &Digest) -> Result<bool, SolveError> {
    match store.verify(digest) {
        Err(
            StoreError::DigestMismatch { .. } | StoreError::Damaged { .. } | StoreError::NoBlob(_),
        ) => {
            store.discard_blob(digest).map_err(store_error)?;
            Ok(true)
        }
        // Anything else is told by whoever wanted the blob.
        _ => Ok(false),
    }
}

/// Makes a layer of an image of its blob, which is in the store.
fn unpack_layer(
    engine: &Engine,
    descriptor: &Descriptor,
    diff_id: &Digest,
    below: &Chain,
    events: &StepEvents,
) -> Result<SnapshotId, SolveError> {
    let active = unpack(engine, descriptor, diff_id, below, events)?;
    let id = commit_image(active)?;
    remember_diff_id(engine.store(), diff_id, &id)?;
    Ok(id)
}

/// Unpacks a blob of the store over the layers below it, verified against its diff id.
pub(crate) fn unpack(
    engine: &Engine,
    descriptor: &Descriptor,
    diff_id: &Digest,
    below: &Chain,
    events: &StepEvents,
) -> Result<Active, SolveError> {
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
    Ok(active)
}

fn progress(events: &StepEvents, descriptor: &Descriptor, current: u64) {
    let (vertex, at) = (events.vertex, events.begun.elapsed());
    let id = format!("extract {}", descriptor.digest);
    let (total, done) = (descriptor.size, current == descriptor.size);
    (events.sink)(Event::Progress { vertex, id, current, total, at, done });
}

/// Brings a layer of an image with that name into the store. An image of the store may have layers elsewhere than where its name
/// says.
pub(crate) fn fetch_of(
    engine: &Engine,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<(), SolveError> {
    match bring(engine, descriptor) {
        Ok(true) => Ok(()),
        _ => fetch(engine, reference, descriptor),
    }
}

/// Brings a blob from a registry into the store, verified.
pub(crate) fn fetch(
    engine: &Engine,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<(), SolveError> {
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
    crate::transfer::remember(engine.store(), reference, &descriptor.digest)
}

/// A small blob of a registry, verified. It goes through the store, so that it is fetched once.
pub(crate) fn fetch_document(
    engine: &Engine,
    reference: &Reference,
    descriptor: &Descriptor,
) -> Result<Vec<u8>, SolveError> {
    if descriptor.size > MAX_DOCUMENT {
        let message = format!("{} is larger than any real document", descriptor.digest);
        return Err(SolveError::new(Cause::Fetch, message));
    }
    fetch(engine, reference, descriptor)?;
    engine.store().read_blob(&descriptor.digest, MAX_DOCUMENT).map_err(store_error)
}

pub(crate) fn registry_error(error: &RegistryError) -> SolveError {
    let told = failed(Cause::Fetch, error_chain(error), error);
    match error.hint() {
        Some(hint) => told.with_hint(hint),
        None => told,
    }
}
