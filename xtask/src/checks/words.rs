//! Words that must not be in Rust files: anywhere, or outside the crates whose business they are.

use crate::checks::Finding;
use crate::mask::{line_of, mask};
use crate::tables::{FORBIDDEN, IO_WORDS, PURE_CRATES, SIDE_DOORS, TEST_CRATE};
use crate::tree::{File, Tree};

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Finding> {
    let masked = mask(&file.text);
    let mut findings = Vec::new();
    for (word, reason) in FORBIDDEN {
        for at in whole_words(&masked, word) {
            let message = format!("`{word}`: {reason}");
            findings.push(Finding::new(&file.path, line_of(&masked, at), message));
        }
    }
    if is_test_file(&file.path) {
        return findings;
    }
    // The tests of a file are its last item.
    let product = &masked[..masked.find("#[cfg(test)]\nmod tests {").unwrap_or(masked.len())];
    for (word, homes, instead) in SIDE_DOORS {
        if homes.iter().any(|home| file.path.starts_with(home)) {
            continue;
        }
        for at in whole_words(product, word) {
            let message = format!("`{word}`: {instead}");
            findings.push(Finding::new(&file.path, line_of(product, at), message));
        }
    }
    if PURE_CRATES.iter().any(|name| file.path.starts_with(&format!("crates/{name}/"))) {
        for word in IO_WORDS {
            for at in whole_words(product, word) {
                let message = format!("`{word}`: this crate does no I/O; have it handed in");
                findings.push(Finding::new(&file.path, line_of(product, at), message));
            }
        }
    }
    findings
}

/// Test code may look around, run programs and talk.
fn is_test_file(path: &str) -> bool {
    let tests = ["/tests/", "/examples/", "/benches/"].iter().any(|part| path.contains(part));
    let harness = path.starts_with("xtask/") || path.starts_with(&format!("crates/{TEST_CRATE}/"));
    tests || harness || path.ends_with("/tests.rs")
}

fn whole_words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let open = word.ends_with(|c: char| !part(c));
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        let before = text[..at].chars().next_back().is_some_and(part);
        let after = text[at + word.len()..].chars().next().is_some_and(part);
        !before && (open || !after)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::shown;

    fn found(path: &str, text: &str) -> Vec<String> {
        shown(&check(&Tree::of(&[(path, text)])))
    }

    #[test]
    fn unfinished_code_is_found_in_tests_too() {
        let text =
            concat!("fn f() { tod", "o!() }\n#[allow", "(dead_code)]\nfn g() { db", "g!(1); }\n");
        let hits = found("crates/x/tests/a.rs", text);
        assert_eq!(hits.len(), 3, "{hits:?}");
        assert!(found("crates/x/src/a.rs", "// to be done: todo!\nlet s = \"dbg!\";").is_empty());
    }

    #[test]
    fn side_doors_are_found_in_product_code_only() {
        let text = "fn f() { std::env::var(\"HOME\"); println!(); Command::new(\"git\"); }\n";
        assert_eq!(found("crates/karman-llb/src/a.rs", text).len(), 3);
        assert!(
            found("crates/karman-llb/src/a.rs", text)[0]
                .starts_with("crates/karman-llb/src/a.rs:1: ")
        );
        assert_eq!(found("crates/karman-cli/src/a.rs", text).len(), 1);
        assert!(found("crates/karman-llb/tests/a.rs", text).is_empty());
        let in_tests = format!("#[cfg(test)]\nmod tests {{ {text} }}");
        assert!(found("crates/karman-llb/src/a.rs", &in_tests).is_empty());
        let after_import = format!("#[cfg(test)]\nuse x::y;\n{text}");
        assert_eq!(found("crates/karman-llb/src/a.rs", &after_import).len(), 3);
    }

    #[test]
    fn io_is_found_in_crates_that_do_none() {
        let text = "use std::fs;\nuse std::fmt;\n";
        let path = "crates/karman-bake/src/a.rs";
        assert_eq!(
            found(path, text),
            [format!("{path}:1: `std::fs`: this crate does no I/O; have it handed in")]
        );
        assert!(found("crates/karman-worker/src/a.rs", text).is_empty());
        assert!(found("crates/karman-bake/tests/a.rs", text).is_empty());
    }

    #[test]
    fn words_are_whole() {
        assert!(
            found("crates/x/src/a.rs", "myprintln!(); env::vars_of(); xCommand::new();").is_empty()
        );
        assert_eq!(found("crates/x/src/a.rs", "ureq::get(u)").len(), 1);
    }
}
