//! Dockerfiles and ignore files.

use karman_build::TargetSpec;

use crate::support::{Caller, inline, locals, of_context};

const COPY: &str = "FROM alpine\nCOPY . /\n";

fn excluded(caller: &mut Caller, spec: TargetSpec) -> Vec<String> {
    let planned = caller.planned(&[spec]);
    locals(&planned).remove(0).1
}

fn with_file(file: &str) -> TargetSpec {
    TargetSpec { dockerfile: Some(file.to_owned()), ..TargetSpec::default() }
}

#[test]
fn the_ignore_file_of_the_context_is_read() {
    let mut caller = Caller::new().file("Dockerfile", COPY).file(".dockerignore", "*.md\n!a.md\n");
    assert_eq!(excluded(&mut caller, TargetSpec::default()), ["*.md", "!a.md"]);
}

#[test]
fn the_ignore_file_of_the_dockerfile_wins_even_when_empty() {
    let mut caller = Caller::new()
        .file("Dockerfile", COPY)
        .file("other/x.Dockerfile", COPY)
        .file(".dockerignore", "all")
        .file("Dockerfile.dockerignore", "own")
        .file("other/x.Dockerfile.dockerignore", "");
    assert_eq!(excluded(&mut caller, TargetSpec::default()), ["own"]);
    assert!(excluded(&mut caller, with_file("other/x.Dockerfile")).is_empty());
    assert_eq!(excluded(&mut caller, inline("t", COPY)), ["all"]);
}

#[test]
fn an_ignored_dockerfile_is_read_all_the_same() {
    let mut caller = Caller::new().file("Dockerfile", COPY).file(".dockerignore", "*\n");
    assert_eq!(excluded(&mut caller, TargetSpec::default()), ["*"]);
}

#[test]
fn a_wrong_pattern_is_shown_in_its_file() {
    let mut caller = Caller::new().file("Dockerfile", COPY).file(".dockerignore", "a\nb[\n");
    let error = caller.refused(&[TargetSpec::default()]);
    assert!(error.contains(".dockerignore:2") && error.contains(">>> b["), "{error}");
}

#[test]
fn the_lower_case_name_is_found_too() {
    let mut caller = Caller::new().file("dockerfile", COPY).file("d/dockerfile", COPY);
    caller.planned(&[TargetSpec::default()]);
    caller.planned(&[with_file("d/Dockerfile")]);
    assert!(caller.refused(&[with_file("DOCKERFILE")]).contains("no Dockerfile at `DOCKERFILE`"));
}

#[test]
fn the_dockerfile_is_relative_to_the_working_directory() {
    let mut caller = Caller::new().file("ctx/a", "").file("build/Dockerfile.x", COPY);
    let spec = TargetSpec { dockerfile: Some("build/Dockerfile.x".into()), ..of_context("ctx") };
    let planned = caller.planned(&[spec]);
    let file = planned.sources.get(karman_diag::FileId(0)).map(|f| f.name.clone());
    assert_eq!(file.as_deref(), Some("build/Dockerfile.x"));
}

#[test]
fn standard_input_may_be_the_dockerfile_of_a_directory() {
    let mut caller = Caller::new().file("a", "").file(".dockerignore", "x").stdin(COPY);
    assert_eq!(excluded(&mut caller, with_file("-")), ["x"]);
}

#[test]
fn a_missing_dockerfile_names_candidates() {
    let mut caller = Caller::new()
        .file("Containerfile", COPY)
        .file("app/Dockerfile.prod", COPY)
        .file("app/Dockerfile.prod.dockerignore", "")
        .file("readme", "");
    let error = caller.refused(&[TargetSpec::default()]);
    assert!(error.contains("there is no Dockerfile at `Dockerfile`"), "{error}");
    let hint = "hint: found `Containerfile`, `app/Dockerfile.prod`; name one with `-f`";
    assert!(error.contains(hint), "{error}");
    let mut empty = Caller::new();
    assert!(empty.refused(&[TargetSpec::default()]).contains("name the Dockerfile with `-f`"));
}

#[test]
fn all_dockerfiles_are_checked() {
    let mut caller = Caller::new();
    let error = caller
        .refused(&[inline("a", "FROM alpine\nRUM x\n"), inline("b", "FROM alpine\nCOPPY y\n")]);
    assert!(error.contains("RUM") && error.contains("COPPY"), "{error}");
}

#[test]
fn one_wrong_dockerfile_is_shown_once() {
    let mut caller = Caller::new().file("Dockerfile", "FROM alpine\nRUM x\n");
    let second = TargetSpec { name: "b".into(), ..TargetSpec::default() };
    let error = caller.refused(&[TargetSpec::default(), second]);
    assert_eq!(error.matches("unknown instruction").count(), 1, "{error}");
    assert!(error.contains("Dockerfile:2"), "{error}");
}

#[test]
fn one_file_is_one_source() {
    let mut caller = Caller::new().file("Dockerfile", COPY);
    let second = TargetSpec { name: "b".into(), ..TargetSpec::default() };
    let planned = caller.planned(&[TargetSpec::default(), second]);
    assert!(planned.sources.get(karman_diag::FileId(0)).is_some());
    assert!(planned.sources.get(karman_diag::FileId(1)).is_none());
}

#[test]
fn a_dockerfile_in_another_encoding_is_read_with_a_warning() {
    let mut caller = Caller::new();
    fs_err::write(caller.path("Dockerfile"), b"# \xff\nFROM alpine\n").expect("a file");
    let planned = caller.planned(&[TargetSpec::default()]);
    assert_eq!(planned.warnings.len(), 1);
    assert!(planned.warnings[0].message.contains("`Dockerfile` is not UTF-8 text"));
    fs_err::write(caller.path("Dockerfile"), b"\xff\xfeF\0").expect("a file");
    assert!(caller.refused(&[TargetSpec::default()]).contains("`Dockerfile` is UTF-16 text"));
}

#[test]
fn an_empty_dockerfile_is_named() {
    let mut caller = Caller::new().file("Dockerfile", "");
    let error = caller.refused(&[TargetSpec::default()]);
    assert!(error.contains("`Dockerfile`: the Dockerfile cannot be empty"), "{error}");
}
