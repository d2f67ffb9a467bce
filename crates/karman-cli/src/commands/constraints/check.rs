//! `karman constraints check`.

use std::path::PathBuf;

use karman_constraints::{
    Advisories, Date, FailOn, Level, Pins, Report, Requirements, check, render_report,
    render_report_json, render_report_sarif,
};
use karman_diag::ExitCode;

use super::advisories;
use super::place::{Loaded, Place, SeriesArgs, pins, read, today};
use crate::failure::Done;
use crate::out;
use crate::setup::Context;

/// Flags of commands that look at advisories.
#[derive(Debug, clap::Args)]
pub(crate) struct Source {
    /// Advisories in the OSV format: a directory, a zip archive, a record, or the URL of an archive
    #[arg(long, value_name = "DIR|ZIP|URL", default_value = advisories::DEFAULT_SOURCE)]
    advisories: String,
    /// The day on which acceptances must still hold [default: the clock's]
    #[arg(long, value_name = "DATE")]
    today: Option<Date>,
}

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    series: SeriesArgs,
    #[command(flatten)]
    source: Source,
    /// Look at these pins instead of those that were locked
    #[arg(long, value_name = "FILE")]
    pins: Option<PathBuf>,
    /// From which severity on a finding fails the command; what nobody rated counts as worse than critical
    #[arg(long, value_name = "SEVERITY", default_value = "any")]
    fail_on: Threshold,
    /// Form of the report
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: ReportFormat,
}

/// Forms of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ReportFormat {
    /// For people
    Text,
    /// For programs
    Json,
    /// For code hosts, SARIF 2.1.0
    Sarif,
}

/// Forms of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

/// From which severity on a finding fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Threshold {
    Any,
    Low,
    Medium,
    High,
    Critical,
    Never,
}

impl Threshold {
    fn policy(self) -> FailOn {
        match self {
            Self::Any => FailOn::Any,
            Self::Low => FailOn::AtLeast(Level::Low),
            Self::Medium => FailOn::AtLeast(Level::Medium),
            Self::High => FailOn::AtLeast(Level::High),
            Self::Critical => FailOn::AtLeast(Level::Critical),
            Self::Never => FailOn::Never,
        }
    }
}

/// What a check stands on, and what it found.
pub(super) struct Checked {
    pub(super) pins: Pins,
    pub(super) graph: Option<Requirements>,
    pub(super) advisories: Advisories,
    pub(super) report: Report,
}

/// Holds the pins of a series, or those of `file`, against the advisories.
pub(super) fn checked(
    place: &Place,
    loaded: &Loaded,
    source: &Source,
    file: Option<&PathBuf>,
    context: &Context,
) -> Done<Checked> {
    let day = today(source.today)?;
    let pins = match file {
        Some(path) => pins(path, &read(path, context)?)?,
        None => place.pins(loaded, context)?,
    };
    let graph = match file {
        // What others pin has other requirements.
        Some(_) => None,
        None => place.graph(&pins, context)?,
    };
    let names = pins.iter().map(|(name, _)| name);
    let advisories = advisories::load(&source.advisories, names, context)?;
    let report = check(&loaded.series, &pins, graph.as_ref(), &advisories, day);
    let mut expired = loaded.series.expired(day);
    // What no pin has any more is to be removed, not to be looked at again.
    expired.retain(|d| !report.unused.iter().any(|a| d.span == Some(a.span)));
    loaded.tell(&expired);
    for unused in report.unused.iter().filter(|_| file.is_none()) {
        out::note(&format!(
            "WARNING: no pin has {} of `{}` ({}): remove its `[[accepted]]`\n",
            unused.advisory,
            unused.package,
            loaded.at(unused.span)
        ));
    }
    for pin in &report.unreadable {
        out::note(&format!("WARNING: {pin} cannot be compared with advisories\n"));
    }
    Ok(Checked { pins, graph, advisories, report })
}

pub(super) fn run(args: &Args, context: &Context) -> Done {
    let place = args.series.place(context)?;
    let loaded = place.load(context)?;
    loaded.tell(&loaded.warnings);
    let checked = checked(&place, &loaded, &args.source, args.pins.as_ref(), context)?;
    let report = &checked.report;
    match args.format {
        ReportFormat::Text => out::data(&render_report(report))?,
        ReportFormat::Json => out::data(&render_report_json(report, &place.series))?,
        ReportFormat::Sarif => {
            let file = args.pins.clone().unwrap_or_else(|| place.locked());
            let text = std::fs::read_to_string(context.env.absolute(&file)).unwrap_or_default();
            let uri = file.display().to_string();
            out::data(&render_report_sarif(report, &uri, &text))?;
        }
    }
    let open = report.findings.iter().filter(|f| f.is_open()).count();
    out::note(&format!(
        "{} pins, {} advisories: {open} vulnerable, {} accepted\n",
        report.pins,
        report.advisories,
        report.findings.len() - open
    ));
    if report.fails(args.fail_on.policy()) {
        return Ok(ExitCode::Failure.code());
    }
    Ok(ExitCode::Success.code())
}
