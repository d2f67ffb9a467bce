//! What needs neither a network nor uv.

use crate::lab::{
    CRYPTOGRAPHY, Server, URLLIB3, constraints, file, openstack_s_own_file, place, text,
};

pub(crate) const SERIES: &str = r#"series = "2026.1"
python = ["3.13"]
cutoff = "2025-01-15"
base = ["cryptography"]
[services.keystone]
version = "29.1.0"
requirements = ["keystone"]
"#;
pub(crate) const PINS: &str = "cryptography===43.0.3\nkeystone===29.1.0\nurllib3===2.6.3\n";
const GRAPH: &str = r#"{"version": 1, "series": "2026.1", "python": {"3.13": {
  "keystone": {"version": "29.1.0", "requires": ["cryptography<44", "urllib3>=2"]},
  "cryptography": {"version": "43.0.3", "requires": []},
  "urllib3": {"version": "2.6.3", "requires": []}}}}"#;
const ACCEPTED: &str = r#"
[[accepted]]
advisory = "CVE-2024-12797"
package = "cryptography"
justification = "vulnerable_code_not_in_execute_path"
statement = "no service speaks TLS with raw public keys"
decided = "2026-04-01"
expires = "2026-12-31"
"#;

fn fleet(more: &str) -> karman_testing::Place {
    let place = place();
    file(&place, "constraints/2026.1.toml", format!("{SERIES}{more}"));
    file(&place, "constraints/2026.1/upper-constraints.txt", PINS);
    file(&place, "constraints/2026.1/requirements.json", GRAPH);
    file(&place, "osv/a.json", CRYPTOGRAPHY);
    place
}

#[test]
fn check_fails_by_policy() {
    let place = fleet("");
    for (policy, code) in [("any", 1), ("low", 1), ("medium", 0), ("critical", 0), ("never", 0)] {
        let told =
            constraints(&place, &format!("check 2026.1 --advisories osv --fail-on {policy}"));
        assert_eq!(told.code, code, "{policy}: {}{}", told.out, told.err);
        assert!(told.out.contains("fixed in 44.0.1"), "{}", told.out);
        assert!(
            told.err.contains("3 pins, 1 advisories: 1 vulnerable, 0 accepted"),
            "{}",
            told.err
        );
    }
    assert_eq!(constraints(&place, "check --advisories osv --fail-on some").code, 2);
}

#[test]
fn check_answers_in_json() {
    let told = constraints(&fleet(""), "check --advisories osv --format json");
    let json: serde_json::Value = serde_json::from_str(&told.out).expect("JSON");
    let finding = &json["findings"][0];
    assert_eq!(finding["ids"], serde_json::json!(["CVE-2024-12797", "GHSA-79v4-65xg-pq4g"]));
    assert_eq!(finding["fixed"], "44.0.1");
    assert_eq!(finding["services"], serde_json::json!(["keystone"]));
}

#[test]
fn check_answers_in_sarif() {
    let told = constraints(&fleet(""), "check --advisories osv --format sarif");
    let json: serde_json::Value = serde_json::from_str(&told.out).expect("JSON");
    let location = &json["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    let uri = "constraints/2026.1/upper-constraints.txt";
    assert_eq!(location["artifactLocation"]["uri"], uri);
    assert_eq!(location["region"]["startLine"], 1);
}

#[test]
fn an_accepted_risk_passes_until_its_day() {
    let place = fleet(ACCEPTED);
    let told = constraints(&place, "check --advisories osv --today 2026-12-31");
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    assert!(told.out.contains("accepted until 2026-12-31"), "{}", told.out);
    let told = constraints(&place, "check --advisories osv --today 2027-01-01 --fail-on critical");
    assert_eq!(told.code, 1, "{}{}", told.out, told.err);
    assert!(
        told.err.contains("AcceptedExpired") && told.err.contains("2026.1.toml:10"),
        "{}",
        told.err
    );
}

#[test]
fn vex_is_exported_until_the_risk_expires() {
    let place = fleet(ACCEPTED);
    let told = constraints(&place, "vex --today 2026-05-01 --author us");
    let json: serde_json::Value = serde_json::from_str(&told.out).expect("JSON");
    assert_eq!(json["statements"][0]["status"], "not_affected");
    assert_eq!(json["statements"][0]["products"][0]["@id"], "pkg:pypi/cryptography@43.0.3");
    validated("vex_is_exported_until_the_risk_expires", "vexipy", VEX, &told.out);
    let told = constraints(&place, "vex --today 2027-05-01");
    assert_eq!(told.code, 7, "{}", told.err);
}

const VEX: &str = "from vexipy import Document; d = Document.model_validate_json(sys.stdin.read()); \
                   assert d.statements[0].status.value == 'not_affected', d";
const SARIF: &str = "from sarif_pydantic import Sarif; s = Sarif.model_validate(json.load(sys.stdin)); \
                     assert s.runs[0].results, s";

#[test]
fn sarif_of_a_check_validates() {
    let place = fleet("");
    let told = constraints(&place, "check --advisories osv --format sarif");
    assert_eq!(told.code, 1, "{}", told.err);
    validated("sarif_of_a_check_validates", "sarif_pydantic", SARIF, &told.out);
}

/// Lets a library that knows a format read it, in the Python of `KARMAN_TEST_PYTHON` or the host's.
fn validated(test: &str, module: &str, check: &str, document: &str) {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let python = std::env::var_os("KARMAN_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    let has = Command::new(&python).args(["-c", &format!("import {module}")]).output();
    if !has.is_ok_and(|o| o.status.success()) {
        eprintln!("SKIP {test}: the Python package `{module}` is not installed");
        return;
    }
    let mut command = Command::new(&python);
    command.args(["-c", &format!("import json, sys; {check}")]);
    let child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("Python starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(document.as_bytes()).expect("written");
    drop(stdin);
    let done = child.wait_with_output().expect("it ends");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn why_names_services_bounds_and_lines() {
    let place = fleet("[[caps]]\npackage = \"urllib3\"\nversion = \"<3\"\nreason = \"untested\"\n");
    let told = constraints(&place, "why urllib3");
    assert_eq!(told.code, 0, "{}", told.err);
    assert_eq!(
        told.out,
        "urllib3 2.6.3\nit is in\n  keystone: keystone==29.1.0, keystone 29.1.0 asks for urllib3>=2\n\
         bounded by\n  keystone 29.1.0 asks for urllib3>=2\n  cap urllib3<3 (constraints/2026.1.toml:10): untested\n"
    );
    let told = constraints(&place, "why 2026.1 urlib3");
    assert_eq!(told.code, 7);
    assert!(told.err.contains("hint: did you mean `urllib3`?"), "{}", told.err);
}

#[test]
fn a_bump_that_a_service_forbids_is_refused_without_a_resolver() {
    let place = fleet("");
    let told = constraints(&place, "fix --advisories osv --uv /nonexistent");
    assert_eq!(told.code, 1, "{}{}", told.out, told.err);
    assert!(
        told.err.contains(
            "REFUSED cryptography 43.0.3 -> 44.0.1 for CVE-2024-12797\n  keystone 29.1.0 requires cryptography<44"
        ),
        "{}",
        told.err
    );
    assert_eq!(text(&place, "constraints/2026.1/upper-constraints.txt"), PINS);
}

#[test]
fn import_keeps_a_copy_and_render_puts_the_bounds_on_it() {
    let place = fleet("");
    let server = Server::start();
    let upper = "# a warning\nurllib3===2.2.1\nJinja2===3.1.6;python_version=='3.13'\n";
    server.put("/upper/2026.1", "text/plain", upper);
    let url = server.url("/upper/2026.1");
    let told = constraints(&place, &format!("import 2026.1 {url}"));
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    assert_eq!(text(&place, "constraints/2026.1/imported.txt"), upper);
    let series = text(&place, "constraints/2026.1.toml");
    assert!(series.contains(&format!("imported = {{ from = \"{url}\", sha256 = ")), "{series}");

    let more = "[[overrides]]\npackage = \"urllib3\"\nversion = \">=2.6.3\"\nadvisories = [\"CVE-2026-21441\"]\nreason = \"bombs\"\n";
    file(&place, "constraints/2026.1.toml", format!("{series}{more}"));
    let told = constraints(&place, "render 2026.1");
    assert_eq!(told.code, 0, "{}", told.err);
    assert!(
        told.out.contains("\njinja2===3.1.6;python_version=='3.13'\nurllib3===2.6.3\n"),
        "{}",
        told.out
    );
    assert!(told.err.contains("~ urllib3 2.2.1 -> 2.6.3"), "{}", told.err);

    // Without a lock, the imported pins are what is checked.
    std::fs::remove_file(place.work().join("constraints/2026.1/upper-constraints.txt"))
        .expect("gone");
    file(&place, "osv/urllib3.json", URLLIB3);
    let told = constraints(&place, "check --advisories osv");
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    assert!(told.err.contains("the imported pins stand for it"), "{}", told.err);

    file(&place, "constraints/2026.1/imported.txt", "urllib3===2.2.2\n");
    let told = constraints(&place, "render 2026.1");
    assert_eq!(told.code, 3, "{}", told.out);
    assert!(told.err.contains("has SHA-256"), "{}", told.err);
}

#[test]
fn the_only_series_need_not_be_named() {
    let place = fleet("");
    file(&place, "constraints/2025.2.toml", SERIES.replace("2026.1", "2025.2"));
    let told = constraints(&place, "why urllib3");
    assert_eq!(told.code, 2);
    assert!(told.err.contains("hint: name one of 2025.2, 2026.1"), "{}", told.err);
}

#[test]
fn openstack_s_own_file_is_checked() {
    let Some(upper) = openstack_s_own_file("openstack_s_own_file_is_checked") else { return };
    let place = fleet("");
    let told = constraints(&place, &format!("check --advisories osv --pins {}", upper.display()));
    assert_eq!(told.code, 1, "{}{}", told.out, told.err);
    assert!(
        told.out.contains("cryptography 43.0.3: CVE-2024-12797 (GHSA-79v4-65xg-pq4g), low"),
        "{}",
        told.out
    );
    assert!(told.out.contains("fixed in 44.0.1"), "{}", told.out);
    let told = constraints(&place, &format!("import 2026.1 {}", upper.display()));
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    let told = constraints(&place, "render 2026.1");
    assert!(
        told.out.contains("\nbackports-strenum===1.3.1;python_version=='3.10'\n"),
        "{}",
        told.out
    );
}
