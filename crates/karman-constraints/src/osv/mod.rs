//! Advisories in the OSV format (<https://ossf.github.io/osv-schema/>), as far as Python needs them.
//!
//! An [`Advisories`] is asked for the distributions it should know and then fed with records, one JSON
//! document each, from a directory or an archive. Only entries of the `PyPI` ecosystem count; records
//! that were withdrawn do not.

mod archive;
mod range;
mod severity;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

pub use archive::{ArchiveError, MAX_ARCHIVE_BYTES, MAX_ARCHIVE_ENTRIES, MAX_UNPACKED_BYTES};
pub(crate) use range::Subject;
pub use range::{Affected, Bound, Event};
pub use severity::{Level, Severity};
pub use wire::{AdvisoryError, MAX_ADVISORY_BYTES};

use crate::PackageName;

/// More records than this are refused; all of OSV's PyPI archive has some ten thousands.
pub const MAX_ADVISORIES: usize = 500_000;

/// One record about one distribution.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advisory {
    /// Its identifier.
    pub id: String,
    /// Identifiers of the same flaw in other databases.
    pub aliases: Vec<String>,
    /// What it is about, on one line; may be empty.
    pub summary: String,
    /// How bad it is.
    pub severity: Severity,
    /// Which versions it affects; any of them suffices.
    pub affected: Vec<Affected>,
}

impl Advisory {
    /// The identifier and the aliases.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.id.as_str()).chain(self.aliases.iter().map(String::as_str))
    }
}

/// The advisories about some distributions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Advisories {
    wanted: BTreeSet<PackageName>,
    by_package: BTreeMap<PackageName, Vec<Advisory>>,
    records: usize,
    withdrawn: usize,
}

impl Advisories {
    /// None yet, about `packages`.
    pub fn about<'a>(packages: impl IntoIterator<Item = &'a PackageName>) -> Self {
        Self { wanted: packages.into_iter().cloned().collect(), ..Self::default() }
    }

    /// Takes one record. The order of records does not matter.
    ///
    /// # Errors
    /// When it is no OSV record, or too large.
    pub fn add(&mut self, json: &[u8]) -> Result<(), AdvisoryError> {
        if self.records >= MAX_ADVISORIES {
            return Err(AdvisoryError::TooMany);
        }
        self.records += 1;
        let record = wire::read(json, &self.wanted)?;
        if record.withdrawn {
            self.withdrawn += 1;
            return Ok(());
        }
        for (package, advisory) in record.about {
            let list = self.by_package.entry(package).or_default();
            let at = list.partition_point(|other| other.id < advisory.id);
            // The same record twice (two files of one identifier) is one.
            if list.get(at) != Some(&advisory) {
                list.insert(at, advisory);
            }
        }
        Ok(())
    }

    /// Takes every record of a zip archive. See [`archive`](ArchiveError).
    ///
    /// # Errors
    /// When the archive or one of its records cannot be read, or is larger than the limits.
    pub fn add_archive(&mut self, zip: &[u8]) -> Result<(), ArchiveError> {
        archive::read(zip, |json| self.add(json))
    }

    /// The advisories about one distribution, sorted by identifier.
    pub fn of(&self, package: &PackageName) -> &[Advisory] {
        self.by_package.get(package).map_or(&[], Vec::as_slice)
    }

    /// How many records were read, whatever they are about.
    pub fn records(&self) -> usize {
        self.records
    }

    /// How many of them were withdrawn.
    pub fn withdrawn(&self) -> usize {
        self.withdrawn
    }
}
