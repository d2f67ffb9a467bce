//! `karman constraints render`.

use std::path::PathBuf;

use karman_constraints::{apply, render_diff, render_pins};

use super::place::{SeriesArgs, pins, read};
use crate::failure::Done;
use crate::metadata::write;
use crate::out;
use crate::setup::Context;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    series: SeriesArgs,
    /// Pins to begin with [default: those that were imported, or else locked]
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,
    /// Write to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &Args, context: &Context) -> Done {
    let place = args.series.place(context)?;
    let loaded = place.load(context)?;
    loaded.tell(&loaded.warnings);
    let applied = match (&args.from, place.held(&loaded, context)) {
        (Some(path), _) => {
            let pins = pins(path, &read(path, context)?)?;
            apply(&loaded.series, &pins).map_err(|found| loaded.failure(&found))?
        }
        (None, held) => match held? {
            Some(applied) => applied,
            None => {
                let pins = place.pins(&loaded, context)?;
                apply(&loaded.series, &pins).map_err(|found| loaded.failure(&found))?
            }
        },
    };
    let text = render_pins(&loaded.series, &applied);
    out::note(&render_diff(&applied.changes));
    match &args.output {
        Some(path) => {
            write(&context.env.absolute(path), &text)?;
            out::note(&format!("wrote {}\n", path.display()));
        }
        None => out::data(&text)?,
    }
    Ok(0)
}
