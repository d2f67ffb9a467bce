//! Which units are in one layer, over all images of a run.
//!
//! A plan knows names of units, no versions, no sizes and no images: it holds for the next release, for one image of a
//! fleet alone, and for an image that did not exist when it was made. It is made in two steps:
//!
//! 1. Units that the same images have form a *class*, Debian packages and Python distributions apart (they change at
//!    different times). A unit of at least [`SLICE`] has a layer of its own. The others of a class, in the order of a
//!    hash of their names, are cut behind units that the hash selects: one of size `s` with probability `s / SLICE`. So
//!    a cut is about a slice large, and a unit that comes or goes moves no other cut.
//! 2. An image with more layers than its budget has some of them merged, those that cost least (`merge`). The merged
//!    layer is part of the plan, so that other images with the same units share it.
//!
//! Sizes count by their power of two only, so that a new version of a unit hardly ever changes the plan.

use std::collections::{BTreeMap, BTreeSet};

use karman_oci::Digest;
use serde::{Deserialize, Serialize};

use super::cut::{Group, groups, package_budget};
use super::merge::Merger;
use super::units::UnitInfo;

/// The version of the form of a plan.
pub const VERSION: u32 = 1;
/// Smaller layers cost more requests than they save bytes; larger ones are pulled again for every small change in them.
const SLICE: u64 = 4 << 20;
/// The largest plan read.
pub const MAX_PLAN: u64 = 16 << 20;

/// Layers by the names of their units.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// Larger sets come first: an image takes the first layers all of whose units it has.
    layers: Vec<Vec<String>>,
}

/// A plan that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It is no JSON of the form.
    #[error("read the layer plan")]
    Json(#[from] serde_json::Error),
    /// It is newer than this program.
    #[error("the layer plan has version {0}, and {VERSION} is the newest that is known")]
    Version(u32),
}

#[derive(Serialize, Deserialize)]
struct Wire {
    version: u32,
    layers: Vec<Vec<String>>,
}

/// The same unit: name and bytes.
type Instance<'a> = (&'a str, &'a Digest);
/// Kind and images of units.
type Class<'a> = (&'a str, Vec<usize>);

impl Plan {
    /// Plans the layers of all images of a run, each given by its units. The order of the images means nothing.
    #[must_use]
    pub fn of(images: &[&[UnitInfo]], budget: usize) -> Self {
        let classes = classes(images);
        let mut plan = Self::ordered(classes.values().flat_map(|units| slices(units, SLICE)));
        let mut counts: Vec<(usize, &[UnitInfo])> =
            images.iter().map(|units| (groups(&plan, units).len(), *units)).collect();
        // What has to merge most begins; then by what is in them, so that the order of images does not matter.
        let names = |units: &[UnitInfo]| units.iter().map(|u| (u.name.clone(), u.key)).collect();
        counts.sort_by_cached_key(|(count, units)| {
            let names: BTreeSet<(String, Digest)> = names(units);
            (std::cmp::Reverse(*count), names)
        });
        let merger = Merger::new(images);
        for (_, units) in counts {
            let before = groups(&plan, units);
            let limit = package_budget(units, budget);
            if before.len() > limit {
                let merged = merger.merge(units, before, limit);
                let layers = merged.iter().map(|group| names_of(units, group));
                plan = Self::ordered(plan.layers.into_iter().chain(layers));
            }
        }
        plan.used_by(images)
    }

    /// A plan of layers in the order in which images take them.
    fn ordered(layers: impl Iterator<Item = Vec<String>>) -> Self {
        let mut layers: Vec<Vec<String>> = layers.collect();
        layers.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        layers.dedup();
        Self { layers }
    }

    /// Without the layers that no image takes.
    fn used_by(self, images: &[&[UnitInfo]]) -> Self {
        let mut used = BTreeSet::new();
        for units in images {
            used.extend(groups(&self, units).iter().filter_map(|group| group.layer));
        }
        let layers = self.layers.into_iter().enumerate().filter(|(at, _)| used.contains(at));
        Self { layers: layers.map(|(_, layer)| layer).collect() }
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// When it is malformed or of a version that is not known.
    pub fn parse(json: &[u8]) -> Result<Self, PlanError> {
        let wire: Wire = serde_json::from_slice(json)?;
        if wire.version != VERSION {
            return Err(PlanError::Version(wire.version));
        }
        Ok(Self { layers: wire.layers })
    }

    /// The plan as JSON, one layer a line, so that a change of it can be read.
    #[must_use]
    pub fn to_json(&self) -> String {
        let line = |layer: &Vec<String>| {
            let names: Vec<String> = layer
                .iter()
                .map(|name| serde_json::Value::from(name.as_str()).to_string())
                .collect();
            format!("    [{}]", names.join(", "))
        };
        let lines: Vec<String> = self.layers.iter().map(line).collect();
        format!("{{\n  \"version\": {VERSION},\n  \"layers\": [\n{}\n  ]\n}}\n", lines.join(",\n"))
    }

    /// The layers, by the names of their units.
    #[must_use]
    pub fn layers(&self) -> &[Vec<String>] {
        &self.layers
    }
}

/// The kind of a unit: what stands before the colon.
pub(super) fn kind(name: &str) -> &str {
    name.split_once(':').map_or("", |(kind, _)| kind)
}

fn names_of(units: &[UnitInfo], group: &Group) -> Vec<String> {
    let mut names: Vec<String> = group.units.iter().map(|at| units[*at].name.clone()).collect();
    names.sort();
    names
}

/// A size as it counts in decisions: the middle between its power of two and the next.
pub(super) fn rough(size: u64) -> u64 {
    3 * (1 << size.clamp(2, 1 << 60).ilog2()) / 2
}

/// Units by kind and by the images that have them, the same bytes of them.
fn classes<'a>(images: &[&'a [UnitInfo]]) -> BTreeMap<Class<'a>, Vec<(&'a str, u64)>> {
    let mut members: BTreeMap<Instance<'_>, (Vec<usize>, u64)> = BTreeMap::new();
    for (image, units) in images.iter().enumerate() {
        for unit in units.iter().filter(|u| u.step.is_none()) {
            let (members, size) = members.entry((&unit.name, &unit.key)).or_default();
            members.push(image);
            *size = unit.size;
        }
    }
    let mut classes: BTreeMap<Class<'_>, Vec<(&str, u64)>> = BTreeMap::new();
    for ((name, _), (images, size)) in members {
        classes.entry((kind(name), images)).or_default().push((name, size));
    }
    classes
}

/// Cuts the units of one class.
pub(super) fn slices(units: &[(&str, u64)], slice: u64) -> Vec<Vec<String>> {
    let (large, mut small): (Vec<_>, Vec<_>) = units.iter().partition(|(_, size)| *size >= slice);
    let mut cuts: Vec<Vec<String>> =
        large.iter().map(|(name, _)| vec![(*name).to_owned()]).collect();
    small.sort_by_cached_key(|(name, _)| hash(name));
    let mut open: Vec<String> = Vec::new();
    for (name, size) in small {
        open.push((*name).to_owned());
        if is_end(name, size, slice) {
            cuts.push(std::mem::take(&mut open));
        }
    }
    if !open.is_empty() {
        cuts.push(open);
    }
    cuts.iter_mut().for_each(|cut| cut.sort());
    cuts
}

/// Whether a cut ends behind a unit. Its size counts by its power of two, so that it rarely matters when it changes.
fn is_end(name: &str, size: u64, slice: u64) -> bool {
    let odds = u128::from(rough(size)) * u128::from(u64::MAX) / u128::from(slice);
    let [.., a, b, c, d, e, f, g, h] = *hash(name).as_bytes();
    u128::from(u64::from_be_bytes([a, b, c, d, e, f, g, h])) < odds
}

fn hash(name: &str) -> Digest {
    Digest::sha256_of(name.as_bytes())
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
