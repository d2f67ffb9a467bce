//! The pages of the rules in `docs/checks`: every example is a test.
//!
//! In a page, each fenced `dockerfile` block below a heading that begins with `Bad` must raise
//! the rule of the page and no other; one below `Good` must raise nothing. A block that begins with
//! `# .dockerignore` lists patterns that are in force for the blocks after it under that heading.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use karman_dockerfile::check::{Level, RULES};

use crate::lab::{Asked, Lab};

/// The first line of a block that is an ignore file.
const IGNORE: &str = "# .dockerignore\n";

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/checks")
}

fn page(name: &str) -> String {
    let path = directory().join(format!("{name}.md"));
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// An example: whether it is bad, its text, and the patterns in force.
struct Example {
    is_bad: bool,
    text: String,
    options: String,
}

fn examples(page: &str) -> Vec<Example> {
    let mut all = Vec::new();
    let mut heading = "";
    let mut options = String::new();
    let mut block: Option<String> = None;
    for line in page.lines() {
        match (&mut block, line) {
            (Some(text), "```") => {
                let text = std::mem::take(text);
                block = None;
                if let Some(patterns) = text.strip_prefix(IGNORE) {
                    options = patterns.lines().map(|p| format!("exclude {p}\n")).collect();
                } else if heading.starts_with("Bad") || heading.starts_with("Good") {
                    let is_bad = heading.starts_with("Bad");
                    all.push(Example { is_bad, text, options: options.clone() });
                }
            }
            (Some(text), line) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, "```dockerfile" | "```text") => block = Some(String::new()),
            (None, line) => {
                if let Some(title) = line.strip_prefix("## ") {
                    heading = title;
                    options.clear();
                }
            }
        }
    }
    all
}

#[test]
fn examples_of_the_pages_are_true() {
    for rule in RULES {
        let page = page(rule.name);
        let examples = examples(&page);
        assert!(examples.iter().any(|e| e.is_bad), "{} has no bad example", rule.name);
        assert!(examples.iter().any(|e| !e.is_bad), "{} has no good example", rule.name);
        for example in examples {
            let report = Lab::new(&example.text, &example.options).run(Asked::Check).1;
            let found: BTreeSet<&str> =
                report.warnings.iter().chain(&report.advice).map(|f| f.code.as_str()).collect();
            let wanted: BTreeSet<&str> = example.is_bad.then_some(rule.name).into_iter().collect();
            assert_eq!(found, wanted, "{}: {}", rule.name, example.text);
            if !example.is_bad {
                assert_eq!(report.error, None, "{}: {}", rule.name, example.text);
            }
        }
    }
}

#[test]
fn pages_begin_with_their_rule_and_say_when_it_speaks() {
    for rule in RULES {
        let page = page(rule.name);
        let level = match rule.level {
            Level::Standard => "A warning in every build.",
            Level::Experimental => "Experimental: a warning where `experimental` asks for it.",
            Level::Fleet => {
                "Ours: advice in `--check`, a warning where `experimental` asks for it."
            }
            Level::OnDemand => "Ours: a warning where `experimental` asks for it.",
        };
        let head =
            format!("# {}\n\n{}.\n\n{level}\n", rule.name, rule.description.trim_end_matches('.'));
        assert!(page.starts_with(&head), "{} should begin with:\n{head}", rule.name);
    }
}

#[test]
fn the_index_lists_every_rule_and_every_page_is_of_one() {
    let index = page("README");
    for rule in RULES {
        let row = format!("| [{0}]({0}.md) |", rule.name);
        assert!(index.contains(&row), "the index lacks {row}");
    }
    let pages = fs::read_dir(directory()).expect("the pages").map(|entry| {
        entry.expect("an entry").path().file_stem().expect("a name").to_string_lossy().into_owned()
    });
    let known: BTreeSet<&str> = RULES.iter().map(|r| r.name).chain(["README"]).collect();
    let unknown: Vec<String> = pages.filter(|name| !known.contains(name.as_str())).collect();
    assert_eq!(unknown, Vec::<String>::new(), "pages of no rule");
}
