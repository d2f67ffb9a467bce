//! Python distributions of an image against advisories in the OSV format.

use std::collections::BTreeSet;
use std::path::Path;

use karman_constraints::{
    Accepted, Advisories, Date, Finding as Flaw, Fix, PackageName, State, check_installed, parse,
};
use karman_diag::{ExitCode, SourceMap};
use karman_inventory::Inventory;
use karman_inventory::audit::Finding;

use crate::commands::constraints::{advisories, today};
use crate::failure::{Done, Failure};
use crate::setup::Context;

/// The accepted risks of a constraints file.
pub(super) fn accepted(file: &Path, context: &Context) -> Done<Vec<Accepted>> {
    let path = context.env.absolute(file);
    let text = String::from_utf8_lossy(&super::read(&path, super::MAX_POLICY)?).into_owned();
    let mut sources = SourceMap::new();
    let id = sources.add(file.display().to_string(), text.as_str());
    let (series, found) = parse(id, &text);
    match series {
        Some(series) => Ok(series.accepted),
        None => Err(Failure::diagnostics(&found, &sources, ExitCode::Input)),
    }
}

/// What is known of the distributions of some images.
pub(super) struct Known {
    advisories: Advisories,
    accepted: Vec<Accepted>,
    today: Date,
}

impl Known {
    /// Reads the advisories about everything that the inventories have.
    pub(super) fn load(
        source: &str,
        accepted: Vec<Accepted>,
        inventories: &[Inventory],
        context: &Context,
    ) -> Done<Self> {
        let names: BTreeSet<PackageName> =
            inventories.iter().flat_map(installed).map(|(name, _)| name).collect();
        let advisories = advisories::load(source, &names, context)?;
        Ok(Self { advisories, accepted, today: today(None)? })
    }

    /// What an image suffers from and nobody accepts.
    pub(super) fn findings(&self, inventory: &Inventory) -> Vec<Finding> {
        let installed = installed(inventory);
        let pairs = installed.iter().map(|(name, version)| (name, version.as_str()));
        let report = check_installed(pairs, &self.accepted, &self.advisories, self.today);
        report.findings.iter().filter(|flaw| flaw.is_open()).map(finding).collect()
    }
}

/// Distributions of the virtual environments. Those of Debian packages are Debian's to mend, under
/// version numbers that do not tell.
fn installed(inventory: &Inventory) -> Vec<(PackageName, String)> {
    let own = inventory.distributions.iter().filter(|d| d.package.is_none());
    let named = own.filter_map(|d| Some((d.name.parse().ok()?, d.version.clone())));
    let mut all: Vec<(PackageName, String)> = named.collect();
    all.sort();
    all.dedup();
    all
}

fn finding(flaw: &Flaw) -> Finding {
    let ids = flaw.ids.join(", ");
    let about = match flaw.summary.as_str() {
        "" => ids,
        summary => format!("{ids}: {summary}"),
    };
    let message = match &flaw.state {
        State::Expired(accepted) => format!("{about} (accepted until {})", accepted.expires),
        _ => about,
    };
    let subject = format!("{} {}", flaw.package, flaw.version);
    let found = Finding::new("vulnerable-python", subject, message);
    match &flaw.fix {
        Fix::Version(version) => found.with_hint(format!("fixed in {version}")),
        Fix::Above(version) => found.with_hint(format!("fixed in what comes after {version}")),
        Fix::Unknown => found.with_hint("no fixed version is known"),
    }
}
