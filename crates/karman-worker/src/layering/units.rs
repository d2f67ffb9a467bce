//! The units of a chain of layers, found once and kept.

use std::collections::HashMap;

use karman_control::{Cause, SolveError};
use karman_exporter::TimePolicy;
use karman_exporter::layering::{
    Facts, FinalEntry, FinalTree, Owner, Source, Unit, UnitInfo, units,
};
use karman_inventory::{Origin, Survey, Units, path_text};
use karman_oci::Hasher;
use karman_sys::fs::Dir;
use serde::{Deserialize, Serialize};

use super::make::LayerTimes;
use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::{OrFail as _, store as store_error};
use crate::inventory::ViewTree;
use crate::layers::{Windows, diff_id_of, windows_of};

const BUCKET: &str = "units";
/// Units of another version are found again: how paths go to units is part of it.
const VERSION: u32 = 1;
/// zstd's own default.
const LEVEL: i32 = 3;

/// What is known of a chain's units without its tree.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) units: Vec<UnitInfo>,
    /// Versions of packages and distributions, by the unit's name.
    pub(super) versions: HashMap<String, String>,
}

/// A tree with its units.
pub(super) struct Loaded {
    pub(super) tree: FinalTree,
    pub(super) units: Vec<Unit>,
}

/// Reads what was kept.
pub(super) fn recall(
    engine: &Engine,
    chain: &Chain,
    times: LayerTimes,
) -> Result<Option<Known>, SolveError> {
    let Some(packed) = engine.store().get(BUCKET, key(chain, times)).map_err(store_error)? else {
        return Ok(None);
    };
    // What is not understood is found again.
    let json = zstd::decode_all(packed.as_slice()).ok();
    Ok(json.and_then(|json| serde_json::from_slice(&json).ok()))
}

/// Reads the tree of a chain and finds its units; they are kept.
pub(super) fn load(
    engine: &Engine,
    chain: &Chain,
    times: LayerTimes,
    facts: &Facts,
) -> Result<(Known, Loaded), SolveError> {
    let view = engine.snapshots().view(chain).or_fail(Cause::Store, "open the layers")?;
    let names = ViewTree::new(view).or_fail(Cause::Store, "list the files of the image")?;
    let survey = Survey::read(&names, Vec::new()).or_fail(Cause::Store, "read the image")?;
    drop(names);
    let dirs = open_dirs(engine, chain)?;
    let dirs: Vec<&Dir> = dirs.iter().collect();
    let windows = windows(engine, chain)?;
    let policies: Vec<TimePolicy<'_>> = windows.iter().map(|w| times.policy(w.as_ref())).collect();
    let source = Source { dirs: &dirs, times: &policies, epoch: times.epoch };
    let tree = FinalTree::read(&source, facts, engine.cores())
        .or_fail(Cause::Store, "read the files of the image")?;
    let keepers = Units::of(&survey);
    let units = units(&tree, |entry| owner(&survey, &keepers, entry));
    let known = Known {
        units: units.iter().map(|u| u.info.clone()).collect(),
        versions: keepers.versions(),
    };
    let json = serde_json::to_vec(&known).or_fail(Cause::Engine, "write a record")?;
    let packed =
        zstd::encode_all(json.as_slice(), LEVEL).or_fail(Cause::Engine, "compress a record")?;
    engine.store().put(BUCKET, key(chain, times), &packed).map_err(store_error)?;
    Ok((known, Loaded { tree, units }))
}

fn owner(survey: &Survey, keepers: &Units<'_>, entry: &FinalEntry) -> Owner {
    let path = format!("/{}", path_text(&entry.path));
    let Some(node) = survey.node(&path) else { return Owner::Step };
    if entry.is_dir() {
        return match survey.origin(node) {
            Origin::Dpkg { .. } | Origin::Python { .. } => Owner::Unit(String::new()),
            _ => Owner::Step,
        };
    }
    keepers.name(node).map_or(Owner::Step, Owner::Unit)
}

/// The directories of a chain's layers, topmost first.
pub(super) fn open_dirs(engine: &Engine, chain: &Chain) -> Result<Vec<Dir>, SolveError> {
    let lowers = engine.snapshots().lowers(chain).or_fail(Cause::Store, "open the layers")?;
    let dirs: Result<Vec<Dir>, _> = lowers.iter().map(Dir::open).collect();
    dirs.or_fail(Cause::Store, "open the layers")
}

/// When the commands of each layer ran, topmost first; nothing for one that came with an image, whose times stay.
fn windows(engine: &Engine, chain: &Chain) -> Result<Vec<Option<Windows>>, SolveError> {
    let of = |id| match diff_id_of(engine.store(), id)? {
        Some(_) => Ok(None),
        None => windows_of(engine.snapshots(), std::slice::from_ref(id)).map(Some),
    };
    chain.iter().rev().map(of).collect()
}

fn key(chain: &Chain, times: LayerTimes) -> Vec<u8> {
    let mut hasher = Hasher::new();
    for id in chain {
        hasher.field(id.as_str().as_bytes());
    }
    let LayerTimes { epoch, clamp_later } = times;
    hasher.field(format!("{VERSION} {epoch} {clamp_later}").as_bytes());
    hasher.finish().as_bytes().to_vec()
}
