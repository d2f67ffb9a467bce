//! Bills of materials: CycloneDX 1.6 and SPDX 2.3, both JSON, the same bytes for the same image.
//!
//! Both have the image, its Debian packages and Python distributions with package URLs and licences, who depends on
//! whom, and what the stages behind the image gave it: packages of which files were copied and, where programs or
//! libraries were copied that no package delivered, packages with headers and static libraries, which may be in them.
//!
//! What policies of the build did is told of each distribution and summed up for the image: how many files were taken
//! out, compiled or linked, from the lists that the build left beside the records ([`Policy`]).
//!
//! The digest of a component is that of its files in this image: sha256 over lines `DIGEST PATH`, sorted by path. It
//! changes when a file of it does.

mod cyclonedx;
mod licence;
mod purl;
mod spdx;

use std::collections::{BTreeMap, BTreeSet};

use karman_oci::{Digest, Hasher};

pub use cyclonedx::cyclonedx;
pub use spdx::spdx;

use crate::model::{Inventory, Origin, Package, Policy};
use crate::python::normalized;

/// What a bill is of.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    /// The image as people call it.
    pub name: &'a str,
    /// The digest of its manifest.
    pub digest: Digest,
    /// When it was made, RFC 3339; images that say nothing were made in 1970.
    pub created: Option<&'a str>,
    /// Karman's version.
    pub version: &'a str,
    /// What is in it.
    pub inventory: &'a Inventory,
}

const EPOCH: &str = "1970-01-01T00:00:00Z";

/// Whose component it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Debian,
    Python,
}

/// One package or distribution.
struct Component<'a> {
    kind: Kind,
    name: &'a str,
    version: &'a str,
    purl: String,
    licences: Vec<&'a str>,
    /// Who maintains it.
    supplier: Option<&'a str>,
    /// Source package and version.
    source: Option<String>,
    /// The digest over its files.
    digest: Option<Digest>,
    /// Names of what it depends on, as its own kind writes them.
    depends: Vec<String>,
    /// What policies of the build did to it.
    policies: &'a [Policy],
    /// The stage that has it installed while the image has not.
    stage: Option<&'a str>,
}

impl Component<'_> {
    /// Unique in a bill.
    fn key(&self) -> String {
        match self.stage {
            Some(stage) => format!("{}#stage-{stage}", self.purl),
            None => self.purl.clone(),
        }
    }
}

/// All components: of the image by kind and name, then of the stages.
fn components<'a>(subject: &Subject<'a>) -> Vec<Component<'a>> {
    let inventory = subject.inventory;
    let digests = digests(inventory);
    let mut all = Vec::new();
    for package in &inventory.packages {
        all.push(Component {
            digest: digests.get(&(Kind::Debian, package.name.as_str())).copied(),
            ..debian(inventory, package, None)
        });
    }
    // One that Debian packages is told with its package; of several places the first counts.
    for distribution in inventory.distributions.iter().filter(|d| d.package.is_none()) {
        let python = Component {
            kind: Kind::Python,
            name: &distribution.name,
            version: &distribution.version,
            purl: purl::python(&distribution.name, &distribution.version),
            licences: distribution.licence.as_deref().into_iter().collect(),
            supplier: None,
            source: None,
            digest: digests.get(&(Kind::Python, distribution.name.as_str())).copied(),
            depends: distribution.requires.iter().filter_map(|r| purl::required(r)).collect(),
            policies: &distribution.policies,
            stage: None,
        };
        if !all.iter().any(|c: &Component<'_>| c.purl == python.purl) {
            all.push(python);
        }
    }
    let installed: BTreeSet<_> =
        inventory.packages.iter().map(|p| (p.name.as_str(), p.version.as_str())).collect();
    for (at, stage) in inventory.stages.iter().enumerate() {
        let contribution = Contribution::of(inventory, at);
        let more = stage
            .packages
            .iter()
            .filter(|p| !installed.contains(&(p.name.as_str(), p.version.as_str())))
            .filter(|p| contribution.has(p));
        for package in more {
            let component = debian(inventory, package, Some(stage.name.as_str()));
            if !all.iter().any(|c: &Component<'_>| c.key() == component.key()) {
                all.push(component);
            }
        }
    }
    all
}

/// What of a stage may be in the image.
struct Contribution<'a> {
    /// Packages of which files were copied.
    copied: BTreeSet<&'a str>,
    /// Whether programs or libraries were copied that no package of the stage delivered: what they were
    /// compiled with may be in them.
    is_compiled: bool,
}

impl<'a> Contribution<'a> {
    fn of(inventory: &'a Inventory, stage: usize) -> Self {
        let mut found = Self { copied: BTreeSet::new(), is_compiled: false };
        for entry in &inventory.entries {
            for upstream in entry.upstream.iter().filter(|u| u.stage == stage) {
                match &upstream.origin {
                    Origin::Dpkg { package, .. } => drop(found.copied.insert(package)),
                    _ => found.is_compiled |= entry.elf.is_some(),
                }
            }
        }
        found
    }

    /// Headers and static libraries are what gets into what is compiled; tools do not.
    fn has(&self, package: &Package) -> bool {
        let is_linked = package.section == "libdevel" || package.name.ends_with("-dev");
        self.copied.contains(package.name.as_str()) || (self.is_compiled && is_linked)
    }
}

fn debian<'a>(
    inventory: &Inventory,
    package: &'a Package,
    stage: Option<&'a str>,
) -> Component<'a> {
    let supplier = Some(package.maintainer.as_str()).filter(|m| !m.is_empty());
    Component {
        kind: Kind::Debian,
        name: &package.name,
        version: &package.version,
        purl: purl::debian(inventory.system.as_ref(), package),
        licences: package.licences.iter().map(String::as_str).collect(),
        supplier,
        source: Some(format!("{} {}", package.source, package.source_version)),
        digest: None,
        depends: package.depends.clone(),
        policies: &[],
        stage,
    }
}

/// What each policy did to the whole image, by name.
fn policies(all: &[Component<'_>]) -> Vec<Policy> {
    let mut sums: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for policy in all.iter().flat_map(|c| c.policies) {
        let (files, bytes) = sums.entry(&policy.name).or_default();
        *files = files.saturating_add(policy.files);
        *bytes = bytes.saturating_add(policy.bytes);
    }
    let sums = sums.into_iter();
    sums.map(|(name, (files, bytes))| Policy { name: name.to_owned(), files, bytes }).collect()
}

/// `12 files, 3456 bytes`.
fn amount(policy: &Policy) -> String {
    format!("{} files, {} bytes", policy.files, policy.bytes)
}

/// For each owner the digest over its files.
fn digests(inventory: &Inventory) -> BTreeMap<(Kind, &str), Digest> {
    let mut hashers: BTreeMap<(Kind, &str), Hasher> = BTreeMap::new();
    for entry in &inventory.entries {
        let Some(digest) = entry.digest else { continue };
        let owner = match &entry.origin {
            Origin::Dpkg { package, .. } => (Kind::Debian, package.as_str()),
            Origin::Python { distribution, .. } => (Kind::Python, distribution.as_str()),
            _ => continue,
        };
        hashers.entry(owner).or_default().update(format!("{digest} {}\n", entry.path).as_bytes());
    }
    hashers.into_iter().map(|(owner, hasher)| (owner, hasher.finish())).collect()
}

/// For each component of the image the keys of those of the image that it depends on.
fn dependencies(all: &[Component<'_>]) -> Vec<(String, Vec<String>)> {
    let mut keys: BTreeMap<(Kind, String), String> = BTreeMap::new();
    for component in all.iter().filter(|c| c.stage.is_none()) {
        let name = match component.kind {
            Kind::Debian => component.name.to_owned(),
            Kind::Python => normalized(component.name),
        };
        keys.entry((component.kind, name)).or_insert_with(|| component.key());
    }
    let of = |component: &Component<'_>| {
        let found = component.depends.iter().filter_map(|d| keys.get(&(component.kind, d.clone())));
        let own = component.key();
        let found: BTreeSet<String> = found.filter(|k| **k != own).cloned().collect();
        (own, found.into_iter().collect())
    };
    all.iter().filter(|c| c.stage.is_none()).map(of).collect()
}

/// A UUID from a digest, in the form of version 8 (RFC 9562: vendor-specific), so that a bill has a name of its own and
/// is the same for the same image.
fn uuid(digest: &Digest) -> String {
    let hex = digest.hex();
    format!("{}-{}-8{}-9{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32])
}
