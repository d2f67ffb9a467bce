//! Trees that are read once, and layers that are made once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use karman_control::{Cause, SolveError};
use karman_exporter::TimePolicy;
use karman_exporter::layer::LayerOptions;
use karman_exporter::layering::{Cut, Facts, write_group};
use karman_oci::Hasher;
use karman_sys::fs::Dir;

use super::units::{self, Known, Loaded};
use super::{CutImage, Wanted};
use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::{OrFail as _, interrupted, store as store_error};
use crate::export::{Blob, Stoppable};
use crate::layers::Windows;
use crate::solve::locked;

const BUCKET: &str = "package-layer";
/// Layers of another version are made again.
const VERSION: u32 = 1;
/// Paths of trees that are kept in memory while a run exports; those of all images of a large fleet fit. What does not
/// is read again.
const MAX_KEPT: usize = 3_000_000;

/// Which times entries get, besides when their commands ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LayerTimes {
    pub(crate) epoch: i64,
    pub(crate) clamp_later: bool,
}

impl LayerTimes {
    /// The policy for a layer whose commands ran in those windows; without any, for one that came with an image.
    pub(super) fn policy(self, windows: Option<&Windows>) -> TimePolicy<'_> {
        let LayerTimes { epoch, clamp_later } = self;
        match windows {
            Some(windows) => TimePolicy { epoch, windows: windows.pairs(), clamp_later },
            None => TimePolicy::KEEP,
        }
    }
}

/// What a run has read.
#[derive(Default)]
pub(super) struct Work {
    trees: Mutex<Trees>,
}

#[derive(Default)]
struct Trees {
    kept: BTreeMap<(Chain, LayerTimes), Arc<Loaded>>,
    paths: usize,
}

impl Work {
    /// The units of a chain.
    pub(super) fn units(
        &self,
        engine: &Engine,
        chain: &Chain,
        times: LayerTimes,
        facts: &Facts,
    ) -> Result<Arc<Known>, SolveError> {
        if let Some(known) = units::recall(engine, chain, times)? {
            return Ok(Arc::new(known));
        }
        let (known, loaded) = units::load(engine, chain, times, facts)?;
        let mut trees = locked(&self.trees);
        if trees.paths + loaded.tree.entries.len() <= MAX_KEPT {
            trees.paths += loaded.tree.entries.len();
            trees.kept.insert((chain.clone(), times), Arc::new(loaded));
        }
        Ok(Arc::new(known))
    }

    fn tree(
        &self,
        engine: &Engine,
        chain: &Chain,
        times: LayerTimes,
        facts: &Facts,
    ) -> Result<Arc<Loaded>, SolveError> {
        if let Some(loaded) = locked(&self.trees).kept.get(&(chain.clone(), times)) {
            return Ok(Arc::clone(loaded));
        }
        let (_, loaded) = units::load(engine, chain, times, facts)?;
        Ok(Arc::new(loaded))
    }

    /// The blobs of an image's layers. `on_layer` is told how many of how many are there.
    pub(super) fn layers(
        &self,
        engine: &Engine,
        wanted: &Wanted,
        image: &CutImage,
        facts: &Facts,
        on_layer: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Vec<Blob>, SolveError> {
        let mut blobs = Vec::new();
        for cut in &image.cuts {
            blobs.push(stored(engine, &record_key(wanted, cut, &image.known))?);
        }
        let missing: Vec<usize> = (0..blobs.len()).filter(|at| blobs[*at].is_none()).collect();
        if missing.is_empty() {
            on_layer(blobs.len(), blobs.len());
        } else {
            let loaded = self.tree(engine, &wanted.chain, wanted.recipe.times(), facts)?;
            for (at, blob) in make(engine, wanted, image, &loaded, &missing, on_layer)? {
                blobs[at] = Some(blob);
            }
        }
        Ok(blobs.into_iter().flatten().collect())
    }
}

/// Makes layers side by side, the largest first, so that none is left for the end.
fn make(
    engine: &Engine,
    wanted: &Wanted,
    image: &CutImage,
    loaded: &Loaded,
    missing: &[usize],
    on_layer: &(dyn Fn(usize, usize) + Sync),
) -> Result<Vec<(usize, Blob)>, SolveError> {
    let size = |at: &usize| -> u64 {
        image.cuts[*at].units.iter().map(|unit| image.known.units[*unit].size).sum()
    };
    let mut order = missing.to_vec();
    order.sort_by_key(|at| std::cmp::Reverse(size(at)));
    let dirs = units::open_dirs(engine, &wanted.chain)?;
    let dirs: Vec<&Dir> = dirs.iter().collect();
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(image.cuts.len() - missing.len()));
    let made = Mutex::new(Vec::new());
    let failed: Mutex<Option<SolveError>> = Mutex::new(None);
    let work = || {
        while let Some(at) = order.get(next.fetch_add(1, Ordering::Relaxed)) {
            if engine.cancel_token().is_cancelled() || locked(&failed).is_some() {
                return;
            }
            match write(engine, wanted, &image.cuts[*at], &image.known, loaded, &dirs) {
                Ok(blob) => locked(&made).push((*at, blob)),
                Err(error) => drop(locked(&failed).get_or_insert(error)),
            }
            on_layer(done.fetch_add(1, Ordering::Relaxed) + 1, image.cuts.len());
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..engine.cores().min(order.len()) {
            scope.spawn(work);
        }
    });
    if let Some(error) = locked(&failed).take() {
        return Err(error);
    }
    if engine.cancel_token().is_cancelled() {
        return Err(interrupted());
    }
    Ok(std::mem::take(&mut locked(&made)))
}

fn write(
    engine: &Engine,
    wanted: &Wanted,
    cut: &Cut,
    known: &Known,
    loaded: &Loaded,
    dirs: &[&Dir],
) -> Result<Blob, SolveError> {
    let units = cut.units.iter().map(|at| &loaded.units[*at]);
    let mut entries: Vec<u32> = units.flat_map(|u| u.entries.iter().copied()).collect();
    entries.sort_unstable();
    let options = LayerOptions {
        compression: wanted.recipe.compression(),
        times: TimePolicy::KEEP,
        oci_media_types: true,
        // Layers are made side by side.
        threads: 1,
    };
    let store = engine.store();
    let stoppable = Stoppable::new(engine, store);
    let made = write_group(&loaded.tree, &entries, dirs, &options, &stoppable)
        .or_fail(Cause::Engine, "make a layer")?;
    let blob = Blob { diff_id: made.diff_id, descriptor: made.descriptor };
    let bytes = serde_json::to_vec(&blob).or_fail(Cause::Engine, "write a record")?;
    store.put(BUCKET, record_key(wanted, cut, known), &bytes).map_err(store_error)?;
    Ok(blob)
}

fn stored(engine: &Engine, key: &[u8]) -> Result<Option<Blob>, SolveError> {
    let store = engine.store();
    let Some(bytes) = store.get(BUCKET, key).map_err(store_error)? else { return Ok(None) };
    // What is not understood is made again.
    let Ok(blob) = serde_json::from_slice::<Blob>(&bytes) else { return Ok(None) };
    Ok(store.contains(&blob.descriptor.digest).map_err(store_error)?.then_some(blob))
}

fn record_key(wanted: &Wanted, cut: &Cut, known: &Known) -> Vec<u8> {
    let compression = wanted.recipe.compression();
    let epoch = wanted.recipe.times().epoch;
    let mut hasher = Hasher::new();
    hasher.field(super::key(cut, &known.units).as_bytes());
    hasher.field(
        format!("{VERSION} {:?} {:?} {epoch}", compression.kind, compression.level).as_bytes(),
    );
    hasher.finish().as_bytes().to_vec()
}
