//! `karman report`, `karman fleet report` and `karman fleet diff`.

use std::path::{Path, PathBuf};

use karman_control::Cause;
use karman_diag::ExitCode;
use karman_inventory::audit::Verdict;
use karman_report::fleet::model::{Found, Start};
use karman_report::fleet::{Changes, Fleet, Image, Timeline, image, page};
use karman_worker::{AuditOptions, Engine, ImageSpec, RunRequest};

use super::{audit, bake};
use crate::driver::watched;
use crate::failure::{Done, Failure};
use crate::image_spec::{PlatformArg, parse};
use crate::setup::Context;
use crate::{metadata, out};

/// The largest older report, and the largest record of a build, in bytes.
const MAX_FILE: u64 = 1 << 30;

/// `karman fleet`.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum FleetCommand {
    /// Report on the images of bake targets: sizes, what they share, findings, start-up times
    Report(Box<FleetArgs>),
    /// Compare two reports in JSON: pins, packages, files, bytes to push and to pull
    Diff(DiffArgs),
}

/// Arguments of `karman report`.
#[derive(Debug, clap::Args)]
pub(crate) struct ImageArgs {
    /// Names or digests in the local store, paths of OCI layouts, oci-layout://… or docker-image://…
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    #[command(flatten)]
    options: Options,
}

/// Arguments of `karman fleet report`.
#[derive(Debug, clap::Args)]
pub(crate) struct FleetArgs {
    /// Targets, groups or patterns; their images are taken from the local store [default: default]
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    #[command(flatten)]
    files: bake::FileArgs,
    #[command(flatten)]
    options: Options,
}

/// What is shown, and how.
#[derive(Debug, clap::Args)]
struct Options {
    /// Write the report to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// One self-contained page, or the numbers
    #[arg(long, value_enum, default_value = "html")]
    format: Format,
    /// Audit the images by this policy and show what is found
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Show what changed since an older report in JSON
    #[arg(long, value_name = "FILE")]
    since: Option<PathBuf>,
    /// Show the build that made the images: what `--progress=rawjson` wrote
    #[arg(long, value_name = "FILE")]
    timeline: Option<PathBuf>,
    /// Measure how long the console scripts of each service take to load their modules
    #[arg(long)]
    start_times: bool,
    #[command(flatten)]
    platform: PlatformArg,
}

/// How a report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One page that needs no network
    Html,
    /// All numbers
    Json,
}

/// Arguments of `karman fleet diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// The older report, as `--format json` wrote it
    old: PathBuf,
    /// The newer one
    new: PathBuf,
    /// How the differences are written
    #[arg(long, value_enum, default_value = "text")]
    format: DiffFormat,
}

/// How differences are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum DiffFormat {
    /// Lines
    Text,
    /// All numbers
    Json,
}

/// Reports on images.
pub(crate) fn run(args: &ImageArgs, context: &Context) -> Done {
    report(&args.images, &args.options, Missing::Fails, context)
}

/// Reports on a fleet, or compares two.
pub(crate) fn fleet(command: &FleetCommand, context: &Context) -> Done {
    match command {
        FleetCommand::Report(args) => {
            let wanted = bake::images_of(&args.files, &args.targets, context)?;
            report(&wanted, &args.options, Missing::IsLeftOut, context)
        }
        FleetCommand::Diff(args) => diff(args, context),
    }
}

/// What becomes of images that the store does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    Fails,
    /// A bake that went on after a failure leaves some out.
    IsLeftOut,
}

/// Those images that were built.
fn there(engine: &Engine, wanted: &[String]) -> Done<Vec<String>> {
    let mut images = Vec::new();
    for name in wanted {
        match engine.find_image(name) {
            Ok(_) => images.push(name.clone()),
            Err(error) if error.cause != Cause::NotFound => return Err(error.into()),
            Err(_) => out::note(&format!("WARNING: no image `{name}` in the local store\n")),
        }
    }
    if images.is_empty() {
        let hint = "build the images with `karman bake` first";
        let text = format!("ERROR: none of the images is in the local store\nhint: {hint}\n");
        return Err(Failure::Rendered { text, exit: ExitCode::NotFound });
    }
    Ok(images)
}

fn diff(args: &DiffArgs, context: &Context) -> Done {
    let (old, new) = (older(&args.old, context)?, older(&args.new, context)?);
    let changes = Changes::between(&old, &new);
    match args.format {
        DiffFormat::Text => out::data(&changes.text())?,
        DiffFormat::Json => {
            let json = serde_json::to_string_pretty(&changes);
            out::data(&(json.map_err(|e| Failure::host("write JSON", e))? + "\n"))?;
        }
    }
    Ok(0)
}

fn report(names: &[String], options: &Options, missing: Missing, context: &Context) -> Done {
    use std::io::IsTerminal as _;
    let to_terminal = options.output.is_none() && std::io::stdout().is_terminal();
    if to_terminal && options.format == Format::Html {
        return Err(Failure::usage_hint(
            "the page is not written to a terminal",
            "name a file with `-o report.html`, or take `--format json`",
        ));
    }
    // Before anything that takes time.
    let since = options.since.as_deref().map(|path| older(path, context)).transpose()?;
    let timeline = options.timeline.as_deref().map(|path| record(path, context)).transpose()?;
    let policy = options.policy.as_deref();
    let audits = policy.map(|policy| audit::options(Some(policy), context)).transpose()?;
    let engine = context.open(false)?;
    let names = match missing {
        Missing::Fails => names.to_vec(),
        Missing::IsLeftOut => there(&engine, names)?,
    };
    let session = context.session();
    let mut images = Vec::new();
    for name in &names {
        let spec = parse(name, &context.env);
        let one = || one(&engine, &spec, options, audits.as_ref(), &session);
        images.push(watched(&engine, || {}, one)??);
    }
    let fleet = Fleet::new(images, timeline);
    let changes = since.map(|old| Changes::between(&old, &fleet));
    let text = match options.format {
        Format::Html => page(&fleet, changes.as_ref()),
        Format::Json => fleet.json(),
    };
    match &options.output {
        Some(path) => metadata::write(&context.env.absolute(path), &text)?,
        None => out::data(&text)?,
    }
    Ok(0)
}

fn one(
    engine: &Engine,
    spec: &ImageSpec,
    options: &Options,
    audits: Option<&AuditOptions>,
    session: &karman_control::Session,
) -> Done<Image> {
    let platform = options.platform.get();
    let inspected = engine.inventory(spec, &platform, session)?;
    let mut made = image(
        &inspected.name,
        &inspected.manifest,
        &inspected.layers,
        &inspected.config,
        &inspected.inventory,
    );
    if let Some(audits) = audits {
        let audited = engine.audit(spec, &platform, audits, session)?;
        let found = audited.findings.into_iter().filter_map(|(finding, verdict)| {
            let allowed = matches!(verdict, Verdict::Allowed(_));
            (!allowed).then(|| Found {
                rule: finding.id.to_owned(),
                subject: finding.subject,
                message: finding.message,
                fails: verdict == Verdict::Fails,
            })
        });
        made.findings = Some(found.collect());
    }
    if let (true, ImageSpec::Local(name)) = (options.start_times, spec) {
        made.starts = starts(engine, name, &inspected.inventory, session)?;
    }
    Ok(made)
}

/// The shorter of two runs of each program that carries the image's name: the first fills the page cache.
fn starts(
    engine: &Engine,
    name: &str,
    inventory: &karman_inventory::Inventory,
    session: &karman_control::Session,
) -> Done<Vec<Start>> {
    let mut all = Vec::new();
    for program in karman_report::fleet::programs(name, inventory) {
        let mut best: Option<u64> = None;
        for _ in 0..2 {
            let nowhere = std::fs::File::options().write(true).open("/dev/null");
            let request = RunRequest {
                image: name.to_owned(),
                entrypoint: Some(program.interpreter.clone()),
                args: vec!["-c".to_owned(), format!("import {}", program.module)],
                user: Some("65534:65534".to_owned()),
                no_network: true,
                read_only: true,
                stdout: nowhere.ok().map(Into::into),
                ..RunRequest::default()
            };
            let begun = std::time::Instant::now();
            if engine.run(request, session)? != 0 {
                break;
            }
            let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            best = Some(best.map_or(took, |b| b.min(took)));
        }
        match best {
            Some(milliseconds) => all.push(Start { script: program.script, milliseconds }),
            None => out::note(&format!("WARNING: {name}: `{}` does not load\n", program.script)),
        }
    }
    Ok(all)
}

fn older(path: &Path, context: &Context) -> Done<Fleet> {
    let path = context.env.absolute(path);
    let bytes = audit::read(&path, MAX_FILE)?;
    Fleet::parse(&bytes).map_err(|e| audit::malformed(&path, &e))
}

fn record(path: &Path, context: &Context) -> Done<Timeline> {
    let path = context.env.absolute(path);
    let text = String::from_utf8_lossy(&audit::read(&path, MAX_FILE)?).into_owned();
    Timeline::parse(&text).ok_or_else(|| {
        let shown = path.display();
        let hint = "write one with `karman bake --progress=rawjson 2> build.json`";
        let text = format!("ERROR: `{shown}` has no step of a build\nhint: {hint}\n");
        Failure::Rendered { text, exit: ExitCode::Input }
    })
}
