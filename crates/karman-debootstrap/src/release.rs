//! Release files: the signed table of contents of a suite.
//!
//! <https://wiki.debian.org/DebianRepository/Format#A.22Release.22_files>

use std::collections::BTreeMap;

use deb822_fast::{Deb822, Paragraph};

use crate::date;

/// How far in the future a Release may lie: clocks of build hosts are not exact.
const MAX_CLOCK_SKEW: u64 = 3600;

/// One file named by a Release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) sha256: String,
    pub(crate) size: u64,
}

/// A parsed Release file.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    pub(crate) date: u64,
    valid_until: Option<u64>,
    suite: Option<String>,
    codename: Option<String>,
    architectures: Vec<String>,
    components: Vec<String>,
    pub(crate) by_hash: bool,
    files: BTreeMap<String, Listed>,
}

/// What is wrong with a Release file whose signature is right.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// Not a control file.
    #[error("release file cannot be parsed")]
    Parse(#[source] deb822_fast::Error),
    /// A field is missing.
    #[error("release file has no field `{field}`")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A field has a value that is not understood.
    #[error("field `{field}` of the release file is `{value}`")]
    Field {
        /// The field.
        field: &'static str,
        /// The value.
        value: String,
    },
    /// `Valid-Until` has passed.
    #[error("release file expired on `{valid_until}`")]
    Expired {
        /// The date as written.
        valid_until: String,
    },
    /// `Date` lies in the future.
    #[error("release file is dated `{date}`, which is in the future")]
    Future {
        /// The date as written.
        date: String,
    },
    /// The file belongs to another suite.
    #[error("release file is of suite `{suite}` with codename `{codename}`, not of `{wanted}`")]
    Suite {
        /// `Suite` of the file.
        suite: String,
        /// `Codename` of the file.
        codename: String,
        /// What was asked for.
        wanted: String,
    },
    /// The suite has no packages for this architecture.
    #[error("suite has no architecture `{arch}`")]
    Architecture {
        /// What was asked for.
        arch: String,
        /// What there is.
        known: Vec<String>,
    },
    /// The suite has no such component.
    #[error("suite has no component `{component}`")]
    Component {
        /// What was asked for.
        component: String,
        /// What there is.
        known: Vec<String>,
    },
}

impl ReleaseError {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Expired { .. } => Some(
                "the mirror is stale or replays an old state, or the clock is wrong; `snapshot=` accepts old states"
                    .to_owned(),
            ),
            Self::Future { .. } => Some("check the clock of this machine".to_owned()),
            Self::Architecture { known, .. } | Self::Component { known, .. } => Some(format!("it has {}", known.join(", "))),
            _ => None,
        }
    }
}

impl Release {
    pub(crate) fn parse(text: &str) -> Result<Self, ReleaseError> {
        let document: Deb822 = text.parse().map_err(ReleaseError::Parse)?;
        let fields = document.iter().next().ok_or(ReleaseError::Missing { field: "Date" })?;
        let words = |name: &str| -> Vec<String> {
            fields.get(name).unwrap_or("").split_ascii_whitespace().map(str::to_owned).collect()
        };
        Ok(Self {
            date: time(fields, "Date")?.ok_or(ReleaseError::Missing { field: "Date" })?,
            valid_until: time(fields, "Valid-Until")?,
            suite: fields.get("Suite").map(str::to_owned),
            codename: fields.get("Codename").map(str::to_owned),
            architectures: words("Architectures"),
            components: words("Components"),
            by_hash: fields.get("Acquire-By-Hash") == Some("yes"),
            files: files(fields.get("SHA256").ok_or(ReleaseError::Missing { field: "SHA256" })?)?,
        })
    }

    /// Checks that this is the suite asked for, with the architecture, and not too old at `now`.
    pub(crate) fn check(
        &self,
        wanted: &str,
        arch: &str,
        now: Option<u64>,
    ) -> Result<(), ReleaseError> {
        let is = |name: &Option<String>| name.as_deref() == Some(wanted);
        if !is(&self.suite) && !is(&self.codename) {
            return Err(ReleaseError::Suite {
                suite: self.suite.clone().unwrap_or_default(),
                codename: self.codename.clone().unwrap_or_default(),
                wanted: wanted.to_owned(),
            });
        }
        if !self.architectures.iter().any(|known| known == arch) {
            return Err(ReleaseError::Architecture {
                arch: arch.to_owned(),
                known: self.architectures.clone(),
            });
        }
        let Some(now) = now else { return Ok(()) };
        if self.date > now + MAX_CLOCK_SKEW {
            return Err(ReleaseError::Future { date: crate::date::format_utc(self.date) });
        }
        match self.valid_until {
            Some(until) if until < now => {
                Err(ReleaseError::Expired { valid_until: crate::date::format_utc(until) })
            }
            _ => Ok(()),
        }
    }

    /// The smallest package index of a component: its path below `dists/<suite>/`, and what it must be.
    pub(crate) fn packages_index(
        &self,
        component: &str,
        arch: &str,
    ) -> Result<(String, &Listed), ReleaseError> {
        // Security archives list `updates/main`, and their paths begin with `main` all the same.
        let listed =
            |known: &String| known == component || known.rsplit('/').next() == Some(component);
        for suffix in [".xz", ".gz", ""] {
            let path = format!("{component}/binary-{arch}/Packages{suffix}");
            if let Some(file) = self.files.get(&path).filter(|_| self.components.iter().any(listed))
            {
                return Ok((path, file));
            }
        }
        Err(ReleaseError::Component {
            component: component.to_owned(),
            known: self.components.clone(),
        })
    }
}

fn time(fields: &Paragraph, field: &'static str) -> Result<Option<u64>, ReleaseError> {
    let Some(value) = fields.get(field) else { return Ok(None) };
    let wrong = || ReleaseError::Field { field, value: value.to_owned() };
    date::parse_release(value).ok_or_else(wrong).map(Some)
}

fn files(table: &str) -> Result<BTreeMap<String, Listed>, ReleaseError> {
    let mut out = BTreeMap::new();
    for line in table.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_ascii_whitespace();
        let row = (words.next(), words.next().and_then(|size| size.parse().ok()), words.next());
        let (Some(sha256), Some(size), Some(path)) = row else {
            return Err(ReleaseError::Field { field: "SHA256", value: line.to_owned() });
        };
        if !is_sha256(sha256) {
            return Err(ReleaseError::Field { field: "SHA256", value: line.to_owned() });
        }
        out.insert(path.to_owned(), Listed { sha256: sha256.to_owned(), size });
    }
    Ok(out)
}

/// 64 lower-case hexadecimal digits: these become file names and parts of URLs.
pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64
        && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
