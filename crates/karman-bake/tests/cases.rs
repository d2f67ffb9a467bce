//! Runs `tests/cases/**/*.case`: bake files and a request in, the printed result or the diagnostics out.

use std::collections::BTreeMap;
use std::path::Path;

use karman_bake::{
    Files, Request, linked_targets, list_targets, list_variables, parse, parse_var, print_json,
    resolve, targets_json, targets_table, variables_json, variables_table,
};
use karman_diag::{Diagnostic, SourceMap, render};
use karman_testing::{Case, run_cases};

/// Sections that are no bake files.
const OPTIONS: [&str; 9] =
    ["targets", "set", "env", "var", "now", "home", "random", "place", "expect"];
/// Begins the names of sections that are files compose files may name, and no bake files.
const BESIDE: &str = "beside/";

#[test]
fn cases() {
    run_cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases"), run);
}

fn request(case: &Case) -> Request {
    let mut request = Request::default();
    for section in &case.sections {
        let value = section.value.clone();
        match section.name.as_str() {
            "targets" => request.targets = value.split_whitespace().map(str::to_owned).collect(),
            "set" => request.overrides.push(value),
            "env" => request.env.extend(parse_var(&value)),
            "var" => request.vars.extend(parse_var(&value)),
            "now" => request.facts.now = value.parse().ok(),
            "home" => request.facts.home = Some(value),
            "place" => request.facts.place = Some(value),
            "random" => request.facts.random = Some([7; 32]),
            _ => {}
        }
    }
    let beside = case
        .sections
        .iter()
        .filter_map(|s| Some((s.name.strip_prefix(BESIDE)?.to_owned(), s.body.clone())));
    let beside: BTreeMap<String, String> = beside.collect();
    request.files = Files::new(move |path| Ok(beside.get(path).cloned()));
    request
}

fn run(case: &Case) -> String {
    let is_file = |name: &str| !OPTIONS.contains(&name) && !name.starts_with(BESIDE);
    let files: Vec<(String, String)> = case
        .sections
        .iter()
        .filter(|s| is_file(&s.name))
        .map(|s| (s.name.clone(), s.body.clone()))
        .collect();
    let request = request(case);
    let what = case.section("expect").map_or("", |s| s.value.as_str());
    let (bake, diagnostics) = parse(&files, &request);
    if diagnostics.iter().any(Diagnostic::is_error) {
        return rendered(&diagnostics, &bake.sources);
    }
    let answer = match what {
        "targets" => list_targets(&bake, &request).map(|t| targets_table(&t) + &targets_json(&t)),
        "variables" => {
            list_variables(&bake, &request).map(|v| variables_table(&v) + &variables_json(&v))
        }
        "order" => resolve(&bake, &request).map(|r| {
            let line = |name: &String| {
                let links: Vec<&str> = linked_targets(&r.targets[name]).map(|(_, t)| t).collect();
                let linked = if r.targets[name].linked { " (linked)" } else { "" };
                format!("{name}{linked} <- [{}]\n", links.join(", "))
            };
            r.order.iter().map(line).collect()
        }),
        _ => resolve(&bake, &request).map(|r| print_json(&r)),
    };
    let warnings = rendered(&diagnostics, &bake.sources);
    warnings + &answer.unwrap_or_else(|problems| rendered(&problems, &bake.sources))
}

fn rendered(diagnostics: &[Diagnostic], sources: &SourceMap) -> String {
    diagnostics.iter().map(|d| render(d, sources)).collect()
}
