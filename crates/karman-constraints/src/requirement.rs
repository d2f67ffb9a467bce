//! Requirement lines (PEP 508, the part without URLs).

use std::str::FromStr;

use crate::{NameError, PackageName, Specifiers, VersionError};

/// Longer lines are a mistake or an attack.
const MAX_REQUIREMENT_BYTES: usize = 1000;

/// `name[extra]>=1;marker`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The distribution.
    pub name: PackageName,
    /// Its extras, normalised, sorted.
    pub extras: Vec<PackageName>,
    /// The versions that fit.
    pub specifiers: Specifiers,
    /// What stands after `;`, trimmed. It is not evaluated here.
    pub marker: Option<String>,
}

/// Why a text is no [`Requirement`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequirementError {
    /// The name or an extra.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The versions.
    #[error(transparent)]
    Version(#[from] VersionError),
    /// `name @ https://…`: nothing could be pinned.
    #[error("`{0}` names a URL; only packages of an index can be pinned")]
    Url(String),
    /// The bracket after the name is not closed.
    #[error("`{0}` has a `[` without a `]`")]
    Extras(String),
    /// Control characters, `#`, or nothing after the `;`.
    #[error("`{0}` is not an environment marker")]
    Marker(String),
    /// Longer than any requirement.
    #[error("a requirement of {0} bytes is too long")]
    TooLong(usize),
}

impl Requirement {
    /// Name and extras, without versions and marker.
    pub fn name_and_extras(&self) -> String {
        if self.extras.is_empty() {
            return self.name.to_string();
        }
        let extras: Vec<&str> = self.extras.iter().map(PackageName::as_str).collect();
        format!("{}[{}]", self.name, extras.join(","))
    }

    /// The line as pip and uv read it.
    pub fn line(&self) -> String {
        self.line_with(self.specifiers.as_str())
    }

    /// The line with other specifiers.
    pub fn line_with(&self, specifiers: &str) -> String {
        let marker = self.marker.as_ref().map(|m| format!(" ; {m}")).unwrap_or_default();
        format!("{}{specifiers}{marker}", self.name_and_extras())
    }
}

impl FromStr for Requirement {
    type Err = RequirementError;

    fn from_str(text: &str) -> Result<Self, RequirementError> {
        if text.len() > MAX_REQUIREMENT_BYTES {
            return Err(RequirementError::TooLong(text.len()));
        }
        if text.contains('@') || text.contains("://") {
            return Err(RequirementError::Url(text.trim().to_owned()));
        }
        let (head, marker) = match text.split_once(';') {
            Some((head, marker)) => (head, Some(check_marker(marker)?)),
            None => (text, None),
        };
        let end = head.find(['[', '<', '>', '=', '!', '~', '(']).unwrap_or(head.len());
        let (name, rest) = head.split_at(end);
        let (extras, specifiers) = split_extras(rest)?;
        Ok(Self { name: name.trim().parse()?, extras, specifiers: specifiers.parse()?, marker })
    }
}

fn split_extras(rest: &str) -> Result<(Vec<PackageName>, &str), RequirementError> {
    let Some(inner) = rest.strip_prefix('[') else { return Ok((Vec::new(), rest)) };
    let Some((inner, specifiers)) = inner.split_once(']') else {
        return Err(RequirementError::Extras(rest.trim().to_owned()));
    };
    let mut extras = Vec::new();
    for extra in inner.split(',').map(str::trim).filter(|e| !e.is_empty()) {
        extras.push(extra.parse()?);
    }
    extras.sort();
    extras.dedup();
    Ok((extras, specifiers))
}

/// A marker goes into a line of its own file: it must not end that line or hide its rest.
fn check_marker(marker: &str) -> Result<String, RequirementError> {
    let marker = marker.trim();
    if marker.is_empty() || marker.contains(|c: char| c.is_control() || c == '#' || c == ';') {
        return Err(RequirementError::Marker(marker.to_owned()));
    }
    Ok(marker.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requirement(text: &str) -> Requirement {
        text.parse().expect(text)
    }

    #[test]
    fn a_requirement_is_printed_normalised() {
        for (text, line) in [
            ("PyMySQL", "pymysql"),
            ("keystone[ldap]", "keystone[ldap]"),
            ("a [z, B_c ,z] >= 1.0, < 2", "a[b-c,z]>=1.0,<2"),
            ("glance_store[cinder]==4.1", "glance-store[cinder]==4.1"),
            ("x<2;python_version<'3.13'", "x<2 ; python_version<'3.13'"),
        ] {
            assert_eq!(requirement(text).line(), line);
            assert_eq!(requirement(&requirement(text).line()), requirement(text));
        }
    }

    #[test]
    fn a_version_can_be_put_in() {
        let line = requirement("keystone[ldap] ; os_name=='posix'").line_with("==29.1.0");
        assert_eq!(line, "keystone[ldap]==29.1.0 ; os_name=='posix'");
    }

    #[test]
    fn what_cannot_be_pinned_is_refused() {
        use RequirementError as E;
        let error = |text: &str| text.parse::<Requirement>().expect_err(text);
        assert!(matches!(error("a @ https://example.org/a.whl"), E::Url(_)));
        assert!(matches!(error("git+ssh://example.org/a"), E::Url(_)));
        assert!(matches!(error("a[b"), E::Extras(_)));
        assert!(matches!(error("a;"), E::Marker(_)));
        assert!(matches!(error("a; x\n--index-url y"), E::Marker(_)));
        assert!(matches!(error("a b"), E::Name(_)));
        assert!(matches!(error("a>=1\nb"), E::Version(_)));
        assert!(matches!(error("--index-url"), E::Name(_)));
        assert!(matches!(error(&"a".repeat(2000)), E::TooLong(2000)));
    }
}
