//! The layers of one image, by a plan and within its budget.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::plan::{Plan, kind, rough, slices};
use super::units::UnitInfo;

/// Of a budget, the part that the rests of steps may take.
const REST_PART: usize = 2;
/// A unit that no plan knows has a layer of its own from this size on.
const NEW_SLICE: u64 = 4 << 20;

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cut {
    /// Indexes of its units.
    pub units: Vec<usize>,
    /// The layers of the steps whose rest it is; empty for packages.
    pub steps: Vec<usize>,
}

/// Cuts an image: packages first, then the rests in the order of their steps. The same units and the same plan give
/// the same layers, whatever other images there are.
#[must_use]
pub fn cut(plan: &Plan, units: &[UnitInfo], budget: usize) -> Vec<Cut> {
    let mut cuts = packages(plan, units, package_budget(units, budget));
    cuts.extend(rests(units, budget));
    cuts
}

/// How many layers of a budget are left to packages.
pub(super) fn package_budget(units: &[UnitInfo], budget: usize) -> usize {
    budget.saturating_sub(rests(units, budget).len()).max(1)
}

/// Units that are in one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// Indexes of the units.
    pub(super) units: Vec<usize>,
    /// Which layer of the plan it is of.
    pub(super) layer: Option<usize>,
}

/// Three passes: whole layers of the plan, what is left of layers that the image has in part, what the plan does not
/// know.
pub(super) fn groups(plan: &Plan, units: &[UnitInfo]) -> Vec<Group> {
    let names = units.iter().enumerate().filter(|(_, unit)| unit.step.is_none());
    let mut left: HashMap<&str, usize> = names.map(|(at, unit)| (unit.name.as_str(), at)).collect();
    let mut groups: Vec<Group> = Vec::new();
    let mut take = |names: &[String], layer: Option<usize>, left: &mut HashMap<&str, usize>| {
        let units: Vec<usize> =
            names.iter().filter_map(|name| left.remove(name.as_str())).collect();
        if !units.is_empty() {
            groups.push(Group { units, layer });
        }
    };
    for (at, layer) in plan.layers().iter().enumerate() {
        if layer.iter().all(|name| left.contains_key(name.as_str())) {
            take(layer, Some(at), &mut left);
        }
    }
    for (at, layer) in plan.layers().iter().enumerate() {
        take(layer, Some(at), &mut left);
    }
    let mut unknown: BTreeMap<&str, Vec<(&str, u64)>> = BTreeMap::new();
    for (name, at) in &left {
        unknown.entry(kind(name)).or_default().push((*name, units[*at].size));
    }
    for cut in unknown.values().flat_map(|units| slices(units, NEW_SLICE)) {
        take(&cut, None, &mut left);
    }
    groups
}

fn packages(plan: &Plan, units: &[UnitInfo], budget: usize) -> Vec<Cut> {
    let mut groups: Vec<Vec<usize>> = groups(plan, units).into_iter().map(|g| g.units).collect();
    // A plan for other images may give more layers than there may be.
    while groups.len() > budget {
        merge_smallest(&mut groups, units);
    }
    // Units are sorted by name, so this is an order by names.
    groups.iter_mut().for_each(|group| group.sort_unstable());
    groups.sort();
    groups.into_iter().map(|units| Cut { units, steps: Vec::new() }).collect()
}

/// Merges the two smallest.
fn merge_smallest(groups: &mut Vec<Vec<usize>>, units: &[UnitInfo]) {
    let size = |group: &Vec<usize>| -> u64 { group.iter().map(|at| rough(units[*at].size)).sum() };
    let first = |group: &Vec<usize>| group.iter().map(|at| &units[*at].name).min();
    groups.sort_by(|a, b| size(b).cmp(&size(a)).then_with(|| first(a).cmp(&first(b))));
    if let (Some(last), Some(before)) = (groups.pop(), groups.last_mut()) {
        before.extend(last);
    }
}

/// The rests of steps, lowest first: a large file alone, then what else the step wrote.
fn rests(units: &[UnitInfo], budget: usize) -> Vec<Cut> {
    let mut by_step: BTreeMap<usize, Step> = BTreeMap::new();
    for (at, unit) in units.iter().enumerate() {
        let Some(step) = unit.step else { continue };
        let into = by_step.entry(step).or_default();
        match unit.name.starts_with("file:") {
            true => into.alone.push(at),
            false => into.rest.push(at),
        }
        into.steps.insert(step);
        into.size += unit.size;
    }
    let mut steps: Vec<Step> = by_step.into_values().collect();
    let limit = (budget / REST_PART).max(1);
    while steps.iter().map(Step::count).sum::<usize>() > limit {
        if !fold_smallest(&mut steps, units) && !merge_neighbours(&mut steps) {
            break;
        }
    }
    steps.into_iter().flat_map(Step::cuts).collect()
}

/// What is left of one step, or of several that follow each other.
#[derive(Default)]
struct Step {
    alone: Vec<usize>,
    rest: Vec<usize>,
    steps: BTreeSet<usize>,
    size: u64,
}

impl Step {
    fn count(&self) -> usize {
        self.alone.len() + usize::from(!self.rest.is_empty())
    }

    /// The rest comes last: it says how directories really are.
    fn cuts(self) -> Vec<Cut> {
        let steps: Vec<usize> = self.steps.into_iter().collect();
        let mut groups: Vec<Vec<usize>> = self.alone.into_iter().map(|at| vec![at]).collect();
        if !self.rest.is_empty() {
            groups.push(self.rest);
        }
        groups.into_iter().map(|units| Cut { units, steps: steps.clone() }).collect()
    }
}

/// Puts the smallest of the files that stand alone to the rest of its step, where that makes one layer less.
fn fold_smallest(steps: &mut [Step], units: &[UnitInfo]) -> bool {
    let foldable = steps.iter().enumerate().filter(|(_, s)| s.count() > 1);
    let alone = foldable.flat_map(|(step, s)| s.alone.iter().map(move |at| (step, *at)));
    let Some((step, at)) = alone.min_by_key(|(_, at)| (units[*at].size, *at)) else { return false };
    let step = &mut steps[step];
    step.alone.retain(|a| *a != at);
    step.rest.push(at);
    true
}

/// Merges the two neighbouring steps that are smallest together.
fn merge_neighbours(steps: &mut Vec<Step>) -> bool {
    let pairs = steps.windows(2).enumerate().map(|(at, pair)| (pair[0].size + pair[1].size, at));
    let Some((_, at)) = pairs.min() else { return false };
    let upper = steps.remove(at + 1);
    let lower = &mut steps[at];
    lower.rest.append(&mut lower.alone);
    lower.rest.extend(upper.rest);
    lower.rest.extend(upper.alone);
    lower.rest.sort_unstable();
    lower.steps.extend(upper.steps);
    lower.size += upper.size;
    true
}
