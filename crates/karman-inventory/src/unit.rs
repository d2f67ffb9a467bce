//! Units: paths that belong together in every image that has them, whatever else is in it.
//!
//! A unit is a Debian package or a Python distribution. What it has is narrower than what it owns ([`Survey::origin`]):
//! the same package must have the same paths in every image, so links of the alternatives system, paths that several
//! owners list, directories, and what a later step wrote over belong to no unit.

use std::collections::HashMap;

use crate::model::{Kind, Origin, Role};
use crate::python::normalized;
use crate::survey::Survey;
use crate::tree::Node;

const INFO_DIR: &str = "/var/lib/dpkg/info/";
const STATUS_DIR: &str = "/var/lib/dpkg/status.d/";

/// The units of a survey.
pub struct Units<'a> {
    survey: &'a Survey,
    /// Debian package → the layer of its list, which dpkg writes when it unpacks the package.
    unpacked: HashMap<&'a str, usize>,
    /// Distribution → the layer of its record.
    recorded: HashMap<&'a str, usize>,
}

impl<'a> Units<'a> {
    /// Looks up in which layers the packages and distributions were installed.
    pub fn of(survey: &'a Survey) -> Self {
        let mut unpacked = HashMap::new();
        for node in survey.nodes.iter().filter(|n| n.kind == Kind::File) {
            if let Some(package) = list_of(&node.path) {
                unpacked.insert(package, node.layer);
            }
        }
        let mut recorded = HashMap::new();
        for distribution in &survey.distributions {
            let record = format!("{}/RECORD", distribution.location);
            let node = survey.node(&record).or_else(|| survey.node(&distribution.location));
            if let Some(node) = node {
                let layer = recorded.entry(distribution.name.as_str()).or_insert(node.layer);
                *layer = node.layer.max(*layer);
            }
        }
        Self { survey, unpacked, recorded }
    }

    /// The unit that has a path: `deb:NAME` or `py:NAME`, nothing for what has to do with one image only.
    pub fn name(&self, node: &Node) -> Option<String> {
        if node.kind == Kind::Directory || self.survey.is_shared(&node.path) {
            return None;
        }
        let claimed = self.survey.claim(&node.path).map(|claim| claim.origin.clone());
        match claimed.or_else(|| self.survey.bytecode(&node.path))? {
            Origin::Dpkg { package, role } => {
                let unpacked = self.unpacked.get(package.as_str());
                let is_later = unpacked.is_some_and(|layer| node.layer > *layer);
                (role != Role::Alternative && !is_later).then(|| format!("deb:{package}"))
            }
            Origin::Python { distribution, role } => {
                // Bytecode may be made by a step of its own; it is that of the same sources.
                let recorded = self.recorded.get(distribution.as_str());
                let is_later = recorded.is_some_and(|layer| node.layer > *layer);
                let is_its = role == Role::Bytecode || !is_later;
                is_its.then(|| format!("py:{}", normalized(&distribution)))
            }
            _ => None,
        }
    }

    /// Name and version of every unit that the databases know, by the unit's name.
    pub fn versions(&self) -> HashMap<String, String> {
        let packages = self.survey.packages.iter();
        let packages = packages.map(|p| (format!("deb:{}", p.name), p.version.clone()));
        let own = self.survey.distributions.iter().filter(|d| d.package.is_none());
        let own = own.map(|d| (format!("py:{}", normalized(&d.name)), d.version.clone()));
        packages.chain(own).collect()
    }
}

/// The package whose list of paths a file is.
fn list_of(path: &str) -> Option<&str> {
    let name = match path.strip_prefix(INFO_DIR) {
        Some(name) => name.strip_suffix(".list")?,
        None => path.strip_prefix(STATUS_DIR).filter(|name| !name.ends_with(".md5sums"))?,
    };
    Some(name.split(':').next().unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryTree;

    const SITE: &str = "/venv/lib/python3/site-packages";

    fn packages(tree: &mut MemoryTree) {
        let status = ["a", "b"].map(|name| {
            format!("Package: {name}\nStatus: install ok installed\nVersion: 1~{name}\n\n")
        });
        tree.file("/var/lib/dpkg/status", status.concat());
        tree.file("/var/lib/dpkg/info/a:amd64.list", "/.\n/usr\n/usr/a\n/usr/both\n/etc/a.conf\n");
        tree.file("/var/lib/dpkg/info/b.list", "/usr\n/usr/b\n/usr/both\n");
        for path in ["/usr/a", "/usr/b", "/usr/both", "/etc/a.conf"] {
            tree.file(path, path);
        }
        tree.symlink("/etc/alternatives/x", "/usr/a");
        tree.symlink("/usr/x", "/etc/alternatives/x");
    }

    fn distribution(tree: &mut MemoryTree, site: &str, name: &str, record: &str) {
        let info = format!("{site}/{name}-1.dist-info");
        tree.file(&format!("{info}/METADATA"), format!("Name: {name}\nVersion: 1\n"));
        tree.file(&format!("{info}/REQUESTED"), "");
        tree.file(&format!("{info}/RECORD"), format!("{record}{name}-1.dist-info/METADATA,,\n"));
    }

    fn distributions(tree: &mut MemoryTree) {
        for path in [
            "one/__init__.py",
            "one/shared.py",
            "one/_vendor/v.py",
            "one/__pycache__/__init__.cpython-313.pyc",
        ] {
            tree.file(&format!("{SITE}/{path}"), path);
        }
        let one = "one/__init__.py,,\none/shared.py,,\none/_vendor/v.py,,\n../../../bin/one,,\n";
        distribution(tree, SITE, "One_Thing", one);
        distribution(tree, SITE, "two", "one/shared.py,,\n");
        distribution(tree, &format!("{SITE}/one/_vendor"), "v", "v.py,,\n");
        tree.file("/venv/bin/one", "#!");
        tree.file("/venv/pyvenv.cfg", "");
    }

    fn name(survey: &Survey, path: &str) -> Option<String> {
        let node = survey.node(path).unwrap_or_else(|| panic!("no {path}"));
        Units::of(survey).name(node)
    }

    #[test]
    fn a_unit_has_what_its_list_names_and_nobody_else() {
        let mut tree = MemoryTree::new();
        packages(&mut tree);
        distributions(&mut tree);
        let survey = Survey::read(&tree, Vec::new()).expect("a survey");
        let deb = |name: &str| Some(format!("deb:{name}"));
        assert_eq!(name(&survey, "/usr/a"), deb("a"));
        assert_eq!(name(&survey, "/var/lib/dpkg/info/a:amd64.list"), deb("a"));
        let of_none = [
            "/usr",
            "/usr/both",
            "/etc/alternatives/x",
            "/usr/x",
            "/var/lib/dpkg/status",
            "/venv/pyvenv.cfg",
        ];
        for path in of_none {
            assert_eq!(name(&survey, path), None, "{path}");
        }
        let one = Some("py:one-thing".to_owned());
        for path in [
            "one/__init__.py",
            "one/__pycache__/__init__.cpython-313.pyc",
            "One_Thing-1.dist-info/REQUESTED",
            "one/_vendor/v.py",
        ] {
            assert_eq!(name(&survey, &format!("{SITE}/{path}")), one, "{path}");
        }
        assert_eq!(name(&survey, "/venv/bin/one"), one);
        assert_eq!(
            name(&survey, &format!("{SITE}/one/shared.py")),
            None,
            "two distributions list it"
        );
        let versions = Units::of(&survey).versions();
        assert_eq!(versions["deb:b"], "1~b");
        assert_eq!(versions["py:one-thing"], "1");
    }

    #[test]
    fn what_a_later_step_wrote_is_its_own() {
        let mut tree = MemoryTree::new();
        packages(&mut tree);
        distributions(&mut tree);
        tree.begin_layer(1);
        tree.file("/etc/a.conf", "changed");
        tree.file(&format!("{SITE}/one/__init__.py"), "patched");
        tree.file(&format!("{SITE}/one/__pycache__/__init__.cpython-313.pyc"), "made later");
        let survey = Survey::read(&tree, Vec::new()).expect("a survey");
        assert_eq!(name(&survey, "/etc/a.conf"), None);
        assert_eq!(name(&survey, &format!("{SITE}/one/__init__.py")), None);
        let bytecode = format!("{SITE}/one/__pycache__/__init__.cpython-313.pyc");
        assert_eq!(name(&survey, &bytecode).as_deref(), Some("py:one-thing"));
        assert_eq!(name(&survey, "/usr/a").as_deref(), Some("deb:a"));
    }
}
