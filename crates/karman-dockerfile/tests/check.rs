//! Build checks and `--call`: one `.case` file each, and the examples of the documentation.
//!
//! | section | meaning |
//! |---|---|
//! | `Dockerfile` | the file |
//! | `options` | lines: `arg K=V`, `target S`, `platform P`, `exclude PATTERN`, `context NAME` |
//! | `expect` | `findings` as a build sees them, `all` as `--check` does, `check`, `check json`, `summary`, `summary expanded`, `outline`, `outline json`, `targets`, `targets json`, `describe`, `describe json` |
//!
//! Any image exists. `shell` has a shell, `env` the variable `TOOL_VERSION`, `placed` a working
//! directory, `triggers` has `ONBUILD` instructions; `amd64-only` is for no other platform.

#[path = "check/hostile.rs"]
mod hostile;
#[path = "check/lab.rs"]
mod lab;
#[path = "check/pages.rs"]
mod pages;

use std::path::Path;

use karman_testing::{Case, run_cases};

use lab::{Asked, Lab};

fn subject(case: &Case) -> String {
    let lab = Lab::new(case.body("Dockerfile"), case.body("options"));
    match case.section("expect").map_or("", |s| s.value.as_str()) {
        "findings" => lab.findings(Asked::Build),
        "all" => lab.findings(Asked::Check),
        "check" => lab.report().text,
        "check json" => lab.report().json,
        "summary" => lab.summary(false),
        "summary expanded" => lab.summary(true),
        "outline" => lab.outline().text,
        "outline json" => lab.outline().json,
        "targets" => lab.targets().text,
        "targets json" => lab.targets().json,
        "describe" => karman_dockerfile::call::describe().text,
        "describe json" => karman_dockerfile::call::describe().json,
        other => panic!("unknown expectation `{other}`"),
    }
}

#[test]
fn checks_find_what_they_should() {
    run_cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/check"), subject);
}
