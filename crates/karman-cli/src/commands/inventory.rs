//! `karman inventory`.

use karman_inventory::print::{listing, summary};

use crate::driver::watched;
use crate::failure::{Done, Failure};
use crate::image_spec::{PlatformArg, parse};
use crate::out;
use crate::setup::Context;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name or digest in the local store, path of an OCI layout, oci-layout://… or docker-image://…
    image: String,
    /// One line a path, or JSON
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    #[command(flatten)]
    platform: PlatformArg,
}

/// How it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One line a path
    Text,
    /// Everything that is known
    Json,
}

/// Prints the inventory of an image.
pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let engine = context.open(false)?;
    let session = context.session();
    let spec = parse(&args.image, &context.env);
    let inspected =
        watched(&engine, || {}, || engine.inventory(&spec, &args.platform.get(), &session))??;
    let inventory = &inspected.inventory;
    match args.format {
        Format::Text => {
            out::data(&listing(inventory))?;
            out::note(&summary(inventory));
        }
        Format::Json => {
            let mut json = serde_json::to_string_pretty(inventory)
                .map_err(|e| Failure::host("write JSON", e))?;
            json.push('\n');
            out::data(&json)?;
        }
    }
    Ok(0)
}
