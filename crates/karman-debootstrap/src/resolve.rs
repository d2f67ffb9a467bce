//! The closure: which packages are needed for a set of roots.
//!
//! Depth first and deterministic: roots are taken all at once, then each group of alternatives is
//! satisfied by what is chosen already, else by the first alternative that can be installed (the real
//! package before packages that provide the name), going back where a choice leads nowhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::hint::nearest;
use crate::index::{Candidate, IndexError, Universe};
use crate::relation::Relation;
use crate::source::{Source, Variant};

/// Choices tried before the search is given up; a base set takes about a hundred.
const MAX_STEPS: usize = 200_000;
/// Packages depending on each other in one line; recursion is bounded by it.
const MAX_DEPTH: usize = 400;

/// Why no set of packages fits.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// A package that was asked for is not in the archive.
    #[error("package `{name}` is not in the archive")]
    Missing {
        /// The package.
        name: String,
        /// The one that was perhaps meant.
        nearest: Option<String>,
    },
    /// A dependency cannot be satisfied.
    #[error("nothing satisfies `{relation}`, needed by {}", chain.join(" → "))]
    Unsatisfiable {
        /// The alternatives.
        relation: String,
        /// From a root to the package with the dependency.
        chain: Vec<String>,
    },
    /// Two packages exclude each other.
    #[error("`{package}` conflicts with `{other}` by `{relation}`")]
    Conflict {
        /// The package that says so.
        package: String,
        /// The other one.
        other: String,
        /// The relation.
        relation: String,
    },
    /// The search took too long.
    #[error("no solution within {limit} steps")]
    TooHard {
        /// The limit.
        limit: usize,
    },
    /// The set cannot configure itself.
    #[error("package `dpkg` is not among the packages")]
    NoDpkg,
    /// A stanza is broken.
    #[error(transparent)]
    Index(#[from] IndexError),
}

impl ResolveError {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { nearest: Some(near), .. } => Some(format!("did you mean `{near}`?")),
            Self::Missing { nearest: None, .. } => Some(
                "check its spelling, and whether its component is among `components=`".to_owned(),
            ),
            Self::NoDpkg => Some("add `dpkg` to `include=`, or use another variant".to_owned()),
            _ => None,
        }
    }
}

/// What was chosen, by name; `base` are the packages the variant brought.
pub(crate) struct Resolution {
    pub(crate) packages: Vec<Candidate>,
    pub(crate) base: BTreeSet<String>,
}

/// Resolves a source against an archive.
pub(crate) fn resolve(
    source: &Source,
    universe: &Universe<'_>,
) -> Result<Resolution, ResolveError> {
    let mut search = Search::new(universe);
    let roots = match source.variant {
        Variant::Essential => universe.base(false),
        Variant::Minbase => {
            let mut roots = universe.base(true);
            roots.push(search.root("apt")?);
            roots
        }
        Variant::Custom => Vec::new(),
    };
    search.install_roots(&roots)?;
    let base: BTreeSet<String> = search.chosen.values().map(|one| one.name.clone()).collect();
    let mut included = Vec::new();
    for name in &source.include {
        included.push(search.root(name)?);
    }
    search.install_roots(&included)?;
    if !search.provided.contains_key("dpkg") {
        return Err(ResolveError::NoDpkg);
    }
    let mut packages: Vec<Candidate> = search.chosen.into_values().collect();
    packages.sort_by(|a, b| a.name.cmp(&b.name));
    // `custom` has no base of its own: everything is unpacked before anything is configured.
    let base = if source.variant == Variant::Custom {
        packages.iter().map(|one| one.name.clone()).collect()
    } else {
        base
    };
    Ok(Resolution { packages, base })
}

struct Search<'u, 'a> {
    universe: &'u Universe<'a>,
    parsed: BTreeMap<usize, Candidate>,
    chosen: BTreeMap<usize, Candidate>,
    /// Name or provided name → numbers of chosen packages.
    provided: BTreeMap<String, Vec<usize>>,
    order: Vec<usize>,
    steps: usize,
}

impl<'u, 'a> Search<'u, 'a> {
    fn new(universe: &'u Universe<'a>) -> Self {
        Self {
            universe,
            parsed: BTreeMap::new(),
            chosen: BTreeMap::new(),
            provided: BTreeMap::new(),
            order: Vec::new(),
            steps: 0,
        }
    }

    /// The number of a package asked for by name; a virtual name stands for its best provider.
    fn root(&mut self, name: &str) -> Result<usize, ResolveError> {
        if let Some(number) = self.universe.find(name) {
            return Ok(number);
        }
        let best = self.providers_by_rank(name)?.first().copied();
        best.ok_or_else(|| ResolveError::Missing {
            name: name.to_owned(),
            nearest: {
                let mut names: Vec<&str> = self.universe.names().collect();
                names.sort_unstable();
                nearest(name, names).map(str::to_owned)
            },
        })
    }

    fn install_roots(&mut self, roots: &[usize]) -> Result<(), ResolveError> {
        let new: Vec<usize> =
            roots.iter().copied().filter(|root| !self.chosen.contains_key(root)).collect();
        for &root in &new {
            if !self.chosen.contains_key(&root) {
                self.choose(root)?;
            }
        }
        for root in new {
            let name = self.universe.name(root).to_owned();
            self.satisfy_all(root, &mut vec![name])?;
        }
        Ok(())
    }

    /// Chooses a package with everything it needs, or leaves the state as it was.
    fn install(&mut self, number: usize, chain: &mut Vec<String>) -> Result<(), ResolveError> {
        self.steps += 1;
        if self.steps > MAX_STEPS || chain.len() > MAX_DEPTH {
            return Err(ResolveError::TooHard { limit: MAX_STEPS });
        }
        let mark = self.order.len();
        self.choose(number)?;
        chain.push(self.universe.name(number).to_owned());
        let outcome = self.satisfy_all(number, chain);
        chain.pop();
        if outcome.is_err() {
            self.go_back(mark);
        }
        outcome
    }

    fn satisfy_all(&mut self, number: usize, chain: &mut Vec<String>) -> Result<(), ResolveError> {
        let package = self.candidate(number)?;
        let groups: Vec<Vec<Relation>> =
            package.pre_depends.iter().chain(&package.depends).cloned().collect();
        for group in groups {
            if !group.iter().any(|relation| self.is_satisfied(relation)) {
                self.satisfy(&group, chain)?;
            }
        }
        Ok(())
    }

    fn satisfy(&mut self, group: &[Relation], chain: &mut Vec<String>) -> Result<(), ResolveError> {
        let mut first_error = None;
        for relation in group {
            for number in self.options(relation)? {
                match self.install(number, chain) {
                    Ok(()) => return Ok(()),
                    Err(hard @ (ResolveError::TooHard { .. } | ResolveError::Index(_))) => {
                        return Err(hard);
                    }
                    Err(error) => first_error = first_error.or(Some(error)),
                }
            }
        }
        let shown: Vec<String> = group.iter().map(ToString::to_string).collect();
        Err(first_error.unwrap_or_else(|| ResolveError::Unsatisfiable {
            relation: shown.join(" | "),
            chain: chain.clone(),
        }))
    }

    /// Packages not chosen yet that would satisfy a relation, the best first.
    fn options(&mut self, relation: &Relation) -> Result<Vec<usize>, ResolveError> {
        let mut out = Vec::new();
        if let Some(number) = self.universe.find(&relation.name) {
            let real = self.candidate(number)?;
            if relation.accepts(&real.version) && arch_fits(relation, real) {
                out.push(number);
            }
        }
        for number in self.providers_by_rank(&relation.name)? {
            let provider = self.candidate(number)?;
            if provides(provider, relation) && !out.contains(&number) {
                out.push(number);
            }
        }
        // The newest version of a chosen package was refused already if it did not satisfy.
        out.retain(|number| !self.chosen.contains_key(number));
        Ok(out)
    }

    fn providers_by_rank(&mut self, name: &str) -> Result<Vec<usize>, ResolveError> {
        let mut ranked = Vec::new();
        for &number in self.universe.providers(name) {
            ranked.push((self.candidate(number)?.priority, self.universe.name(number), number));
        }
        ranked.sort_unstable();
        Ok(ranked.into_iter().map(|(_, _, number)| number).collect())
    }

    fn is_satisfied(&self, relation: &Relation) -> bool {
        let numbers = self.provided.get(&relation.name);
        numbers
            .into_iter()
            .flatten()
            .any(|number| self.chosen.get(number).is_some_and(|one| matches(one, relation)))
    }

    fn choose(&mut self, number: usize) -> Result<(), ResolveError> {
        let package = self.candidate(number)?.clone();
        self.check_conflicts(&package)?;
        for name in package.provides.iter().map(|(name, _)| name).chain([&package.name]) {
            self.provided.entry(name.clone()).or_default().push(number);
        }
        self.chosen.insert(number, package);
        self.order.push(number);
        Ok(())
    }

    fn go_back(&mut self, mark: usize) {
        for number in self.order.split_off(mark) {
            if let Some(package) = self.chosen.remove(&number) {
                for name in package.provides.iter().map(|(name, _)| name).chain([&package.name]) {
                    if let Some(numbers) = self.provided.get_mut(name) {
                        numbers.retain(|&other| other != number);
                    }
                }
            }
        }
        self.provided.retain(|_, numbers| !numbers.is_empty());
    }

    fn check_conflicts(&self, package: &Candidate) -> Result<(), ResolveError> {
        let error =
            |who: &Candidate, other: &Candidate, relation: &Relation| ResolveError::Conflict {
                package: who.name.clone(),
                other: other.name.clone(),
                relation: relation.to_string(),
            };
        for relation in &package.conflicts {
            for number in self.provided.get(&relation.name).into_iter().flatten() {
                if let Some(other) =
                    self.chosen.get(number).filter(|other| matches(other, relation))
                {
                    return Err(error(package, other, relation));
                }
            }
        }
        for other in self.chosen.values() {
            if let Some(relation) =
                other.conflicts.iter().find(|relation| matches(package, relation))
            {
                return Err(error(other, package, relation));
            }
        }
        Ok(())
    }

    fn candidate(&mut self, number: usize) -> Result<&Candidate, ResolveError> {
        use std::collections::btree_map::Entry;
        Ok(match self.parsed.entry(number) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) => free.insert(self.universe.candidate(number)?),
        })
    }
}

fn matches(package: &Candidate, relation: &Relation) -> bool {
    let real = package.name == relation.name
        && relation.accepts(&package.version)
        && arch_fits(relation, package);
    real || provides(package, relation)
}

fn provides(package: &Candidate, relation: &Relation) -> bool {
    package.provides.iter().any(|(name, version)| {
        *name == relation.name && relation.accepts_provided(version.as_ref())
    })
}

/// `:any` and `:native` are satisfied by the one architecture there is.
fn arch_fits(relation: &Relation, package: &Candidate) -> bool {
    match relation.qualifier.as_deref() {
        None | Some("any" | "native") => true,
        Some(arch) => arch == package.arch || package.arch == "all",
    }
}

/// Names of the packages among `all` that satisfy `groups`, without repetition.
pub(crate) fn satisfiers(groups: &[Vec<Relation>], all: &[Candidate]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for relation in groups.iter().flatten() {
        for package in all.iter().filter(|package| matches(package, relation)) {
            if !out.contains(&package.name) {
                out.push(package.name.clone());
            }
        }
    }
    out
}
