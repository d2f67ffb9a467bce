//! Why a distribution is in the fleet at the version it has.

use serde_json::{Value, json};

use karman_diag::Span;

use crate::check::{chain_json, render_chain};
use crate::graph::Chain;
use crate::series::{Cap, Override};
use crate::{Accepted, PackageName, Pin, Pins, PythonVersion, Requirements, Series};

/// What is known about one distribution, without asking anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// The distribution.
    pub package: PackageName,
    /// Its pins.
    pub pins: Vec<Pin>,
    /// How every service comes to it.
    pub chains: Vec<Chain>,
    /// Everybody who asks for it.
    pub requirers: Vec<Asked>,
    /// What the series itself pins it to, as the distribution of a service.
    pub service: Option<(String, String)>,
    /// Caps on it.
    pub caps: Vec<Cap>,
    /// Overrides of it.
    pub overrides: Vec<Override>,
    /// Risks of it that are accepted.
    pub accepted: Vec<Accepted>,
}

/// One who asks for a distribution.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Asked {
    /// Who.
    pub name: PackageName,
    /// In which version.
    pub version: String,
    /// With which requirement.
    pub line: String,
    /// The Pythons it is so for; empty where it is so for all.
    pub pythons: Vec<PythonVersion>,
}

/// Collects what is known; `None` where nothing in the series or its pins names the distribution.
pub fn why(
    series: &Series,
    pins: &Pins,
    graph: Option<&Requirements>,
    package: &PackageName,
) -> Option<Why> {
    let service = series.services.iter().find(|s| s.distribution == *package);
    let of_series = Why {
        package: package.clone(),
        pins: pins.get(package).to_vec(),
        chains: graph.map(|g| g.chains(series, package)).unwrap_or_default(),
        requirers: graph.map(|g| asked(g, package)).unwrap_or_default(),
        service: service.map(|s| (s.name.clone(), s.version.clone())),
        caps: series.caps.iter().filter(|c| c.package == *package).cloned().collect(),
        overrides: series.overrides.iter().filter(|o| o.package == *package).cloned().collect(),
        accepted: series.accepted.iter().filter(|a| a.package == *package).cloned().collect(),
    };
    let named = !of_series.pins.is_empty()
        || !of_series.caps.is_empty()
        || !of_series.overrides.is_empty()
        || !of_series.accepted.is_empty();
    named.then_some(of_series)
}

fn asked(graph: &Requirements, package: &PackageName) -> Vec<Asked> {
    let mut all: Vec<Asked> = Vec::new();
    for requirer in graph.requirers(package) {
        let line = requirer.requirement.line();
        let same = |a: &&mut Asked| {
            a.name == *requirer.name && a.version == requirer.version && a.line == line
        };
        match all.iter_mut().find(same) {
            Some(asked) => asked.pythons.push(requirer.python),
            None => all.push(Asked {
                name: requirer.name.clone(),
                version: requirer.version.to_owned(),
                line,
                pythons: vec![requirer.python],
            }),
        }
    }
    for asked in &mut all {
        if asked.pythons.len() == graph.pythons.len() {
            asked.pythons.clear();
        }
    }
    all.sort();
    all
}

impl Why {
    /// As people read it. `place` names the line of a span.
    pub fn render_text(&self, place: &dyn Fn(Span) -> String) -> String {
        let mut out = String::new();
        if self.pins.is_empty() {
            out += &format!("{} is not pinned\n", self.package);
        }
        for pin in &self.pins {
            let marker = pin.marker.as_ref().map(|m| format!(" where {m}")).unwrap_or_default();
            out += &format!("{} {}{marker}\n", self.package, pin.version);
        }
        section(&mut out, "it is in", self.chains.iter().map(render_chain));
        let asked = self.requirers.iter().map(|asked| {
            let pythons: Vec<String> = asked.pythons.iter().map(ToString::to_string).collect();
            let only = if pythons.is_empty() {
                String::new()
            } else {
                format!(" (Python {})", pythons.join(", "))
            };
            format!("{} {} asks for {}{only}", asked.name, asked.version, asked.line)
        });
        let service = self
            .service
            .iter()
            .map(|(name, version)| format!("service `{name}` pins it to {version}"));
        let caps = self.caps.iter().map(|cap| {
            format!("cap {}{} ({}): {}", cap.package, cap.version, place(cap.span), cap.reason)
        });
        section(&mut out, "bounded by", asked.chain(service).chain(caps));
        let overrides = self.overrides.iter().map(|o| {
            let forced = if o.force { ", forced" } else { "" };
            let until = o.expires.map(|d| format!(", until {d}")).unwrap_or_default();
            format!(
                "{}{} for {}{forced}{until} ({}): {}",
                o.package,
                o.version,
                o.advisories.join(", "),
                place(o.span),
                o.reason
            )
        });
        section(&mut out, "overridden by", overrides);
        let accepted = self.accepted.iter().map(|a| {
            format!("{} until {} ({}): {}", a.advisory, a.expires, place(a.span), a.statement)
        });
        section(&mut out, "accepted", accepted);
        out
    }

    /// As programs read it: JSON with two blanks of indentation and a newline at the end.
    pub fn render_json(&self) -> String {
        let bound = |version: &str, reason: &str| json!({ "version": version, "reason": reason });
        let pins = self.pins.iter().map(|p| json!({ "version": p.version, "marker": p.marker }));
        let asked = self.requirers.iter().map(|a| {
            let pythons: Vec<String> = a.pythons.iter().map(ToString::to_string).collect();
            json!({
                "by": a.name.as_str(),
                "version": a.version,
                "requirement": a.line,
                "pythons": pythons,
            })
        });
        let overrides = self.overrides.iter().map(|o| {
            json!({
                "version": o.version.as_str(),
                "advisories": o.advisories,
                "reason": o.reason,
                "expires": o.expires.map(|d| d.to_string()),
                "force": o.force,
            })
        });
        let accepted = self.accepted.iter().map(|a| {
            json!({
                "advisory": a.advisory,
                "statement": a.statement,
                "expires": a.expires.to_string(),
            })
        });
        let caps = self.caps.iter().map(|c| bound(c.version.as_str(), &c.reason));
        let value = json!({
            "version": 1,
            "package": self.package.as_str(),
            "pins": pins.collect::<Vec<Value>>(),
            "chains": self.chains.iter().map(chain_json).collect::<Vec<_>>(),
            "requirers": asked.collect::<Vec<Value>>(),
            "service": self.service.as_ref().map(|(name, _)| name),
            "caps": caps.collect::<Vec<Value>>(),
            "overrides": overrides.collect::<Vec<Value>>(),
            "accepted": accepted.collect::<Vec<Value>>(),
        });
        format!("{value:#}\n")
    }
}

fn section(out: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    let lines: Vec<String> = lines.map(|line| format!("  {line}\n")).collect();
    if !lines.is_empty() {
        *out += &format!("{title}\n{}", lines.concat());
    }
}
