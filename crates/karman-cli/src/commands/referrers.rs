//! `karman image referrers` and `karman image attach`.

use std::path::{Path, PathBuf};

use karman_oci::{Descriptor, Reference};
use karman_report::{Table, human_size};
use karman_worker::Attachment;
use serde_json::json;

use crate::commands::image::Format;
use crate::driver::watched;
use crate::failure::{Done, Failure};
use crate::out;
use crate::setup::Context;

/// The media type of a file that has none.
const PLAIN: &str = "application/octet-stream";

/// Arguments of `referrers`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReferrersArgs {
    /// Image of a registry
    #[arg(value_name = "REF")]
    reference: String,
    /// Only artifacts of this type
    #[arg(long, value_name = "TYPE")]
    artifact_type: Option<String>,
    /// Columns or JSON
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

/// Arguments of `attach`.
#[derive(Debug, clap::Args)]
pub(crate) struct AttachArgs {
    /// Image of a registry
    #[arg(value_name = "REF")]
    reference: String,
    /// What kind of artifact the files are, such as application/spdx+json
    #[arg(long, value_name = "TYPE")]
    artifact_type: String,
    /// Files, each with its media type where it is not application/octet-stream
    #[arg(required = true, value_name = "FILE[:MEDIA-TYPE]")]
    files: Vec<String>,
}

/// Lists what refers to an image.
pub(crate) fn list(args: &ReferrersArgs, context: &Context) -> Done {
    let reference = parsed(&args.reference)?;
    let engine = context.open(true)?;
    let kind = args.artifact_type.as_deref();
    let (top, found) = watched(&engine, || {}, || engine.referrers(&reference, kind))??;
    match args.format {
        Format::Table => {
            let mut table = Table::new(["DIGEST", "ARTIFACT TYPE", "SIZE"]);
            for one in &found {
                table.row([one.digest.to_string(), kind_of(one), human_size(one.size)]);
            }
            out::data(&table.render())?;
        }
        Format::Json => {
            let all = json!({ "subject": top, "referrers": found });
            out::data(&format!("{all:#}\n"))?;
        }
    }
    Ok(0)
}

/// Attaches files to an image.
pub(crate) fn attach(args: &AttachArgs, context: &Context) -> Done {
    let reference = parsed(&args.reference)?;
    let files: Vec<Attachment> =
        args.files.iter().map(|text| attachment(text, context)).collect::<Done<_>>()?;
    let engine = context.open(true)?;
    let attached =
        watched(&engine, || {}, || engine.attach(&reference, &args.artifact_type, &files))??;
    let bare = Reference { tag: None, digest: None, ..reference };
    out::data(&format!("{}@{}\n", bare.familiar(), attached.digest))?;
    Ok(0)
}

fn parsed(text: &str) -> Done<Reference> {
    Reference::parse(text).map_err(|e| Failure::usage(e.to_string()))
}

fn kind_of(one: &Descriptor) -> String {
    one.artifact_type.clone().unwrap_or_else(|| one.media_type.clone())
}

/// Reads `FILE[:MEDIA-TYPE]`. A path that exists is one, whatever characters it has.
fn attachment(text: &str, context: &Context) -> Done<Attachment> {
    let whole = context.env.absolute(Path::new(text));
    let (path, media_type) = match text.rsplit_once(':') {
        Some((path, kind)) if kind.contains('/') && !whole.exists() => (path, kind),
        _ => (text, PLAIN),
    };
    let path: PathBuf = context.env.absolute(Path::new(path));
    let title = path.file_name().and_then(|name| name.to_str());
    let title = title.ok_or_else(|| Failure::usage(format!("`{text}` is no file")))?.to_owned();
    Ok(Attachment { title, path, media_type: media_type.to_owned() })
}
