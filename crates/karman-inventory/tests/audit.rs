//! Cases: a tree, a configuration and a policy go in, the audit comes out; see `tree`.
//!
//! `config` is the image's `config` as JSON, `policy` a policy, `stage` one line `NAME FILE=PACKAGE` with a library that
//! a builder stage has.

mod tree;

use std::path::Path;

use karman_inventory::Stage;
use karman_inventory::audit::report::{Audited, Counts, json, sarif, text};
use karman_inventory::audit::{CHECKS, Day, Policy, audit, contract};
use karman_oci::ImageConfig;
use karman_testing::Case;

fn audited(case: &Case) -> Audited {
    let mut inventory = tree::inventory(case);
    for line in case.values("stage") {
        let (name, library) = line.split_once(' ').expect("a library");
        let (file, package) = library.split_once('=').expect("a package");
        let libraries = [(file.to_owned(), package.to_owned())].into();
        inventory.stages.push(Stage { name: name.to_owned(), libraries, ..Stage::default() });
    }
    let mut config = ImageConfig::default();
    if let Some(section) = case.section("config") {
        config.config = serde_json::from_str(&section.body).expect("a configuration");
    }
    let policy = Policy::parse(case.body("policy")).expect("a policy");
    let mut findings = audit(&inventory, &config);
    for rule in policy.contracts("demo") {
        findings.extend(contract::declared(&inventory, rule));
    }
    let today = Day::parse("2026-11-30").expect("a date");
    let judged = findings.into_iter().map(|f| {
        let verdict = policy.verdict(&f, "demo", today);
        (f, verdict)
    });
    Audited {
        image: "demo".to_owned(),
        digest: "sha256:0".to_owned(),
        counts: Counts::of(&inventory),
        findings: judged.collect(),
    }
}

#[test]
fn cases() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/audit");
    karman_testing::run_cases(&dir, |case| {
        let audited = audited(case);
        let formats =
            [json(std::slice::from_ref(&audited)), sarif(std::slice::from_ref(&audited), "0")];
        match case.section("expect").map(|s| s.value.as_str()) {
            Some("json") => format!("{:#}\n", formats[0]),
            Some("sarif") => {
                let mut sarif = formats[1].clone();
                // The rules are the same in every document.
                sarif["runs"][0]["tool"]["driver"]["rules"].take();
                format!("{sarif:#}\n")
            }
            _ => text(&audited),
        }
    });
}

#[test]
fn every_finding_is_documented_and_told_once() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/audit.md");
    let text = std::fs::read_to_string(file).expect("docs/audit.md");
    for check in CHECKS {
        let row = format!("| `{}` | {} |", check.id, if check.fails { "fails" } else { "note" });
        assert!(text.contains(&row), "docs/audit.md has no row `{row}`");
        assert_eq!(CHECKS.iter().filter(|c| c.id == check.id).count(), 1, "{}", check.id);
    }
}
