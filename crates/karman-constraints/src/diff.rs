//! What changed between two lists of pins.

use std::collections::BTreeSet;

use crate::{PackageName, Pins};

/// One distribution that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Change {
    /// The distribution.
    pub package: PackageName,
    /// The environment marker of the line, where it has one.
    pub marker: Option<String>,
    /// The old version; `None` where it is new.
    pub from: Option<String>,
    /// The new version; `None` where it is gone.
    pub to: Option<String>,
}

/// The changes from `old` to `new`, sorted by name.
pub fn diff(old: &Pins, new: &Pins) -> Vec<Change> {
    let keys = |pins: &Pins| -> BTreeSet<(PackageName, Option<String>)> {
        let of = |(name, list): (&PackageName, &[crate::Pin])| {
            list.iter().map(|pin| (name.clone(), pin.marker.clone())).collect::<Vec<_>>()
        };
        pins.iter().flat_map(of).collect()
    };
    let mut all = keys(old);
    all.append(&mut keys(new));
    all.into_iter()
        .map(|(package, marker)| {
            let (from, to) = (version(old, &package, &marker), version(new, &package, &marker));
            Change { package, marker, from, to }
        })
        .filter(|change| change.from != change.to)
        .collect()
}

/// The changes as people read them, one line each: `+ new 1`, `- gone 1`, `~ moved 1 -> 2`.
pub fn render_diff(changes: &[Change]) -> String {
    changes.iter().map(|change| line(change) + "\n").collect()
}

fn line(change: &Change) -> String {
    let marker = change.marker.as_ref().map(|m| format!(" ; {m}")).unwrap_or_default();
    let name = &change.package;
    match (&change.from, &change.to) {
        (Some(from), Some(to)) => format!("~ {name} {from} -> {to}{marker}"),
        (Some(from), None) => format!("- {name} {from}{marker}"),
        (None, Some(to)) => format!("+ {name} {to}{marker}"),
        (None, None) => format!("  {name}{marker}"),
    }
}

fn version(pins: &Pins, package: &PackageName, marker: &Option<String>) -> Option<String> {
    pins.get(package).iter().find(|pin| pin.marker == *marker).map(|pin| pin.version.clone())
}
