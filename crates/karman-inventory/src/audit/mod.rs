//! The audit: what must not be in an image, what is missing in it, what it promises, what it exposes.
//!
//! | file | findings |
//! |---|---|
//! | `leaks` | `leak-…`: what only a build needs |
//! | `missing`, `loader` | `missing-…`: libraries, symbol versions, interpreters |
//! | `surface` | `surface-…`: set-id files, capabilities, writable paths |
//! | `listen` | `surface-listen`: where servers listen by their configuration |
//! | `secrets` | `secret-…`: keys and tokens by pattern, values used in the build |
//! | `contract` | `contract-…`: users and directories; what is run is run elsewhere |
//! | `tracker` | `vulnerable-debian`: an offline copy of Debian's security tracker |
//! | `policy` | which findings fail, and what is allowed for which reason |
//! | `report` | text, JSON, SARIF |
//!
//! All findings with their defaults are in [`CHECKS`].

pub mod contract;
mod leaks;
pub mod listen;
mod loader;
mod missing;
mod policy;
pub mod report;
pub mod secrets;
mod surface;
pub mod tracker;

use std::collections::BTreeMap;

use karman_oci::ImageConfig;
use serde::Serialize;

pub use policy::{Allow, ContractRule, Day, DirectoryRule, Policy, PolicyError, UserRule, Verdict};

use crate::model::{Entry, Inventory, Origin, Role};
use crate::print::origin_of;

/// Paths named in one finding; the rest is counted.
const MAX_PATHS: usize = 5;

/// A kind of finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// Its name in policies and reports.
    pub id: &'static str,
    /// What it means, in a sentence without its period.
    pub title: &'static str,
    /// Whether it fails an audit without a policy.
    pub fails: bool,
}

const fn fails(id: &'static str, title: &'static str) -> Check {
    Check { id, title, fails: true }
}

const fn notes(id: &'static str, title: &'static str) -> Check {
    Check { id, title, fails: false }
}

/// Every finding there is, in the order of reports.
pub const CHECKS: &[Check] = &[
    fails("leak-compiler", "a compiler, linker or other build tool is in the image"),
    fails("leak-header", "a header file is in the image"),
    fails("leak-static-library", "a static library or object file is in the image"),
    fails("leak-dev-package", "a Debian package that only serves to build is installed"),
    fails("leak-vcs", "a version control tool or its data is in the image"),
    fails("leak-python-tooling", "a tool that installs or builds Python packages is in the image"),
    fails("leak-package-file", "a package file or source code of packages is in the image"),
    fails("leak-cache", "a cache or temporary file is in the image"),
    fails("leak-history", "a shell history is in the image"),
    fails("leak-apt-lists", "lists of apt are in the image"),
    fails("leak-build-only", "a file comes from a package that only a build stage has"),
    fails("missing-library", "a library that a program needs is not in the image"),
    fails("missing-version", "a library lacks a symbol version that a program needs"),
    fails("missing-interpreter", "the interpreter of a program or script is not in the image"),
    notes("missing-of-package", "a Debian package needs a library that is not in the image"),
    notes("damaged-elf", "an ELF file cannot be read"),
    fails("unexplained", "nothing tells where a path came from"),
    notes("altered", "a file differs from what its package delivered"),
    fails("contract-script", "a console script cannot be imported"),
    fails("contract-entry-point", "an entry point cannot be loaded"),
    fails("contract-run", "a console script tells of a broken installation when it is run"),
    fails("contract-command", "a declared command does not end with 0"),
    fails("contract-python", "the Python of a virtual environment cannot be run"),
    fails(
        "contract-abi",
        "a module of Debian is not made for the Python of the virtual environment",
    ),
    fails("contract-user", "a declared user does not exist or is another one"),
    fails("contract-directory", "a declared directory does not exist or has another owner or mode"),
    fails(
        "surface-setid",
        "a set-user-id or set-group-id file is not as a Debian package delivers it",
    ),
    notes("surface-setid-of-package", "a Debian package has a set-user-id or set-group-id file"),
    notes("surface-capability", "a file has capabilities"),
    fails("surface-world-writable", "everybody may write to a path"),
    notes("surface-port", "the image declares a port"),
    notes("surface-root", "the image runs as root"),
    fails("secret-pattern", "a file or the configuration holds what looks like a key or a token"),
    fails("secret-of-build", "a file holds a secret that was lent to the build"),
    notes("surface-listen", "the configuration of a server says where it listens"),
    fails("vulnerable-python", "a Python distribution has a known vulnerability"),
    fails("vulnerable-debian", "a Debian package has a known vulnerability"),
];

/// The check of an id.
pub fn check(id: &str) -> Option<&'static Check> {
    CHECKS.iter().find(|c| c.id == id)
}

/// Something an audit reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The check, by its id in [`CHECKS`].
    pub id: &'static str,
    /// What it is about: a path, a package, `NAME VERSION` of a distribution, or `config`.
    pub subject: String,
    /// What is the case.
    pub message: String,
    /// Where the subject came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// More paths that are the same finding, the first few of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// How many paths in all.
    pub paths: usize,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Finding {
    /// A finding about one thing.
    pub fn new(id: &'static str, subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            id,
            subject: subject.into(),
            message: message.into(),
            origin: None,
            also: Vec::new(),
            paths: 1,
            hint: None,
        }
    }

    /// The same with advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn at(
        inventory: &Inventory,
        entry: &Entry,
        id: &'static str,
        message: &str,
    ) -> Self {
        let origin = Some(origin_of(inventory, entry));
        Self { origin, ..Self::new(id, entry.path.clone(), message) }
    }
}

/// What can be found without the bytes of the image: leaks, what is missing, the surface, who wrote what.
pub fn audit(inventory: &Inventory, config: &ImageConfig) -> Vec<Finding> {
    let mut found = Found::new(inventory);
    leaks::find(inventory, &mut found);
    for entry in &inventory.entries {
        if entry.origin == Origin::Unknown {
            found.add(entry, "unexplained", "no layer, package or instruction explains it");
        }
        let is_changeable = matches!(entry.origin, Origin::Dpkg { role: Role::Conffile, .. });
        if entry.altered && !is_changeable {
            found.add(entry, "altered", "its bytes are not those that its package delivered");
        }
    }
    let mut all = found.finish();
    all.extend(missing::find(inventory, config));
    all.extend(surface::find(inventory, config));
    sort(&mut all);
    all
}

/// Puts findings into the order of [`CHECKS`], then of their subjects.
pub fn sort(findings: &mut Vec<Finding>) {
    let rank = |id: &str| CHECKS.iter().position(|c| c.id == id).unwrap_or(CHECKS.len());
    findings.sort_by(|a, b| {
        (rank(a.id), &a.subject, &a.message).cmp(&(rank(b.id), &b.subject, &b.message))
    });
    findings.dedup();
}

/// Collects findings of paths; those of one owner and kind become one.
pub(crate) struct Found<'a> {
    inventory: &'a Inventory,
    groups: BTreeMap<(&'static str, String), Finding>,
}

impl<'a> Found<'a> {
    pub(crate) fn new(inventory: &'a Inventory) -> Self {
        Self { inventory, groups: BTreeMap::new() }
    }

    pub(crate) fn add(&mut self, entry: &Entry, id: &'static str, message: &str) {
        // What an owner has goes together; what nobody owns, by directory.
        let group = match &entry.origin {
            Origin::Dpkg { package, .. } => format!("dpkg {package}"),
            Origin::Python { distribution, .. } => format!("python {distribution}"),
            _ => entry.path.rsplit_once('/').map_or("", |(dir, _)| dir).to_owned(),
        };
        match self.groups.get_mut(&(id, group.clone())) {
            Some(known) => {
                known.paths += 1;
                if known.also.len() < MAX_PATHS {
                    known.also.push(entry.path.clone());
                }
            }
            None => {
                let finding = Finding::at(self.inventory, entry, id, message);
                self.groups.insert((id, group), finding);
            }
        }
    }

    /// Adds a finding that is no path's.
    pub(crate) fn push(&mut self, finding: Finding) {
        self.groups.insert((finding.id, finding.subject.clone()), finding);
    }

    pub(crate) fn finish(self) -> Vec<Finding> {
        self.groups.into_values().collect()
    }
}
