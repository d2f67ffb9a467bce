//! Accepted risks as VEX, for tools that read it.
//!
//! Two forms: OpenVEX 0.2.0 (<https://github.com/openvex/spec>), which trivy and grype read, and
//! CycloneDX 1.6 with `vulnerabilities[].analysis`, which Dependency-Track reads. Both are
//! deterministic: times are the days of the decisions, not the time of the export.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::accepted::{Justification, Stance};
use crate::{Accepted, Date, PackageName, Pins, Series};

/// The forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VexFormat {
    /// OpenVEX.
    OpenVex,
    /// CycloneDX.
    CycloneDx,
}

/// The accepted risks that still hold on `today`, as a document; `None` where there are none.
/// `author` is who answers for it.
pub fn render_vex(
    series: &Series,
    pins: &Pins,
    author: &str,
    today: Date,
    format: VexFormat,
) -> Option<String> {
    let mut accepted: Vec<&Accepted> = series.accepted.iter().filter(|a| a.holds(today)).collect();
    accepted.sort_by(|a, b| (&a.package, &a.advisory).cmp(&(&b.package, &b.advisory)));
    let latest = accepted.iter().map(|a| a.decided).max()?;
    let value = match format {
        VexFormat::OpenVex => open_vex(series, pins, author, latest, &accepted),
        VexFormat::CycloneDx => cyclone_dx(series, pins, author, latest, &accepted),
    };
    Some(format!("{value:#}\n"))
}

/// Package URLs of every pinned version (purl-spec, type `pypi`).
fn purls(pins: &Pins, package: &PackageName) -> Vec<String> {
    let versions = pins.get(package).iter().map(|p| p.version.replace('+', "%2B"));
    let mut purls: Vec<String> = versions.map(|v| format!("pkg:pypi/{package}@{v}")).collect();
    purls.dedup();
    if purls.is_empty() {
        purls.push(format!("pkg:pypi/{package}"));
    }
    purls
}

fn open_vex(
    series: &Series,
    pins: &Pins,
    author: &str,
    latest: Date,
    accepted: &[&Accepted],
) -> Value {
    let statements = accepted.iter().map(|a| {
        let products = purls(pins, &a.package);
        let products = products.iter().map(|p| json!({ "@id": p, "identifiers": { "purl": p } }));
        let mut statement = json!({
            "vulnerability": { "name": a.advisory },
            "timestamp": a.decided.first_second(),
            "products": products.collect::<Vec<_>>(),
        });
        match &a.stance {
            Stance::NotAffected(justification) => {
                statement["status"] = "not_affected".into();
                statement["justification"] = justification.as_str().into();
                statement["impact_statement"] = a.statement.clone().into();
            }
            Stance::Affected(action) => {
                statement["status"] = "affected".into();
                statement["status_notes"] = a.statement.clone().into();
                statement["action_statement"] = action.clone().into();
            }
        }
        statement
    });
    json!({
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": format!("tag:karman,{latest}:constraints/{}", series.name),
        "author": author,
        "timestamp": latest.first_second(),
        "version": 1,
        "tooling": "karman constraints vex",
        "statements": statements.collect::<Vec<_>>(),
    })
}

fn cyclone_dx(
    series: &Series,
    pins: &Pins,
    author: &str,
    latest: Date,
    accepted: &[&Accepted],
) -> Value {
    let mut components: BTreeMap<String, Value> = BTreeMap::new();
    for a in accepted {
        for purl in purls(pins, &a.package) {
            let version = purl.split_once('@').map(|(_, v)| v.replace("%2B", "+"));
            let mut component = json!({
                "type": "library",
                "bom-ref": purl,
                "name": a.package.as_str(),
                "purl": purl,
            });
            if let Some(version) = version {
                component["version"] = version.into();
            }
            components.insert(purl, component);
        }
    }
    let vulnerabilities = accepted.iter().map(|a| {
        let affects = purls(pins, &a.package);
        let affects: Vec<Value> = affects.iter().map(|p| json!({ "ref": p })).collect();
        let analysis = match &a.stance {
            Stance::NotAffected(justification) => json!({
                "state": "not_affected",
                "justification": cyclone_word(*justification),
                "detail": a.statement,
            }),
            Stance::Affected(action) => json!({
                "state": "exploitable",
                "detail": format!("{}. {action}", a.statement.trim_end_matches('.')),
            }),
        };
        json!({ "id": a.advisory, "analysis": analysis, "affects": affects })
    });
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": latest.first_second(),
            "authors": [{ "name": author }],
            "component": { "type": "application", "name": format!("openstack-{}", series.name) },
        },
        "components": components.into_values().collect::<Vec<_>>(),
        "vulnerabilities": vulnerabilities.collect::<Vec<_>>(),
    })
}

/// CycloneDX's word that means the same (`impactAnalysisJustification` of its schema).
fn cyclone_word(justification: Justification) -> &'static str {
    match justification {
        Justification::ComponentNotPresent | Justification::VulnerableCodeNotPresent => {
            "code_not_present"
        }
        Justification::VulnerableCodeNotInExecutePath => "code_not_reachable",
        Justification::VulnerableCodeCannotBeControlledByAdversary => "requires_environment",
        Justification::InlineMitigationsAlreadyExist => "protected_by_mitigating_control",
    }
}
