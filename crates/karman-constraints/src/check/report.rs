//! A report as people and as programs read it.

use serde_json::{Value, json};

use super::{Finding, Fix, Report, State};
use crate::graph::{Chain, EVERY_IMAGE};

/// The version of the JSON form; members may be added within it.
const JSON_VERSION: u32 = 1;

/// The findings, a paragraph each; empty where there are none.
pub fn render_text(report: &Report) -> String {
    report.findings.iter().map(paragraph).collect::<Vec<_>>().join("\n")
}

/// One finding as people read it.
pub(super) fn paragraph(finding: &Finding) -> String {
    let Finding { package, version, severity, .. } = finding;
    let (first, others) = finding.ids.split_first().map_or(("", &[][..]), |(f, o)| (f, o));
    let aliases =
        if others.is_empty() { String::new() } else { format!(" ({})", others.join(", ")) };
    let mut out = format!("{package} {version}: {first}{aliases}, {severity}\n");
    if !finding.summary.is_empty() {
        out += &format!("  {}\n", finding.summary);
    }
    if !finding.markers.is_empty() {
        out += &format!("  pinned where {}\n", finding.markers.join(" or "));
    }
    out += &match &finding.fix {
        Fix::Version(version) => format!("  fixed in {version}\n"),
        Fix::Above(last) => {
            format!("  no fixed version is named; {last} is the last one affected\n")
        }
        Fix::Unknown => "  no fixed version is named\n".to_owned(),
    };
    for chain in &finding.chains {
        out += &format!("  in {}\n", render_chain(chain));
    }
    out += &match &finding.state {
        State::Open => String::new(),
        State::Accepted(a) => format!("  accepted until {}: {}\n", a.expires, a.statement),
        State::Expired(a) => {
            format!("  the acceptance expired on {}: {}\n", a.expires, a.statement)
        }
    };
    out
}

/// `keystone: keystone==29.1.0 > pysaml2 7.5.4 asks for pyopenssl<24.3.0`.
pub(crate) fn render_chain(chain: &Chain) -> String {
    let mut out = format!("{}:", chain.service);
    for (index, step) in chain.steps.iter().enumerate() {
        out += match (&step.by, index) {
            (Some((name, version)), _) => format!(", {name} {version} asks for {}", step.line),
            (None, _) => format!(" {}", step.line),
        }
        .as_str();
    }
    out
}

/// The report as JSON with two blanks of indentation and a newline at the end.
pub fn render_json(report: &Report, series: &str) -> String {
    let findings: Vec<Value> = report.findings.iter().map(finding_json).collect();
    let unused: Vec<Value> = report
        .unused
        .iter()
        .map(|a| json!({ "advisory": a.advisory, "package": a.package.as_str() }))
        .collect();
    let value = json!({
        "version": JSON_VERSION,
        "series": series,
        "pins": report.pins,
        "advisories": report.advisories,
        "findings": findings,
        "unreadable": report.unreadable,
        "unused_accepted": unused,
    });
    format!("{value:#}\n")
}

fn finding_json(finding: &Finding) -> Value {
    let severity = finding.severity;
    let (fixed, above) = match &finding.fix {
        Fix::Version(version) => (Some(version), None),
        Fix::Above(last) => (None, Some(last)),
        Fix::Unknown => (None, None),
    };
    let state = match &finding.state {
        State::Open => "open",
        State::Accepted(_) => "accepted",
        State::Expired(_) => "expired",
    };
    let accepted = match &finding.state {
        State::Open => Value::Null,
        State::Accepted(a) | State::Expired(a) => json!({
            "advisory": a.advisory,
            "statement": a.statement,
            "decided": a.decided.to_string(),
            "expires": a.expires.to_string(),
        }),
    };
    json!({
        "package": finding.package.as_str(),
        "version": finding.version,
        "markers": finding.markers,
        "ids": finding.ids,
        "sources": finding.sources,
        "summary": finding.summary,
        "severity": severity.level.as_str(),
        "score": severity.tenths.map(|n| f64::from(n) / 10.0),
        "fixed": fixed,
        "last_affected": above,
        "services": finding.services,
        "chains": finding.chains.iter().map(chain_json).collect::<Vec<_>>(),
        "state": state,
        "accepted": accepted,
    })
}

/// A chain as JSON: `service` is null where every image has it.
pub(crate) fn chain_json(chain: &Chain) -> Value {
    let steps = chain.steps.iter().map(|step| {
        json!({
            "by": step.by.as_ref().map(|(name, _)| name.as_str()),
            "version": step.by.as_ref().map(|(_, version)| version),
            "requirement": step.line,
        })
    });
    let service = Some(&chain.service).filter(|s| *s != EVERY_IMAGE);
    json!({ "service": service, "steps": steps.collect::<Vec<_>>() })
}
