//! Known vulnerabilities of Debian packages, from an offline copy of the security tracker's JSON
//! (<https://security-tracker.debian.org/tracker/data/json>).

use std::collections::BTreeMap;

use debversion::Version;
use serde::Deserialize;

use super::Finding;
use crate::model::Inventory;

/// The tracker: source package → vulnerability → what is known of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Tracker(BTreeMap<String, BTreeMap<String, Issue>>);

#[derive(Debug, Clone, Deserialize)]
struct Issue {
    #[serde(default)]
    releases: BTreeMap<String, Release>,
}

#[derive(Debug, Clone, Deserialize)]
struct Release {
    #[serde(default)]
    status: String,
    #[serde(default)]
    urgency: String,
    fixed_version: Option<String>,
}

impl Tracker {
    /// Reads the tracker's JSON.
    ///
    /// # Errors
    /// When it is not of that form.
    pub fn parse(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }

    /// What the installed packages of a release, such as `trixie`, are known to suffer from. What the security team
    /// calls unimportant is left out.
    pub fn check(&self, inventory: &Inventory, release: &str) -> Vec<Finding> {
        let mut sources: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
        for package in &inventory.packages {
            let key = (package.source.as_str(), package.source_version.as_str());
            sources.entry(key).or_default().push(&package.name);
        }
        let mut found = Vec::new();
        for ((source, version), packages) in sources {
            let Ok(installed) = version.parse::<Version>() else { continue };
            for (id, issue) in self.0.get(source).into_iter().flatten() {
                let Some(known) = issue.releases.get(release) else { continue };
                if known.urgency == "unimportant" || !known.affects(&installed) {
                    continue;
                }
                let message = format!("{id} affects source package `{source}` {version}");
                let finding = Finding {
                    paths: packages.len(),
                    ..Finding::new("vulnerable-debian", packages[0], message)
                };
                found.push(match &known.fixed_version {
                    Some(fixed) => finding.with_hint(format!("fixed in {fixed}")),
                    None => finding.with_hint("no fixed version is known in this release"),
                });
            }
        }
        found
    }
}

impl Release {
    /// `resolved` with version 0 means that the release never had it.
    fn affects(&self, installed: &Version) -> bool {
        match (self.status.as_str(), &self.fixed_version) {
            ("open" | "undetermined", _) => true,
            ("resolved", Some(fixed)) => {
                fixed.parse::<Version>().is_ok_and(|fixed| *installed < fixed)
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Package;

    #[test]
    fn open_and_unfixed_issues_are_found() {
        let json = r#"{"expat": {
            "CVE-1": {"releases": {"trixie": {"status": "open", "urgency": "not yet assigned"}}},
            "CVE-2": {"releases": {"trixie": {"status": "resolved", "fixed_version": "2.7.2-1"}}},
            "CVE-3": {"releases": {"trixie": {"status": "resolved", "fixed_version": "0"}}},
            "CVE-4": {"releases": {"trixie": {"status": "open", "urgency": "unimportant"}}},
            "CVE-5": {"releases": {"trixie": {"status": "resolved", "fixed_version": "2.7.1-2"}}},
            "CVE-6": {"releases": {"sid": {"status": "open"}}}}}"#;
        let tracker = Tracker::parse(json.as_bytes()).expect("JSON");
        let package = |name: &str| Package {
            name: name.into(),
            source: "expat".into(),
            source_version: "2.7.1-2".into(),
            ..Package::default()
        };
        let packages = vec![package("libexpat1"), package("libexpat1-dev")];
        let inventory = Inventory { packages, ..Inventory::default() };
        let found = tracker.check(&inventory, "trixie");
        let texts: Vec<_> = found.iter().map(|f| (f.message.as_str(), f.hint.as_deref())).collect();
        assert_eq!(
            texts,
            [
                (
                    "CVE-1 affects source package `expat` 2.7.1-2",
                    Some("no fixed version is known in this release")
                ),
                ("CVE-2 affects source package `expat` 2.7.1-2", Some("fixed in 2.7.2-1")),
            ]
        );
        assert_eq!((found[0].subject.as_str(), found[0].paths), ("libexpat1", 2));
    }
}
