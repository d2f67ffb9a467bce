//! A report as SARIF 2.1.0 (OASIS), which code hosts show beside the line of the pin.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::report::paragraph;
use super::{Finding, Report, State};
use crate::compiled::line_of;
use crate::osv::Level;

/// The report; `uri` names the file of the pins relative to the repository, `text` is what it holds.
/// Accepted risks are results with a suppression.
pub fn render_sarif(report: &Report, uri: &str, text: &str) -> String {
    let rules: BTreeMap<&str, Value> = report.findings.iter().map(|f| (id(f), rule(f))).collect();
    let results: Vec<Value> = report.findings.iter().map(|f| result(f, uri, text)).collect();
    let value = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "karman constraints check",
                "rules": rules.into_values().collect::<Vec<_>>(),
            }},
            "results": results,
        }],
    });
    format!("{value:#}\n")
}

/// The best known identifier.
fn id(finding: &Finding) -> &str {
    finding.ids.first().map_or("", String::as_str)
}

fn rule(finding: &Finding) -> Value {
    let summary = if finding.summary.is_empty() { id(finding) } else { &finding.summary };
    let mut rule = json!({
        "id": id(finding),
        "shortDescription": { "text": summary },
        "helpUri": format!("https://osv.dev/vulnerability/{}", id(finding)),
    });
    if let Some(tenths) = finding.severity.tenths {
        let score = format!("{}.{}", tenths / 10, tenths % 10);
        rule["properties"] = json!({ "security-severity": score });
    }
    rule
}

fn result(finding: &Finding, uri: &str, text: &str) -> Value {
    let level = match finding.severity.level {
        Level::None | Level::Low => "note",
        Level::Medium => "warning",
        Level::High | Level::Critical | Level::Unknown => "error",
    };
    let mut location = json!({ "artifactLocation": { "uri": uri } });
    if let Some(line) = line_of(text, &finding.package, &finding.version) {
        location["region"] = json!({ "startLine": line });
    }
    let mut result = json!({
        "ruleId": id(finding),
        "level": level,
        "message": { "text": paragraph(finding).trim_end() },
        "locations": [{ "physicalLocation": location }],
    });
    if let State::Accepted(accepted) = &finding.state {
        result["suppressions"] =
            json!([{ "kind": "external", "justification": accepted.statement }]);
    }
    result
}
