//! Every package in Cargo.lock is code that somebody must trust: their number is raised on purpose.

use crate::checks::Finding;
use crate::tables::PACKAGE_BUDGET;
use crate::tree::Tree;

const LOCK: &str = "Cargo.lock";

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(lock) = tree.file(LOCK) else {
        return vec![Finding::new(LOCK, 0, "is missing: binaries are built from a lock file")];
    };
    let count = lock.text.lines().filter(|line| *line == "[[package]]").count();
    if count <= PACKAGE_BUDGET {
        return Vec::new();
    }
    let message = format!(
        "{count} packages, and PACKAGE_BUDGET in xtask/src/tables.rs is {PACKAGE_BUDGET}: do without, or raise it and say why"
    );
    vec![Finding::new(LOCK, 1, message)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::shown;

    #[test]
    fn a_package_too_many_is_found() {
        let fits = "[[package]]\n".repeat(PACKAGE_BUDGET);
        assert!(check(&Tree::of(&[("Cargo.lock", &fits)])).is_empty());
        let more = fits + "[[package]]\n";
        let found = shown(&check(&Tree::of(&[("Cargo.lock", &more)])));
        assert!(found[0].starts_with("Cargo.lock:1: "), "{found:?}");
        assert_eq!(check(&Tree::default()).len(), 1);
    }
}
