//! TOML text → [`Series`].

use std::collections::BTreeMap;

use karman_diag::{Diagnostic, FileId, Span};
use toml::de::DeTable;

use crate::accepted::{ACCEPTED_KEYS, read_accepted};
use crate::series::{Cap, Imported, Override, Series, Service};
use crate::table::{Complaints, Table, Text};
use crate::version::{check_version, same_version};
use crate::{Date, PackageName, PythonVersion, Requirement, Specifiers};

/// A longer file is refused before it is read: the fleet's is a few kilobytes.
pub const MAX_SERIES_BYTES: usize = 1 << 20;

const TOP_KEYS: [&str; 9] =
    ["series", "python", "cutoff", "base", "imported", "services", "caps", "overrides", "accepted"];
const IMPORTED_KEYS: [&str; 2] = ["from", "sha256"];
const SERVICE_KEYS: [&str; 3] = ["version", "requirements", "distribution"];
const CAP_KEYS: [&str; 3] = ["package", "version", "reason"];
const OVERRIDE_KEYS: [&str; 7] =
    ["package", "version", "advisories", "reason", "cutoff", "expires", "force"];

/// Reads `text`; spans point into `file`. The series is there when no diagnostic is an error.
pub fn parse(file: FileId, text: &str) -> (Option<Series>, Vec<Diagnostic>) {
    let mut complaints = Complaints::new(file);
    if text.len() > MAX_SERIES_BYTES {
        let message =
            format!("the file has {} bytes; at most {MAX_SERIES_BYTES} are read", text.len());
        return (None, vec![Diagnostic::error(message, None)]);
    }
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let span = error.span().map(|range| complaints.span(range));
            return (None, vec![Diagnostic::error(error.message().trim().to_owned(), span)]);
        }
    };
    // The whole file is no place: a missing key is reported at the first byte.
    let start = complaints.span(0..0);
    let top = Table::open(table.get_ref(), "the series", start, &TOP_KEYS, &mut complaints);
    let series = read_series(&top, &mut complaints);
    let failed = complaints.list.iter().any(Diagnostic::is_error);
    (series.filter(|_| !failed), complaints.list)
}

fn read_series(top: &Table<'_>, complaints: &mut Complaints) -> Option<Series> {
    let name = top.required("series", complaints);
    let name = name.and_then(|text| series_name(text, complaints));
    let pythons = read_pythons(top, complaints);
    let cutoff = top.required("cutoff", complaints).and_then(|text| date(&text, complaints));
    let base = requirements(&top.strings("base", complaints), complaints);
    let services = read_services(top, complaints);
    let mut caps = Vec::new();
    for (table, span) in top.tables("caps", complaints) {
        let table = Table::open(table, "a cap", span, &CAP_KEYS, complaints);
        caps.extend(read_cap(&table, complaints));
    }
    let mut overrides = Vec::new();
    for (table, span) in top.tables("overrides", complaints) {
        let table = Table::open(table, "an override", span, &OVERRIDE_KEYS, complaints);
        overrides.extend(read_override(&table, cutoff, complaints));
    }
    let mut accepted = Vec::new();
    for (table, span) in top.tables("accepted", complaints) {
        let table = Table::open(table, "an accepted risk", span, &ACCEPTED_KEYS, complaints);
        accepted.extend(read_accepted(&table, complaints));
    }
    let imported = read_imported(top, complaints);
    let base = base.into_iter().map(|(requirement, _)| requirement).collect();
    let (name, cutoff) = (name?, cutoff?);
    let series =
        Series { name, pythons, cutoff, base, services, caps, overrides, accepted, imported };
    check_pins(&series, complaints);
    Some(series)
}

fn read_imported(top: &Table<'_>, complaints: &mut Complaints) -> Option<Imported> {
    let value = top.value("imported")?;
    let span = complaints.span(value.span());
    let Some(table) = value.get_ref().as_table() else {
        complaints.error("`imported` must be a table", span);
        return None;
    };
    let table = Table::open(table, "`imported`", span, &IMPORTED_KEYS, complaints);
    let from = table.required("from", complaints);
    let sha256 = table.required("sha256", complaints)?;
    let digit = |b: u8| b.is_ascii_digit() || matches!(b, b'a'..=b'f');
    if sha256.value.len() != 64 || !sha256.value.bytes().all(digit) {
        let message = format!("`{}` is not a SHA-256", sha256.value);
        complaints.error_with_hint(message, sha256.span, "`karman constraints import` writes it");
        return None;
    }
    let span = sha256.span;
    Some(Imported { from: from?.value, sha256: sha256.value, span })
}

fn series_name(text: Text, complaints: &mut Complaints) -> Option<String> {
    // The name becomes a path and a word on command lines.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let value = text.value;
    if value.is_empty() || value.starts_with(['.', '-']) || !value.chars().all(plain) {
        complaints.error(format!("`{value}` is not a name of a series"), text.span);
        return None;
    }
    Some(value)
}

fn read_pythons(top: &Table<'_>, complaints: &mut Complaints) -> Vec<PythonVersion> {
    let mut pythons = Vec::new();
    for text in top.strings("python", complaints) {
        pythons.extend(complaints.take(text.value.parse::<PythonVersion>(), text.span));
    }
    if top.value("python").is_none() {
        complaints.error("the series has no `python`", top.span);
    } else if pythons.is_empty() && complaints.list.is_empty() {
        let span = top.value("python").map_or(top.span, |v| complaints.span(v.span()));
        complaints.error("`python` names no version", span);
    }
    pythons.sort();
    pythons.dedup();
    pythons
}

fn read_services(top: &Table<'_>, complaints: &mut Complaints) -> Vec<Service> {
    let Some(value) = top.value("services") else {
        complaints.error_with_hint(
            "the series has no services",
            top.span,
            "add one: `[services.keystone]` with `version` and `requirements`",
        );
        return Vec::new();
    };
    let span = complaints.span(value.span());
    let Some(table) = value.get_ref().as_table() else {
        complaints.error("`services` must be a table", span);
        return Vec::new();
    };
    let mut services = Vec::new();
    for (key, value) in table {
        let span = complaints.span(key.span());
        let Some(table) = value.get_ref().as_table() else {
            complaints.error(format!("service `{}` must be a table", key.get_ref()), span);
            continue;
        };
        let title = format!("service `{}`", key.get_ref());
        let table = Table::open(table, &title, span, &SERVICE_KEYS, complaints);
        services.extend(read_service(key.get_ref(), &table, complaints));
    }
    services.sort_by(|a: &Service, b| a.name.cmp(&b.name));
    services
}

fn read_service(name: &str, table: &Table<'_>, complaints: &mut Complaints) -> Option<Service> {
    complaints.take(name.parse::<PackageName>(), table.span)?;
    let version = table.required("version", complaints);
    let wanted = table.string("distribution", complaints);
    let texts = table.strings("requirements", complaints);
    let requirements = requirements(&texts, complaints);
    let version = version?;
    complaints.take(check_version(&version.value), version.span)?;
    let candidates = match &wanted {
        Some(text) => vec![complaints.take(text.value.parse::<PackageName>(), text.span)?],
        // Some projects carry the umbrella's name before their own: openstack-heat, openstack-placement.
        None => [name.to_owned(), format!("openstack-{name}")]
            .iter()
            .filter_map(|n| n.parse().ok())
            .collect(),
    };
    let found = requirements.iter().find(|(r, _)| candidates.contains(&r.name));
    let Some((pinned, span)) = found else {
        let which = candidates.first().map(PackageName::to_string).unwrap_or_default();
        complaints.error_with_hint(
            format!("service `{name}` has a version, but no requirement is `{which}`"),
            version.span,
            "say with `distribution` which of `requirements` the version is of",
        );
        return None;
    };
    if !pinned.specifiers.is_empty() {
        complaints.error_with_hint(
            format!("`{}` has a version of its own", pinned.line()),
            *span,
            format!("`version` of service `{name}` pins it already: leave it out here"),
        );
    }
    let distribution = pinned.name.clone();
    let requirements = requirements.into_iter().map(|(r, _)| r).collect();
    let (version, span) = (version.value, version.span);
    Some(Service { name: name.to_owned(), version, distribution, requirements, span })
}

fn read_cap(table: &Table<'_>, complaints: &mut Complaints) -> Option<Cap> {
    let package = package(table, complaints);
    let version = specifiers(table, complaints);
    let reason = reason(table, complaints);
    let (version, span) = version?;
    Some(Cap { package: package?, version, reason: reason?, span })
}

fn read_override(
    table: &Table<'_>,
    series_cutoff: Option<Date>,
    complaints: &mut Complaints,
) -> Option<Override> {
    let package = package(table, complaints);
    let version = specifiers(table, complaints);
    let reason = reason(table, complaints);
    let advisories = read_advisories(table, complaints);
    let cutoff_text = table.string("cutoff", complaints);
    let cutoff = cutoff_text.as_ref().and_then(|text| date(text, complaints));
    if let (Some(own), Some(series), Some(text)) = (cutoff, series_cutoff, &cutoff_text)
        && own < series
    {
        let message = format!("this cut-off is before the series's, {series}");
        complaints.error_with_hint(message, text.span, "leave it out: the series's holds anyway");
    }
    let expires = table.string("expires", complaints).and_then(|text| date(&text, complaints));
    let force = table.flag("force", complaints);
    let (version, span) = version?;
    let (package, reason) = (package?, reason?);
    Some(Override { package, version, advisories, reason, cutoff, expires, force, span })
}

fn read_advisories(table: &Table<'_>, complaints: &mut Complaints) -> Vec<String> {
    let texts = table.strings("advisories", complaints);
    if texts.is_empty() {
        complaints.error_with_hint(
            "an override without an advisory",
            table.span,
            "name what it mends, such as `advisories = [\"CVE-2026-21441\"]`; a bound for another reason is a cap",
        );
    }
    texts.iter().for_each(|text| check_advisory(text, complaints));
    texts.into_iter().map(|text| text.value).collect()
}

pub(crate) fn check_advisory(text: &Text, complaints: &mut Complaints) {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let upper = text.value.starts_with(|c: char| c.is_ascii_uppercase());
    if !upper || !text.value.contains('-') || !text.value.chars().all(plain) {
        let message = format!("`{}` is not the identifier of an advisory", text.value);
        let hint = "such as `CVE-2026-21441` or `PYSEC-2026-1`";
        complaints.error_with_hint(message, text.span, hint);
    }
}

/// Two pins of one distribution, and bounds that no pin can satisfy, are found before uv looks.
fn check_pins(series: &Series, complaints: &mut Complaints) {
    let mut pinned: BTreeMap<&PackageName, &Service> = BTreeMap::new();
    for service in &series.services {
        let before = pinned.insert(&service.distribution, service);
        if let Some(other) = before.filter(|o| !same_version(&o.version, &service.version)) {
            let (name, a, b) = (&service.distribution, &other.name, &service.name);
            let message = format!("services `{a}` and `{b}` want different versions of `{name}`");
            complaints.error(message, service.span);
        }
        for (kind, package, bound) in bounds(series) {
            if *package == service.distribution && !bound.contains(&service.version) {
                let message = format!(
                    "version {} of `{}` is outside its {kind} `{bound}`",
                    service.version, service.distribution
                );
                complaints.error(message, service.span);
            }
        }
    }
}

fn bounds(series: &Series) -> impl Iterator<Item = (&'static str, &PackageName, &Specifiers)> {
    let caps = series.caps.iter().map(|c| ("cap", &c.package, &c.version));
    caps.chain(series.overrides.iter().map(|o| ("override", &o.package, &o.version)))
}

pub(crate) fn package(table: &Table<'_>, complaints: &mut Complaints) -> Option<PackageName> {
    let text = table.required("package", complaints)?;
    complaints.take(text.value.parse(), text.span)
}

fn specifiers(table: &Table<'_>, complaints: &mut Complaints) -> Option<(Specifiers, Span)> {
    let text = table.required("version", complaints)?;
    if check_version(&text.value).is_ok() {
        let message = format!("`{}` is a version; a bound is wanted", text.value);
        let hint = format!("such as `>={0}` or `=={0}`", text.value);
        complaints.error_with_hint(message, text.span, hint);
        return None;
    }
    let specifiers: Specifiers = complaints.take(text.value.parse(), text.span)?;
    if specifiers.is_empty() {
        complaints.error("`version` is empty", text.span);
        return None;
    }
    Some((specifiers, text.span))
}

fn reason(table: &Table<'_>, complaints: &mut Complaints) -> Option<String> {
    sentence(table, "reason", complaints)
}

/// A text that must be there; it becomes a comment of one line.
pub(crate) fn sentence(
    table: &Table<'_>,
    key: &str,
    complaints: &mut Complaints,
) -> Option<String> {
    let text = table.required(key, complaints)?;
    let line = text.value.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() || line.contains(char::is_control) {
        complaints.error(format!("`{key}` must be a sentence"), text.span);
        return None;
    }
    Some(line)
}

pub(crate) fn date(text: &Text, complaints: &mut Complaints) -> Option<Date> {
    complaints.take(text.value.parse(), text.span)
}

fn requirements(texts: &[Text], complaints: &mut Complaints) -> Vec<(Requirement, Span)> {
    let mut out = Vec::new();
    for text in texts {
        let requirement = complaints.take(text.value.parse::<Requirement>(), text.span);
        out.extend(requirement.map(|r| (r, text.span)));
    }
    out
}
