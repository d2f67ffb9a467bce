//! Dependency fields: `a (>= 1) | b:any, c`.
//!
//! Syntax: Debian policy 7.1; architecture qualifiers: <https://wiki.debian.org/Multiarch/Implementation>.

use std::fmt;
use std::str::FromStr;

use debversion::Version;

/// Alternatives in one group, and groups in one field, that are still believable.
const MAX_TERMS: usize = 4096;

/// One condition on one package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relation {
    pub(crate) name: String,
    pub(crate) qualifier: Option<String>,
    pub(crate) version: Option<(Operator, Version)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Earlier,
    EarlierEqual,
    Equal,
    LaterEqual,
    Later,
}

/// A field that is not a list of relations.
#[derive(Debug, thiserror::Error)]
#[error("relation `{text}` cannot be parsed")]
pub struct RelationError {
    /// The part that is not understood.
    pub text: String,
}

impl Operator {
    fn as_str(self) -> &'static str {
        match self {
            Self::Earlier => "<<",
            Self::EarlierEqual => "<=",
            Self::Equal => "=",
            Self::LaterEqual => ">=",
            Self::Later => ">>",
        }
    }

    fn accepts(self, found: &Version, wanted: &Version) -> bool {
        let order = found.cmp(wanted);
        match self {
            Self::Earlier => order.is_lt(),
            Self::EarlierEqual => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::LaterEqual => order.is_ge(),
            Self::Later => order.is_gt(),
        }
    }
}

impl Relation {
    /// Whether a package of this version satisfies the version condition.
    pub(crate) fn accepts(&self, found: &Version) -> bool {
        self.version.as_ref().is_none_or(|(operator, wanted)| operator.accepts(found, wanted))
    }

    /// Whether something that `Provides` this name satisfies it: a versioned condition needs a
    /// versioned provision (policy 7.5).
    pub(crate) fn accepts_provided(&self, provided: Option<&Version>) -> bool {
        match (&self.version, provided) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(_), Some(version)) => self.accepts(version),
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let Some(qualifier) = &self.qualifier {
            write!(f, ":{qualifier}")?;
        }
        match &self.version {
            Some((operator, version)) => write!(f, " ({} {version})", operator.as_str()),
            None => Ok(()),
        }
    }
}

/// The groups of a field; each group is satisfied by any of its alternatives.
pub(crate) fn parse_field(text: &str) -> Result<Vec<Vec<Relation>>, RelationError> {
    let mut groups = Vec::new();
    for group in text.split(',').map(str::trim).filter(|group| !group.is_empty()) {
        let alternatives = group.split('|').map(parse_one).collect::<Result<Vec<_>, _>>()?;
        if alternatives.len() > MAX_TERMS || groups.len() >= MAX_TERMS {
            return Err(RelationError { text: group.to_owned() });
        }
        groups.push(alternatives);
    }
    Ok(groups)
}

/// One relation without alternatives.
pub(crate) fn parse_one(text: &str) -> Result<Relation, RelationError> {
    let wrong = || RelationError { text: text.trim().to_owned() };
    let (head, condition) = match text.split_once('(') {
        Some((head, rest)) => (head, Some(rest.trim_end().strip_suffix(')').ok_or_else(wrong)?)),
        None => (text, None),
    };
    let head = head.trim();
    let (name, qualifier) =
        head.split_once(':').map_or((head, None), |(name, arch)| (name, Some(arch)));
    let legal = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
    if !legal(name) || !qualifier.is_none_or(legal) {
        return Err(wrong());
    }
    Ok(Relation {
        name: name.to_owned(),
        qualifier: qualifier.map(str::to_owned),
        version: condition.map(|text| parse_condition(text).ok_or_else(wrong)).transpose()?,
    })
}

fn parse_condition(text: &str) -> Option<(Operator, Version)> {
    let text = text.trim();
    let operators = [
        ("<<", Operator::Earlier),
        ("<=", Operator::EarlierEqual),
        (">=", Operator::LaterEqual),
        (">>", Operator::Later),
        ("=", Operator::Equal),
        // Obsolete forms of `<=` and `>=` (policy 7.1) that old packages still carry.
        ("<", Operator::EarlierEqual),
        (">", Operator::LaterEqual),
    ];
    let (operator, version) = operators
        .into_iter()
        .find_map(|(sign, operator)| Some((operator, text.strip_prefix(sign)?)))?;
    Some((operator, Version::from_str(version.trim()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().expect(text)
    }

    #[test]
    fn groups_alternatives_qualifiers_and_versions() {
        let groups = parse_field("libc6 (>= 2.38), awk | mawk:any(<< 2~), ").expect("parse");
        let shown: Vec<String> = groups
            .iter()
            .map(|group| group.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "))
            .collect();
        assert_eq!(shown, ["libc6 (>= 2.38)", "awk | mawk:any (<< 2~)"]);
    }

    #[test]
    fn rubbish_is_an_error() {
        for text in ["a (>= 1", "a (1)", "a b", ":any", "a |", "a (>= )"] {
            assert!(parse_field(text).is_err(), "{text}");
        }
    }

    #[test]
    fn versions_follow_dpkg() {
        let relation = parse_one("a (>= 1:2.0~rc1-1)").expect("parse");
        for (text, expected) in
            [("1:2.0-1", true), ("1:2.0~beta-9", false), ("3.0", false), ("1:2.0~rc1-1+b2", true)]
        {
            assert_eq!(relation.accepts(&version(text)), expected, "{text}");
        }
        assert!(!relation.accepts_provided(None));
        assert!(parse_one("a").expect("parse").accepts_provided(None));
    }
}
