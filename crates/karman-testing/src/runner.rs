//! Finds `.case` files, runs them, compares, and blesses on demand.

use std::path::{Path, PathBuf};

use crate::Case;

/// A case whose answer is not what it expects.
#[derive(Debug)]
pub struct CaseFailure {
    /// The case file.
    pub path: PathBuf,
    /// What it expects.
    pub expected: String,
    /// What the subject answered.
    pub actual: String,
}

/// Runs every case below `dir` and panics with all differences; prints how many ran.
///
/// # Panics
/// When a case differs, when `dir` holds none, or when a case has no `expect` section.
pub fn run_cases(dir: &Path, subject: impl Fn(&Case) -> String) {
    let bless = std::env::var_os("KARMAN_BLESS").is_some();
    let (count, failures) = check_dir(dir, bless, subject);
    assert!(count > 0, "no .case files below {}", dir.display());
    if !failures.is_empty() {
        let report: String = failures
            .iter()
            .map(|f| {
                let path = f.path.display();
                format!("--- {path}\nexpected:\n{}\nactual:\n{}\n", f.expected, f.actual)
            })
            .collect();
        panic!("{} of {count} cases differ (KARMAN_BLESS=1 rewrites):\n{report}", failures.len());
    }
    eprintln!("{count} cases in {}", dir.display());
}

/// Runs every case below `dir`: how many there are, and those that differ.
/// With `bless`, the expectations of those that differ are rewritten instead.
pub fn check_dir(
    dir: &Path,
    bless: bool,
    subject: impl Fn(&Case) -> String,
) -> (usize, Vec<CaseFailure>) {
    let files = case_files(dir);
    let failures = files.iter().filter_map(|path| check_file(path, bless, &subject).err());
    (files.len(), failures.collect())
}

/// Runs one case. With `bless`, a wrong expectation is rewritten instead.
///
/// # Errors
/// When it differs.
///
/// # Panics
/// When the file cannot be read or written, or has no `expect` section.
pub fn check_file(
    path: &Path,
    bless: bool,
    subject: impl Fn(&Case) -> String,
) -> Result<(), CaseFailure> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut case = Case::parse(&text);
    let mut actual = subject(&case);
    if !actual.ends_with('\n') {
        actual.push('\n');
    }
    let Some(expect) = case.sections.iter_mut().find(|s| s.name == "expect") else {
        panic!("{}: no `//- expect` section", path.display());
    };
    if expect.body == actual {
        return Ok(());
    }
    let expected = std::mem::replace(&mut expect.body, actual.clone());
    if !bless {
        return Err(CaseFailure { path: path.to_owned(), expected, actual });
    }
    std::fs::write(path, case.print()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Ok(())
}

/// Every `.case` file below a directory, sorted.
pub fn case_files(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut pending = vec![dir.to_path_buf()];
    while let Some(dir) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|e| e == "case") {
                out.push(path);
            }
        }
    }
    out.sort();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_expectation_fails_and_bless_mends_it() {
        let dir = std::env::temp_dir().join(format!("karman-case-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temp dir");
        let file = dir.join("a.case");
        std::fs::write(&file, "t\n//- in\nx\n//- expect\nwrong\n").expect("a case");
        let upper = |c: &Case| c.body("in").to_uppercase();
        let (count, failures) = check_dir(&dir, false, upper);
        assert_eq!((count, failures.len()), (1, 1));
        let (_, failures) = check_dir(&dir, true, upper);
        assert!(failures.is_empty());
        assert!(check_dir(&dir, false, upper).1.is_empty());
        std::fs::remove_dir_all(&dir).expect("cleaned");
    }
}
