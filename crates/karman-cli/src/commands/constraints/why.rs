//! `karman constraints why`.

use karman_constraints::{PackageName, why};
use karman_diag::{ExitCode, nearest};

use super::check::Format;
use super::place::Dir;
use crate::failure::{Done, Failure};
use crate::out;
use crate::setup::Context;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// [SERIES] and the package; the series may be left out where DIR has only one
    #[arg(value_name = "[SERIES] PACKAGE", num_args = 1..=2, required = true)]
    words: Vec<String>,
    #[command(flatten)]
    dir: Dir,
    /// Form of the answer
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    format: Format,
}

pub(super) fn run(args: &Args, context: &Context) -> Done {
    let (series, package) = match args.words.as_slice() {
        [series, package] => (Some(series.as_str()), package),
        [package] => (None, package),
        _ => return Err(Failure::usage("name a package")),
    };
    let package: PackageName = package.parse().map_err(|e| Failure::usage(format!("{e}")))?;
    let place = args.dir.place(series, context)?;
    let loaded = place.load(context)?;
    let pins = place.pins(&loaded, context)?;
    let graph = place.graph(&pins, context)?;
    if graph.is_none() {
        out::note(&format!(
            "WARNING: {} does not exist, so nobody knows who asks for it\nhint: `karman constraints lock {}` records it\n",
            place.requirements().display(),
            place.series
        ));
    }
    let Some(why) = why(&loaded.series, &pins, graph.as_ref(), &package) else {
        let names: Vec<&str> = pins.iter().map(|(name, _)| name.as_str()).collect();
        let near = nearest(package.as_str(), names);
        let hint = near.map_or(String::new(), |near| format!("hint: did you mean `{near}`?\n"));
        return Err(Failure::Rendered {
            text: format!("ERROR: nothing in series {} is `{package}`\n{hint}", place.series),
            exit: ExitCode::NotFound,
        });
    };
    match args.format {
        Format::Text => out::data(&why.render_text(&|span| loaded.at(span)))?,
        Format::Json => out::data(&why.render_json())?,
    }
    Ok(0)
}
