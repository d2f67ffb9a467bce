//! What must hold of every plan, on made-up fleets.

use std::collections::{BTreeMap, BTreeSet};

use karman_oci::Digest;

use super::super::cut::{Cut, cut};
use super::super::units::UnitInfo;
use super::*;

const IMAGES: usize = 20;
const UNITS: usize = 400;

/// Numbers that are the same on every run (Knuth's MMIX generator).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

fn unit(name: &str, step: Option<usize>, size: u64) -> UnitInfo {
    UnitInfo { name: name.to_owned(), step, key: Digest::sha256_of(name.as_bytes()), size }
}

/// Images with a common base, units of groups of images, units of their own, and rests of three steps.
fn fleet(seed: u64) -> Vec<Vec<UnitInfo>> {
    let mut numbers = Numbers(seed);
    let mut images: Vec<BTreeMap<String, UnitInfo>> = vec![BTreeMap::new(); IMAGES];
    for number in 0..UNITS {
        let kind = if numbers.next(2) == 0 { "deb" } else { "py" };
        let name = format!("{kind}:unit-{number}");
        let size = 1 << (9 + numbers.next(14));
        let made = unit(&name, None, size + numbers.next(size));
        let few: Vec<usize> = (0..1 + numbers.next(5)).map(|_| numbers.next(20) as usize).collect();
        let members: Vec<usize> = match numbers.next(3) {
            0 => (0..IMAGES).collect(),
            1 => few,
            _ => vec![numbers.next(20) as usize],
        };
        for image in members {
            images[image].insert(name.clone(), made.clone());
        }
    }
    for (number, image) in images.iter_mut().enumerate() {
        for step in 0..3 {
            let name = format!("step:{step:04}");
            let mut rest = unit(&name, Some(step), 9000);
            rest.key = Digest::sha256_of(format!("{number} {step}").as_bytes());
            image.insert(name, rest);
        }
        let file = format!("file:/generated-{}", number % 3);
        image.insert(file.clone(), unit(&file, Some(1), 3 << 20));
    }
    images.into_iter().map(|image| image.into_values().collect()).collect()
}

fn refs(images: &[Vec<UnitInfo>]) -> Vec<&[UnitInfo]> {
    images.iter().map(Vec::as_slice).collect()
}

/// Layers as what their bytes rest on.
fn layers(plan: &Plan, image: &[UnitInfo], budget: usize) -> BTreeSet<Vec<(String, Digest)>> {
    let names = |c: Cut| {
        let units = c.units.iter().map(|at| (image[*at].name.clone(), image[*at].key));
        let mut units: Vec<_> = units.collect();
        units.sort();
        units
    };
    cut(plan, image, budget).into_iter().map(names).collect()
}

fn all_layers(images: &[Vec<UnitInfo>], plan: &Plan) -> BTreeSet<Vec<(String, Digest)>> {
    images.iter().flat_map(|image| layers(plan, image, 64)).collect()
}

#[test]
fn every_unit_is_in_one_layer_and_the_budget_is_kept() {
    for (seed, budget) in [(1, 4), (2, 16), (3, 64), (4, 127), (5, 64)] {
        let images = fleet(seed);
        let plan = Plan::of(&refs(&images), budget);
        for image in &images {
            let cuts = cut(&plan, image, budget);
            assert!(cuts.len() <= budget, "{} layers of {budget}", cuts.len());
            let mut units: Vec<usize> = cuts.iter().flat_map(|c| c.units.iter().copied()).collect();
            units.sort_unstable();
            assert_eq!(units, (0..image.len()).collect::<Vec<_>>());
        }
    }
}

#[test]
fn rests_come_last_in_the_order_of_their_steps() {
    let images = fleet(7);
    let plan = Plan::of(&refs(&images), 64);
    for image in &images {
        let cuts = cut(&plan, image, 64);
        let steps: Vec<&[usize]> =
            cuts.iter().map(|c| c.steps.as_slice()).skip_while(|s| s.is_empty()).collect();
        assert_eq!(steps, [&[0][..], &[1], &[1], &[2]], "a file of step 1 stands alone");
        let last = &cuts[cuts.len() - 2];
        assert_eq!(
            image[last.units[0]].name, "step:0001",
            "which names directories, so it is the upper one"
        );
    }
    let cuts = cut(&plan, &images[0], 4);
    let steps: Vec<usize> = cuts.iter().flat_map(|c| c.steps.iter().copied()).collect();
    assert_eq!(steps, [0, 1, 2], "{cuts:?}");
}

#[test]
fn the_order_of_images_and_units_means_nothing() {
    let images = fleet(11);
    let plan = Plan::of(&refs(&images), 64);
    let mut others = images.clone();
    others.reverse();
    others.rotate_left(5);
    assert_eq!(Plan::of(&refs(&others), 64), plan);
    for image in &images {
        let mut turned = image.clone();
        turned.reverse();
        assert_eq!(layers(&plan, &turned, 64), layers(&plan, image, 64));
    }
}

#[test]
fn one_image_alone_is_cut_as_in_the_fleet() {
    let images = fleet(13);
    let plan = Plan::of(&refs(&images), 64);
    let read = Plan::parse(plan.to_json().as_bytes()).expect("a plan");
    assert_eq!(read, plan);
    for image in &images {
        assert_eq!(layers(&read, image, 64), layers(&plan, image, 64));
    }
}

/// The same fleet after one unit got other bytes.
fn bumped(images: &[Vec<UnitInfo>], name: &str, size: impl Fn(u64) -> u64) -> Vec<Vec<UnitInfo>> {
    let mut images = images.to_vec();
    for unit in images.iter_mut().flatten().filter(|u| u.name == name) {
        unit.key = Digest::sha256_of(b"another version");
        unit.size = size(unit.size);
    }
    images
}

/// Whether all layers that changed are those with that unit.
fn only_its_own(
    before: &BTreeSet<Vec<(String, Digest)>>,
    images: &[Vec<UnitInfo>],
    plan: &Plan,
    name: &str,
) -> bool {
    let after = all_layers(images, plan);
    after.difference(before).all(|layer| layer.iter().any(|(n, _)| n == name))
}

#[test]
fn a_bump_moves_only_its_own_layer() {
    let images = fleet(17);
    let plan = Plan::of(&refs(&images), 64);
    let before = all_layers(&images, &plan);
    let mut moved = 0;
    for number in (0..UNITS).step_by(37) {
        let name = ["deb", "py"].map(|kind| format!("{kind}:unit-{number}"));
        let Some(name) = name.into_iter().find(|n| images.iter().flatten().any(|u| u.name == *n))
        else {
            continue;
        };
        // With the plan that was kept, always.
        let next = bumped(&images, &name, |size| size * 3 / 2);
        assert!(only_its_own(&before, &next, &plan, &name), "{name}");
        // Planned anew, always when the size is about the same; when it is half as large again, nearly always.
        let same = bumped(&images, &name, |size| size);
        assert!(only_its_own(&before, &same, &Plan::of(&refs(&same), 64), &name), "{name}");
        moved += usize::from(!only_its_own(&before, &next, &Plan::of(&refs(&next), 64), &name));
    }
    assert!(moved <= 3, "{moved} of {} bumps moved other layers", UNITS.div_ceil(37));
}

#[test]
fn a_unit_that_goes_or_comes_moves_little() {
    let mut images = fleet(19);
    let plan = Plan::of(&refs(&images), 64);
    let before = all_layers(&images, &plan);
    let is_in_all = |name: &String| images.iter().all(|i| i.iter().any(|u| u.name == *name));
    let shared = plan.layers().iter().find(|l| l.len() > 1 && l.iter().all(is_in_all));
    let name = shared.expect("a layer that all images have")[0].clone();
    images.iter_mut().for_each(|image| image.retain(|u| u.name != name));
    images.iter_mut().for_each(|image| image.push(unit("py:new", None, 100)));
    images.iter_mut().for_each(|image| image.sort_by(|a, b| a.name.cmp(&b.name)));
    let after = all_layers(&images, &plan);
    let news: Vec<_> = after.difference(&before).collect();
    assert_eq!(news.len(), 2, "the layer without it, and the layer of the new one: {news:?}");
}

#[test]
fn what_images_share_is_stored_about_once() {
    let images = fleet(23);
    let plan = Plan::of(&refs(&images), 64);
    let size = |layer: &Vec<(String, Digest)>| -> u64 {
        let of =
            |name: &str| images.iter().flatten().find(|u| u.name == name).map_or(0, |u| u.size);
        layer.iter().map(|(name, _)| of(name)).sum()
    };
    let stored: u64 = all_layers(&images, &plan).iter().map(size).sum();
    let units: BTreeMap<(&str, &Digest), u64> =
        images.iter().flatten().map(|u| ((u.name.as_str(), &u.key), u.size)).collect();
    let least: u64 = units.values().sum();
    assert!(stored * 100 <= least * 105, "{stored} bytes stored where {least} are different");
}

#[test]
fn unknown_versions_are_refused() {
    let newer = Plan::parse(br#"{"version": 2, "layers": []}"#);
    assert!(matches!(newer, Err(PlanError::Version(2))), "{newer:?}");
    assert!(Plan::parse(b"[]").is_err());
}
