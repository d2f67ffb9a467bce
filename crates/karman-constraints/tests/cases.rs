//! Runs `tests/cases/**/*.case`: a series and what uv answered in, files or diagnostics out.

use std::path::Path;

use karman_constraints::{
    PinsError, Resolution, Series, diff, failure_hints, parse, parse_compiled, render, render_diff,
    verify,
};
use karman_diag::{Diagnostic, SourceMap, render as render_diagnostic};
use karman_testing::{Case, run_cases};

#[test]
fn cases() {
    run_cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"), run);
}

fn run(case: &Case) -> String {
    if case.section("expect").is_some_and(|s| s.value == "diff") {
        return compared(case).unwrap_or_else(|error| format!("{error}\n"));
    }
    let mut sources = SourceMap::new();
    let text = case.body("series");
    let file = sources.add("constraints/2026.1.toml", text);
    let (series, diagnostics) = parse(file, text);
    let problems = rendered(&diagnostics, &sources);
    match series {
        Some(series) => problems + &answer(case, &series, &sources),
        None => problems,
    }
}

fn answer(case: &Case, series: &Series, sources: &SourceMap) -> String {
    match case.section("expect").map_or("", |s| &s.value) {
        "lock" => lock(series),
        "render" => render(series, &resolutions(case)),
        "verify" => rendered(&verify(series, &resolutions(case)), sources),
        "hints" => failure_hints(series, case.body("stderr")).join("\n"),
        "expired" => {
            let today = case.section("today").expect("a `today`").value.parse().expect("a date");
            rendered(&series.expired(today), sources)
        }
        _ => "ok\n".to_owned(),
    }
}

fn lock(series: &Series) -> String {
    let script = series.lock_script();
    let files = script.files.iter().map(|f| format!("== {}\n{}", f.name, f.contents));
    let commands =
        script.commands.iter().map(|c| format!("== Python {}\n{}\n", c.python, c.argv.join("\n")));
    files.chain(commands).collect()
}

fn resolutions(case: &Case) -> Vec<Resolution> {
    let compiled = case.sections.iter().filter(|s| s.name == "compiled");
    compiled
        .map(|s| Resolution {
            python: s.value.parse().expect("a Python version"),
            pins: parse_compiled(&s.body).expect("pins"),
        })
        .collect()
}

fn compared(case: &Case) -> Result<String, PinsError> {
    let (old, new) = (parse_compiled(case.body("old"))?, parse_compiled(case.body("new"))?);
    Ok(render_diff(&diff(&old, &new)))
}

fn rendered(diagnostics: &[Diagnostic], sources: &SourceMap) -> String {
    diagnostics.iter().map(|d| render_diagnostic(d, sources)).collect()
}
