//! `upper-constraints.txt`.

use std::collections::{BTreeMap, BTreeSet};

use crate::{PackageName, Pin, Pins, Resolution, Series};

/// The file: what made it and what bounds it, then `name===version` sorted by name. A line has a
/// `python_version` marker only where the Pythons differ. Pins that were imported (`held`) stand as
/// they are, with their own markers. Deterministic.
pub fn render(series: &Series, held: Option<&Pins>, resolutions: &[Resolution]) -> String {
    let mut out = header(series);
    let mut names: BTreeSet<&PackageName> = BTreeSet::new();
    names.extend(held.into_iter().flat_map(Pins::iter).map(|(name, _)| name));
    for resolution in resolutions {
        names.extend(resolution.pins.iter().map(|(name, _)| name));
    }
    for name in names {
        let own = held.map(|pins| pins.get(name)).unwrap_or_default();
        let lines = if own.is_empty() {
            lines(name, resolutions)
        } else {
            own.iter().map(|pin| line(name, pin, None)).collect()
        };
        for line in lines {
            out += &line;
            out.push('\n');
        }
    }
    out
}

fn header(series: &Series) -> String {
    let name = &series.name;
    let pythons: Vec<String> = series.pythons.iter().map(ToString::to_string).collect();
    let mut out = format!(
        "# Written by `karman constraints lock {name}` from constraints/{name}.toml; do not edit.\n\
         # Python {}; nothing uploaded after {} but what the series names.\n",
        pythons.join(", "),
        series.cutoff
    );
    if let Some(imported) = &series.imported {
        out += &format!("# imported from {}, sha256 {}\n", imported.from, imported.sha256);
    }
    for service in &series.services {
        let (name, version) = (&service.distribution, &service.version);
        out += &format!("# service {}: {name} {version}\n", service.name);
    }
    out + &bound_lines(series)
}

/// A comment for every override and cap.
pub(crate) fn bound_lines(series: &Series) -> String {
    let mut out = String::new();
    for o in &series.overrides {
        let ids = o.advisories.join(", ");
        let forced = if o.force { " (forced)" } else { "" };
        out += &format!("# override {}{}{forced}: {ids}: {}\n", o.package, o.version, o.reason);
    }
    for cap in &series.caps {
        out += &format!("# cap {}{}: {}\n", cap.package, cap.version, cap.reason);
    }
    out
}

fn lines(name: &PackageName, resolutions: &[Resolution]) -> Vec<String> {
    let mut by_pins: BTreeMap<&[Pin], Vec<&Resolution>> = BTreeMap::new();
    for resolution in resolutions {
        let pins = resolution.pins.get(name);
        if !pins.is_empty() {
            by_pins.entry(pins).or_default().push(resolution);
        }
    }
    if let (1, Some(pins)) = (by_pins.len(), by_pins.keys().next()) {
        return pins.iter().map(|pin| line(name, pin, None)).collect();
    }
    let mut sorted: Vec<&Resolution> = by_pins.values().flatten().copied().collect();
    sorted.sort_by_key(|r| r.python);
    let of = |r: &Resolution| {
        let python = format!("python_version=='{}'", r.python);
        r.pins.get(name).iter().map(|pin| line(name, pin, Some(&python))).collect::<Vec<_>>()
    };
    sorted.into_iter().flat_map(of).collect()
}

/// One line without its end.
pub(crate) fn line(name: &PackageName, pin: &Pin, python: Option<&str>) -> String {
    let marker = match (&pin.marker, python) {
        (Some(own), Some(python)) => format!(";({own}) and {python}"),
        (Some(marker), None) => format!(";{marker}"),
        (None, Some(python)) => format!(";{python}"),
        (None, None) => String::new(),
    };
    format!("{name}==={}{marker}", pin.version)
}
