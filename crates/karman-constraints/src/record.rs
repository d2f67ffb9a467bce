//! What uv told while it resolved → the requirement graph.
//!
//! Two things are read. The annotations of the answer (`# via keystone, pysaml2`) say who asks for
//! what: that is documented output. With which versions is only in uv's verbose log, in lines such as
//!
//! ```text
//! DEBUG Adding transitive dependency for pysaml2==7.5.4: pyopenssl<24.3.0
//! ```
//!
//! which name the requirement as the resolver used it: markers decided for the Python, extras merged,
//! source distributions built, forced overrides put in. Reading `METADATA` of every wheel instead
//! would need a second way to the index, its credentials and its sdists, and could differ from what
//! was resolved. The log is no interface, so nothing rests on it alone: an edge without a line in the
//! log is kept and counted, and a line without an edge is dropped.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{Node, Requirements};
use crate::requirement::Requirement;
use crate::{PackageName, Pins, PythonVersion, Resolution, Series};

/// What one resolution told: the answer, and the log.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// The Python.
    pub python: PythonVersion,
    /// Standard output with annotations.
    pub answer: &'a str,
    /// Standard error with `--verbose`.
    pub log: &'a str,
}

/// A graph, and what is missing in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// The graph.
    pub requirements: Requirements,
    /// `who: what` of requirements whose versions the log did not tell.
    pub untold: Vec<String>,
}

/// Records the graph of `resolutions` from what was told about each of them. `held` are pins that the
/// resolutions were made under, where there were any: uv tells them as if every requirer had asked.
pub fn record(
    series: &Series,
    held: Option<&Pins>,
    resolutions: &[Resolution],
    told: &[Told<'_>],
) -> Recorded {
    let mut requirements = Requirements { series: series.name.clone(), pythons: BTreeMap::new() };
    let mut untold = Vec::new();
    for resolution in resolutions {
        let Some(told) = told.iter().find(|t| t.python == resolution.python) else { continue };
        let log = read_log(series, held, resolution, told.log);
        let mut nodes: BTreeMap<PackageName, Node> = BTreeMap::new();
        for (name, pins) in resolution.pins.iter() {
            let version = pins.first().map(|p| p.version.clone()).unwrap_or_default();
            nodes.insert(name.clone(), Node { version, requires: Vec::new() });
        }
        for (by, what) in edges(told.answer) {
            let Some(node) = nodes.get_mut(&by) else { continue };
            let specifiers = log.get(&(by.clone(), what.clone()));
            if specifiers.is_none() {
                untold.push(format!("{by}: {what}"));
            }
            node.requires.push(Requirement {
                name: what,
                extras: Vec::new(),
                specifiers: specifiers.and_then(|s| s.parse().ok()).unwrap_or_default(),
                marker: None,
            });
        }
        requirements.pythons.insert(resolution.python, nodes);
    }
    Recorded { requirements, untold }
}

/// `(who, what)` of every annotation, sorted. Annotations stand behind the pin (`# via a, b`) or below
/// it, one name a line.
fn edges(answer: &str) -> BTreeSet<(PackageName, PackageName)> {
    let mut edges = BTreeSet::new();
    let mut what: Option<PackageName> = None;
    for line in answer.lines() {
        let (pin, note) = match line.split_once('#') {
            Some((pin, note)) => (pin.trim(), note.trim()),
            None => (line.trim(), ""),
        };
        if let Some((name, _)) = pin.split_once("==") {
            what = name.parse().ok();
        }
        let Some(what) = &what else { continue };
        let note = note.strip_prefix("via").map_or(note, str::trim);
        // A file is named as `-r FILE` or `-c FILE`: those are the series's, not a distribution's.
        let names = note.split(',').map(str::trim).filter(|n| !n.starts_with('-'));
        edges.extend(names.filter_map(|n| Some((n.parse().ok()?, what.clone()))));
    }
    edges
}

/// The specifiers of every requirement of the versions that were chosen.
fn read_log(
    series: &Series,
    held: Option<&Pins>,
    resolution: &Resolution,
    log: &str,
) -> BTreeMap<(PackageName, PackageName), String> {
    let mut ranges: BTreeMap<(PackageName, PackageName), BTreeSet<String>> = BTreeMap::new();
    for line in log.lines() {
        let Some((by, version, what, range)) = log_line(line) else { continue };
        let chosen = resolution.pins.get(&by).iter().any(|p| p.version == version);
        if chosen && by != what {
            ranges.entry((by, what)).or_default().insert(specifiers(range));
        }
    }
    let told = ranges.into_iter().map(|((by, what), mut all)| {
        // Bounds of the series are told as if the requirer had asked for them.
        for bound in bounds(series, held, &what) {
            if all.len() > 1 {
                all.remove(&bound);
            }
        }
        let joined: Vec<String> = all.into_iter().filter(|s| !s.is_empty()).collect();
        ((by, what), joined.join(","))
    });
    told.collect()
}

/// `who`, its version, `what`, and the range of a line about a requirement.
fn log_line(line: &str) -> Option<(PackageName, &str, PackageName, &str)> {
    let (_, rest) = line.split_once("Adding transitive dependency for ")?;
    let (by, what) = rest.split_once(": ")?;
    let (by, version) = by.split_once("==")?;
    let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let end = what.find(|c| !name(c)).unwrap_or(what.len());
    let (what, range) = what.split_at(end);
    // An extra has a line of its own beside that of the distribution; a marker that is printed holds.
    let range = match range.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.1,
        None => range,
    };
    let range = match range.strip_prefix('{') {
        Some(rest) => rest.split_once('}')?.1,
        None => range,
    };
    Some((by.parse().ok()?, version, what.parse().ok()?, range.trim()))
}

/// uv prints a range as intervals: `>=1, <2.1 | >=2.1+` is `>=1,!=2.1`. What has no form in PEP 440
/// is left as its outer bounds: wider, never narrower.
fn specifiers(range: &str) -> String {
    if range == "*" || range.is_empty() {
        return String::new();
    }
    let intervals: Vec<Vec<&str>> =
        range.split('|').map(|i| i.split(',').map(str::trim).collect()).collect();
    let mut parts = Vec::new();
    let first = intervals.first().and_then(|i| i.first());
    parts.extend(first.filter(|p| p.starts_with(['>', '='])).map(|p| (*p).to_owned()));
    for pair in intervals.windows(2) {
        let high = pair[0].last().and_then(|p| p.strip_prefix('<'));
        let low = pair[1].first().copied().unwrap_or_default();
        match high {
            Some(v) if low == format!(">={v}+") || low == format!(">{v}") => {
                parts.push(format!("!={v}"));
            }
            Some(v) => parts.extend(star_gap(v, low)),
            None => {}
        }
    }
    let last = intervals.last().and_then(|i| i.last());
    parts.extend(last.filter(|p| p.starts_with('<')).map(|p| (*p).to_owned()));
    tidy(parts)
}

/// `<2.1.dev0 | >=2.2.dev0` is `!=2.1.*`.
fn star_gap(high: &str, low: &str) -> Option<String> {
    let from = high.strip_suffix(".dev0")?;
    let to = low.strip_prefix(">=")?.strip_suffix(".dev0")?;
    let (head, last) = from.rsplit_once('.').unwrap_or(("", from));
    let next = last.parse::<u64>().ok()?.checked_add(1)?.to_string();
    let want = if head.is_empty() { next } else { format!("{head}.{next}") };
    (to == want).then(|| format!("!={from}.*"))
}

/// `>=1,<1+` is `==1`; a `+` of uv's (after every local version) has no other form.
fn tidy(parts: Vec<String>) -> String {
    if let [low, high] = parts.as_slice()
        && let (Some(low), Some(high)) = (low.strip_prefix(">="), high.strip_prefix('<'))
        && high.strip_suffix('+') == Some(low)
    {
        return format!("=={low}");
    }
    let plain: Vec<String> =
        parts.into_iter().map(|p| p.trim_end_matches('+').to_owned()).collect();
    plain.join(",")
}

fn bounds(series: &Series, held: Option<&Pins>, package: &PackageName) -> Vec<String> {
    let caps = series.caps.iter().map(|c| (&c.package, &c.version));
    let overrides = series.overrides.iter().map(|o| (&o.package, &o.version));
    let of = caps.chain(overrides).filter(|(name, _)| *name == package);
    let pins = held.into_iter().flat_map(|pins| pins.get(package));
    let of = of.map(|(_, version)| version.as_str().to_owned());
    of.chain(pins.map(|pin| format!("=={}", pin.version))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_the_log_become_specifiers() {
        for (range, text) in [
            ("*", ""),
            (">=2.7", ">=2.7"),
            ("<24.3.0", "<24.3.0"),
            ("==29.1.0", "==29.1.0"),
            (">=29.1.0, <29.1.0+", "==29.1.0"),
            (">=2.0.0, <2.1.0 | >=2.1.0+", ">=2.0.0,!=2.1.0"),
            (
                ">=38.0.0, <40.0.0 | >=40.0.0+, <40.0.1 | >=40.0.1+, <42",
                ">=38.0.0,!=40.0.0,!=40.0.1,<42",
            ),
            ("<2.1.dev0 | >=2.2.dev0", "!=2.1.*"),
            (">=4, <5.dev0", ">=4,<5.dev0"),
            ("<1 | >=3", ""),
        ] {
            assert_eq!(specifiers(range), text, "{range}");
        }
    }

    #[test]
    fn lines_of_the_log_are_taken_apart() {
        let line = "DEBUG Adding transitive dependency for a==1: b[x]>=2, <3";
        let (by, version, what, range) = log_line(line).expect("a line");
        assert_eq!((by.as_str(), version, what.as_str(), range), ("a", "1", "b", ">=2, <3"));
        let line = "DEBUG Adding transitive dependency for a==1: b[x]{os_name == 'nt'}==2";
        assert_eq!(log_line(line).map(|(.., range)| range), Some("==2"));
        assert_eq!(log_line("DEBUG Adding direct dependency: b>=2"), None);
    }

    #[test]
    fn annotations_are_read_behind_the_pin_and_below_it() {
        let shown = |text: &str| -> Vec<String> {
            edges(text).iter().map(|(by, what)| format!("{by}>{what}")).collect()
        };
        assert_eq!(shown("b==1  # via a, c\nx==2 # via -r in, b\n"), ["a>b", "b>x", "c>b"]);
        assert_eq!(shown("b==1\n    # via\n    #   a\n    #   -c f\n"), ["a>b"]);
    }
}
