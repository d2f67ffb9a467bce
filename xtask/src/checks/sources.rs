//! Rust files: they say what they are for, stay short, and keep `unsafe` in one crate, argued.

use crate::checks::Finding;
use crate::mask::{is_word_at, line_of, mask};
use crate::tables::{LONG_FILES, MAX_FILE_LINES, UNSAFE_CRATE};
use crate::tree::{File, Tree};

/// Lines above an `unsafe` block in which its argument may stand.
const SAFETY_REACH: usize = 12;
/// Lines above an `unsafe fn` in which its `# Safety` section may stand.
const SAFETY_DOC_REACH: usize = 40;

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    tree.rust().flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |line, message: String| findings.push(Finding::new(&file.path, line, message));
    if !file.text.starts_with("//!") {
        find(1, "does not begin with `//!`: say what the module is for".to_owned());
    }
    let lines = file.text.lines().count();
    let excused = LONG_FILES.iter().any(|(path, _)| *path == file.path);
    if lines > MAX_FILE_LINES && !excused {
        find(lines, format!("{lines} lines, more than {MAX_FILE_LINES}"));
    }
    let home = format!("crates/{UNSAFE_CRATE}/");
    let masked = mask(&file.text);
    for (at, word) in masked.match_indices("unsafe").filter(|&(at, w)| is_word_at(&masked, at, w)) {
        // `#[unsafe(no_mangle)]` is an attribute; the lint on it is the compiler's.
        let rest = masked[at + word.len()..].trim_start();
        let line = line_of(&masked, at);
        if !file.path.starts_with(&home) {
            find(line, format!("`unsafe` outside {UNSAFE_CRATE}"));
        } else if rest.starts_with("fn ") {
            if !argued(&file.text, line, SAFETY_DOC_REACH, "# Safety") {
                find(line, "`unsafe fn` without a `# Safety` section".to_owned());
            }
        } else if (rest.starts_with('{') || rest.starts_with("impl") || rest.starts_with("extern"))
            && !argued(&file.text, line, SAFETY_REACH, "SAFETY:")
        {
            find(line, "`unsafe` without `// SAFETY:`".to_owned());
        }
    }
    findings
}

fn argued(text: &str, line: usize, reach: usize, words: &str) -> bool {
    let skip = line.saturating_sub(reach + 1);
    text.lines().skip(skip).take(line - skip).any(|l| l.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::shown;

    fn found(path: &str, text: &str) -> Vec<String> {
        shown(&check(&Tree::of(&[(path, text)])))
    }

    #[test]
    fn a_file_without_module_docs_is_found() {
        assert_eq!(found("a.rs", "//! Good.\n"), Vec::<String>::new());
        assert!(found("a.rs", "// Not docs.\n")[0].starts_with("a.rs:1: does not begin"));
        assert_eq!(found("a.md", "x"), Vec::<String>::new());
    }

    #[test]
    fn a_long_file_is_found() {
        let text = format!("//! x\n{}", "\n".repeat(MAX_FILE_LINES));
        assert_eq!(found("a.rs", &text), ["a.rs:601: 601 lines, more than 600"]);
    }

    #[test]
    fn unsafe_is_found_outside_its_crate_and_without_an_argument_inside() {
        let text = "//! unsafe words\n#![forbid(unsafe_code)]\nfn f() { unsafe { g() } }\n";
        assert_eq!(
            found("crates/karman-llb/src/a.rs", text),
            ["crates/karman-llb/src/a.rs:3: `unsafe` outside karman-sys"]
        );
        let home = "crates/karman-sys/src/a.rs";
        assert_eq!(found(home, text), [format!("{home}:3: `unsafe` without `// SAFETY:`")]);
        let good = text.replace("fn f()", "// SAFETY: g has no conditions.\nfn f()");
        assert_eq!(found(home, &good), Vec::<String>::new());
        let function = "//! x\npub unsafe fn f() {}\n";
        assert!(found(home, function)[0].contains("# Safety"));
    }
}
