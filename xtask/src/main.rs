//! `cargo xtask tidy`: what the compiler cannot check about this repository.
//!
//! The rules are data, in [`tables`]: adding a crate edge or raising the package budget is one line
//! that a reader of the commit sees. Each check is a function from a [`Tree`](tree::Tree) to
//! findings, so that its tests hand it a tree in which it must find something.

mod checks;
mod mask;
mod tables;
mod tree;

use std::path::Path;
use std::process::ExitCode;

use crate::checks::Finding;
use crate::tree::Tree;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidy"] => tidy(),
        _ => {
            eprintln!("usage: cargo xtask tidy");
            ExitCode::from(2)
        }
    }
}

fn tidy() -> ExitCode {
    let findings = all_findings(&repository_root());
    for finding in &findings {
        println!("{finding}");
    }
    println!("tidy: {} findings", findings.len());
    if findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn repository_root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn all_findings(root: &Path) -> Vec<Finding> {
    let tree = match Tree::read(root) {
        Ok(tree) => tree,
        Err(error) => return vec![Finding::new(".", 0, format!("cannot be read: {error}"))],
    };
    let mut findings = checks::all(&tree);
    let hosts = checks::secrets::hosts_of_environment(std::env::vars());
    findings.extend(checks::secrets::check_hosts(&tree, &hosts));
    findings.extend(checks::licences::check_repository(root));
    findings.sort();
    findings
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_repository_is_tidy() {
        let findings = super::all_findings(&super::repository_root());
        let lines: String = findings.iter().map(|f| format!("{f}\n")).collect();
        assert!(findings.is_empty(), "{} findings:\n{lines}", findings.len());
    }
}
