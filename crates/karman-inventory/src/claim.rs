//! Which owner claims which path.

use std::collections::HashMap;

use karman_oci::Digest;

use crate::model::{Origin, Role};

/// The owner of the root of the hierarchy, preferred for directories that many packages list.
const BASE_PACKAGE: &str = "base-files";

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
pub(crate) struct Claims(HashMap<String, Claim>);

impl Claims {
    pub(crate) fn get(&self, path: &str) -> Option<&Claim> {
        self.0.get(path)
    }

    /// Claims a path for a Debian package. Of several claims one stays: that of `base-files`, else that of the first
    /// package by name; whatever order the lists are read in.
    pub(crate) fn dpkg(&mut self, path: String, package: &str, role: Role) {
        let origin = Origin::Dpkg { package: package.to_owned(), role };
        let claim = self.0.entry(path);
        let claim = claim.or_insert_with(|| Claim { origin: origin.clone(), expected: None });
        let Origin::Dpkg { package: owner, .. } = &claim.origin else { return };
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
        let origin = Origin::Python { distribution: distribution.to_owned(), role };
        self.0.entry(path).or_insert(Claim { origin, expected });
    }

    /// Says what the bytes of a claimed path should be.
    pub(crate) fn expect(&mut self, path: &str, expected: Expected) {
        if let Some(claim) = self.0.get_mut(path) {
            claim.expected = Some(expected);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Claim)> {
        self.0.iter()
    }
}
