//! Which programs of an image are its own: those whose start-up is worth knowing.

use std::collections::BTreeSet;

use karman_inventory::Inventory;

/// Programs of one image that are measured.
const MAX_PROGRAMS: usize = 12;
/// What names of images and distributions of one service may begin with.
const PREFIXES: [&str; 2] = ["openstack-", "python-"];

/// A console script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its name.
    pub script: String,
    /// The Python that its first line names.
    pub interpreter: String,
    /// The module it imports.
    pub module: String,
}

/// The console scripts of the distribution that an image is named after, each module once.
///
/// `name` is a reference: `registry/openstack/nova:tag` is named after `nova`.
pub fn programs(name: &str, inventory: &Inventory) -> Vec<Program> {
    let short = name.rsplit('/').next().unwrap_or(name);
    let short = short.split(['@', ':']).next().unwrap_or(short);
    let mut modules = BTreeSet::new();
    let mut all = Vec::new();
    let own = inventory
        .distributions
        .iter()
        .filter(|d| d.package.is_none() && base(&d.name) == base(short));
    for point in own.flat_map(|d| &d.entry_points).filter(|p| p.group == "console_scripts") {
        let end = format!("/bin/{}", point.name);
        let file = inventory.entries.iter().find(|e| e.path.ends_with(&end));
        let Some(interpreter) = file.and_then(|e| e.interpreter.clone()) else { continue };
        let module = point.target.split(':').next().unwrap_or_default().trim().to_owned();
        let is_name = module.chars().all(|c| c.is_alphanumeric() || c == '.' || c == '_');
        if !module.is_empty() && is_name && modules.insert(module.clone()) {
            all.push(Program { script: point.name.clone(), interpreter, module });
        }
    }
    all.sort_by(|a, b| a.script.cmp(&b.script));
    all.truncate(MAX_PROGRAMS);
    all
}

/// A name as PEP 503 compares it, without what services are prefixed with.
fn base(name: &str) -> String {
    let name = name.to_lowercase().replace(['_', '.'], "-");
    let bare = PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).map(str::to_owned);
    bare.unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use karman_inventory::{Distribution, EntryPoint};

    use super::*;

    #[test]
    fn programs_are_those_of_the_images_own_distribution() {
        let point = |name: &str, target: &str| EntryPoint {
            group: "console_scripts".into(),
            name: name.into(),
            target: target.into(),
        };
        let distribution = |name: &str, points: Vec<EntryPoint>| Distribution {
            name: name.into(),
            entry_points: points,
            ..Distribution::default()
        };
        let json = r#"{"path":"/v/bin/heat-api","kind":"file","mode":"0755","uid":0,"gid":0,"layer":0,
            "origin":{"kind":"run"},"interpreter":"/v/bin/python3"}"#;
        let inventory = Inventory {
            distributions: vec![
                distribution("openstack_heat", vec![point("heat-api", "heat.cmd.api:main")]),
                distribution("other", vec![point("heat-api", "other:main")]),
            ],
            entries: vec![serde_json::from_str(json).expect("an entry")],
            ..Inventory::default()
        };
        let want = Program {
            script: "heat-api".into(),
            interpreter: "/v/bin/python3".into(),
            module: "heat.cmd.api".into(),
        };
        assert_eq!(programs("r.example:5000/openstack/heat:2026.1", &inventory), [want]);
        assert_eq!(programs("nova", &inventory), []);
    }
}
