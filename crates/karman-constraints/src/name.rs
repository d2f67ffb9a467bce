//! Names of distributions.

use std::fmt;
use std::str::FromStr;

/// PyPI refuses longer names; so do we, before anything grows with them.
const MAX_NAME_BYTES: usize = 200;

/// The name of a distribution, normalised as PEP 503 says: lower case, runs of `-_.` as one `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageName(String);

/// Why a text is no [`PackageName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not made of letters, digits and inner `-_.` (PEP 508).
    #[error("`{0}` is not a package name")]
    Invalid(String),
    /// Longer than any name on an index.
    #[error("a package name of {0} bytes is too long")]
    TooLong(usize),
}

impl PackageName {
    /// The normalised name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PackageName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > MAX_NAME_BYTES {
            return Err(NameError::TooLong(text.len()));
        }
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        let inner = |c: char| c.is_ascii_alphanumeric() || is_separator(c);
        let mut chars = text.chars();
        if !edge(chars.next()) || !edge(text.chars().next_back()) || !chars.all(inner) {
            return Err(NameError::Invalid(text.to_owned()));
        }
        let parts: Vec<&str> = text.split(is_separator).filter(|part| !part.is_empty()).collect();
        Ok(Self(parts.join("-").to_ascii_lowercase()))
    }
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_separator(c: char) -> bool {
    matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised_as_pep_503_says() {
        for (text, name) in [
            ("PyMySQL", "pymysql"),
            ("storpool.spopenstack", "storpool-spopenstack"),
            ("a._-b", "a-b"),
            ("3parclient", "3parclient"),
        ] {
            assert_eq!(text.parse::<PackageName>().expect(text).as_str(), name);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "-a", "a-", "a b", "a\nb", "ä", "."] {
            assert_eq!(text.parse::<PackageName>(), Err(NameError::Invalid(text.to_owned())));
        }
        assert_eq!("a".repeat(201).parse::<PackageName>(), Err(NameError::TooLong(201)));
    }
}
