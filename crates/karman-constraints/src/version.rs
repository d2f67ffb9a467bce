//! Versions and version specifiers (PEP 440), as they were written.

use std::fmt;
use std::str::FromStr;

use pep440_rs::{Version, VersionSpecifiers};

/// Longer specifiers are a mistake or an attack.
const MAX_SPECIFIER_BYTES: usize = 500;

/// A minor version of Python, such as `3.13`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PythonVersion {
    major: u8,
    minor: u8,
}

/// Version specifiers such as `>=2.6.3,<3`: the text, and what it means.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Specifiers {
    text: String,
    parsed: VersionSpecifiers,
}

/// Why a text is no version or specifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Not a PEP 440 version.
    #[error("`{0}` is not a version")]
    Version(String),
    /// Not a list of PEP 440 version specifiers.
    #[error("`{0}` is not a version specifier")]
    Specifier(String),
    /// Not of the form `3.13`.
    #[error("`{0}` is not a Python version of the form `3.13`")]
    Python(String),
}

impl Specifiers {
    /// `==version`; nothing where it is no version.
    pub(crate) fn exactly(version: &str) -> Self {
        format!("=={version}").parse().unwrap_or_default()
    }

    /// The specifiers without white space.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether there are none: every version fits.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Whether one version is named exactly (`==1.2`, `===1.2`).
    pub fn is_exact(&self) -> bool {
        let one = self.text.strip_prefix("===").or_else(|| self.text.strip_prefix("=="));
        one.is_some_and(|version| !version.contains(['*', ',']))
    }

    /// Whether `version` fits. `===` compares texts (PEP 440, "Arbitrary equality"): some released
    /// versions, such as `2024b`, are not what their normalised form says.
    pub fn contains(&self, version: &str) -> bool {
        if let Some(exact) = self.text.strip_prefix("===") {
            return exact.eq_ignore_ascii_case(version);
        }
        Version::from_str(version).is_ok_and(|v| self.parsed.contains(&v))
    }
}

impl FromStr for Specifiers {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let bad = || VersionError::Specifier(text.trim().to_owned());
        if text.len() > MAX_SPECIFIER_BYTES || !text.is_ascii() {
            return Err(bad());
        }
        let parsed = VersionSpecifiers::from_str(text.trim()).map_err(|_| bad())?;
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        if text.ends_with(',') {
            return Err(bad());
        }
        Ok(Self { text, parsed })
    }
}

impl fmt::Display for Specifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for PythonVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let number = |part: &str| {
            let plain = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
            part.parse::<u8>().ok().filter(|n| plain && n.to_string() == part)
        };
        text.split_once('.')
            .and_then(|(major, minor)| Some(Self { major: number(major)?, minor: number(minor)? }))
            .ok_or_else(|| VersionError::Python(text.to_owned()))
    }
}

impl fmt::Display for PythonVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Whether `text` is a version of PEP 440.
pub(crate) fn check_version(text: &str) -> Result<(), VersionError> {
    let plain = text.is_ascii() && !text.contains(char::is_whitespace);
    match Version::from_str(text) {
        Ok(_) if plain => Ok(()),
        _ => Err(VersionError::Version(text.to_owned())),
    }
}

/// Whether `a` is a later version than `b`; no where one of them is no version.
pub(crate) fn newer(a: &str, b: &str) -> bool {
    match (Version::from_str(a), Version::from_str(b)) {
        (Ok(x), Ok(y)) => x > y,
        _ => false,
    }
}

/// Whether both mean the same version.
pub(crate) fn same_version(a: &str, b: &str) -> bool {
    match (Version::from_str(a), Version::from_str(b)) {
        (Ok(x), Ok(y)) => x == y,
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specifiers(text: &str) -> Specifiers {
        text.parse().expect(text)
    }

    #[test]
    fn ranges_hold_what_pep_440_says() {
        let range = specifiers(">= 2.6.3, <3");
        assert_eq!(range.as_str(), ">=2.6.3,<3");
        assert!(range.contains("2.6.3") && range.contains("2.10"));
        assert!(!range.contains("2.6.2") && !range.contains("3.0") && !range.contains("nonsense"));
        assert!(specifiers("").contains("0.1"));
        assert!(specifiers("==2.*").contains("2.7") && !specifiers("==2.*").contains("3"));
    }

    #[test]
    fn arbitrary_equality_compares_texts() {
        assert!(specifiers("===2024b").contains("2024b"));
        assert!(!specifiers("===2024b").contains("2024b0"));
        assert!(!specifiers("===1.0").contains("1.0.0"));
    }

    #[test]
    fn exact_is_one_version_without_a_wildcard() {
        assert!(specifiers("==1.2").is_exact() && specifiers("===2024b").is_exact());
        for range in ["", ">=1", "==1.*", "==1,<2", "~=1.2"] {
            assert!(!specifiers(range).is_exact(), "{range}");
        }
    }

    #[test]
    fn what_is_no_specifier_or_version_is_refused() {
        for text in ["2.6.3", ">=", "=>1", ">=1,", ">=1 # x", "(>=1)"] {
            assert!(text.parse::<Specifiers>().is_err(), "{text}");
        }
        for text in ["", "x", "1.0 ", "1;2", "1\n2"] {
            assert!(check_version(text).is_err(), "{text:?}");
        }
        assert!(same_version("1.0", "1.0.0") && !same_version("1.0", "1.1"));
    }

    #[test]
    fn python_versions_have_two_plain_numbers() {
        assert_eq!("3.13".parse::<PythonVersion>().expect("3.13").to_string(), "3.13");
        assert!("3.9".parse::<PythonVersion>().ok() < "3.13".parse::<PythonVersion>().ok());
        for text in ["3", "3.13.1", "3.x", "03.1", "+3.1", ""] {
            assert!(text.parse::<PythonVersion>().is_err(), "{text}");
        }
    }
}
