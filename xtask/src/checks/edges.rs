//! Which crate may depend on which.

use toml::{Table, Value};

use crate::checks::Finding;
use crate::tables::{CRATES, TEST_CRATE, UNSAFE_CRATE};
use crate::tree::{File, Tree};

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = tiers();
    for file in &tree.files {
        let name = file.path.strip_prefix("crates/").and_then(|p| p.strip_suffix("/Cargo.toml"));
        if let Some(name) = name.filter(|n| !n.contains('/')) {
            findings.extend(check_manifest(name, file));
        }
    }
    findings
}

/// The table itself: every edge points to a lower tier.
fn tiers() -> Vec<Finding> {
    let tier = |name: &str| CRATES.iter().find(|(n, ..)| *n == name).map(|(_, tier, _)| *tier);
    let edges = CRATES.iter().flat_map(|(from, t, to)| to.iter().map(move |to| (from, *t, *to)));
    edges
        .filter(|(_, from_tier, to)| tier(to).is_none_or(|to_tier| to_tier >= *from_tier))
        .map(|(from, _, to)| {
            let message = format!("the edge {from} → {to} does not point to a lower tier");
            Finding::new("xtask/src/tables.rs", 1, message)
        })
        .collect()
}

fn check_manifest(name: &str, file: &File) -> Vec<Finding> {
    let find = |line, message: String| Finding::new(&file.path, line, message);
    let Ok(manifest) = file.text.parse::<Table>() else {
        return vec![find(1, "is not TOML".to_owned())];
    };
    let Some((_, _, allowed)) = CRATES.iter().find(|(n, ..)| *n == name) else {
        return vec![find(1, format!("`{name}` is not in CRATES of xtask/src/tables.rs"))];
    };
    let mut findings = Vec::new();
    for (section, dependency) in dependencies(&manifest) {
        let testing = section == "dev-dependencies" && dependency == TEST_CRATE;
        if !dependency.starts_with("karman-") || testing || allowed.contains(&dependency.as_str()) {
            continue;
        }
        let line = line_of(&file.text, &dependency);
        let message =
            format!("the edge {name} → {dependency} is not in CRATES of xtask/src/tables.rs");
        findings.push(find(line, message));
    }
    let inherits = manifest.get("lints").and_then(|l| l.get("workspace")).and_then(Value::as_bool);
    if name != UNSAFE_CRATE && inherits != Some(true) {
        let message = "does not take the workspace's lints, which forbid `unsafe`".to_owned();
        findings.push(find(1, message));
    }
    findings
}

/// Section and package of every dependency, those of `[target.…]` included.
fn dependencies(manifest: &Table) -> Vec<(String, String)> {
    let mut tables = vec![manifest];
    if let Some(Value::Table(targets)) = manifest.get("target") {
        tables.extend(targets.values().filter_map(Value::as_table));
    }
    let mut out = Vec::new();
    for table in tables {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(Value::Table(entries)) = table.get(section) else { continue };
            for (key, value) in entries {
                let renamed = value.get("package").and_then(Value::as_str);
                out.push((section.to_owned(), renamed.unwrap_or(key).to_owned()));
            }
        }
    }
    out
}

fn line_of(text: &str, dependency: &str) -> usize {
    text.lines().position(|line| line.contains(dependency)).map_or(1, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::shown;

    const LINTS: &str = "[lints]\nworkspace = true\n";

    fn found(path: &str, text: &str) -> Vec<String> {
        shown(&check(&Tree::of(&[(path, text)])))
    }

    #[test]
    fn the_table_points_down() {
        assert_eq!(tiers(), []);
    }

    #[test]
    fn an_edge_that_is_not_in_the_table_is_found() {
        let manifest =
            format!("{LINTS}[dependencies]\nserde = \"1\"\nkarman-worker.workspace = true\n");
        assert_eq!(
            found("crates/karman-solver/Cargo.toml", &manifest),
            [
                "crates/karman-solver/Cargo.toml:5: the edge karman-solver → karman-worker is not in CRATES of xtask/src/tables.rs"
            ]
        );
    }

    #[test]
    fn renamed_and_target_edges_are_found_too() {
        let renamed =
            format!("{LINTS}[dependencies]\nx = {{ package = \"karman-net\", path = \"\" }}\n");
        assert_eq!(found("crates/karman-bake/Cargo.toml", &renamed).len(), 1);
        let target =
            format!("{LINTS}[target.'cfg(unix)'.dependencies]\nkarman-net.workspace = true\n");
        assert_eq!(found("crates/karman-bake/Cargo.toml", &target).len(), 1);
    }

    #[test]
    fn the_test_harness_is_for_tests() {
        let dev = format!("{LINTS}[dev-dependencies]\nkarman-testing.workspace = true\n");
        assert!(found("crates/karman-oci/Cargo.toml", &dev).is_empty());
        let normal = dev.replace("dev-", "");
        assert_eq!(found("crates/karman-oci/Cargo.toml", &normal).len(), 1);
    }

    #[test]
    fn unknown_crates_and_missing_lints_are_found() {
        assert!(found("crates/karman-misc/Cargo.toml", LINTS)[0].contains("is not in CRATES"));
        assert!(found("crates/karman-oci/Cargo.toml", "")[0].contains("lints"));
        assert!(found("crates/karman-sys/Cargo.toml", "").is_empty());
        assert!(found("crates/karman-oci/Cargo.toml", "[").iter().any(|f| f.contains("TOML")));
    }
}
