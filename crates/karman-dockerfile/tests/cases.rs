//! The `.case` fixtures of the front end.

mod dump;

use std::path::{Path, PathBuf};

use karman_diag::SourceMap;
use karman_dockerfile::expand::Expander;
use karman_dockerfile::parse;
use karman_testing::{Case, run_cases};

fn cases(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name)
}

/// Escapes in a body stand for what an editor would not keep: `{CR}`, `{TAB}`, `{BOM}`.
fn dockerfile(case: &Case) -> String {
    let body = case.body("Dockerfile");
    let body = if case.values("options").any(|o| o == "no-final-newline") {
        body.trim_end_matches('\n')
    } else {
        body
    };
    body.replace("{CR}", "\r").replace("{TAB}", "\t").replace("{BOM}", "\u{feff}")
}

/// The tree, then the diagnostics, as people see them.
fn parsed(case: &Case) -> String {
    let text = dockerfile(case);
    let mut sources = SourceMap::new();
    let file = sources.add("Dockerfile", text.as_str());
    let (tree, problems) = parse(&text, file);
    let wants_tree = case.section("expect").is_some_and(|s| s.value == "ast");
    let tree = tree.filter(|_| wants_tree).map_or_else(String::new, |t| dump::dump(&t, &sources));
    let problems: String = problems.iter().map(|p| karman_diag::render(p, &sources)).collect();
    tree + &problems
}

/// Each line of the section `words`, expanded with the lines `name=value` of the section `env`.
fn expanded(case: &Case) -> String {
    let env: Vec<(&str, &str)> =
        case.body("env").lines().filter_map(|line| line.split_once('=')).collect();
    let lookup = |name: &str| {
        let found = env.iter().rev().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    let escape = case.section("escape").and_then(|s| s.value.chars().next()).unwrap_or('\\');
    let expander = Expander::new(escape, &lookup);
    if case.section("body").is_some() {
        let found = expander.process_heredoc(case.body("body"));
        return found.map_or_else(|error| error.to_string(), |found| found.text);
    }
    let mut out = String::new();
    for raw in case.body("words").lines() {
        let shown = match expander.process_word(raw) {
            Ok(found) => format!("{raw}  =>  {:?}", found.text),
            Err(error) => format!("{raw}  =>  error: {error}"),
        };
        out.push_str(&shown);
        out.push('\n');
    }
    out
}

#[test]
fn dockerfiles_parse_to_typed_instructions() {
    run_cases(&cases("parse"), parsed);
}

#[test]
fn errors_show_their_line_and_say_what_is_wrong() {
    run_cases(&cases("errors"), parsed);
}

#[test]
fn words_expand() {
    run_cases(&cases("expand"), expanded);
}
