//! `karman constraints vex`.

use karman_constraints::{Date, VexFormat, render_vex};
use karman_diag::ExitCode;

use super::place::{SeriesArgs, today};
use crate::failure::{Done, Failure};
use crate::out;
use crate::setup::Context;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    series: SeriesArgs,
    /// Form of the document
    #[arg(long, value_name = "FORMAT", default_value = "openvex")]
    format: Format,
    /// Who answers for the statements
    #[arg(long, value_name = "NAME", default_value = "karman constraints")]
    author: String,
    /// The day on which acceptances must still hold [default: the clock's]
    #[arg(long, value_name = "DATE")]
    today: Option<Date>,
}

/// Forms of the document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// OpenVEX 0.2.0
    Openvex,
    /// CycloneDX 1.6
    Cyclonedx,
}

pub(super) fn run(args: &Args, context: &Context) -> Done {
    let place = args.series.place(context)?;
    let loaded = place.load(context)?;
    let pins = place.pins(&loaded, context)?;
    let day = today(args.today)?;
    let format = match args.format {
        Format::Openvex => VexFormat::OpenVex,
        Format::Cyclonedx => VexFormat::CycloneDx,
    };
    let expired: Vec<_> =
        loaded.series.expired(day).into_iter().filter(karman_diag::Diagnostic::is_error).collect();
    loaded.tell(&expired);
    match render_vex(&loaded.series, &pins, &args.author, day, format) {
        Some(document) => out::data(&document)?,
        None => {
            return Err(Failure::Rendered {
                text: format!("ERROR: series {} accepts no risk on {day}\n", place.series),
                exit: ExitCode::NotFound,
            });
        }
    }
    Ok(0)
}
