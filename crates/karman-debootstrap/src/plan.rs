//! The plan: exactly which packages make the root filesystem, and the identity of the result.

use std::collections::BTreeSet;
use std::thread;

use sha2::{Digest, Sha256};

use crate::archive::{self, Pocket};
use crate::cache::{self, Cache, CacheError};
use crate::fetch::{Fetch, Want};
use crate::index::{Candidate, IndexError, Universe};
use crate::pocket::{self, Environment, Fetched, PocketError};
use crate::resolve::{self, ResolveError};
use crate::source::{Distribution, Source, Variant};

/// Changes whenever the same packages would give another tree; part of every identity.
const FORMAT: &str = "karman-debootstrap 1";
/// Downloads at once that still help.
const MAX_THREADS: usize = 16;

/// A package of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Package {
    /// The name.
    pub name: String,
    /// The version, as in the archive.
    pub version: String,
    /// A Debian architecture or `all`.
    pub arch: String,
    /// Where it is fetched from.
    pub url: String,
    /// Bytes of the `.deb`.
    pub size: u64,
    /// SHA-256 of the `.deb` in lower-case hexadecimal digits.
    pub sha256: String,
    /// `Essential: yes`.
    pub essential: bool,
    /// The field `Multi-Arch`.
    pub multi_arch: Option<String>,
    /// KiB on disk according to the archive.
    pub installed_size: u64,
    /// Part of the variant's base, in contrast to what `include` brought.
    pub base: bool,
    /// Names of packages of this plan that must be configured before it is unpacked.
    pub pre_depends: Vec<String>,
    /// Names of packages of this plan that it depends on.
    pub depends: Vec<String>,
}

/// A signed Release file that took part.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReleaseInfo {
    /// The canonical URL of the archive.
    pub archive: String,
    /// The URL that the root filesystem names: the canonical one, or that of a snapshot.
    pub listed: String,
    /// The suite.
    pub suite: String,
    /// SHA-256 of the signed text.
    pub digest: String,
    /// Fingerprints of the keys that signed it.
    pub signers: Vec<String>,
    /// Its `Date` in seconds since 1970.
    pub date: u64,
}

/// What a root filesystem is made of.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Plan {
    /// What was asked for.
    pub source: Source,
    /// The Debian architecture.
    pub arch: String,
    /// The Release files, the main suite first.
    pub releases: Vec<ReleaseInfo>,
    /// The packages, by name.
    pub packages: Vec<Package>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// A pocket failed.
    #[error(transparent)]
    Pocket(#[from] Box<PocketError>),
    /// An index is broken.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// No set of packages fits.
    #[error("failed to resolve the packages of `{suite}`")]
    Resolve {
        /// The suite.
        suite: String,
        /// Why.
        #[source]
        source: ResolveError,
    },
    /// The architecture is not a word.
    #[error("architecture `{arch}` is not the name of a Debian architecture")]
    Architecture {
        /// The text.
        arch: String,
    },
}

impl PlanError {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Pocket(error) => error.hint(),
            Self::Resolve { source, .. } => source.hint(),
            _ => None,
        }
    }
}

impl Plan {
    /// Fetches and verifies the archive's state and resolves `source` against it. `arch` is a Debian
    /// architecture; see [`debian_arch`](crate::debian_arch).
    pub fn make(source: &Source, arch: &str, env: &Environment<'_>) -> Result<Self, PlanError> {
        if !crate::source::is_package(arch) {
            return Err(PlanError::Architecture { arch: arch.to_owned() });
        }
        let pockets = archive::pockets(source, arch);
        let fetched = fetch_all(&pockets, source, arch, env).map_err(Box::new)?;
        let texts = fetched.iter().enumerate();
        let texts = texts
            .flat_map(|(number, one)| one.indexes.iter().map(move |text| (number, text.as_str())));
        let universe = Universe::new(arch, texts)?;
        let resolution = resolve::resolve(source, &universe)
            .map_err(|error| PlanError::Resolve { suite: source.suite.clone(), source: error })?;
        let all = &resolution.packages;
        let packages =
            all.iter().map(|one| package(one, all, &resolution.base, &fetched)).collect();
        let releases = pockets.iter().zip(&fetched).map(release_info).collect();
        Ok(Self { source: source.clone(), arch: arch.to_owned(), releases, packages })
    }

    /// What a cache key rests on: SHA-256 over everything the tree is a function of, in lower-case
    /// hexadecimal digits. Mirrors, the dates of updates and unchosen packages are not part of it.
    pub fn identity(&self) -> String {
        let mut hasher = Sha256::new();
        let mut line = |words: &[&str]| {
            hasher.update(words.join(" ").as_bytes());
            hasher.update(b"\n");
        };
        line(&[FORMAT]);
        line(&[
            self.source.distribution.as_str(),
            &self.source.suite,
            &self.arch,
            self.source.variant.as_str(),
        ]);
        line(&["slim", if self.source.slim { "yes" } else { "no" }]);
        line(&["date", &self.date().to_string()]);
        line(&["snapshot", self.source.snapshot.as_deref().unwrap_or("none")]);
        for release in &self.releases {
            line(&["pocket", &release.archive, &release.suite, &self.source.components.join(",")]);
            if release.listed != release.archive {
                line(&["listed", &release.listed]);
            }
        }
        for package in &self.packages {
            line(&["package", &package.sha256, if package.base { "base" } else { "included" }]);
        }
        cache::hex(&hasher.finalize())
    }

    /// The date of the main suite's Release file: what generated files and password ages are dated to.
    pub fn date(&self) -> u64 {
        self.releases.first().map_or(0, |release| release.date)
    }

    /// The date of the newest Release file; no package can be newer.
    pub(crate) fn newest_date(&self) -> u64 {
        self.releases.iter().map(|release| release.date).max().unwrap_or(0)
    }

    /// Bytes of all packages.
    pub fn download_size(&self) -> u64 {
        self.packages.iter().map(|package| package.size).sum()
    }

    /// Whether a package is in the plan.
    pub fn has(&self, name: &str) -> bool {
        self.packages.binary_search_by(|package| package.name.as_str().cmp(name)).is_ok()
    }

    /// The bundled keyring's distribution.
    pub fn distribution(&self) -> Distribution {
        self.source.distribution
    }

    /// The variant.
    pub fn variant(&self) -> Variant {
        self.source.variant
    }

    /// Downloads every package that is not in the cache, `threads` at a time.
    ///
    /// Not needed before [`unpack`](crate::unpack), which downloads what is missing while it unpacks.
    pub fn download(
        &self,
        cache: &Cache,
        fetch: &dyn Fetch,
        threads: usize,
    ) -> Result<(), CacheError> {
        let next = std::sync::atomic::AtomicUsize::new(0);
        let work = || -> Result<(), CacheError> {
            while let Some(package) =
                self.packages.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
            {
                package.bytes(cache, fetch)?;
            }
            Ok(())
        };
        thread::scope(|scope| {
            let workers: Vec<_> =
                (0..threads.clamp(1, MAX_THREADS)).map(|_| scope.spawn(work)).collect();
            let join = |worker: thread::ScopedJoinHandle<'_, _>| match worker.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            workers.into_iter().try_for_each(join)
        })
    }
}

impl Package {
    /// The verified `.deb`.
    pub(crate) fn bytes(&self, cache: &Cache, fetch: &dyn Fetch) -> Result<Vec<u8>, CacheError> {
        cache.bytes(fetch, &self.url, &Want { size: self.size, sha256: &self.sha256 })
    }

    /// The name in dpkg's database: with the architecture where several may be installed.
    pub(crate) fn database_name(&self) -> String {
        if self.multi_arch.as_deref() == Some("same") {
            format!("{}:{}", self.name, self.arch)
        } else {
            self.name.clone()
        }
    }
}

fn fetch_all(
    pockets: &[Pocket],
    source: &Source,
    arch: &str,
    env: &Environment<'_>,
) -> Result<Vec<Fetched>, PocketError> {
    thread::scope(|scope| {
        let work = |pocket| scope.spawn(move || pocket::fetch(pocket, source, arch, env));
        let workers: Vec<_> = pockets.iter().map(work).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| match worker.join() {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        workers.into_iter().map(join).collect()
    })
}

fn release_info((pocket, fetched): (&Pocket, &Fetched)) -> ReleaseInfo {
    ReleaseInfo {
        archive: pocket.canonical.clone(),
        listed: if pocket.is_snapshot { pocket.url.clone() } else { pocket.canonical.clone() },
        suite: pocket.suite.clone(),
        digest: fetched.digest.clone(),
        signers: fetched.signers.clone(),
        date: fetched.release.date,
    }
}

fn package(
    one: &Candidate,
    all: &[Candidate],
    base: &BTreeSet<String>,
    fetched: &[Fetched],
) -> Package {
    Package {
        name: one.name.clone(),
        version: one.version.to_string(),
        arch: one.arch.clone(),
        url: format!("{}/{}", fetched[one.pocket].url, one.filename),
        size: one.size,
        sha256: one.sha256.clone(),
        essential: one.essential,
        multi_arch: one.multi_arch.clone(),
        installed_size: one.installed_size,
        base: base.contains(&one.name),
        pre_depends: resolve::satisfiers(&one.pre_depends, all),
        depends: resolve::satisfiers(&one.depends, all),
    }
}
