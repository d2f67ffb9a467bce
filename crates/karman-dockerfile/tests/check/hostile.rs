//! Files that are made to keep the checks busy.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use crate::lab::{Asked, Lab};

/// Far more than any of these takes, also on a slow machine without optimisation.
const LIMIT: Duration = Duration::from_secs(20);

fn checked(text: &str) -> usize {
    let start = Instant::now();
    let report = Lab::new(text, "").run(Asked::Check).1;
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    report.warnings.len() + report.advice.len()
}

#[test]
fn unset_variables_among_many_that_are_set() {
    let mut text = "FROM scratch\n".to_owned();
    for n in 0..2_000 {
        let _ = writeln!(text, "ENV VARIABLE_NUMBER_{n}=x");
    }
    for n in 0..5_000 {
        let _ = writeln!(text, "LABEL a=$VARIABLE_NUMBERS_{n} b=$VARIABLE_NUMBERS_{n}");
    }
    assert_eq!(checked(&text), 1_000, "the rest is dropped");
}

#[test]
fn stages_with_undeclared_arguments() {
    let mut text = String::new();
    for n in 0..2_000 {
        let _ = writeln!(text, "ARG ARGUMENT_NUMBER_{n}=x");
    }
    for n in 0..2_000 {
        let _ = writeln!(text, "FROM busybox${{ARGUMENT_NUMBERS_{n}:-}} AS s{n}");
    }
    assert_eq!(checked(&text), 1_000, "the rest is dropped");
}

#[test]
fn a_chain_of_stages_that_holds_and_deletes_much() {
    let mut text = "FROM debian AS s0\n".to_owned();
    let downloads: String = (0..2_000).map(|n| format!("curl -o /f{n} x; ")).collect();
    let deletes: String = (0..2_000).map(|n| format!("rm /f{n}; ")).collect();
    let _ = writeln!(text, "RUN {downloads}\nRUN {deletes}\nRUN {downloads}");
    for n in 1..1_000 {
        let _ = writeln!(text, "FROM s{} AS s{n}\nRUN apt-get install -y a{n} b{n}-dev", n - 1);
    }
    assert!(checked(&text) > 100);
}

#[test]
fn scripts_that_never_end_a_word() {
    for odd in ["$(", "'", "\"", "\\", "((((", "&>&>", "a=b "] {
        let text = format!("FROM debian\nRUN <<EOF\n{}\nEOF\n", odd.repeat(20_000));
        assert_eq!(checked(&text), 0, "{odd}");
    }
}
