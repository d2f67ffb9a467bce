//! The JSON of a record, and what is kept of it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::Advisory;
use super::range::{self, Affected, Bound, Event};
use super::severity::Severity;
use crate::PackageName;

/// The largest record. Those with long lists of versions have a few hundred kilobytes.
pub const MAX_ADVISORY_BYTES: usize = 16 << 20;
/// The longest summary that is kept, in bytes.
const MAX_SUMMARY_BYTES: usize = 300;
/// The ecosystem of Python; a suffix names another index than PyPI.
const ECOSYSTEM: &str = "PyPI";

/// Why a text is no advisory.
#[derive(Debug, thiserror::Error)]
pub enum AdvisoryError {
    /// Not JSON, or not as OSV's schema has it.
    #[error("not an OSV record")]
    Json(#[source] serde_json::Error),
    /// Larger than [`MAX_ADVISORY_BYTES`].
    #[error("a record of more than {MAX_ADVISORY_BYTES} bytes is too large")]
    TooLarge,
    /// More than [`MAX_ADVISORIES`](super::MAX_ADVISORIES).
    #[error("more than {} records are too many", super::MAX_ADVISORIES)]
    TooMany,
    /// A range whose version nobody can compare, and no versions are named beside it: saying nothing
    /// would hide it.
    #[error("`{id}`: `{version}` of package `{package}` is not a version of PEP 440")]
    Version {
        /// The record.
        id: String,
        /// The distribution.
        package: PackageName,
        /// The version.
        version: String,
    },
}

/// What one record says about the distributions that are wanted.
#[derive(Debug, Default)]
pub(super) struct Record {
    pub(super) withdrawn: bool,
    pub(super) about: Vec<(PackageName, Advisory)>,
}

// Texts are borrowed: of most records nothing is kept. Members may be null, which counts as absent.

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    withdrawn: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    summary: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    aliases: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default)]
    severity: Option<Vec<WireSeverity<'a>>>,
    #[serde(borrow, default)]
    affected: Option<Vec<WireAffected<'a>>>,
    #[serde(default)]
    database_specific: Option<WireSpecific>,
}

#[derive(Deserialize)]
struct WireSeverity<'a> {
    #[serde(borrow)]
    score: Cow<'a, str>,
}

/// Its members are anybody's: only the one that is a text counts.
#[derive(Deserialize)]
struct WireSpecific {
    #[serde(default)]
    severity: Option<Value>,
}

#[derive(Deserialize)]
struct WireAffected<'a> {
    #[serde(borrow, default)]
    package: Option<WirePackage<'a>>,
    #[serde(borrow, default)]
    ranges: Option<Vec<WireRange<'a>>>,
    #[serde(borrow, default)]
    versions: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow, default)]
    severity: Option<Vec<WireSeverity<'a>>>,
}

#[derive(Deserialize)]
struct WirePackage<'a> {
    #[serde(borrow)]
    ecosystem: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
}

#[derive(Deserialize)]
struct WireRange<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    events: Option<Vec<WireEvent<'a>>>,
}

#[derive(Deserialize)]
struct WireEvent<'a> {
    #[serde(borrow, default)]
    introduced: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    fixed: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    last_affected: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    limit: Option<Cow<'a, str>>,
}

pub(super) fn read(json: &[u8], wanted: &BTreeSet<PackageName>) -> Result<Record, AdvisoryError> {
    if json.len() > MAX_ADVISORY_BYTES {
        return Err(AdvisoryError::TooLarge);
    }
    let wire: Wire<'_> = serde_json::from_slice(json).map_err(AdvisoryError::Json)?;
    if wire.withdrawn.is_some() {
        return Ok(Record { withdrawn: true, about: Vec::new() });
    }
    let mut by_package: BTreeMap<PackageName, (Vec<Affected>, Vec<Severity>)> = BTreeMap::new();
    for affected in wire.affected.iter().flatten() {
        let Some(package) = python_package(affected).filter(|p| wanted.contains(p)) else {
            continue;
        };
        let versions = affected.versions.iter().flatten().map(|v| v.trim().to_owned()).collect();
        let ranges = ranges(affected, &wire.id, &package)?;
        let entry = by_package.entry(package).or_default();
        entry.0.push(Affected { versions, ranges });
        entry.1.extend(vectors(affected.severity.as_deref()));
    }
    let general = general_severity(&wire);
    let about = by_package.into_iter().map(|(package, (affected, own))| {
        // The schema forbids a severity at both places; where an entry has one, it is the nearer one.
        let severity = own.into_iter().reduce(Severity::or_worse).unwrap_or(general);
        (package, advisory(&wire, severity, affected))
    });
    Ok(Record { withdrawn: false, about: about.collect() })
}

fn python_package(affected: &WireAffected<'_>) -> Option<PackageName> {
    let package = affected.package.as_ref()?;
    if package.ecosystem != ECOSYSTEM {
        return None;
    }
    package.name.parse().ok()
}

fn advisory(wire: &Wire<'_>, severity: Severity, affected: Vec<Affected>) -> Advisory {
    let mut aliases: Vec<String> = wire.aliases.iter().flatten().map(|a| printable(a)).collect();
    aliases.sort();
    aliases.dedup();
    let summary = wire.summary.as_deref().map(printable).unwrap_or_default();
    Advisory { id: printable(&wire.id), aliases, summary, severity, affected }
}

/// On one line, without what moves a cursor, and not longer than a line of a report.
fn printable(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > MAX_SUMMARY_BYTES {
        let end = (0..=MAX_SUMMARY_BYTES).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
    line
}

fn vectors(list: Option<&[WireSeverity<'_>]>) -> impl Iterator<Item = Severity> {
    list.into_iter().flatten().filter_map(|s| Severity::of_vector(&s.score))
}

/// A vector of the record, or else the word of its database.
fn general_severity(wire: &Wire<'_>) -> Severity {
    let word = || {
        let value = wire.database_specific.as_ref()?.severity.as_ref()?;
        Severity::of_word(value.as_str()?)
    };
    let worst = vectors(wire.severity.as_deref()).reduce(Severity::or_worse);
    worst.or_else(word).unwrap_or(Severity::UNKNOWN)
}

fn ranges(
    affected: &WireAffected<'_>,
    id: &str,
    package: &PackageName,
) -> Result<Vec<Vec<Event>>, AdvisoryError> {
    let bound = |text: &str| {
        Bound::new(text).ok_or_else(|| AdvisoryError::Version {
            id: printable(id),
            package: package.clone(),
            version: printable(text),
        })
    };
    let mut out = Vec::new();
    for range in affected.ranges.iter().flatten() {
        // Commits of a repository say nothing about a release; SEMVER's versions are PEP 440's too.
        if range.kind == "GIT" {
            continue;
        }
        let read = read_events(range, &bound);
        match read {
            Ok(events) => out.push(events),
            // The versions that are named one by one say the same.
            Err(_) if affected.versions.as_ref().is_some_and(|v| !v.is_empty()) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(out)
}

fn read_events(
    range: &WireRange<'_>,
    bound: &dyn Fn(&str) -> Result<Bound, AdvisoryError>,
) -> Result<Vec<Event>, AdvisoryError> {
    let mut events = Vec::new();
    for event in range.events.iter().flatten() {
        if let Some(text) = &event.introduced {
            let at = if text == "0" { None } else { Some(bound(text)?) };
            events.push(Event::Introduced(at));
        }
        if let Some(text) = &event.fixed {
            events.push(Event::Fixed(bound(text)?));
        }
        if let Some(text) = &event.last_affected {
            events.push(Event::LastAffected(bound(text)?));
        }
        if let Some(text) = &event.limit {
            let at = if text == "*" { None } else { Some(bound(text)?) };
            events.push(Event::Limit(at));
        }
    }
    range::sort(&mut events);
    Ok(events)
}
