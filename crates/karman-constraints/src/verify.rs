//! A resolution against the series it was made for.

use std::collections::BTreeSet;

use karman_diag::{Diagnostic, Span};

use crate::version::same_version;
use crate::{PackageName, Pins, PythonVersion, Series, Specifiers};

/// The pins for one Python.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The Python.
    pub python: PythonVersion,
    /// What was resolved for it.
    pub pins: Pins,
}

/// What is wrong with `resolutions`: an override or a cap that does not hold, a service at another
/// version, a Python without a resolution. An override that nothing needs is a warning.
pub fn verify(series: &Series, resolutions: &[Resolution]) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    for python in &series.pythons {
        if !resolutions.iter().any(|r| r.python == *python) {
            out.push(Diagnostic::error(
                format!("there is no resolution for Python {python}"),
                None,
            ));
        }
    }
    for service in &series.services {
        let (name, want) = (&service.distribution, &service.version);
        for (python, found) in versions(resolutions, name) {
            if found.is_none_or(|v| !same_version(v, want)) {
                let found = found.unwrap_or("nothing");
                let message = format!(
                    "service `{}` wants `{name}` {want}, Python {python} got {found}",
                    service.name
                );
                out.push(Diagnostic::error(message, service.span));
            }
        }
    }
    for bound in &series.overrides {
        let ids = bound.advisories.join(", ");
        let kind = format!("override `{}{}` ({ids})", bound.package, bound.version);
        out.extend(check_bound(&kind, (&bound.package, &bound.version, bound.span), resolutions));
        if versions(resolutions, &bound.package).all(|(_, found)| found.is_none()) {
            let message =
                format!("nothing in the fleet needs `{}`, which an override bounds", bound.package);
            out.push(
                Diagnostic::warning(message, bound.span)
                    .with_code("OverrideUnused")
                    .with_hint("remove the override"),
            );
        }
    }
    for cap in &series.caps {
        let kind = format!("cap `{}{}`", cap.package, cap.version);
        out.extend(check_bound(&kind, (&cap.package, &cap.version, cap.span), resolutions));
    }
    out
}

/// Hints for people whose resolution failed: the bounds of the series that `uv`'s words mention.
pub fn failure_hints(series: &Series, stderr: &str) -> Vec<String> {
    let said = mentioned(stderr);
    let mut hints = Vec::new();
    for cap in series.caps.iter().filter(|c| said.contains(&c.package)) {
        hints.push(format!(
            "the cap `{}{}` stands because {}",
            cap.package, cap.version, cap.reason
        ));
    }
    for bound in series.overrides.iter().filter(|o| said.contains(&o.package)) {
        let (package, version) = (&bound.package, &bound.version);
        if !version.is_exact() && bound.cutoff.is_none() {
            hints.push(format!(
                "if the fixed `{package}` was uploaded after {}, give its override a `cutoff` of its own",
                series.cutoff
            ));
        }
        if !bound.force {
            hints.push(format!(
                "if another package refuses `{package}{version}`, `force = true` in its override wins against it"
            ));
        }
    }
    hints
}

/// Every word of `text` that could be a distribution's name, sorted.
pub fn mentioned(text: &str) -> BTreeSet<PackageName> {
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.split(|c| !word(c)).filter_map(|w| w.trim_end_matches('.').parse().ok()).collect()
}

fn check_bound(
    kind: &str,
    (package, bound, span): (&PackageName, &Specifiers, Span),
    resolutions: &[Resolution],
) -> Vec<Diagnostic> {
    versions(resolutions, package)
        .filter_map(|(python, found)| Some((python, found?)))
        .filter(|(_, found)| !bound.contains(found))
        .map(|(python, found)| {
            let message = format!("{kind} does not hold: Python {python} got `{package}` {found}");
            Diagnostic::error(message, span)
        })
        .collect()
}

/// Every version a distribution got, with its Python; `None` where a Python got none.
fn versions<'a>(
    resolutions: &'a [Resolution],
    package: &'a PackageName,
) -> impl Iterator<Item = (PythonVersion, Option<&'a str>)> {
    resolutions.iter().flat_map(move |r| {
        let pins = r.pins.get(package);
        let none = pins.is_empty().then_some((r.python, None));
        pins.iter().map(move |p| (r.python, Some(p.version.as_str()))).chain(none)
    })
}
