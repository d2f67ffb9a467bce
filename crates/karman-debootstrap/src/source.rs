//! What is asked for: `debootstrap://debian/trixie?variant=minbase&include=ca-certificates`.
//!
//! | parameter | meaning | default |
//! |---|---|---|
//! | `variant` | `essential`, `minbase` (essential, required and apt) or `custom` (only `include`) | `minbase` |
//! | `include` | comma-separated packages on top | |
//! | `components` | comma-separated parts of the archive | `main`; Ubuntu: `main,universe` |
//! | `mirror` | where the archive is fetched from | the distribution's own |
//! | `security` | URL of the security archive, or `none` | the distribution's own |
//! | `updates` | whether the `-updates` pocket is read | `true` |
//! | `snapshot` | a moment of the archive, `YYYYMMDDTHHMMSSZ` | now |
//! | `slim` | leave out manuals, translations and documentation | `true` |

use std::collections::BTreeSet;
use std::fmt;

use crate::date;
use crate::hint::nearest;

/// The scheme, with the slashes.
pub const SCHEME: &str = "debootstrap://";
/// A source longer than this is a mistake.
const MAX_SOURCE: usize = 64 * 1024;
/// Parameters that are understood, in the order of the documentation.
const PARAMETERS: [&str; 8] =
    ["variant", "include", "components", "mirror", "security", "updates", "snapshot", "slim"];

/// A distribution whose archive is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Distribution {
    /// Debian.
    Debian,
    /// Ubuntu.
    Ubuntu,
}

impl Distribution {
    /// The name in a source.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::Ubuntu => "ubuntu",
        }
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which packages are the start of the closure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// `Essential: yes`.
    Essential,
    /// Essential, `Priority: required` and `apt`.
    Minbase,
    /// Only what `include` names.
    Custom,
}

impl Variant {
    /// The word in a source.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Essential => "essential",
            Self::Minbase => "minbase",
            Self::Custom => "custom",
        }
    }
}

/// Where security updates come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Security {
    /// The distribution's own archive.
    Default,
    /// Not at all.
    None,
    /// Another archive.
    Url(String),
}

/// A parsed `debootstrap://` source.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    /// The distribution.
    pub distribution: Distribution,
    /// The suite or codename, as in `dists/<suite>`.
    pub suite: String,
    /// What the closure starts from.
    pub variant: Variant,
    /// Packages on top of the variant.
    pub include: BTreeSet<String>,
    /// Components of the archive, in the order given.
    pub components: Vec<String>,
    /// Another main archive, without a trailing slash.
    pub mirror: Option<String>,
    /// The security archive.
    pub security: Security,
    /// Whether the `-updates` pocket is read.
    pub updates: bool,
    /// A moment of the archive, `YYYYMMDDTHHMMSSZ`.
    pub snapshot: Option<String>,
    /// Whether documentation, manuals and translations are left out.
    pub slim: bool,
}

/// A source that is not understood.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceError {
    /// Another scheme, or none.
    #[error("source `{source_text}` does not start with `debootstrap://`")]
    Scheme {
        /// The source.
        source_text: String,
    },
    /// The source is absurdly long.
    #[error("source is longer than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// Neither `debian` nor `ubuntu`.
    #[error("distribution `{name}` is not known")]
    Distribution {
        /// The name.
        name: String,
    },
    /// No suite, or one that cannot be part of a URL path.
    #[error("suite `{suite}` is not a suite name")]
    Suite {
        /// The text.
        suite: String,
    },
    /// A parameter nobody knows.
    #[error("parameter `{name}` is not known")]
    Parameter {
        /// The parameter.
        name: String,
        /// The one that was perhaps meant.
        nearest: Option<&'static str>,
    },
    /// A parameter is given twice.
    #[error("parameter `{name}` is given twice")]
    Twice {
        /// The parameter.
        name: String,
    },
    /// A value its parameter does not take.
    #[error("value `{value}` of parameter `{name}` is not {expected}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// The value.
        value: String,
        /// What would be.
        expected: &'static str,
    },
    /// Two parameters exclude each other.
    #[error("parameters `{first}` and `{second}` exclude each other")]
    Exclusive {
        /// One.
        first: &'static str,
        /// The other.
        second: &'static str,
    },
    /// `variant=custom` without packages.
    #[error("variant `custom` needs parameter `include`")]
    NothingToInstall,
}

impl SourceError {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Scheme { .. } => Some("for example `debootstrap://debian/trixie`".to_owned()),
            Self::Distribution { .. } => Some("`debian` and `ubuntu` are".to_owned()),
            Self::Parameter { nearest: Some(near), .. } => Some(format!("did you mean `{near}`?")),
            Self::Parameter { nearest: None, .. } => {
                Some(format!("known are {}", PARAMETERS.join(", ")))
            }
            Self::Suite { .. } => Some("for example `trixie` or `noble`".to_owned()),
            _ => None,
        }
    }
}

impl Source {
    /// Parses a source; everything unknown is an error.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        if text.len() > MAX_SOURCE {
            return Err(SourceError::TooLong { limit: MAX_SOURCE });
        }
        let rest = text
            .strip_prefix(SCHEME)
            .ok_or_else(|| SourceError::Scheme { source_text: text.to_owned() })?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (name, suite) = path.split_once('/').unwrap_or((path, ""));
        let mut source = Self::new(distribution(name)?, suite)?;
        let mut seen = BTreeSet::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            source.set(name, value)?;
            if !seen.insert(name) {
                return Err(SourceError::Twice { name: name.to_owned() });
            }
        }
        source.check()?;
        Ok(source)
    }

    /// A source with every default.
    pub fn new(distribution: Distribution, suite: &str) -> Result<Self, SourceError> {
        if !is_word(suite) {
            return Err(SourceError::Suite { suite: suite.to_owned() });
        }
        let components: &[&str] = match distribution {
            Distribution::Debian => &["main"],
            Distribution::Ubuntu => &["main", "universe"],
        };
        Ok(Self {
            distribution,
            suite: suite.to_owned(),
            variant: Variant::Minbase,
            include: BTreeSet::new(),
            components: components.iter().map(|&part| part.to_owned()).collect(),
            mirror: None,
            security: Security::Default,
            updates: true,
            snapshot: None,
            slim: true,
        })
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), SourceError> {
        let value = percent_decode(name, value)?;
        match name {
            "variant" => self.variant = variant(&value)?,
            "include" => self.include = words("include", &value, is_package)?.into_iter().collect(),
            "components" => self.components = words("components", &value, is_word)?,
            "mirror" => self.mirror = Some(archive_url("mirror", &value)?),
            "security" if value == "none" => self.security = Security::None,
            "security" => self.security = Security::Url(archive_url("security", &value)?),
            "updates" => self.updates = boolean("updates", &value)?,
            "slim" => self.slim = boolean("slim", &value)?,
            "snapshot" if date::parse_snapshot(&value).is_some() => self.snapshot = Some(value),
            "snapshot" => {
                return Err(unexpected("snapshot", &value, "a time like `20261121T091544Z`"));
            }
            _ => {
                return Err(SourceError::Parameter {
                    name: name.to_owned(),
                    nearest: nearest(name, PARAMETERS),
                });
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), SourceError> {
        if self.variant == Variant::Custom && self.include.is_empty() {
            return Err(SourceError::NothingToInstall);
        }
        let exclusive = |second| SourceError::Exclusive { first: "snapshot", second };
        match (&self.snapshot, &self.mirror, &self.security) {
            (Some(_), Some(_), _) => Err(exclusive("mirror")),
            (Some(_), _, Security::Url(_)) => Err(exclusive("security")),
            _ => Ok(()),
        }
    }
}

fn distribution(name: &str) -> Result<Distribution, SourceError> {
    match name {
        "debian" => Ok(Distribution::Debian),
        "ubuntu" => Ok(Distribution::Ubuntu),
        _ => Err(SourceError::Distribution { name: name.to_owned() }),
    }
}

fn variant(value: &str) -> Result<Variant, SourceError> {
    match value {
        "essential" => Ok(Variant::Essential),
        "minbase" => Ok(Variant::Minbase),
        "custom" => Ok(Variant::Custom),
        _ => Err(unexpected("variant", value, "`essential`, `minbase` or `custom`")),
    }
}

fn boolean(name: &'static str, value: &str) -> Result<bool, SourceError> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(unexpected(name, value, "`true` or `false`")),
    }
}

fn words(
    name: &'static str,
    value: &str,
    legal: fn(&str) -> bool,
) -> Result<Vec<String>, SourceError> {
    let mut out: Vec<String> = Vec::new();
    for word in value.split(',') {
        if !legal(word) {
            return Err(unexpected(name, value, "a comma-separated list of names"));
        }
        if !out.iter().any(|known| known == word) {
            out.push(word.to_owned());
        }
    }
    Ok(out)
}

/// An absolute http or https URL without query, fragment or blanks; the trailing slash is dropped.
fn archive_url(name: &'static str, value: &str) -> Result<String, SourceError> {
    let host = value.strip_prefix("http://").or_else(|| value.strip_prefix("https://"));
    let legal = |host: &str| {
        !host.is_empty()
            && !host.starts_with('/')
            && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'?' && byte != b'#')
    };
    match host {
        Some(host) if legal(host) => Ok(value.trim_end_matches('/').to_owned()),
        _ => Err(unexpected(name, value, "an http or https URL")),
    }
}

/// Names of suites and components: they become parts of URL paths and of lines of `sources.list`.
fn is_word(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && text.as_bytes()[0].is_ascii_alphanumeric()
}

/// Debian policy 5.6.1: lower case letters, digits, plus, minus and full stop.
pub(crate) fn is_package(text: &str) -> bool {
    text.len() >= 2
        && text.len() <= 128
        && text.as_bytes()[0].is_ascii_alphanumeric()
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte)
        })
}

fn percent_decode(name: &str, value: &str) -> Result<String, SourceError> {
    let wrong = || SourceError::Value {
        name: PARAMETERS.into_iter().find(|known| *known == name).unwrap_or("?"),
        value: value.to_owned(),
        expected: "percent-encoded UTF-8",
    };
    let mut out = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(wrong());
        };
        out.push((high * 16 + low) as u8);
    }
    String::from_utf8(out).map_err(|_| wrong())
}

fn unexpected(name: &'static str, value: &str, expected: &'static str) -> SourceError {
    SourceError::Value { name, value: value.to_owned(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> SourceError {
        Source::parse(text).expect_err(text)
    }

    #[test]
    fn defaults() {
        let source = Source::parse("debootstrap://debian/trixie").expect("parse");
        assert_eq!(source, Source::new(Distribution::Debian, "trixie").expect("new"));
        assert_eq!(source.components, ["main"]);
        assert!(source.slim && source.updates);
    }

    #[test]
    fn every_parameter() {
        let text = "debootstrap://ubuntu/noble?variant=custom&include=bb,aa,bb&components=main,universe\
            &mirror=http%3A%2F%2Fm.example/ubuntu/&security=none&updates=false&slim=0";
        let source = Source::parse(text).expect("parse");
        assert_eq!(source.variant, Variant::Custom);
        assert_eq!(
            source.include.iter().collect::<Vec<_>>(),
            ["aa", "bb"].map(String::from).iter().collect::<Vec<_>>()
        );
        assert_eq!(source.mirror.as_deref(), Some("http://m.example/ubuntu"));
        assert_eq!(source.security, Security::None);
        assert!(!source.slim && !source.updates);
    }

    #[test]
    fn single_letter_packages_are_not_packages() {
        assert!(
            !is_package("a") && is_package("g++") && is_package("libstdc++6") && !is_package("A-b")
        );
    }

    #[test]
    fn unknown_things_are_errors_with_hints() {
        let unknown = error("debootstrap://debian/trixie?varient=minbase");
        assert_eq!(unknown.hint().as_deref(), Some("did you mean `variant`?"));
        assert!(matches!(error("debootstrap://fedora/42"), SourceError::Distribution { .. }));
        assert!(matches!(error("debootstrap://debian"), SourceError::Suite { .. }));
        assert!(matches!(error("debootstrap://debian/../etc"), SourceError::Suite { .. }));
        assert!(matches!(error("debian/trixie"), SourceError::Scheme { .. }));
    }

    #[test]
    fn wrong_values_are_errors() {
        for query in [
            "variant=big",
            "slim=perhaps",
            "include=",
            "include=aa,,bb",
            "include=aa bb",
            "mirror=ftp://x/y",
            "mirror=http://x/?y",
            "security=http://",
            "snapshot=yesterday",
            "include=%zz",
            "include=%ff",
        ] {
            let found = error(&format!("debootstrap://debian/trixie?{query}"));
            assert!(matches!(found, SourceError::Value { .. }), "{query}: {found:?}");
        }
    }

    #[test]
    fn contradictions_are_errors() {
        assert_eq!(
            error("debootstrap://debian/trixie?variant=custom"),
            SourceError::NothingToInstall
        );
        assert!(matches!(
            error("debootstrap://debian/trixie?slim=1&slim=1"),
            SourceError::Twice { .. }
        ));
        let both = "debootstrap://debian/trixie?snapshot=20261121T091544Z&mirror=http://m/debian";
        assert!(matches!(error(both), SourceError::Exclusive { .. }));
    }
}
