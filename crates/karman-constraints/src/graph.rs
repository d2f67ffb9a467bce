//! The requirement graph of a locked series: `constraints/<series>/requirements.json`.
//!
//! It is recorded when the fleet is locked, from what the resolver itself decided by (see
//! [`record`](crate::record)), so that *who asks for this, and which versions may it have* is answered
//! without an index. It is committed beside the pins: one line a distribution, sorted, so that a
//! review shows a requirement that came or went.
//!
//! ```json
//! {
//!   "version": 1,
//!   "series": "2026.1",
//!   "python": {
//!     "3.13": {
//!       "pysaml2": {"version": "7.5.4", "requires": ["cryptography>=3.1", "pyopenssl<24.3.0"]}
//!     }
//!   }
//! }
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::Deserialize;

use crate::requirement::{Requirement, RequirementError};
use crate::{NameError, PackageName, PythonVersion, Series, VersionError};

/// The version of the format; a newer one is refused.
pub const REQUIREMENTS_VERSION: u32 = 1;
/// A larger file is refused: that of a whole fleet has some ten thousand bytes.
pub const MAX_REQUIREMENTS_BYTES: usize = 16 << 20;
/// What stands for the `base` list of a series where a service's name is wanted.
pub const EVERY_IMAGE: &str = "every image";

/// What every distribution of a series asks for, by Python.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Requirements {
    /// The series.
    pub series: String,
    /// The distributions that were resolved for each Python.
    pub pythons: BTreeMap<PythonVersion, BTreeMap<PackageName, Node>>,
}

/// One distribution at one version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// The version.
    pub version: String,
    /// What it asks for on that Python, sorted by name.
    pub requires: Vec<Requirement>,
}

/// A way from a service to a distribution: requirements, each asked for by the one before.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chain {
    /// The service, or [`EVERY_IMAGE`].
    pub service: String,
    /// Distribution and version of every step, and the requirement it makes; the last requirement
    /// names the distribution.
    pub steps: Vec<Step>,
}

/// One requirement of a chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// Who asks, with the version; `None` where the series itself does.
    pub by: Option<(PackageName, String)>,
    /// What is asked for, as a line.
    pub line: String,
}

/// Who asks for a distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirer<'a> {
    /// The Python it is so for.
    pub python: PythonVersion,
    /// Who.
    pub name: &'a PackageName,
    /// In which version.
    pub version: &'a str,
    /// With which requirement.
    pub requirement: &'a Requirement,
}

/// Why a file is no requirement graph.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// Not JSON, or of another shape.
    #[error("not a requirement graph")]
    Json(#[source] serde_json::Error),
    /// Made by a newer program.
    #[error(
        "version {0} of the format is newer than this program; it knows {REQUIREMENTS_VERSION}"
    )]
    Version(u32),
    /// Larger than [`MAX_REQUIREMENTS_BYTES`].
    #[error("{0} bytes are too many")]
    TooLong(usize),
    /// A key that names no Python.
    #[error(transparent)]
    Python(#[from] VersionError),
    /// A key that names no distribution.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A requirement that is none.
    #[error(transparent)]
    Requirement(#[from] RequirementError),
}

#[derive(Deserialize)]
struct Wire {
    version: u32,
    series: String,
    python: BTreeMap<String, BTreeMap<String, WireNode>>,
}

#[derive(Deserialize)]
struct WireNode {
    version: String,
    requires: Vec<String>,
}

impl Requirements {
    /// Reads a file of this format.
    ///
    /// # Errors
    /// When it is none, of a newer version, or too large.
    pub fn parse(text: &str) -> Result<Self, GraphError> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        if text.len() > MAX_REQUIREMENTS_BYTES {
            return Err(GraphError::TooLong(text.len()));
        }
        let Version { version } = serde_json::from_str(text).map_err(GraphError::Json)?;
        if version != REQUIREMENTS_VERSION {
            return Err(GraphError::Version(version));
        }
        let wire: Wire = serde_json::from_str(text).map_err(GraphError::Json)?;
        debug_assert_eq!(wire.version, version);
        let mut pythons = BTreeMap::new();
        for (python, nodes) in wire.python {
            let mut all = BTreeMap::new();
            for (name, node) in nodes {
                let requires = node.requires.iter().map(|r| r.parse());
                let requires = requires.collect::<Result<Vec<Requirement>, _>>()?;
                all.insert(name.parse()?, Node { version: node.version, requires });
            }
            pythons.insert(python.parse()?, all);
        }
        Ok(Self { series: wire.series, pythons })
    }

    /// The file. Deterministic.
    pub fn render(&self) -> String {
        let quote = |text: &str| serde_json::Value::from(text).to_string();
        let mut out = format!(
            "{{\n  \"version\": {REQUIREMENTS_VERSION},\n  \"series\": {},\n  \"python\": {{",
            quote(&self.series)
        );
        for (index, (python, nodes)) in self.pythons.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            out += &format!("{comma}\n    {}: {{", quote(&python.to_string()));
            for (index, (name, node)) in nodes.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                let requires: Vec<String> =
                    node.requires.iter().map(|r| quote(&r.line())).collect();
                out += &format!(
                    "{comma}\n      {}: {{\"version\": {}, \"requires\": [{}]}}",
                    quote(name.as_str()),
                    quote(&node.version),
                    requires.join(", ")
                );
            }
            out += "\n    }";
        }
        out + "\n  }\n}\n"
    }

    /// Everybody who asks for `package`, sorted by Python and name.
    pub fn requirers<'a>(
        &'a self,
        package: &'a PackageName,
    ) -> impl Iterator<Item = Requirer<'a>> + 'a {
        self.pythons.iter().flat_map(move |(&python, nodes)| {
            nodes.iter().flat_map(move |(name, node)| {
                let asked = node.requires.iter().filter(move |r| r.name == *package);
                let version = node.version.as_str();
                asked.map(move |requirement| Requirer { python, name, version, requirement })
            })
        })
    }

    /// The shortest chain from every service that leads to `package`; of several, the first by name.
    /// Where the `base` list brings it, that chain is the first, of [`EVERY_IMAGE`].
    pub fn chains(&self, series: &Series, package: &PackageName) -> Vec<Chain> {
        let base = self.chain(EVERY_IMAGE, &series.base, package);
        let of = |service: &crate::Service| {
            let roots: Vec<Requirement> =
                service.requirements.iter().map(|r| service.pinned(r)).collect();
            self.chain(&service.name, &roots, package)
        };
        base.into_iter().chain(series.services.iter().filter_map(of)).collect()
    }

    /// The services whose images hold `package`, sorted; all of them where `base` brings it.
    pub fn services(&self, series: &Series, package: &PackageName) -> BTreeSet<String> {
        let chains = self.chains(series, package);
        if chains.iter().any(|c| c.service == EVERY_IMAGE) {
            return series.services.iter().map(|s| s.name.clone()).collect();
        }
        chains.into_iter().map(|c| c.service).collect()
    }

    fn chain(&self, service: &str, roots: &[Requirement], package: &PackageName) -> Option<Chain> {
        let chains = self.pythons.values().filter_map(|nodes| shortest(nodes, roots, package));
        let steps = chains.min_by_key(Vec::len)?;
        Some(Chain { service: service.to_owned(), steps })
    }
}

/// Breadth first, in the order of names.
fn shortest(
    nodes: &BTreeMap<PackageName, Node>,
    roots: &[Requirement],
    package: &PackageName,
) -> Option<Vec<Step>> {
    let mut from: BTreeMap<&PackageName, (Option<&PackageName>, &Requirement)> = BTreeMap::new();
    let mut queue = VecDeque::new();
    for root in roots {
        if nodes.contains_key(&root.name) && !from.contains_key(&root.name) {
            from.insert(&root.name, (None, root));
            queue.push_back(&root.name);
        }
    }
    while let Some(name) = queue.pop_front() {
        if name == package {
            break;
        }
        for requirement in nodes.get(name).into_iter().flat_map(|n| &n.requires) {
            if nodes.contains_key(&requirement.name) && !from.contains_key(&requirement.name) {
                from.insert(&requirement.name, (Some(name), requirement));
                queue.push_back(&requirement.name);
            }
        }
    }
    let mut steps = Vec::new();
    let mut at = Some(package);
    while let Some(name) = at {
        let (by, requirement) = from.get(name)?;
        let version = |n: &PackageName| nodes.get(n).map(|n| n.version.clone()).unwrap_or_default();
        let who = by.map(|n| (n.clone(), version(n)));
        steps.push(Step { by: who, line: requirement.line() });
        at = *by;
    }
    steps.reverse();
    Some(steps)
}
