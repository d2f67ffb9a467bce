//! The checks. Each is pure: a tree in, findings out.

pub(crate) mod budget;
pub(crate) mod edges;
pub(crate) mod functions;
pub(crate) mod licences;
pub(crate) mod links;
pub(crate) mod pages;
pub(crate) mod secrets;
pub(crate) mod sources;
pub(crate) mod words;

use std::fmt;

use crate::tree::Tree;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    message: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// All checks that need nothing but the tree.
pub(crate) fn all(tree: &Tree) -> Vec<Finding> {
    let checks: [fn(&Tree) -> Vec<Finding>; 8] = [
        budget::check,
        edges::check,
        functions::check,
        links::check,
        pages::check,
        secrets::check,
        sources::check,
        words::check,
    ];
    checks.iter().flat_map(|check| check(tree)).collect()
}

#[cfg(test)]
pub(crate) fn shown(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}
