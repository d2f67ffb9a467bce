//! `karman image`.

mod relayer;

use std::time::{SystemTime, UNIX_EPOCH};

use karman_oci::Reference;
use karman_report::{ImageRow, images_json, images_table};
use karman_worker::{Engine, ImageDetails, LocalImage};
use serde_json::{Value, json};

use crate::commands::referrers;
use crate::failure::{Done, Failure};
use crate::out;
use crate::setup::Context;

const NANOSECONDS: i64 = 1_000_000_000;
const NO_TAG: &str = "<none>";

/// How a list is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns
    Table,
    /// JSON
    Json,
}

/// Arguments of `image ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct LsArgs {
    /// Columns or JSON
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Print the digests only
    #[arg(short, long)]
    quiet: bool,
}

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// List the images
    Ls(LsArgs),
    /// Print descriptor, manifests and configs as JSON
    Inspect {
        /// Name or digest
        name: String,
    },
    /// Remove names; `karman cache prune` removes the bytes
    Rm {
        /// Names or digests
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Cut the layers of images anew, along the packages that they have in common
    Relayer(relayer::Args),
    /// Give an image another name
    Tag {
        /// Name or digest
        source: String,
        /// The new name
        target: String,
    },
    /// List what refers to an image of a registry: signatures, bills of materials
    Referrers(referrers::ReferrersArgs),
    /// Attach files to an image of a registry, so that they are found as its referrers
    Attach(referrers::AttachArgs),
}

/// Runs a subcommand.
pub(crate) fn run(command: Command, context: &Context) -> Done {
    // What the arguments alone tell comes before the store is opened.
    let target = match &command {
        Command::Tag { target, .. } => Some(reference(target)?),
        Command::Relayer(args) => return relayer::run(args, context),
        _ => None,
    };
    match &command {
        Command::Referrers(args) => return referrers::list(args, context),
        Command::Attach(args) => return referrers::attach(args, context),
        _ => {}
    }
    let engine = context.open(false)?;
    match command {
        Command::Ls(args) => list(&engine, args.format, args.quiet)?,
        Command::Inspect { name } => {
            let details = engine.inspect_image(&name)?;
            out::data(&format!("{:#}\n", inspection(&details)))?;
        }
        Command::Rm { names } => {
            for name in &names {
                let removed = engine.remove_image(name)?;
                out::data(&format!("Untagged: {}\n", familiar(&removed.reference)))?;
            }
        }
        // It was run above.
        Command::Relayer(_) => {}
        Command::Tag { source, .. } => {
            let image = engine.find_image(&source)?;
            if let Some(target) = target {
                engine.tag_image(&target, &image.descriptor)?;
            }
        }
        Command::Referrers(_) | Command::Attach(_) => {}
    }
    Ok(0)
}

fn reference(text: &str) -> Done<Reference> {
    let parsed = Reference::parse(text).map_err(|e| Failure::usage(e.to_string()))?;
    if parsed.digest.is_some() {
        return Err(Failure::usage(format!("`{text}` has a digest: a name is wanted")));
    }
    Ok(parsed)
}

fn list(engine: &Engine, format: Format, quiet: bool) -> Done<()> {
    let images = engine.images()?;
    if quiet {
        let shown = images.iter().filter(|i| !is_signature(i));
        let digests = shown.map(|i| format!("{}\n", i.descriptor.digest));
        return out::data(&digests.collect::<String>());
    }
    let mut rows: Vec<ImageRow> = Vec::new();
    for image in images.iter().filter(|i| !is_signature(i)) {
        match row(engine, image) {
            Ok(row) => rows.push(row),
            // One that is not complete must not hide the others.
            Err(error) => {
                let name = familiar(&image.reference);
                out::note(&format!("warning: image `{name}` is not complete: {}", error.render()));
            }
        }
    }
    match format {
        Format::Json => out::data(&images_json(&rows)),
        Format::Table => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            out::data(&images_table(&rows, i64::try_from(now.as_secs()).unwrap_or(i64::MAX)))
        }
    }
}

/// Whether it is the signatures of another image.
fn is_signature(image: &LocalImage) -> bool {
    let parsed = Reference::parse(&image.reference).ok();
    parsed.and_then(|r| r.tag).is_some_and(|tag| karman_signature::is_signature_tag(&tag))
}

fn row(engine: &Engine, image: &LocalImage) -> Done<ImageRow> {
    let details = engine.inspect_image(&image.reference)?;
    let (repository, tag) = split(&image.reference);
    Ok(ImageRow {
        repository,
        tag,
        digest: image.descriptor.digest.to_string(),
        created: image.created / NANOSECONDS,
        size: details.size(),
        platforms: details.platforms.iter().map(|(_, _, c)| c.platform().to_string()).collect(),
    })
}

/// Repository as people write it, and tag.
fn split(reference: &str) -> (String, String) {
    let Ok(parsed) = Reference::parse(reference) else {
        return (reference.to_owned(), NO_TAG.to_owned());
    };
    let tag = parsed.tag.clone().unwrap_or_else(|| NO_TAG.to_owned());
    let familiar = parsed.familiar();
    let repository = familiar.strip_suffix(&format!(":{tag}")).unwrap_or(&familiar).to_owned();
    (repository, tag)
}

fn familiar(reference: &str) -> String {
    Reference::parse(reference).map_or_else(|_| reference.to_owned(), |r| r.familiar())
}

fn inspection(details: &ImageDetails) -> Value {
    let platforms = details.platforms.iter().map(|(descriptor, manifest, config)| {
        json!({
            "platform": config.platform().to_string(),
            "descriptor": descriptor,
            "manifest": manifest,
            "config": config,
        })
    });
    json!({
        "name": familiar(&details.image.reference),
        "reference": details.image.reference,
        "descriptor": details.image.descriptor,
        "size": details.size(),
        "platforms": platforms.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_fall_into_repository_and_tag() {
        assert_eq!(split("docker.io/library/nova:latest"), ("nova".into(), "latest".into()));
        assert_eq!(split("r.example:5000/a/b:1"), ("r.example:5000/a/b".into(), "1".into()));
    }
}
