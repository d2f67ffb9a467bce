//! Two fleets compared: pins, packages, files, and the bytes that have to move.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::model::{Fleet, Image, OriginKind, Unit};
use super::sharing::{digests, pulled};
use crate::{human_size, sanitize};

/// What changed from one fleet to the next.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Changes {
    /// Python distributions of any image.
    pub pins: Vec<Change>,
    /// Debian packages of any image.
    pub packages: Vec<Change>,
    /// Images that differ, are new or gone, by name.
    pub images: Vec<ImageChanges>,
    /// Bytes of layers that the old fleet's registry does not have.
    pub push: u64,
    /// Bytes of all layers of the new fleet, each once.
    pub fleet: u64,
}

/// A package that came, went or has another version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// The versions before, as images differ; empty where it is new.
    pub old: Vec<String>,
    /// The versions now; empty where it is gone.
    pub new: Vec<String>,
}

/// What changed in one image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageChanges {
    /// Its name.
    pub name: String,
    /// Whether only the new fleet has it.
    pub added: bool,
    /// Whether only the old fleet has it.
    pub removed: bool,
    /// Compressed bytes before and now.
    pub compressed: (u64, u64),
    /// Files before and now.
    pub files: (u64, u64),
    /// Bytes that a node pulls which has all old images.
    pub pull: u64,
    /// Packages, distributions and steps whose files are others, though their version is the same.
    pub rewritten: Vec<String>,
}

impl Changes {
    /// Compares; images are matched by name, without their tags: the next release has another.
    pub fn between(old: &Fleet, new: &Fleet) -> Self {
        let known = digests(&old.images);
        let fresh = digests(&new.images);
        let sizes: BTreeMap<_, _> =
            new.images.iter().flat_map(|i| &i.layers).map(|l| (l.digest, l.size)).collect();
        let sum = |of: &mut dyn Iterator<Item = &karman_oci::Digest>| -> u64 {
            of.filter_map(|d| sizes.get(d)).sum()
        };
        Self {
            pins: units(old, new, |i| &i.distributions),
            packages: units(old, new, |i| &i.packages),
            images: images(old, new, &known),
            push: sum(&mut fresh.difference(&known)),
            fleet: sum(&mut fresh.iter()),
        }
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.pins.is_empty() && self.packages.is_empty() && self.images.is_empty()
    }

    /// Lines for people.
    pub fn text(&self) -> String {
        if self.is_empty() {
            return "nothing changed\n".to_owned();
        }
        let mut out = String::new();
        for (title, changes) in [("Python pins", &self.pins), ("Debian packages", &self.packages)] {
            if changes.is_empty() {
                continue;
            }
            out.push_str(&format!("{title}:\n"));
            for change in changes {
                let line = format!("{} {}", change.name, change.versions());
                out.push_str(&format!("  {}\n", sanitize(&line)));
            }
        }
        if !self.images.is_empty() {
            out.push_str("Images:\n");
        }
        for image in &self.images {
            out.push_str(&format!("  {}\n", sanitize(&image.line())));
            for origin in &image.rewritten {
                out.push_str(&format!("    files changed: {}\n", sanitize(origin)));
            }
        }
        let (push, fleet) = (human_size(self.push), human_size(self.fleet));
        out.push_str(&format!("to push: {push} of {fleet}\n"));
        out
    }
}

impl Change {
    /// `1.0 → 2.0`, `new 2.0`, `gone 1.0`.
    pub fn versions(&self) -> String {
        match (self.old.join(", "), self.new.join(", ")) {
            (old, new) if old.is_empty() => format!("new {new}"),
            (old, new) if new.is_empty() => format!("gone {old}"),
            (old, new) => format!("{old} → {new}"),
        }
    }
}

impl ImageChanges {
    /// One line.
    fn line(&self) -> String {
        let Self { name, compressed, files, pull, .. } = self;
        let (old, new, pull) =
            (human_size(compressed.0), human_size(compressed.1), human_size(*pull));
        match (self.added, self.removed) {
            (true, _) => format!("{name} new, {new}, to pull {pull}"),
            (_, true) => format!("{name} gone, was {old}"),
            _ => format!("{name} {old} → {new}, files {} → {}, to pull {pull}", files.0, files.1),
        }
    }
}

fn units(old: &Fleet, new: &Fleet, of: impl Fn(&Image) -> &Vec<Unit>) -> Vec<Change> {
    let gather = |fleet: &Fleet| {
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for unit in fleet.images.iter().flat_map(&of) {
            all.entry(unit.name.clone()).or_default().insert(unit.version.clone());
        }
        all
    };
    let (old, new) = (gather(old), gather(new));
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let versions = |of: &BTreeMap<String, BTreeSet<String>>, name: &String| -> Vec<String> {
        of.get(name).into_iter().flatten().cloned().collect()
    };
    let changes = names.into_iter().map(|name| Change {
        name: name.clone(),
        old: versions(&old, name),
        new: versions(&new, name),
    });
    changes.filter(|c| c.old != c.new).collect()
}

fn by_repository(fleet: &Fleet) -> BTreeMap<&str, &Image> {
    fleet.images.iter().map(|image| (repository(&image.name), image)).collect()
}

fn images(old: &Fleet, new: &Fleet, known: &BTreeSet<karman_oci::Digest>) -> Vec<ImageChanges> {
    let (old, new) = (by_repository(old), by_repository(new));
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let mut all = Vec::new();
    for name in names {
        let (before, now) = (old.get(name).copied(), new.get(name).copied());
        if before.map(|i| &i.digest) == now.map(|i| &i.digest) {
            continue;
        }
        let pair = |of: fn(&Image) -> u64| (before.map_or(0, of), now.map_or(0, of));
        all.push(ImageChanges {
            name: name.to_owned(),
            added: before.is_none(),
            removed: now.is_none(),
            compressed: pair(|i| i.compressed),
            files: pair(|i| i.files),
            pull: now.map_or(0, |i| pulled(i, known)),
            rewritten: before.zip(now).map_or_else(Vec::new, |(b, n)| rewritten(b, n)),
        });
    }
    all
}

/// A name without its tag or digest.
fn repository(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    match name.rsplit_once(':') {
        Some((rest, tag)) if !tag.contains('/') => rest,
        _ => name,
    }
}

fn rewritten(before: &Image, now: &Image) -> Vec<String> {
    let old: BTreeMap<(OriginKind, &str), _> =
        before.origins.iter().map(|o| ((o.kind, o.name.as_str()), o)).collect();
    let mut all: Vec<String> = now
        .origins
        .iter()
        .filter(|o| {
            let known = old.get(&(o.kind, o.name.as_str()));
            known.is_some_and(|k| k.version == o.version && k.digest != o.digest)
        })
        .map(|o| format!("{} {}", o.kind.label(), o.name))
        .collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use karman_oci::Digest;

    use super::super::model::Layer;
    use super::*;

    fn image(name: &str, digest: &str, pins: &[(&str, &str)], layers: &[(&str, u64)]) -> Image {
        let unit = |(n, v): &(&str, &str)| Unit { name: (*n).into(), version: (*v).into() };
        let layer = |(n, size): &(&str, u64)| Layer {
            digest: Digest::sha256_of(n.as_bytes()),
            size: *size,
            title: String::new(),
        };
        Image {
            name: name.into(),
            digest: digest.into(),
            compressed: layers.iter().map(|l| l.1).sum(),
            distributions: pins.iter().map(unit).collect(),
            layers: layers.iter().map(layer).collect(),
            ..Image::default()
        }
    }

    #[test]
    fn pins_images_and_bytes_are_compared() {
        let old = Fleet::new(
            vec![
                image(
                    "r:5000/nova:1",
                    "1",
                    &[("six", "1.0"), ("oslo", "5")],
                    &[("base", 100), ("six1", 3)],
                ),
                image("gone", "2", &[], &[("base", 100)]),
                image("same", "3", &[], &[("base", 100)]),
            ],
            None,
        );
        let new = Fleet::new(
            vec![
                image(
                    "r:5000/nova:2",
                    "4",
                    &[("six", "1.1"), ("abc", "1")],
                    &[("base", 100), ("six2", 4)],
                ),
                image("same", "3", &[], &[("base", 100)]),
                image("new", "5", &[], &[("base", 100), ("six2", 4)]),
            ],
            None,
        );
        let changes = Changes::between(&old, &new);
        assert_eq!(
            changes.text(),
            "Python pins:\n  abc new 1\n  oslo gone 5\n  six 1.0 → 1.1\n\
             Images:\n  gone gone, was 100B\n  new new, 104B, to pull 4B\n  \
             r:5000/nova 103B → 104B, files 0 → 0, to pull 4B\nto push: 4B of 104B\n"
        );
        assert!(Changes::between(&new, &new).is_empty());
    }
}
