//! Pinned lines: what `uv pip compile` prints, and what `upper-constraints.txt` holds.

use std::collections::{BTreeMap, BTreeSet};

use crate::PackageName;
use crate::requirement::{Requirement, RequirementError};

/// More is refused: the whole of OpenStack is 40 kB without hashes, 2 MB with them.
pub const MAX_COMPILED_BYTES: usize = 8 << 20;

/// A version of a distribution, perhaps only for some environments.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin {
    /// The environment marker, where the line has one.
    pub marker: Option<String>,
    /// The version as written: `2024b` stays `2024b`.
    pub version: String,
}

/// Distributions and their pins; sorted, at most one pin for each marker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pins(BTreeMap<PackageName, Vec<Pin>>);

/// Why a text is no list of pins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PinsError {
    /// Not a requirement.
    #[error("line {line}: {source}")]
    Requirement {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: RequirementError,
    },
    /// A requirement that does not name one version.
    #[error("line {line}: `{text}` is not pinned with `==`")]
    NotPinned {
        /// Counted from 1.
        line: usize,
        /// The requirement.
        text: String,
    },
    /// Two versions for the same environment.
    #[error("line {line}: `{package}` is pinned to {first} and to {second}")]
    Twice {
        /// Counted from 1.
        line: usize,
        /// The distribution.
        package: PackageName,
        /// The version further up.
        first: String,
        /// The version here.
        second: String,
    },
    /// More than [`MAX_COMPILED_BYTES`].
    #[error("{0} bytes of pins are too many")]
    TooLong(usize),
}

impl Pins {
    /// The pins of one distribution.
    pub fn get(&self, package: &PackageName) -> &[Pin] {
        self.0.get(package).map_or(&[], Vec::as_slice)
    }

    /// All of them, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&PackageName, &[Pin])> {
        self.0.iter().map(|(name, pins)| (name, pins.as_slice()))
    }

    /// The same without some distributions.
    #[must_use]
    pub fn without(&self, names: &BTreeSet<PackageName>) -> Self {
        let kept = self.0.iter().filter(|(name, _)| !names.contains(*name));
        Self(kept.map(|(name, pins)| (name.clone(), pins.clone())).collect())
    }

    /// Puts `pins` in the place of those of `package`; none removes it.
    pub(crate) fn set(&mut self, package: PackageName, mut pins: Vec<Pin>) {
        pins.sort();
        if pins.is_empty() {
            self.0.remove(&package);
        } else {
            self.0.insert(package, pins);
        }
    }

    /// How many distributions there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads `name==version` (or `===`) lines. Comments, options and hashes are skipped, extras dropped,
/// names normalised.
pub fn parse_compiled(text: &str) -> Result<Pins, PinsError> {
    if text.len() > MAX_COMPILED_BYTES {
        return Err(PinsError::TooLong(text.len()));
    }
    let mut pins = Pins::default();
    for (index, raw) in text.lines().enumerate() {
        let line = index + 1;
        let text = bare(raw);
        if text.is_empty() || text.starts_with("--") {
            continue;
        }
        let wrong = |source| PinsError::Requirement { line, source };
        let requirement: Requirement = text.parse().map_err(wrong)?;
        pins.add(line, requirement)?;
    }
    Ok(pins)
}

impl Pins {
    fn add(&mut self, line: usize, requirement: Requirement) -> Result<(), PinsError> {
        let text = requirement.specifiers.as_str();
        let version = text.strip_prefix("===").or_else(|| text.strip_prefix("=="));
        let Some(version) = version.filter(|_| requirement.specifiers.is_exact()) else {
            return Err(PinsError::NotPinned { line, text: requirement.line() });
        };
        let pin = Pin { marker: requirement.marker, version: version.to_owned() };
        let pins = self.0.entry(requirement.name.clone()).or_default();
        match pins.iter().find(|p| p.marker == pin.marker) {
            Some(other) if other.version == pin.version => {}
            Some(other) => {
                let (first, second) = (other.version.clone(), pin.version);
                return Err(PinsError::Twice { line, package: requirement.name, first, second });
            }
            None => pins.push(pin),
        }
        pins.sort();
        Ok(())
    }
}

/// The line of a pin in a text that [`parse_compiled`] reads, counted from 1.
pub(crate) fn line_of(text: &str, package: &PackageName, version: &str) -> Option<usize> {
    let found = text.lines().position(|line| {
        let requirement = bare(line).parse::<Requirement>();
        requirement.is_ok_and(|r| {
            r.name == *package && r.specifiers.as_str().trim_start_matches('=') == version
        })
    });
    found.map(|index| index + 1)
}

/// The line without comment, hash and continuation.
fn bare(line: &str) -> &str {
    let line = line.trim();
    let comment = if line.starts_with('#') { Some(0) } else { line.find(" #") };
    let line = comment.map_or(line, |at| &line[..at]);
    let line = line.find(" --hash").map_or(line, |at| &line[..at]);
    line.trim_end_matches('\\').trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pins(text: &str) -> Vec<String> {
        let pins = parse_compiled(text).expect("pins");
        pins.iter().flat_map(|(n, p)| p.iter().map(move |p| show(n, p))).collect()
    }

    fn show(name: &PackageName, pin: &Pin) -> String {
        format!("{name} {} {}", pin.version, pin.marker.as_deref().unwrap_or("-"))
    }

    #[test]
    fn what_uv_prints_is_read() {
        let text = "# made by uv\n--index-url https://example.org/simple\n\nPyMySQL==1.1.2 \\\n    \
                    --hash=sha256:aa \\\n    --hash=sha256:bb\n    # via nova\nkeystone[ldap]==29.1.0\n\
                    zope.interface==7.2 ; python_full_version < '3.14'  # via x\n";
        assert_eq!(
            pins(text),
            [
                "keystone 29.1.0 -",
                "pymysql 1.1.2 -",
                "zope-interface 7.2 python_full_version < '3.14'"
            ]
        );
    }

    #[test]
    fn upper_constraints_lines_are_read() {
        let text = "pytz===2024b\na===1;python_version=='3.12'\na===2;python_version=='3.13'\n";
        assert_eq!(
            pins(text),
            ["a 1 python_version=='3.12'", "a 2 python_version=='3.13'", "pytz 2024b -"]
        );
    }

    #[test]
    fn what_pins_nothing_is_an_error_with_its_line() {
        let error = |text: &str| parse_compiled(text).expect_err(text).to_string();
        assert_eq!(error("a==1\nb>=2\n"), "line 2: `b>=2` is not pinned with `==`");
        assert_eq!(error("b==2.*\n"), "line 1: `b==2.*` is not pinned with `==`");
        assert_eq!(error("a==1\na==2\n"), "line 2: `a` is pinned to 1 and to 2");
        assert!(error("a @ file:///a.whl").contains("names a URL"));
        assert!(error("-e .").starts_with("line 1: "));
    }

    #[test]
    fn the_same_pin_twice_is_one_pin() {
        assert_eq!(pins("a==1\nA==1\n"), ["a 1 -"]);
    }

    #[test]
    fn a_monstrous_text_is_refused() {
        let text = "#".repeat(MAX_COMPILED_BYTES + 1);
        assert_eq!(parse_compiled(&text), Err(PinsError::TooLong(MAX_COMPILED_BYTES + 1)));
    }
}
