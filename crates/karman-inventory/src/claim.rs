//! Which owner claims which path.

use std::collections::{HashMap, HashSet};

use karman_oci::Digest;

use crate::model::{Origin, Role};

/// The owner of the root of the hierarchy, preferred for directories that many packages list.
const BASE_PACKAGE: &str = "base-files";

/// Paths that all lists name together: twice as many as the largest image has.
pub(crate) const MAX_LISTED: usize = 8_000_000;

/// A claim on a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) origin: Origin,
    /// What the owner says of the bytes.
    pub(crate) expected: Option<Expected>,
}

/// What an owner's list says of a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Md5([u8; 16]),
    Sha256(Digest),
}

/// All claims on a tree, by real path.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    claims: HashMap<String, Claim>,
    /// Paths that several owners list.
    shared: HashSet<String>,
    listed: usize,
}

impl Claims {
    pub(crate) fn get(&self, path: &str) -> Option<&Claim> {
        self.claims.get(path)
    }

    /// Whether lists named more paths than any image has; what is beyond is not kept.
    pub(crate) fn is_full(&self) -> bool {
        self.listed > MAX_LISTED
    }

    fn count(&mut self) -> bool {
        self.listed += 1;
        !self.is_full()
    }

    /// Claims a path for a Debian package. Of several claims one stays: that of `base-files`, else that of the first
    /// package by name; whatever order the lists are read in.
    pub(crate) fn dpkg(&mut self, path: String, package: &str, role: Role) {
        if !self.count() {
            return;
        }
        let origin = Origin::Dpkg { package: package.to_owned(), role };
        let claim = self.claims.entry(path.clone());
        let claim = claim.or_insert_with(|| Claim { origin: origin.clone(), expected: None });
        let Origin::Dpkg { package: owner, .. } = &claim.origin else { return };
        if package != owner {
            self.shared.insert(path);
        }
        let is_better =
            owner != BASE_PACKAGE && (package == BASE_PACKAGE || package < owner.as_str());
        if is_better || package == owner {
            claim.origin = origin;
        }
    }

    /// Claims a path for a Python distribution, unless a package has it.
    pub(crate) fn python(
        &mut self,
        path: String,
        distribution: &str,
        role: Role,
        expected: Option<Expected>,
    ) {
        if !self.count() {
            return;
        }
        let origin = Origin::Python { distribution: distribution.to_owned(), role };
        self.claims.entry(path).or_insert(Claim { origin, expected });
    }

    /// Says that another owner lists a path too.
    pub(crate) fn share(&mut self, path: String) {
        self.shared.insert(path);
    }

    /// Whether several owners list a path: who has it depends on what else is installed.
    pub(crate) fn is_shared(&self, path: &str) -> bool {
        self.shared.contains(path)
    }

    /// Says what the bytes of a claimed path should be.
    pub(crate) fn expect(&mut self, path: &str, expected: Expected) {
        if let Some(claim) = self.claims.get_mut(path) {
            claim.expected = Some(expected);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Claim)> {
        self.claims.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_without_end_are_noticed() {
        let mut claims = Claims { listed: MAX_LISTED - 1, ..Claims::default() };
        claims.dpkg("/a".to_owned(), "a", Role::Listed);
        assert!(claims.get("/a").is_some() && !claims.is_full());
        claims.python("/b".to_owned(), "b", Role::Listed, None);
        assert!(claims.get("/b").is_none() && claims.is_full());
    }
}
