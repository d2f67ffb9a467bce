//! Results whose layers may not be here yet.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use karman_control::{Cause, Event, SolveError};
use karman_exporter::layout::Layout;
use karman_inventory::Step;
use karman_oci::{Descriptor, Digest, Reference};
use karman_snapshot::SnapshotId;

use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::{OrFail as _, store as store_error};
use crate::exec::StepEvents;
use crate::export::{Blob, LayerRecipe, remember_blob};
use crate::layers::{Windows, by_diff_id, commit, name_layer};
use crate::made_by;
use crate::solve::locked;
use crate::sources::{discard_damaged, fetch_of, image_layer, unpack};
use crate::transfer::{note_absent, remember};

/// Layers fetched at once: more only share the same bandwidth.
const PARALLEL: usize = 4;

/// Where a cache is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Registry(Reference),
    Layout(PathBuf),
}

/// A cache that was read.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) place: Place,
    /// Its name for people.
    pub(crate) name: String,
    /// Whether it did not keep what it promised.
    spoiled: AtomicBool,
}

impl Origin {
    pub(crate) fn new(place: Place, name: String) -> Self {
        Self { place, name, spoiled: AtomicBool::new(false) }
    }

    /// Whether it is no longer used.
    pub(crate) fn is_spoiled(&self) -> bool {
        self.spoiled.load(Ordering::SeqCst)
    }

    fn fetch(&self, engine: &Engine, descriptor: &Descriptor) -> Result<(), SolveError> {
        if engine.store().contains(&descriptor.digest).map_err(store_error)? {
            return Ok(());
        }
        match &self.place {
            Place::Registry(reference) => fetch_of(engine, reference, descriptor),
            Place::Layout(path) => {
                let doing = format!("read {} of the cache `{}`", descriptor.digest, self.name);
                let layout = Layout::open(path).or_fail(Cause::Fetch, &doing)?;
                layout.import_blob(&descriptor.digest, engine.store()).or_fail(Cause::Fetch, &doing)
            }
        }
    }
}

/// A layer of a cache.
#[derive(Debug)]
pub(crate) struct RemoteLayer {
    pub(crate) descriptor: Descriptor,
    pub(crate) diff_id: Digest,
    /// How it was made; `None` for a layer that came with an image.
    pub(crate) recipe: Option<LayerRecipe>,
    pub(crate) step: Option<Step>,
    pub(crate) origin: Arc<Origin>,
    /// Held by whoever fetches or unpacks it: results that share it come to it at once.
    pub(crate) turn: Mutex<()>,
}

impl RemoteLayer {
    /// Brings its blob into the store, verified.
    pub(crate) fn fetch(&self, engine: &Engine) -> Result<(), SolveError> {
        let _one = locked(&self.turn);
        let fetched = self.origin.fetch(engine, &self.descriptor);
        self.spoils(engine, fetched)
    }

    /// Its blob, where it is one that the recipe would make. It is in the store then, or, where `may_be_absent`, known to be
    /// in a registry.
    pub(crate) fn blob(
        &self,
        engine: &Engine,
        recipe: &LayerRecipe,
        may_be_absent: bool,
    ) -> Result<Option<Blob>, SolveError> {
        if !recipe.is_met_by(self.recipe.as_ref(), &self.descriptor) {
            return Ok(None);
        }
        if !(may_be_absent && self.leave(engine)?) {
            self.fetch(engine)?;
        }
        Ok(Some(self.as_blob()))
    }

    /// Leaves its blob where it is, for pushes, which may not need the bytes. Says whether it is in a registry.
    pub(super) fn leave(&self, engine: &Engine) -> Result<bool, SolveError> {
        let Place::Registry(from) = &self.origin.place else { return Ok(false) };
        let (store, digest) = (engine.store(), &self.descriptor.digest);
        let is_here = store.contains(digest).map_err(store_error)?;
        if !is_here {
            note_absent(store, digest, from)?;
        }
        // A base that is here may be of this store only, whatever its name says.
        if !is_here || self.recipe.is_some() {
            remember(store, from, digest)?;
        }
        Ok(true)
    }

    /// Why a blob that was left could not be pushed may be that it is gone: its cache is not used again then.
    pub(crate) fn check_left(&self, engine: &Engine) {
        // What it says is not news: the push failed.
        let _ = self.fetch(engine);
    }

    pub(crate) fn as_blob(&self) -> Blob {
        Blob { diff_id: self.diff_id, descriptor: self.descriptor.clone() }
    }

    /// A cache that fails is not asked again, unless the build was stopped meanwhile.
    fn spoils<T>(&self, engine: &Engine, result: Result<T, SolveError>) -> Result<T, SolveError> {
        if result.is_err() && !engine.cancel_token().is_cancelled() {
            self.origin.spoiled.store(true, Ordering::SeqCst);
        }
        result
    }

    /// Its snapshot over the layers below; the blob is in the store, or the snapshot there.
    fn unpacked(
        &self,
        engine: &Engine,
        below: &Chain,
        events: &StepEvents,
    ) -> Result<SnapshotId, SolveError> {
        let _one = locked(&self.turn);
        let store = engine.store();
        let Some(recipe) = &self.recipe else {
            let get = |descriptor: &Descriptor| self.origin.fetch(engine, descriptor);
            return image_layer(engine, &self.descriptor, &self.diff_id, below, events, &get);
        };
        if let Some(id) = by_diff_id(store, engine.snapshots(), &self.diff_id)? {
            return Ok(id);
        }
        let unpacked = || unpack(engine, &self.descriptor, &self.diff_id, below, events);
        let active = match unpacked() {
            // The blob may have been in the store before, and damaged.
            Err(_) if discard_damaged(store, &self.descriptor.digest)? => {
                self.origin.fetch(engine, &self.descriptor)?;
                unpacked()?
            }
            other => other?,
        };
        let id = commit(active, &Windows::at(recipe.epoch), "cache")?;
        remember_blob(store, &id, recipe, &self.as_blob())?;
        name_layer(store, &self.diff_id, &id)?;
        if let Some(step) = &self.step {
            made_by::adopt(store, &id, step.clone())?;
        }
        Ok(id)
    }
}

/// One layer of a result.
#[derive(Debug, Clone)]
pub(crate) enum Link {
    /// In the store.
    Here(SnapshotId),
    /// In a cache.
    There(Arc<RemoteLayer>),
}

impl Link {
    /// Whether both are the same layer.
    pub(crate) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Here(a), Self::Here(b)) => a == b,
            (Self::There(a), Self::There(b)) => a.diff_id == b.diff_id,
            _ => false,
        }
    }
}

/// A result with layers of a cache.
#[derive(Debug)]
pub(crate) struct Lazy {
    pub(crate) links: Vec<Link>,
    chain: OnceLock<Chain>,
    making: Mutex<()>,
}

impl Lazy {
    pub(crate) fn new(links: Vec<Link>) -> Self {
        Self { links, chain: OnceLock::new(), making: Mutex::default() }
    }

    /// The layers, where they were needed already.
    pub(crate) fn known(&self) -> Option<&Chain> {
        self.chain.get()
    }

    /// Fetches and unpacks what is not here.
    pub(crate) fn chain(&self, engine: &Engine, events: &StepEvents) -> Result<&Chain, SolveError> {
        let _one = locked(&self.making);
        if let Some(chain) = self.chain.get() {
            return Ok(chain);
        }
        self.fetch(engine, events)?;
        let mut chain = Chain::new();
        for link in &self.links {
            let id = match link {
                Link::Here(id) => id.clone(),
                Link::There(layer) => {
                    let unpacked = layer.unpacked(engine, &chain, events);
                    layer.spoils(engine, unpacked)?
                }
            };
            chain.push(id);
        }
        Ok(self.chain.get_or_init(|| chain))
    }

    /// Brings the blobs of all layers that have no snapshot into the store.
    fn fetch(&self, engine: &Engine, events: &StepEvents) -> Result<(), SolveError> {
        let mut missing = Vec::new();
        for link in &self.links {
            if let Link::There(layer) = link
                && by_diff_id(engine.store(), engine.snapshots(), &layer.diff_id)?.is_none()
            {
                missing.push(layer);
            }
        }
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(None));
        let work = || {
            while let Some(layer) = missing.get(next.fetch_add(1, Ordering::SeqCst)) {
                if locked(&failed).is_some() || engine.cancel_token().is_cancelled() {
                    return;
                }
                tell(events, layer, 0);
                match layer.fetch(engine) {
                    Ok(()) => tell(events, layer, layer.descriptor.size),
                    Err(error) => drop(locked(&failed).get_or_insert(error)),
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..PARALLEL.min(missing.len()) {
                scope.spawn(work);
            }
            work();
        });
        if engine.cancel_token().is_cancelled() {
            return Err(SolveError::new(Cause::Interrupted, "cancelled"));
        }
        let failed = locked(&failed).take();
        failed.map_or(Ok(()), Err)
    }
}

fn tell(events: &StepEvents, layer: &RemoteLayer, current: u64) {
    let (vertex, at) = (events.vertex, events.begun.elapsed());
    let (id, total) = (layer.descriptor.digest.to_string(), layer.descriptor.size);
    (events.sink)(Event::Progress { vertex, id, current, total, at, done: current == total });
}
