//! Audits as text, JSON and SARIF.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{CHECKS, Finding, Verdict, check};
use crate::model::{Inventory, Kind};
use crate::print::printable;

/// The audit of one image.
#[derive(Debug, Clone)]
pub struct Audited {
    /// Its name.
    pub image: String,
    /// The digest of its manifest.
    pub digest: String,
    /// What was counted.
    pub counts: Counts,
    /// The findings in order, each with what becomes of it.
    pub findings: Vec<(Finding, Verdict)>,
}

/// What an audit counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All paths.
    pub paths: usize,
    /// Bytes of all regular files, hard links counted each.
    pub bytes: u64,
    /// Debian packages.
    pub packages: usize,
    /// Python distributions.
    pub distributions: usize,
    /// ELF files.
    pub elf: usize,
    /// Set-user-id and set-group-id files.
    pub setid: usize,
}

impl Counts {
    /// Counts an inventory.
    pub fn of(inventory: &Inventory) -> Self {
        let entries = &inventory.entries;
        Self {
            paths: entries.len(),
            bytes: entries.iter().map(|e| e.size).sum(),
            packages: inventory.packages.len(),
            distributions: inventory.distributions.len(),
            elf: entries.iter().filter(|e| e.elf.is_some()).count(),
            setid: entries.iter().filter(|e| e.kind == Kind::File && e.mode & 0o6000 != 0).count(),
        }
    }
}

impl Audited {
    /// Whether a finding fails.
    pub fn fails(&self) -> bool {
        self.findings.iter().any(|(_, verdict)| *verdict == Verdict::Fails)
    }

    fn count(&self, wanted: impl Fn(&Verdict) -> bool) -> usize {
        self.findings.iter().filter(|(_, verdict)| wanted(verdict)).count()
    }
}

/// The audit for people: failures first, then what is noted, then what is allowed.
pub fn text(audited: &Audited) -> String {
    let mut out = String::new();
    let groups: [fn(&Verdict) -> bool; 3] =
        [|v| *v == Verdict::Fails, |v| *v == Verdict::Noted, |v| matches!(v, Verdict::Allowed(_))];
    for group in groups {
        for (finding, verdict) in audited.findings.iter().filter(|(_, v)| group(v)) {
            line(&mut out, finding, verdict);
        }
    }
    let Counts { paths, bytes, packages, distributions, elf, setid } = audited.counts;
    let allowed = audited.count(|v| matches!(v, Verdict::Allowed(_)));
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "{}: {} failed, {} noted, {allowed} allowed; {paths} paths, {} MB, {packages} Debian packages, \
         {distributions} Python distributions, {elf} ELF files, {setid} set-id files",
        audited.image,
        audited.count(|v| *v == Verdict::Fails),
        audited.count(|v| *v == Verdict::Noted),
        bytes / 1_000_000,
    );
    out
}

fn line(out: &mut String, finding: &Finding, verdict: &Verdict) {
    let word = match verdict {
        Verdict::Fails => "FAIL",
        Verdict::Noted => "note",
        Verdict::Allowed(_) => "ok",
    };
    let _ = write!(out, "{word:4} {} {}", finding.id, printable(&finding.subject));
    if finding.paths > 1 {
        let _ = write!(out, " and {} more", finding.paths - 1);
    }
    let _ = write!(out, ": {}", printable(&finding.message));
    if let Some(origin) = &finding.origin {
        let _ = write!(out, " [{}]", printable(origin));
    }
    out.push('\n');
    if let Verdict::Allowed(reason) = verdict {
        let _ = writeln!(out, "     allowed: {reason}");
    }
    if let Some(hint) = &finding.hint {
        let _ = writeln!(out, "     hint: {}", printable(hint));
    }
}

/// Audits as one JSON document.
pub fn json(audits: &[Audited]) -> Value {
    let images = audits.iter().map(|audited| {
        let Counts { paths, bytes, packages, distributions, elf, setid } = audited.counts;
        let findings = audited.findings.iter().map(|(finding, verdict)| {
            let mut value = json!(finding);
            let (word, reason) = match verdict {
                Verdict::Fails => ("fail", None),
                Verdict::Noted => ("note", None),
                Verdict::Allowed(reason) => ("allowed", Some(reason)),
            };
            value["verdict"] = json!(word);
            if let Some(reason) = reason {
                value["reason"] = json!(reason);
            }
            value
        });
        json!({
            "image": audited.image,
            "digest": audited.digest,
            "counts": {
                "paths": paths, "bytes": bytes, "packages": packages,
                "distributions": distributions, "elf": elf, "setid": setid,
            },
            "fails": audited.fails(),
            "findings": findings.collect::<Vec<_>>(),
        })
    });
    json!({ "version": 1, "images": images.collect::<Vec<_>>() })
}

/// Audits as SARIF 2.1.0: one run, a finding's path as an artifact relative to the root filesystem of its image.
pub fn sarif(audits: &[Audited], version: &str) -> Value {
    let rules = CHECKS.iter().map(|c| {
        let level = if c.fails { "error" } else { "note" };
        json!({
            "id": c.id,
            "shortDescription": { "text": c.title },
            "defaultConfiguration": { "level": level },
        })
    });
    let results = audits.iter().flat_map(|audited| {
        audited.findings.iter().map(move |(finding, verdict)| result(audited, finding, verdict))
    });
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "karman", "version": version, "rules": rules.collect::<Vec<_>>(),
            } },
            "results": results.collect::<Vec<_>>(),
        }],
    })
}

fn result(audited: &Audited, finding: &Finding, verdict: &Verdict) -> Value {
    let rule = CHECKS.iter().position(|c| Some(c) == check(finding.id)).unwrap_or_default();
    let mut location = json!({
        "logicalLocations": [{ "fullyQualifiedName": format!("{}:{}", audited.image, finding.subject) }],
    });
    if let Some(path) = finding.subject.strip_prefix('/') {
        let uri = json!({ "uri": encoded(path), "uriBaseId": "IMAGE" });
        location["physicalLocation"] = json!({ "artifactLocation": uri });
    }
    let mut value = json!({
        "ruleId": finding.id,
        "ruleIndex": rule,
        "level": if *verdict == Verdict::Fails { "error" } else { "note" },
        "message": { "text": format!("{}: {}: {}", audited.image, finding.subject, finding.message) },
        "locations": [location],
    });
    if let Verdict::Allowed(reason) = verdict {
        value["suppressions"] = json!([{ "kind": "external", "justification": reason }]);
    }
    value
}

/// A path in a URI (RFC 3986): everything but unreserved characters and slashes is percent-encoded.
fn encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}
