//! Every package that is linked may be linked: its licence is in the list.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::checks::Finding;
use crate::tables::LICENCES;

const LOCK: &str = "Cargo.lock";
/// What is built for; packages of other platforms are never linked.
const TARGETS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];

/// Asks cargo about the packages below `root`.
pub(crate) fn check_repository(root: &Path) -> Vec<Finding> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["metadata", "--format-version", "1"]);
    for target in TARGETS {
        command.args(["--filter-platform", target]);
    }
    match command.output() {
        Ok(output) if output.status.success() => check_metadata(&output.stdout),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let last = said.lines().last().unwrap_or("nothing").to_owned();
            vec![Finding::new(LOCK, 1, format!("`cargo metadata` failed: {last}"))]
        }
        Err(error) => {
            vec![Finding::new(LOCK, 1, format!("`cargo metadata` does not run: {error}"))]
        }
    }
}

/// Holds the answer of `cargo metadata` against the list.
fn check_metadata(json: &[u8]) -> Vec<Finding> {
    let document: Value = serde_json::from_slice(json).unwrap_or(Value::Null);
    let Some(packages) = document["packages"].as_array() else {
        return vec![Finding::new(LOCK, 1, "`cargo metadata` names no packages")];
    };
    let mut findings = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or("?");
        let version = package["version"].as_str().unwrap_or("?");
        let message = match package["license"].as_str() {
            None => format!("{name} {version} names no licence"),
            Some(licence) if is_allowed(licence) => continue,
            Some(licence) => {
                format!("{name} {version} is under `{licence}`, which is not in LICENCES")
            }
        };
        findings.push(Finding::new(LOCK, 1, message));
    }
    findings
}

/// Whether an SPDX expression can be fulfilled with the list alone.
fn is_allowed(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { tokens: &tokens };
    parser.or() == Some(true) && parser.tokens.is_empty()
}

/// `or := and (OR and)*`, `and := atom (AND atom)*`, `atom := ( or ) | ID [WITH ID]`.
struct Parser<'a> {
    tokens: &'a [&'a str],
}

impl Parser<'_> {
    fn or(&mut self) -> Option<bool> {
        let mut allowed = self.and()?;
        while self.take("OR") {
            allowed |= self.and()?;
        }
        Some(allowed)
    }

    fn and(&mut self) -> Option<bool> {
        let mut allowed = self.atom()?;
        while self.take("AND") {
            allowed &= self.atom()?;
        }
        Some(allowed)
    }

    fn atom(&mut self) -> Option<bool> {
        if self.take("(") {
            let allowed = self.or()?;
            return self.take(")").then_some(allowed);
        }
        let (name, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        if self.take("WITH") {
            let (exception, rest) = self.tokens.split_first()?;
            self.tokens = rest;
            return Some(LICENCES.contains(&format!("{name} WITH {exception}").as_str()));
        }
        Some(LICENCES.contains(name))
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.tokens.first() == Some(&token);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_weighed() {
        for good in [
            "MIT",
            "MIT/Apache-2.0",
            "GPL-3.0 OR MIT",
            "(MIT OR GPL-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-2.0",
        ] {
            assert!(is_allowed(good), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT", "MIT OR", "MIT MIT", "MIT WITH Foo"] {
            assert!(!is_allowed(bad), "{bad}");
        }
    }

    #[test]
    fn a_package_under_another_licence_is_found() {
        let json = br#"{"packages": [
            {"name": "a", "version": "1", "license": "MIT"},
            {"name": "b", "version": "2", "license": "LGPL-3.0"},
            {"name": "c", "version": "3", "license": null}
        ]}"#;
        let lines: Vec<String> = check_metadata(json).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "Cargo.lock:1: b 2 is under `LGPL-3.0`, which is not in LICENCES",
                "Cargo.lock:1: c 3 names no licence",
            ]
        );
        assert_eq!(check_metadata(b"{}").len(), 1);
    }
}
