//! Runs `tests/cases/**/*.case`: a series, pins, advisories and what uv answered in; files, reports or
//! diagnostics out.

mod subjects;

use std::path::Path;

use karman_constraints::{Series, parse};
use karman_diag::{Diagnostic, SourceMap, render as render_diagnostic};
use karman_testing::{Case, run_cases};

/// The series of cases that are about something else.
const SERIES: &str = r#"series = "2026.1"
python = ["3.13"]
cutoff = "2026-04-15"
base = ["cryptography"]
[services.keystone]
version = "29.1.0"
requirements = ["keystone[ldap]"]
[services.nova]
version = "33.0.2"
requirements = ["nova"]
"#;

#[test]
fn cases() {
    run_cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"), run);
}

/// A case with the series it is about.
struct Subject<'a> {
    case: &'a Case,
    text: &'a str,
    series: Series,
    sources: SourceMap,
}

fn run(case: &Case) -> String {
    let expected = case.section("expect").map_or("", |s| s.value.as_str());
    let mut sources = SourceMap::new();
    let text = case.section("series").map_or(SERIES, |s| s.body.as_str());
    let file = sources.add("constraints/2026.1.toml", text);
    let (series, diagnostics) = parse(file, text);
    let problems = rendered(&diagnostics, &sources);
    match series {
        Some(series) => problems + &answer(expected, &Subject { case, text, series, sources }),
        None => problems,
    }
}

fn answer(expected: &str, subject: &Subject<'_>) -> String {
    match expected {
        "lock" => subjects::lock::script(subject),
        "image" => subjects::lock::image(subject),
        "render" => subjects::lock::render(subject),
        "verify" => subjects::lock::verify(subject),
        "hints" => subjects::lock::hints(subject),
        "record" => subjects::lock::record(subject),
        "expired" => subjects::lock::expired(subject),
        "diff" => subjects::lock::diff(subject),
        "import" => subjects::lock::import(subject),
        "graph" => subjects::lock::graph(subject),
        "affected" => subjects::check::affected(subject),
        "check" => subjects::check::text(subject),
        "check-json" => subjects::check::json(subject),
        "check-sarif" => subjects::check::sarif(subject),
        "plan" => subjects::check::plan(subject),
        "blockers" => subjects::check::blockers(subject),
        "explain" => subjects::check::explain(subject),
        "edit" => subjects::check::edit(subject),
        "why" => subjects::check::why(subject),
        "vex" => subjects::check::vex(subject),
        "diagnostics" => "ok\n".to_owned(),
        other => panic!("{}: nothing answers `{other}`", subject.case.title),
    }
}

fn rendered(diagnostics: &[Diagnostic], sources: &SourceMap) -> String {
    diagnostics.iter().map(|d| render_diagnostic(d, sources)).collect()
}
