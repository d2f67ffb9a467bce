//! Pins against advisories, and what is done about findings.

use karman_constraints::{
    Advisories, Bump, Date, FailOn, Level, NewOverride, PackageName, Pins, Report, Requirements,
    VexFormat, parse_compiled, render_report, render_report_json, render_report_sarif, render_vex,
    write_override,
};

use crate::{Subject, rendered};

const TODAY: &str = "2026-05-01";

impl Subject<'_> {
    fn today(&self) -> Date {
        self.case.section("today").map_or(TODAY, |s| &s.value).parse().expect("a date")
    }

    fn pins(&self) -> Pins {
        parse_compiled(self.case.body("pins")).expect("pins")
    }

    fn graph(&self) -> Option<Requirements> {
        self.case.section("graph").map(|s| Requirements::parse(&s.body).expect("a graph"))
    }

    /// Feeds every `advisory` section in.
    fn advisories(&self, pins: &Pins) -> Result<Advisories, String> {
        let mut advisories = Advisories::about(pins.iter().map(|(name, _)| name));
        for section in self.case.sections.iter().filter(|s| s.name == "advisory") {
            let record = match section.value.as_str() {
                "" => section.body.clone(),
                name => known(name),
            };
            advisories.add(record.as_bytes()).map_err(|error| {
                let cause = std::error::Error::source(&error).map(|e| format!(": {e}"));
                format!("{error}{}\n", cause.unwrap_or_default())
            })?;
        }
        Ok(advisories)
    }

    fn report(&self) -> Result<(Report, Advisories), String> {
        let pins = self.pins();
        let advisories = self.advisories(&pins)?;
        let graph = self.graph();
        let today = self.today();
        let report =
            karman_constraints::check(&self.series, &pins, graph.as_ref(), &advisories, today);
        Ok((report, advisories))
    }
}

/// A record of a real flaw, `tests/advisories/<name>.json`.
fn known(name: &str) -> String {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/advisories");
    std::fs::read_to_string(dir.join(format!("{name}.json"))).expect("a record")
}

/// Which of the versions below `versions` the advisories affect: one pin at a time.
pub(crate) fn affected(subject: &Subject<'_>) -> String {
    let package = &subject.case.section("versions").expect("versions").value;
    let judge = |version: &str| -> Result<String, String> {
        let pins = parse_compiled(&format!("{package}==={version}")).expect("a pin");
        let advisories = subject.advisories(&pins)?;
        let today = subject.today();
        let report = karman_constraints::check(&subject.series, &pins, None, &advisories, today);
        if !report.unreadable.is_empty() {
            return Ok("cannot be compared".to_owned());
        }
        Ok(match report.findings.first() {
            Some(finding) => format!("affected, {:?}", finding.fix),
            None => "not affected".to_owned(),
        })
    };
    let versions = subject.case.body("versions").lines();
    let judged =
        versions.map(|v| -> Result<String, String> { Ok(format!("{v}: {}\n", judge(v)?)) });
    judged.collect::<Result<String, String>>().unwrap_or_else(|error| error)
}

pub(crate) fn text(subject: &Subject<'_>) -> String {
    let (report, advisories) = match subject.report() {
        Ok(both) => both,
        Err(error) => return error,
    };
    let mut out = render_report(&report);
    for line in &report.unreadable {
        out += &format!("cannot be compared: {line}\n");
    }
    for accepted in &report.unused {
        out += &format!("unused: {} of {}\n", accepted.advisory, accepted.package);
    }
    out += &format!(
        "{} pins, {} records, {} withdrawn\n",
        report.pins,
        report.advisories,
        advisories.withdrawn()
    );
    let policies = [
        ("never", FailOn::Never),
        ("critical", FailOn::AtLeast(Level::Critical)),
        ("high", FailOn::AtLeast(Level::High)),
        ("medium", FailOn::AtLeast(Level::Medium)),
        ("low", FailOn::AtLeast(Level::Low)),
        ("any", FailOn::Any),
    ];
    let failing: Vec<&str> =
        policies.iter().filter(|(_, p)| report.fails(*p)).map(|(name, _)| *name).collect();
    out + &format!("fails on: {}\n", failing.join(" "))
}

pub(crate) fn json(subject: &Subject<'_>) -> String {
    match subject.report() {
        Ok((report, _)) => render_report_json(&report, &subject.series.name),
        Err(error) => error,
    }
}

pub(crate) fn sarif(subject: &Subject<'_>) -> String {
    let uri = "constraints/2026.1/upper-constraints.txt";
    match subject.report() {
        Ok((report, _)) => render_report_sarif(&report, uri, subject.case.body("pins")),
        Err(error) => error,
    }
}

pub(crate) fn plan(subject: &Subject<'_>) -> String {
    let (report, advisories) = match subject.report() {
        Ok(both) => both,
        Err(error) => return error,
    };
    let plan = karman_constraints::plan(&report, &advisories);
    let bump = |b: &Bump| {
        format!("{} [{}] {}: {}\n", b.shown(), b.to.bound(), b.advisories.join(", "), b.reason)
    };
    let mut out: String = plan.bumps.iter().map(bump).collect();
    for left in &plan.unfixed {
        out +=
            &format!("no fix: {} {} {}\n", left.package, left.version, left.advisories.join(", "));
    }
    out
}

/// What forbids the version behind `bump`.
pub(crate) fn blockers(subject: &Subject<'_>) -> String {
    let bump = &subject.case.section("bump").expect("a bump").value;
    let (package, version) = bump.split_once(' ').expect("a package and a version");
    let package: PackageName = package.parse().expect("a name");
    let graph = subject.graph();
    let found = karman_constraints::blockers(&subject.series, graph.as_ref(), &package, version);
    let line = |b: &karman_constraints::Blocker| {
        let kind = if b.firm { "firm" } else { "may move" };
        let place = b.span.and_then(|s| subject.sources.locate(s));
        let place = place.map_or(String::new(), |(name, at)| format!(" ({name}:{})", at.line));
        format!("{kind}: {}{place}\n", b.message)
    };
    let out: String = found.iter().map(line).collect();
    if out.is_empty() { "nothing\n".to_owned() } else { out }
}

/// Why pins moved between `graph` and `new-graph`.
pub(crate) fn explain(subject: &Subject<'_>) -> String {
    let old = parse_compiled(subject.case.body("old")).expect("pins");
    let new = parse_compiled(subject.case.body("new")).expect("pins");
    let graph = subject.graph();
    let new_graph = Requirements::parse(subject.case.body("new-graph")).expect("a graph");
    let changes = karman_constraints::diff(&old, &new);
    let line = |change: &karman_constraints::Change| {
        let reasons = karman_constraints::explain(change, &changes, graph.as_ref(), &new_graph);
        let shown = karman_constraints::render_diff(std::slice::from_ref(change));
        format!("{}: {}\n", shown.trim_end(), reasons.join("; "))
    };
    changes.iter().map(line).collect()
}

/// The text of the series with one more override.
pub(crate) fn edit(subject: &Subject<'_>) -> String {
    let body = |name: &str| subject.case.section(name).map(|s| s.value.clone());
    let bound = body("bump").expect("a bump");
    let (package, version) = bound.split_once(' ').expect("a package and a bound");
    let advisories = body("advisories").expect("advisories");
    let new = NewOverride {
        package: package.parse().expect("a name"),
        version: version.to_owned(),
        advisories: advisories.split(", ").map(str::to_owned).collect(),
        reason: body("reason").expect("a reason"),
        expires: body("expires").map(|d| d.parse().expect("a date")),
    };
    write_override(subject.text, &new).unwrap_or_else(|error| format!("{error}\n"))
}

pub(crate) fn why(subject: &Subject<'_>) -> String {
    let section = subject.case.section("package").expect("a package");
    let package: PackageName = section.value.parse().expect("a name");
    let (pins, graph) = (subject.pins(), subject.graph());
    let found = karman_constraints::why(&subject.series, &pins, graph.as_ref(), &package);
    let place = |span| {
        let found = subject.sources.locate(span);
        found.map_or(String::new(), |(name, at)| format!("{name}:{}", at.line))
    };
    match found {
        Some(why) if subject.case.section("json").is_some() => why.render_json(),
        Some(why) => why.render_text(&place),
        None => "nobody knows it\n".to_owned(),
    }
}

/// The accepted risks in the form behind `format`, and the expiries that would be told.
pub(crate) fn vex(subject: &Subject<'_>) -> String {
    let format = match subject.case.section("format").map(|s| s.value.as_str()) {
        Some("cyclonedx") => VexFormat::CycloneDx,
        _ => VexFormat::OpenVex,
    };
    let today = subject.today();
    let pins = subject.pins();
    let document = render_vex(&subject.series, &pins, "the fleet's owners", today, format);
    let expired = rendered(&subject.series.expired(today), &subject.sources);
    expired + &document.unwrap_or_else(|| "nothing is accepted\n".to_owned())
}
