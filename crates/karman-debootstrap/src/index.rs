//! The packages of all pockets: an index over the text of `Packages` files.
//!
//! A suite has 60 000 stanzas and a plan needs a hundred. So the texts are only cut into stanzas and
//! indexed by name and provided names; a stanza is parsed when somebody asks for it.

use std::collections::HashMap;
use std::str::FromStr;

use deb822_fast::{Deb822, Paragraph};
use debversion::Version;

use crate::relation::{self, Relation, RelationError};
use crate::release::is_sha256;
use crate::source::is_package;

/// Stanzas in one archive; Debian with everything has about 70 000.
const MAX_STANZAS: usize = 2_000_000;

/// The texts of the `Packages` files, one per pocket and component.
pub(crate) struct Universe<'a> {
    arch: &'a str,
    stanzas: Vec<Stanza<'a>>,
    by_name: HashMap<&'a str, Vec<usize>>,
    providers: HashMap<&'a str, Vec<usize>>,
}

struct Stanza<'a> {
    pocket: usize,
    text: &'a str,
    name: &'a str,
    version: &'a str,
    essential: bool,
    required: bool,
}

/// A package that may be chosen.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) pocket: usize,
    pub(crate) name: String,
    pub(crate) version: Version,
    pub(crate) arch: String,
    pub(crate) essential: bool,
    pub(crate) multi_arch: Option<String>,
    pub(crate) priority: u8,
    pub(crate) filename: String,
    pub(crate) size: u64,
    pub(crate) sha256: String,
    pub(crate) installed_size: u64,
    pub(crate) pre_depends: Vec<Vec<Relation>>,
    pub(crate) depends: Vec<Vec<Relation>>,
    /// `Conflicts` and `Breaks`.
    pub(crate) conflicts: Vec<Relation>,
    pub(crate) provides: Vec<(String, Option<Version>)>,
}

/// An index that cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// The text is no list of stanzas.
    #[error("stanza of package `{package}` cannot be parsed")]
    Stanza {
        /// The package, as far as known.
        package: String,
        /// What the parser says.
        #[source]
        source: deb822_fast::Error,
    },
    /// A field is missing or has an impossible value.
    #[error("package `{package}` has no usable field `{field}`")]
    Field {
        /// The package.
        package: String,
        /// The field.
        field: &'static str,
    },
    /// A dependency field is malformed.
    #[error("field `{field}` of package `{package}`")]
    Relation {
        /// The package.
        package: String,
        /// The field.
        field: &'static str,
        /// Why.
        #[source]
        source: RelationError,
    },
    /// The index is absurdly long.
    #[error("package index has more than {limit} stanzas")]
    TooMany {
        /// The limit.
        limit: usize,
    },
}

impl<'a> Universe<'a> {
    /// Indexes the texts; the first of a pair is the number of the pocket.
    pub(crate) fn new(
        arch: &'a str,
        texts: impl IntoIterator<Item = (usize, &'a str)>,
    ) -> Result<Self, IndexError> {
        let mut universe =
            Self { arch, stanzas: Vec::new(), by_name: HashMap::new(), providers: HashMap::new() };
        for (pocket, text) in texts {
            for stanza in text.split("\n\n") {
                universe.add(pocket, stanza.trim_start_matches('\n'))?;
            }
        }
        universe.keep_the_newest();
        Ok(universe)
    }

    fn add(&mut self, pocket: usize, text: &'a str) -> Result<(), IndexError> {
        let mut stanza =
            Stanza { pocket, text, name: "", version: "", essential: false, required: false };
        let mut provides = "";
        let mut arch = "";
        for line in text.lines() {
            let Some((field, value)) = line.split_once(':') else { continue };
            match field {
                "Package" => stanza.name = value.trim(),
                "Version" => stanza.version = value.trim(),
                "Architecture" => arch = value.trim(),
                "Essential" => stanza.essential = value.trim() == "yes",
                "Priority" => stanza.required = value.trim() == "required",
                "Provides" => provides = value,
                _ => {}
            }
        }
        if stanza.name.is_empty() || (arch != self.arch && arch != "all") {
            return Ok(());
        }
        if self.stanzas.len() >= MAX_STANZAS {
            return Err(IndexError::TooMany { limit: MAX_STANZAS });
        }
        let number = self.stanzas.len();
        self.by_name.entry(stanza.name).or_default().push(number);
        for provided in provides.split(',') {
            let name = provided.split(['(', ':']).next().unwrap_or("").trim();
            if !name.is_empty() {
                self.providers.entry(name).or_default().push(number);
            }
        }
        self.stanzas.push(stanza);
        Ok(())
    }

    /// Leaves one stanza per name: the newest, of the earliest pocket among equals.
    fn keep_the_newest(&mut self) {
        let stanzas = &self.stanzas;
        for numbers in self.by_name.values_mut().filter(|numbers| numbers.len() > 1) {
            let newest = numbers.iter().copied().reduce(|best, next| {
                let version = |number: usize| Version::from_str(stanzas[number].version).ok();
                if version(next) > version(best) { next } else { best }
            });
            *numbers = newest.into_iter().collect();
        }
        let by_name = &self.by_name;
        for numbers in self.providers.values_mut() {
            numbers.retain(|&number| {
                by_name.get(stanzas[number].name).is_some_and(|kept| kept.contains(&number))
            });
            numbers.sort_by_key(|&number| stanzas[number].name);
        }
    }

    /// The number of the package called `name`.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name)?.first().copied()
    }

    /// The numbers of the packages that provide `name`, by name.
    pub(crate) fn providers(&self, name: &str) -> &[usize] {
        self.providers.get(name).map_or(&[], Vec::as_slice)
    }

    /// The name of a package by number.
    pub(crate) fn name(&self, number: usize) -> &'a str {
        self.stanzas[number].name
    }

    /// All names, in no order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'a str> + '_ {
        self.by_name.keys().copied()
    }

    /// Numbers of the essential packages, and with `required` also those of that priority; by name.
    pub(crate) fn base(&self, required: bool) -> Vec<usize> {
        let wanted = |&number: &usize| {
            let stanza = &self.stanzas[number];
            stanza.essential || (required && stanza.required)
        };
        let mut numbers: Vec<usize> =
            self.by_name.values().flatten().copied().filter(wanted).collect();
        numbers.sort_by_key(|&number| self.stanzas[number].name);
        numbers
    }

    /// Parses the stanza of a package.
    pub(crate) fn candidate(&self, number: usize) -> Result<Candidate, IndexError> {
        let stanza = &self.stanzas[number];
        let broken = |source| IndexError::Stanza { package: stanza.name.to_owned(), source };
        let document: Deb822 = stanza.text.parse().map_err(broken)?;
        let fields = document.iter().next().ok_or_else(|| IndexError::Field {
            package: stanza.name.to_owned(),
            field: "Package",
        })?;
        Fields { package: stanza.name, fields }.candidate(stanza.pocket)
    }
}

struct Fields<'a> {
    package: &'a str,
    fields: &'a Paragraph,
}

impl Fields<'_> {
    fn candidate(&self, pocket: usize) -> Result<Candidate, IndexError> {
        let mut conflicts = self.relations("Conflicts")?;
        conflicts.extend(self.relations("Breaks")?);
        Ok(Candidate {
            pocket,
            name: self.text("Package", is_package)?,
            version: self
                .text("Version", |text| Version::from_str(text).is_ok())?
                .parse()
                .map_err(|_| self.wrong("Version"))?,
            arch: self.text("Architecture", is_package)?,
            essential: self.fields.get("Essential") == Some("yes"),
            multi_arch: self.fields.get("Multi-Arch").map(str::to_owned),
            priority: priority(self.fields.get("Priority").unwrap_or("")),
            filename: self.text("Filename", is_relative_path)?,
            size: self.text("Size", |_| true)?.parse().map_err(|_| self.wrong("Size"))?,
            sha256: self.text("SHA256", is_sha256)?,
            installed_size: self
                .fields
                .get("Installed-Size")
                .and_then(|size| size.parse().ok())
                .unwrap_or(0),
            pre_depends: self.relations("Pre-Depends")?,
            depends: self.relations("Depends")?,
            conflicts: conflicts.into_iter().flatten().collect(),
            provides: self.provides()?,
        })
    }

    fn text(
        &self,
        field: &'static str,
        legal: impl Fn(&str) -> bool,
    ) -> Result<String, IndexError> {
        let value = self.fields.get(field).filter(|value| legal(value));
        value.map(str::to_owned).ok_or_else(|| self.wrong(field))
    }

    fn relations(&self, field: &'static str) -> Result<Vec<Vec<Relation>>, IndexError> {
        relation::parse_field(self.fields.get(field).unwrap_or("")).map_err(|source| {
            IndexError::Relation { package: self.package.to_owned(), field, source }
        })
    }

    fn provides(&self) -> Result<Vec<(String, Option<Version>)>, IndexError> {
        let groups = self.relations("Provides")?;
        Ok(groups
            .into_iter()
            .flatten()
            .map(|one| (one.name, one.version.map(|(_, version)| version)))
            .collect())
    }

    fn wrong(&self, field: &'static str) -> IndexError {
        IndexError::Field { package: self.package.to_owned(), field }
    }
}

fn priority(text: &str) -> u8 {
    let order = ["required", "important", "standard", "optional", "extra"];
    order.iter().position(|known| *known == text).unwrap_or(order.len()) as u8
}

/// The path becomes a part of a URL: no way out of the archive and nothing that ends the path.
fn is_relative_path(text: &str) -> bool {
    text.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\".contains(&byte))
}
