//! Pins against advisories: what is vulnerable, who carries it, which version mends it.
//!
//! Databases describe the same flaw in records of their own (GHSA, PYSEC, CVE) that name each other as
//! aliases. Records that are linked so, through each other too, are one *finding*; it stands as soon
//! as one of them affects the pin, and a version mends it only when none of them affects it.

mod installed;
mod report;
mod sarif;

use std::collections::BTreeSet;

pub use installed::check_installed;
pub(crate) use report::{chain_json, render_chain};
pub use report::{render_json, render_text};
pub use sarif::render_sarif;

use crate::graph::{Chain, EVERY_IMAGE};
use crate::osv::{Advisories, Advisory, Bound, Level, Severity, Subject};
use crate::{Accepted, Date, PackageName, Pin, Pins, Requirements, Series};

/// One flaw in one pinned version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The distribution.
    pub package: PackageName,
    /// The version that is pinned.
    pub version: String,
    /// The markers of the pins, where they have some.
    pub markers: Vec<String>,
    /// Every identifier, the best known first: CVE, GHSA, PYSEC, others.
    pub ids: Vec<String>,
    /// The records that say so, in the same order.
    pub sources: Vec<String>,
    /// What it is about.
    pub summary: String,
    /// The worst that a record gives.
    pub severity: Severity,
    /// What mends it.
    pub fix: Fix,
    /// The services whose images hold it, sorted; empty where no graph was recorded.
    pub services: Vec<String>,
    /// How they come to it.
    pub chains: Vec<Chain>,
    /// Whether somebody accepts it.
    pub state: State,
}

/// What mends a finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fix {
    /// The smallest version that some record names as fixed and no record of the finding affects.
    Version(String),
    /// The records only say which version was the last one affected.
    Above(String),
    /// No record says.
    Unknown,
}

/// Whether a finding is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nobody accepts it.
    Open,
    /// It is accepted for now.
    Accepted(Accepted),
    /// It was accepted once.
    Expired(Accepted),
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The findings, by distribution, then the worst first.
    pub findings: Vec<Finding>,
    /// Pins whose version nobody can compare, as `name version`.
    pub unreadable: Vec<String>,
    /// Accepted risks that no pin has.
    pub unused: Vec<Accepted>,
    /// How many pins were looked at.
    pub pins: usize,
    /// How many records were read.
    pub advisories: usize,
}

/// From which severity on a finding fails the check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailOn {
    /// Every finding.
    Any,
    /// This level and worse; unknown counts as worse than critical.
    AtLeast(Level),
    /// None.
    Never,
}

impl Report {
    /// Whether the check fails: an open finding that is bad enough, or one whose acceptance expired.
    pub fn fails(&self, policy: FailOn) -> bool {
        self.findings.iter().any(|finding| finding.fails(policy))
    }
}

impl Finding {
    /// Whether this finding alone fails the check.
    pub fn fails(&self, policy: FailOn) -> bool {
        match (policy, &self.state) {
            (FailOn::Never, _) | (_, State::Accepted(_)) => false,
            (_, State::Expired(_)) | (FailOn::Any, State::Open) => true,
            (FailOn::AtLeast(level), State::Open) => self.severity.level >= level,
        }
    }

    /// Whether it waits for a fix: it is not accepted.
    pub fn is_open(&self) -> bool {
        !matches!(self.state, State::Accepted(_))
    }
}

/// Looks at every pin. `today` decides which acceptances still hold.
pub fn check(
    series: &Series,
    pins: &Pins,
    graph: Option<&Requirements>,
    advisories: &Advisories,
    today: Date,
) -> Report {
    let mut report =
        Report { pins: pins.len(), advisories: advisories.records(), ..Report::default() };
    let mut used = vec![false; series.accepted.len()];
    for (package, list) in pins.iter() {
        let known = advisories.of(package);
        if known.is_empty() {
            continue;
        }
        let groups = groups(known);
        let mut found = Vec::new();
        for (version, markers) in versions(list) {
            let Some(subject) = Subject::new(version) else {
                report.unreadable.push(format!("{package} {version}"));
                continue;
            };
            for group in &groups {
                let Some(mut finding) = finding(package, &subject, group) else { continue };
                version.clone_into(&mut finding.version);
                finding.markers.clone_from(&markers);
                finding.state = state(&series.accepted, &finding, today, &mut used);
                found.push(finding);
            }
        }
        if let Some(graph) = graph.filter(|_| !found.is_empty()) {
            let mut chains = graph.chains(series, package);
            if chains.first().is_some_and(|c| c.service == EVERY_IMAGE) {
                chains.truncate(1);
            }
            let services: Vec<String> = graph.services(series, package).into_iter().collect();
            for finding in &mut found {
                finding.services.clone_from(&services);
                finding.chains.clone_from(&chains);
            }
        }
        found.sort_by(|a, b| {
            let key = |f: &Finding| (std::cmp::Reverse(f.severity.level), f.ids.clone());
            (&a.version, key(a)).cmp(&(&b.version, key(b)))
        });
        report.findings.extend(found);
    }
    let unused = series.accepted.iter().zip(used).filter(|(_, used)| !used);
    report.unused = unused.map(|(accepted, _)| accepted.clone()).collect();
    report
}

/// The smallest version that is named as fixed, is newer than `version`, and is affected by none of
/// the advisories about the distribution.
pub fn clear_version(known: &[Advisory], version: &str) -> Fix {
    let Some(subject) = Subject::new(version) else { return Fix::Unknown };
    smallest_fix(&known.iter().collect::<Vec<_>>(), &subject)
}

/// Every version with the markers it is pinned under.
fn versions(pins: &[Pin]) -> Vec<(&str, Vec<String>)> {
    let mut out: Vec<(&str, Vec<String>)> = Vec::new();
    for pin in pins {
        match out.iter_mut().find(|(version, _)| *version == pin.version) {
            Some((_, markers)) => markers.extend(pin.marker.clone()),
            None => out.push((&pin.version, pin.marker.iter().cloned().collect())),
        }
    }
    out
}

/// Records that are linked by their identifiers.
fn groups(known: &[Advisory]) -> Vec<Vec<&Advisory>> {
    let mut groups: Vec<(BTreeSet<&str>, Vec<&Advisory>)> = Vec::new();
    for advisory in known {
        let mut ids: BTreeSet<&str> = advisory.ids().collect();
        let mut members = vec![advisory];
        let mut apart = Vec::new();
        for (other_ids, other) in groups {
            if other_ids.is_disjoint(&ids) {
                apart.push((other_ids, other));
            } else {
                ids.extend(other_ids);
                members.extend(other);
            }
        }
        groups = apart;
        groups.push((ids, members));
    }
    groups.into_iter().map(|(_, members)| members).collect()
}

fn finding(package: &PackageName, subject: &Subject, group: &[&Advisory]) -> Option<Finding> {
    let (affecting, others): (Vec<&Advisory>, Vec<&Advisory>) =
        group.iter().partition(|a| affects(a, subject));
    if affecting.is_empty() {
        return None;
    }
    let ids: BTreeSet<&str> = group.iter().flat_map(|a| a.ids()).collect();
    let summaries = affecting.iter().chain(&others).map(|a| a.summary.as_str());
    let summary = summaries.filter(|s| !s.is_empty()).take(1).collect();
    let severity = group.iter().map(|a| a.severity).fold(Severity::UNKNOWN, Severity::or_worse);
    Some(Finding {
        package: package.clone(),
        version: String::new(),
        markers: Vec::new(),
        ids: best_known_first(ids.into_iter()),
        sources: best_known_first(affecting.iter().map(|a| a.id.as_str())),
        summary,
        severity,
        fix: smallest_fix(group, subject),
        services: Vec::new(),
        chains: Vec::new(),
        state: State::Open,
    })
}

fn affects(advisory: &Advisory, subject: &Subject) -> bool {
    advisory.affected.iter().any(|affected| affected.contains(subject))
}

fn smallest_fix(group: &[&Advisory], subject: &Subject) -> Fix {
    let affected = || group.iter().flat_map(|a| &a.affected);
    let newer = |b: &&Bound| subject.order(b).is_lt();
    let mut candidates: Vec<&Bound> = affected().flat_map(|a| a.fixes()).filter(newer).collect();
    candidates.sort_by(|a, b| a.order(b));
    candidates.retain(|bound| {
        let fixed = Subject::new(&bound.text);
        fixed.is_some_and(|fixed| !group.iter().any(|a| affects(a, &fixed)))
    });
    // A pre-release is a fix only where there is no other.
    let chosen = candidates.iter().find(|b| !b.is_pre()).or(candidates.first());
    if let Some(bound) = chosen {
        return Fix::Version(bound.text.clone());
    }
    let not_older = |b: &&Bound| subject.order(b).is_le();
    let last = affected().flat_map(|a| a.lasts()).filter(not_older).max_by(|a, b| a.order(b));
    last.map_or(Fix::Unknown, |bound| Fix::Above(bound.text.clone()))
}

fn state(all: &[Accepted], finding: &Finding, today: Date, used: &mut [bool]) -> State {
    let mut state = State::Open;
    for (accepted, used) in all.iter().zip(used) {
        if accepted.package != finding.package || !finding.ids.contains(&accepted.advisory) {
            continue;
        }
        *used = true;
        if accepted.holds(today) {
            return State::Accepted(accepted.clone());
        }
        state = State::Expired(accepted.clone());
    }
    state
}

fn best_known_first<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<String> {
    let rank = |id: &str| {
        let known = ["CVE-", "GHSA-", "PYSEC-"].iter().position(|prefix| id.starts_with(prefix));
        known.unwrap_or(usize::MAX)
    };
    let mut ids: Vec<String> = ids.map(str::to_owned).collect();
    ids.sort_by(|a, b| (rank(a), a).cmp(&(rank(b), b)));
    ids.dedup();
    ids
}
