//! Pages: lines that fit a screen, and a way to each of them from the README.

use std::collections::BTreeSet;

use crate::checks::Finding;
use crate::checks::links::{is_page, linked};
use crate::tables::{MAX_PAGE_COLUMNS, PAGES_OF_TESTS};
use crate::tree::{File, Tree};

/// Where readers begin.
const START: &str = "README.md";
/// What a script writes stands between comments that begin so.
const WRITTEN: [&str; 2] = ["<!-- bench:", "<!-- /bench:"];

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let pages = || tree.files.iter().filter(|file| is_page(&file.path));
    let mut findings: Vec<Finding> = pages().flat_map(long_lines).collect();
    let reached = reached(tree);
    let lost = pages().filter(|file| !reached.contains(file.path.as_str()));
    findings.extend(
        lost.map(|file| Finding::new(&file.path, 1, format!("no link leads here from `{START}`"))),
    );
    findings
}

/// Tables and what is fenced cannot be wrapped.
fn long_lines(file: &File) -> Vec<Finding> {
    if file.path.starts_with(PAGES_OF_TESTS) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let (mut fenced, mut written) = (false, false);
    for (index, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if let Some(which) = WRITTEN.iter().position(|mark| line.starts_with(mark)) {
            written = which == 0;
        }
        let columns = line.chars().count();
        if columns > MAX_PAGE_COLUMNS && !fenced && !written && !line.starts_with('|') {
            let message = format!("{columns} columns, more than {MAX_PAGE_COLUMNS}");
            findings.push(Finding::new(&file.path, index + 1, message));
        }
    }
    findings
}

fn reached(tree: &Tree) -> BTreeSet<String> {
    let mut reached = BTreeSet::from([START.to_owned()]);
    let mut waiting = vec![START.to_owned()];
    while let Some(path) = waiting.pop() {
        let Some(file) = tree.file(&path) else { continue };
        for next in linked(file).into_iter().filter(|path| is_page(path)) {
            if reached.insert(next.clone()) {
                waiting.push(next);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::shown;

    #[test]
    fn long_lines_and_lost_pages_are_found() {
        let long = "word ".repeat(30);
        let start =
            format!("[a](docs/a.md)\n| {long}|\n```\n{long}\n```\n<!-- bench:x -->\n{long}\n");
        let start = format!("{start}<!-- /bench:x -->\n{long}\n");
        let tree = Tree::of(&[
            ("README.md", &start),
            ("docs/a.md", "[b](sub/b.md#x)\n"),
            ("docs/sub/b.md", "# x\n"),
            ("docs/c.md", "[start](../README.md)\n"),
            ("docs/checks/D.md", &long),
        ]);
        assert_eq!(
            shown(&check(&tree)),
            [
                "README.md:9: 150 columns, more than 140",
                "docs/c.md:1: no link leads here from `README.md`",
                "docs/checks/D.md:1: no link leads here from `README.md`",
            ]
        );
    }
}
