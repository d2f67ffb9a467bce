//! `karman audit`, and the policies of `--gate`.

mod python;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use karman_diag::ExitCode;
use karman_inventory::audit::report::{Audited, json, sarif, text};
use karman_inventory::audit::tracker::Tracker;
use karman_inventory::audit::{Day, Policy};
use karman_worker::{AuditOptions, Gate, ImageSpec, MoreFindings};

use crate::driver::watched;
use crate::failure::{Done, Failure};
use crate::image_spec::{PlatformArg, parse};
use crate::out;
use crate::setup::Context;

/// The largest policy read.
const MAX_POLICY: u64 = 1 << 20;
/// The largest copy of the security tracker read; today's has about 70 MB.
const MAX_TRACKER: u64 = 1 << 30;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Names or digests in the local store, paths of OCI layouts, oci-layout://… or docker-image://…
    #[arg(required = true)]
    images: Vec<String>,
    /// Which findings fail, what is allowed, what is promised
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// How findings are printed
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
    /// Known vulnerabilities of Debian packages: the JSON of Debian's security tracker
    #[arg(long, value_name = "FILE")]
    debian_tracker: Option<PathBuf>,
    /// Known vulnerabilities of Python distributions in the OSV format: a directory, a zip archive, a record,
    /// or the URL of an archive
    #[arg(long, value_name = "DIR|ZIP|URL")]
    advisories: Option<String>,
    /// With --advisories: constraints file whose accepted risks are no findings
    #[arg(long, value_name = "FILE", requires = "advisories")]
    constraints: Option<PathBuf>,
    /// Run nothing of the image: no console script and no entry point is tried
    #[arg(long)]
    no_run: bool,
    #[command(flatten)]
    platform: PlatformArg,
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Lines
    Text,
    /// Everything that was found
    Json,
    /// SARIF 2.1.0
    Sarif,
}

/// Audits images; fails when a finding of one does.
pub(crate) fn run(args: &Args, context: &Context) -> Done {
    let mut options = options(args.policy.as_deref(), context)?;
    options.run = !args.no_run;
    if let Some(file) = &args.debian_tracker {
        let path = context.env.absolute(file);
        let bytes = read(&path, MAX_TRACKER)?;
        let tracker = Tracker::parse(&bytes).map_err(|e| malformed(&path, &e))?;
        options.tracker = Some(tracker);
    }
    let engine = context.open(false)?;
    let session = context.session();
    let platform = args.platform.get();
    let mut audits: Vec<Audited> = Vec::new();
    let specs: Vec<ImageSpec> = args.images.iter().map(|i| parse(i, &context.env)).collect();
    if let Some(source) = &args.advisories {
        let accepted = args.constraints.as_deref();
        let accepted = accepted.map(|file| python::accepted(file, context)).transpose()?;
        let mut inventories = Vec::new();
        for spec in &specs {
            let inventory = || engine.inventory(spec, &platform, &session);
            inventories.push(watched(&engine, || {}, inventory)??.inventory);
        }
        let known =
            python::Known::load(source, accepted.unwrap_or_default(), &inventories, context)?;
        options.more = Some(MoreFindings(Arc::new(move |inventory| known.findings(inventory))));
    }
    for spec in &specs {
        let audit = || engine.audit(spec, &platform, &options, &session);
        audits.push(watched(&engine, || {}, audit)??);
    }
    let version = env!("CARGO_PKG_VERSION");
    let printed = match args.format {
        Format::Text => audits.iter().map(text).collect(),
        Format::Json => format!("{:#}\n", json(&audits)),
        Format::Sarif => format!("{:#}\n", sarif(&audits, version)),
    };
    out::data(&printed)?;
    let fails = audits.iter().any(Audited::fails);
    Ok(if fails { ExitCode::Failure } else { ExitCode::Success }.code())
}

/// The gate of a build.
pub(crate) fn gate(policy: &Path, context: &Context) -> Done<Gate> {
    Ok(Gate { options: options(Some(policy), context)? })
}

/// Audits by a policy, as of today.
pub(crate) fn options(policy: Option<&Path>, context: &Context) -> Done<AuditOptions> {
    let policy = match policy {
        Some(file) => {
            let path = context.env.absolute(file);
            let text = String::from_utf8_lossy(&read(&path, MAX_POLICY)?).into_owned();
            Policy::parse(&text).map_err(|e| malformed(&path, &e))?
        }
        None => Policy::default(),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let today = Day::of_seconds(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
    Ok(AuditOptions { policy, today, run: true, tracker: None, more: None })
}

/// Reads a file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Done<Vec<u8>> {
    use std::io::Read as _;
    let failed = |source| Failure::File { doing: "read", path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(failed(std::io::Error::other(format!("it is larger than {limit} bytes"))));
    }
    Ok(bytes)
}

/// A file that is not what it should be.
pub(crate) fn malformed(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::Rendered {
        text: format!("ERROR: {}: {error}\n", path.display()),
        exit: ExitCode::Input,
    }
}
