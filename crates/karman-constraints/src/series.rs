//! A series: what the fleet consists of and what bounds its packages.

use karman_diag::{Diagnostic, Span};

use crate::{Accepted, Date, PackageName, PythonVersion, Requirement, Specifiers};

/// One release of the fleet, as `constraints/<series>.toml` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Series {
    /// Such as `2026.1`.
    pub name: String,
    /// The Pythons to resolve for; never empty, sorted.
    pub pythons: Vec<PythonVersion>,
    /// The last day of which uploads are taken.
    pub cutoff: Date,
    /// What every virtual environment begins with.
    pub base: Vec<Requirement>,
    /// The services, sorted by name.
    pub services: Vec<Service>,
    /// Bounds that keep the fleet working, in the order of the file.
    pub caps: Vec<Cap>,
    /// Bounds that security asks for, in the order of the file.
    pub overrides: Vec<Override>,
    /// Risks that are accepted for a while, in the order of the file.
    pub accepted: Vec<Accepted>,
    /// The constraints file of somebody else that the fleet starts from, where it does.
    pub imported: Option<Imported>,
}

/// A constraints file that was imported; its text lies beside the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The file or URL it came from.
    pub from: String,
    /// SHA-256 of its bytes, 64 lower-case hexadecimal digits.
    pub sha256: String,
    /// Where `sha256` stands.
    pub span: Span,
}

/// One image's worth of Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// The key below `services`.
    pub name: String,
    /// The version of the distribution, as written.
    pub version: String,
    /// Which distribution `version` is of.
    pub distribution: PackageName,
    /// What is installed; the distribution is one of them.
    pub requirements: Vec<Requirement>,
    /// Where `version` stands.
    pub span: Span,
}

/// A bound that keeps the fleet working.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cap {
    /// The distribution.
    pub package: PackageName,
    /// The versions that may be taken.
    pub version: Specifiers,
    /// Why, on one line.
    pub reason: String,
    /// Where `version` stands.
    pub span: Span,
}

/// A bound that security asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The distribution.
    pub package: PackageName,
    /// The versions that hold the fix.
    pub version: Specifiers,
    /// Identifiers such as `CVE-2026-21441`; never empty.
    pub advisories: Vec<String>,
    /// What could happen, on one line.
    pub reason: String,
    /// A later cut-off for this package, where the fix is younger than the series's.
    pub cutoff: Option<Date>,
    /// From the day after this, [`Series::expired`] reminds of it.
    pub expires: Option<Date>,
    /// Whether it also wins against what other packages ask for.
    pub force: bool,
    /// Where `version` stands.
    pub span: Span,
}

impl Series {
    /// A warning for every override whose day has passed on `today`, and an error for every accepted
    /// risk.
    pub fn expired(&self, today: Date) -> Vec<Diagnostic> {
        let gone = |o: &&Override| o.expires.is_some_and(|last| last < today);
        let mut out: Vec<Diagnostic> = self
            .overrides
            .iter()
            .filter(gone)
            .map(|o| {
                let day = o.expires.map(|d| d.to_string()).unwrap_or_default();
                Diagnostic::warning(format!("the override of `{}` expired on {day}", o.package), o.span)
                    .with_code("OverrideExpired")
                    .with_hint("remove it where the resolution holds the fix without it, or set a later `expires`")
            })
            .collect();
        out.extend(crate::accepted::expired(self, today));
        out
    }
}
