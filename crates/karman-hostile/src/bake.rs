//! A bake file: parsed, listed, resolved, printed. The first byte says which kind it is.

use karman_bake::{
    Request, list_targets, list_variables, parse, print_json, resolve, targets_json, variables_json,
};
use karman_diag::Diagnostic;

pub(crate) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let name = if text.starts_with('{') {
        "docker-bake.json"
    } else if text.starts_with("services:") {
        "compose.yaml"
    } else {
        "docker-bake.hcl"
    };
    let (bake, problems) = parse(&[(name.to_owned(), text)], &Request::default());
    crate::check_diagnostics(&problems, &bake.sources);
    if problems.iter().any(Diagnostic::is_error) {
        return;
    }
    let all = Request { targets: vec!["*".to_owned()], ..Request::default() };
    let checked = |found: Result<String, Vec<Diagnostic>>| match found {
        Ok(json) => assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}"),
        Err(problems) => {
            assert!(problems.iter().any(Diagnostic::is_error), "an error without an error");
            crate::check_diagnostics(&problems, &bake.sources);
        }
    };
    checked(list_variables(&bake, &all).map(|v| variables_json(&v)));
    checked(list_targets(&bake, &all).map(|t| targets_json(&t)));
    checked(resolve(&bake, &all).map(|r| print_json(&r)));
    checked(resolve(&bake, &Request::default()).map(|r| print_json(&r)));
}
