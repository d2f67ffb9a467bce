//! `karman push`, `karman pull` and `karman load`.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use karman_oci::{Platform, Reference};
use karman_report::human_size;
use karman_worker::{Engine, LoadFrom, PushItem, PushReport};

use crate::driver::watched;
use crate::failure::{Done, Failure};
use crate::out;
use crate::setup::Context;

/// Arguments of `push`.
#[derive(Debug, clap::Args)]
pub(crate) struct PushArgs {
    /// Names of images in the local store; each goes to the registry that its name says
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Print nothing but errors
    #[arg(short, long)]
    quiet: bool,
}

/// Arguments of `pull`.
#[derive(Debug, clap::Args)]
pub(crate) struct PullArgs {
    /// Images to bring into the local store
    #[arg(required = true, value_name = "REF")]
    references: Vec<String>,
    /// Platform, where the name stands for several [default: this host's]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,
    /// Print nothing but the digests
    #[arg(short, long)]
    quiet: bool,
}

/// Arguments of `load`.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// Archive or directory; standard input otherwise
    #[arg(short, long, value_name = "PATH")]
    input: Option<PathBuf>,
    /// Name of an image that has none
    #[arg(short, long, value_name = "NAME")]
    tag: Option<String>,
    /// Print nothing but the names, or the digests of images without
    #[arg(short, long)]
    quiet: bool,
}

/// Brings images of an archive into the local store.
pub(crate) fn load(args: &LoadArgs, context: &Context) -> Done {
    let tag = args.tag.as_deref().map(named).transpose()?;
    let path = args.input.as_deref().filter(|path| *path != Path::new("-"));
    let stdin = std::io::stdin();
    if path.is_none() && stdin.is_terminal() {
        return Err(Failure::usage_hint(
            "requested load from stdin, but stdin is empty",
            "name an archive with `--input`",
        ));
    }
    let engine = context.open(false)?;
    let path = path.map(|path| context.env.absolute(path));
    let loaded = watched(
        &engine,
        || {},
        || match &path {
            Some(path) => engine.load_images(LoadFrom::Path(path), tag.as_ref()),
            None => engine.load_images(LoadFrom::Stream(&mut std::io::stdin()), tag.as_ref()),
        },
    )??;
    for image in &loaded {
        let name = image.name.as_ref().map(Reference::familiar);
        let line = match (name, args.quiet) {
            (Some(name), true) => name,
            (Some(name), false) => format!("Loaded image: {name}"),
            (None, true) => image.top.digest.to_string(),
            (None, false) => format!("Loaded image without a name: {}", image.top.digest),
        };
        out::data(&format!("{line}\n"))?;
    }
    if loaded.iter().any(|image| image.name.is_none()) && !args.quiet {
        out::note("hint: an image without a name goes with the next prune; `--tag` gives it one\n");
    }
    Ok(0)
}

/// Pushes; every blob once, all tags last.
pub(crate) fn push(args: &PushArgs, context: &Context) -> Done {
    let wanted: Vec<Reference> = args.names.iter().map(|name| named(name)).collect::<Done<_>>()?;
    let engine = context.open(false)?;
    let mut items = Vec::new();
    for name in &wanted {
        let image = engine.find_image(&name.to_string())?;
        // Signatures go with their image.
        let signatures = engine.signatures_of(name, &image.descriptor.digest)?;
        items.push(PushItem { top: image.descriptor, names: vec![name.clone()] });
        items.extend(signatures);
    }
    let report = with_progress(&engine, args.quiet, "pushing layers", |on_blob| {
        engine.push_images(&items, on_blob)
    })?;
    for item in items.iter().filter(|_| !args.quiet) {
        let names = item.names.iter().map(|n| format!("{}@{}\n", n.familiar(), item.top.digest));
        out::data(&names.collect::<String>())?;
    }
    if !args.quiet {
        out::note(&summary(&report));
    }
    Ok(0)
}

/// Pulls.
pub(crate) fn pull(args: &PullArgs, context: &Context) -> Done {
    let platform = match &args.platform {
        Some(text) => Platform::parse(text).map_err(|e| Failure::usage(e.to_string()))?,
        None => Platform::host(),
    };
    let parse = |text: &String| Reference::parse(text).map_err(|e| Failure::usage(e.to_string()));
    let wanted: Vec<Reference> = args.references.iter().map(parse).collect::<Done<_>>()?;
    let engine = context.open(true)?;
    for reference in &wanted {
        let doing = format!("pulling {}", reference.familiar());
        let pulled = with_progress(&engine, args.quiet, &doing, |on_blob| {
            engine.pull_image(reference, &platform, on_blob)
        })?;
        if args.quiet {
            out::data(&format!("{}\n", pulled.descriptor.digest))?;
        } else {
            let bare = Reference { tag: None, digest: None, ..reference.clone() };
            out::data(&format!("{}@{}\n", bare.familiar(), pulled.descriptor.digest))?;
            let state = if pulled.is_news { "downloaded" } else { "up to date" };
            out::note(&format!("{}: {state}\n", reference.familiar()));
        }
    }
    Ok(0)
}

/// A name that something can be pushed to.
fn named(text: &str) -> Done<Reference> {
    let parsed = Reference::parse(text).map_err(|e| Failure::usage(e.to_string()))?;
    match parsed.digest {
        Some(_) => Err(Failure::usage_hint(
            format!("`{text}` has a digest: a name with a tag is wanted"),
            "`karman image tag` gives an image another name",
        )),
        None => Ok(parsed),
    }
}

/// Runs a transfer that SIGINT ends; every tenth of the blobs is told.
fn with_progress<T>(
    engine: &Engine,
    quiet: bool,
    doing: &str,
    body: impl FnOnce(&(dyn Fn(usize, usize) + Sync)) -> Result<T, karman_control::SolveError>,
) -> Done<T> {
    let told = AtomicUsize::new(0);
    let on_blob = |done: usize, total: usize| {
        let tenth = done * 10 / total.max(1);
        if !quiet && told.fetch_max(tenth, Ordering::SeqCst) < tenth {
            out::note(&format!("{doing} {done} / {total}\n"));
        }
    };
    Ok(watched(engine, || {}, || body(&on_blob))??)
}

fn summary(report: &PushReport) -> String {
    let PushReport { uploaded, uploaded_bytes, mounted, existed, .. } = *report;
    let size = human_size(uploaded_bytes);
    format!("{uploaded} blobs uploaded ({size}), {mounted} mounted, {existed} already there\n")
}
