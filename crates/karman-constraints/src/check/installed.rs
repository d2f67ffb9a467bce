//! Distributions that are installed somewhere, against advisories.

use super::{Finding, Report, Subject, finding, groups, state};
use crate::osv::Advisories;
use crate::{Accepted, Date, PackageName};

/// Looks at what is installed, whoever pinned it. `today` decides which acceptances still hold.
pub fn check_installed<'a>(
    installed: impl IntoIterator<Item = (&'a PackageName, &'a str)>,
    accepted: &[Accepted],
    advisories: &Advisories,
    today: Date,
) -> Report {
    let mut report = Report { advisories: advisories.records(), ..Report::default() };
    let mut used = vec![false; accepted.len()];
    for (package, version) in installed {
        report.pins += 1;
        let known = advisories.of(package);
        if known.is_empty() {
            continue;
        }
        let Some(subject) = Subject::new(version) else {
            report.unreadable.push(format!("{package} {version}"));
            continue;
        };
        let found = groups(known).into_iter().filter_map(|group| {
            let mut finding = finding(package, &subject, &group)?;
            version.clone_into(&mut finding.version);
            Some(finding)
        });
        let mut found: Vec<Finding> = found.collect();
        for finding in &mut found {
            finding.state = state(accepted, finding, today, &mut used);
        }
        found.sort_by(|a, b| (b.severity.level, &a.ids).cmp(&(a.severity.level, &b.ids)));
        report.findings.extend(found);
    }
    let unused = accepted.iter().zip(used).filter(|(_, used)| !used);
    report.unused = unused.map(|(accepted, _)| accepted.clone()).collect();
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Fix, State};

    const RECORD: &str = r#"{"id": "GHSA-x", "aliases": ["CVE-2024-12797"], "modified": "2025-02-11T00:00:00Z",
        "summary": "it bundles a vulnerable OpenSSL", "affected": [{"package": {"ecosystem": "PyPI", "name": "cryptography"},
        "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "42.0.0"}, {"fixed": "44.0.1"}]}]}]}"#;

    fn name(text: &str) -> PackageName {
        text.parse().expect("a name")
    }

    fn checked(version: &str) -> Report {
        let package = name("cryptography");
        let mut advisories = Advisories::about([&package]);
        advisories.add(RECORD.as_bytes()).expect("a record");
        let today = "2026-11-30".parse().expect("a day");
        check_installed([(&package, version)], &[], &advisories, today)
    }

    #[test]
    fn installed_versions_are_held_against_ranges() {
        let report = checked("43.0.3");
        let [finding] = report.findings.as_slice() else { panic!("{report:?}") };
        assert_eq!(finding.ids, ["CVE-2024-12797", "GHSA-x"]);
        assert_eq!((&finding.fix, &finding.state), (&Fix::Version("44.0.1".into()), &State::Open));
        assert!(checked("44.0.1").findings.is_empty());
        assert_eq!(checked("43.x").unreadable, ["cryptography 43.x"]);
    }
}
