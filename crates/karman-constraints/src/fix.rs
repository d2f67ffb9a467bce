//! Which bumps would clear the findings, what forbids them, and why other pins move with them.
//!
//! This is the half of `fix` that needs no resolver: the bumps to try, and the bounds that cannot give
//! way (versions of services, caps, the series's own requirements). Whether a bump holds for every
//! image is for the resolver to show.

use std::collections::BTreeMap;

use karman_diag::Span;

use crate::check::{Finding, Fix, Report, clear_version};
use crate::diff::Change;
use crate::osv::Advisories;
use crate::version::newer;
use crate::{PackageName, Requirements, Series, Specifiers};

/// A distribution to raise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bump {
    /// The distribution.
    pub package: PackageName,
    /// The versions that are pinned and vulnerable.
    pub from: Vec<String>,
    /// Where to.
    pub to: Target,
    /// The best known identifier of every finding that it clears.
    pub advisories: Vec<String>,
    /// What the advisories are about, on one line.
    pub reason: String,
}

/// The version that a bump asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Exactly this one: the smallest that is clear.
    Exactly(String),
    /// Anything after this one: no advisory names a fixed version.
    After(String),
}

/// Findings that no bump clears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfixed {
    /// The distribution and its vulnerable version.
    pub package: PackageName,
    /// The version.
    pub version: String,
    /// The advisories.
    pub advisories: Vec<String>,
}

/// Bumps to try, and what there is no bump for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// One for each distribution, sorted.
    pub bumps: Vec<Bump>,
    /// No advisory says which version mends these.
    pub unfixed: Vec<Unfixed>,
}

/// Something that forbids a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocker {
    /// In words, such as `keystone 29.1.0 requires cryptography<44`.
    pub message: String,
    /// Where it stands in the series, where it does.
    pub span: Option<Span>,
    /// Whether it cannot give way: the series itself fixes it. Others may move in a resolution.
    pub firm: bool,
}

impl Target {
    /// The specifier for a constraint.
    pub fn bound(&self) -> String {
        match self {
            Self::Exactly(version) => format!("=={version}"),
            Self::After(version) => format!(">{version}"),
        }
    }
}

impl Bump {
    /// `cryptography 43.0.3 -> 44.0.1`.
    pub fn shown(&self) -> String {
        let to = match &self.to {
            Target::Exactly(version) => version.clone(),
            Target::After(version) => format!("something after {version}"),
        };
        format!("{} {} -> {to}", self.package, self.from.join(", "))
    }
}

/// The bumps that clear what `report` found open; what is accepted stays.
pub fn plan(report: &Report, advisories: &Advisories) -> Plan {
    let mut by_package: BTreeMap<&PackageName, Vec<&Finding>> = BTreeMap::new();
    for finding in report.findings.iter().filter(|f| f.is_open()) {
        by_package.entry(&finding.package).or_default().push(finding);
    }
    let mut plan = Plan::default();
    for (package, findings) in by_package {
        // What is accepted stays, and what nobody has a fix for must not hide the fixes of the others.
        let left = report.findings.iter().filter(|f| f.package == *package);
        let left = left.filter(|f| !f.is_open() || f.fix == Fix::Unknown);
        let left: Vec<&str> = left.flat_map(|f| f.ids.iter().map(String::as_str)).collect();
        let mut known = advisories.of(package).to_vec();
        known.retain(|a| !a.ids().any(|id| left.contains(&id)));
        let mut target: Option<Target> = None;
        let (mut clears, mut from) = (Vec::new(), Vec::new());
        for finding in findings {
            let fix = clear_version(&known, &finding.version);
            let Some(to) = target_of(fix).filter(|_| finding.fix != Fix::Unknown) else {
                plan.unfixed.push(Unfixed {
                    package: package.clone(),
                    version: finding.version.clone(),
                    advisories: finding.ids.clone(),
                });
                continue;
            };
            target = Some(match target.take() {
                Some(other) if newer(other.version(), to.version()) => other,
                _ => to,
            });
            clears.push(finding);
            from.push(finding.version.clone());
        }
        from.dedup();
        if let Some(to) = target {
            plan.bumps.push(bump(package, from, to, &clears));
        }
    }
    plan
}

impl Target {
    fn version(&self) -> &str {
        match self {
            Self::Exactly(version) | Self::After(version) => version,
        }
    }
}

fn target_of(fix: Fix) -> Option<Target> {
    match fix {
        Fix::Version(version) => Some(Target::Exactly(version)),
        Fix::Above(last) => Some(Target::After(last)),
        Fix::Unknown => None,
    }
}

fn bump(package: &PackageName, from: Vec<String>, to: Target, clears: &[&Finding]) -> Bump {
    let mut ids: Vec<String> = Vec::new();
    let mut reasons: Vec<String> = Vec::new();
    for finding in clears {
        ids.extend(finding.ids.first().filter(|id| !ids.contains(id)).cloned());
        let summary = finding.summary.trim_end_matches('.').to_owned();
        if !summary.is_empty() && !reasons.contains(&summary) {
            reasons.push(summary);
        }
    }
    let reason = if reasons.is_empty() {
        format!("{} says so, without a summary", ids.join(", "))
    } else {
        reasons.join("; ")
    };
    Bump { package: package.clone(), from, to, advisories: ids, reason }
}

/// What forbids `version` of `package`: firm bounds first, then requirers of the recorded graph.
pub fn blockers(
    series: &Series,
    graph: Option<&Requirements>,
    package: &PackageName,
    version: &str,
) -> Vec<Blocker> {
    let mut out = Vec::new();
    for cap in series.caps.iter().filter(|c| c.package == *package && !c.version.contains(version))
    {
        let message = format!("the cap {}{}: {}", cap.package, cap.version, cap.reason);
        out.push(Blocker { message, span: Some(cap.span), firm: true });
    }
    for service in &series.services {
        if service.distribution == *package {
            let message = format!("service `{}` is {package} {}", service.name, service.version);
            out.push(Blocker { message, span: Some(service.span), firm: true });
        }
        for requirement in service.requirements.iter().filter(|r| r.name == *package) {
            out.extend(own_line(&format!("service `{}`", service.name), requirement, version));
        }
    }
    for requirement in series.base.iter().filter(|r| r.name == *package) {
        out.extend(own_line("every image", requirement, version));
    }
    let forced = series.overrides.iter().any(|o| o.package == *package && o.force);
    if !forced {
        out.extend(requirers(series, graph, package, version));
    }
    out.sort_by_key(|b| !b.firm);
    out
}

fn own_line(who: &str, requirement: &crate::Requirement, version: &str) -> Option<Blocker> {
    if requirement.specifiers.is_empty() || requirement.specifiers.contains(version) {
        return None;
    }
    let message = format!("{who} requires {}", requirement.line());
    Some(Blocker { message, span: None, firm: true })
}

fn requirers(
    series: &Series,
    graph: Option<&Requirements>,
    package: &PackageName,
    version: &str,
) -> Vec<Blocker> {
    let mut out: Vec<Blocker> = Vec::new();
    for requirer in graph.into_iter().flat_map(|g| g.requirers(package)) {
        let specifiers: &Specifiers = &requirer.requirement.specifiers;
        if specifiers.is_empty() || specifiers.contains(version) {
            continue;
        }
        let service = series.services.iter().find(|s| s.distribution == *requirer.name);
        let message = format!(
            "{} {} requires {}",
            requirer.name,
            requirer.version,
            requirer.requirement.line()
        );
        let span = service.map(|s| s.span);
        if !out.iter().any(|b| b.message == message) {
            out.push(Blocker { message, span, firm: service.is_some() });
        }
    }
    out
}

/// Why a pin moved that no bump names: who of the old resolution could not stay, or who of the new one
/// asks for more. Empty where the graphs do not tell.
pub fn explain(
    change: &Change,
    changes: &[Change],
    old: Option<&Requirements>,
    new: &Requirements,
) -> Vec<String> {
    let mut reasons = Vec::new();
    let mut add = |text: String| {
        if !reasons.contains(&text) {
            reasons.push(text);
        }
    };
    if let (Some(from), Some(to)) = (&change.from, &change.to) {
        // What it asked for in the old version is not there any more.
        for other in changes.iter().filter(|c| c.package != change.package) {
            let Some(version) = &other.to else { continue };
            for r in old.into_iter().flat_map(|g| g.requirers(&other.package)) {
                if *r.name == change.package && !r.requirement.specifiers.contains(version) {
                    add(format!("{} {from} requires {}", change.package, r.requirement.line()));
                }
            }
        }
        for r in new.requirers(&change.package) {
            let specifiers = &r.requirement.specifiers;
            if !specifiers.is_empty() && !specifiers.contains(from) && specifiers.contains(to) {
                add(format!("{} {} requires {}", r.name, r.version, r.requirement.line()));
            }
        }
    } else if change.from.is_none() {
        for r in new.requirers(&change.package) {
            add(format!("{} {} requires {}", r.name, r.version, r.requirement.line()));
        }
    } else {
        for r in old.into_iter().flat_map(|g| g.requirers(&change.package)) {
            add(format!("only {} {} required it", r.name, r.version));
        }
    }
    reasons
}
