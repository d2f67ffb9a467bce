//! Somebody else's constraints file under the bounds of a series.
//!
//! Nothing is resolved here: a pin that a bound forbids moves to the version the bound itself names
//! (`==2.6.3`, `>=2.6.3`, `~=2.6.3`: 2.6.3), and a bound that names none is an error.

use karman_diag::{Diagnostic, Span};

use crate::diff::Change;
use crate::{PackageName, Pin, Pins, Series, Specifiers};

/// Pins under the bounds of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// The pins.
    pub pins: Pins,
    /// What moved, sorted by name.
    pub changes: Vec<Change>,
}

/// Puts caps and overrides of `series` on `pins`; markers stay. The distributions of services get the
/// versions of the series.
///
/// # Errors
/// A diagnostic for every bound that forbids a pin and names no version to move to.
pub fn apply(series: &Series, pins: &Pins) -> Result<Applied, Vec<Diagnostic>> {
    let mut out = pins.clone();
    let mut errors = Vec::new();
    for service in &series.services {
        let Some(first) = pins.get(&service.distribution).first() else { continue };
        let pin = Pin { version: service.version.clone(), marker: None };
        if first.version != service.version || pins.get(&service.distribution).len() > 1 {
            out.set(service.distribution.clone(), vec![pin]);
        }
    }
    for (kind, package, bound, span) in bounds(series) {
        let mut list = out.get(package).to_vec();
        let broken = |pin: &&mut Pin| !bound.contains(&pin.version);
        for pin in list.iter_mut().filter(broken) {
            match named_version(bound) {
                Some(version) => pin.version = version,
                None => {
                    let message = format!(
                        "the {kind} `{package}{bound}` forbids {}, which was imported, and names no version to take",
                        pin.version
                    );
                    let hint = "name one, such as `==1.2.3` or `>=1.2.3`";
                    errors.push(Diagnostic::error(message, span).with_hint(hint));
                }
            }
        }
        list.dedup();
        out.set(package.clone(), list);
    }
    // A later bound may undo what an earlier one did.
    for (kind, package, bound, span) in bounds(series) {
        if let Some(pin) = out.get(package).iter().find(|p| !bound.contains(&p.version))
            && errors.is_empty()
        {
            let message = format!(
                "the {kind} `{package}{bound}` does not hold: another bound asks for {}",
                pin.version
            );
            errors.push(Diagnostic::error(message, span));
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    let changes = crate::diff::diff(pins, &out);
    Ok(Applied { pins: out, changes })
}

fn bounds(
    series: &Series,
) -> impl Iterator<Item = (&'static str, &PackageName, &Specifiers, Span)> {
    let caps = series.caps.iter().map(|c| ("cap", &c.package, &c.version, c.span));
    caps.chain(series.overrides.iter().map(|o| ("override", &o.package, &o.version, o.span)))
}

/// The smallest version that a bound names and holds itself.
fn named_version(bound: &Specifiers) -> Option<String> {
    let named = bound.as_str().split(',').filter_map(|part| {
        let version = ["===", "==", ">=", "~="].iter().find_map(|op| part.strip_prefix(op))?;
        (!version.contains('*')).then(|| version.to_owned())
    });
    named.filter(|version| bound.contains(version)).min_by(|a, b| {
        if crate::version::newer(a, b) {
            std::cmp::Ordering::Greater
        } else {
            std::cmp::Ordering::Less
        }
    })
}

/// `name===version` lines sorted by name, below comments that say where they come from and what moved.
pub fn render_pins(series: &Series, applied: &Applied) -> String {
    let name = &series.name;
    let mut out = format!("# Written by `karman constraints render {name}`; do not edit.\n");
    if let Some(imported) = &series.imported {
        out += &format!("# from {}\n# sha256 {}\n", imported.from, imported.sha256);
    }
    out += &crate::render::bound_lines(series);
    for change in &applied.changes {
        let from = change.from.as_deref().unwrap_or("nothing");
        out += &format!("# moved {} from {from}\n", change.package);
    }
    for (package, pins) in applied.pins.iter() {
        for pin in pins {
            out += &crate::render::line(package, pin, None);
            out.push('\n');
        }
    }
    out
}
