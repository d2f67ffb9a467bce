//! `karman sbom`.

use karman_inventory::sbom::{Subject, cyclonedx, spdx};

use crate::driver::watched;
use crate::failure::Done;
use crate::image_spec::{PlatformArg, parse};
use crate::out;
use crate::setup::Context;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name or digest in the local store, path of an OCI layout, oci-layout://… or docker-image://…
    image: String,
    /// Form of the bill of materials
    #[arg(long, value_enum, default_value = "cyclonedx")]
    format: Format,
    #[command(flatten)]
    platform: PlatformArg,
}

/// Form of the bill.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// CycloneDX 1.6
    Cyclonedx,
    /// SPDX 2.3
    Spdx,
}

/// Prints the bill of materials of an image.
pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let engine = context.open(false)?;
    let session = context.session();
    let spec = parse(&args.image, &context.env);
    let inventory = || engine.inventory(&spec, &args.platform.get(), &session);
    let inspected = watched(&engine, || {}, inventory)??;
    let subject = Subject {
        name: &inspected.name,
        digest: inspected.manifest,
        created: inspected.config.created.as_deref(),
        version: env!("CARGO_PKG_VERSION"),
        inventory: &inspected.inventory,
    };
    let bill = match args.format {
        Format::Cyclonedx => cyclonedx(&subject),
        Format::Spdx => spdx(&subject),
    };
    out::data(&format!("{bill:#}\n"))?;
    Ok(0)
}
