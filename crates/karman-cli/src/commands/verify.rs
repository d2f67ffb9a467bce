//! `karman verify`: an image is built once more in a store of its own, and must be the same; or, with `--key`,
//! its signatures are checked.

use std::path::PathBuf;

use karman_build::{Given, SecretSpec, SshSpec, rebuild};
use karman_control::SolveResponse;
use karman_diag::ExitCode;
use karman_oci::{Digest, Platform};
use karman_report::Redactor;
use karman_worker::{Engine, Origin, changed_inputs};

use crate::commands::sign::{check, public_key};
use crate::driver::{self, Job, watched};
use crate::failure::{Done, Failure};
use crate::flags::{Allow, parse_allow, parse_secret, parse_ssh};
use crate::image_spec::{PlatformArg, parse};
use crate::out;
use crate::progress::ProgressArgs;
use crate::setup::Context;
use crate::units::parse_pair;

/// Changed inputs that are named before the rest is counted.
const MAX_SHOWN: usize = 20;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name or digest in the local store, path of an OCI layout, oci-layout://… or docker-image://…
    image: String,
    /// Working directory of the build, where the paths of its provenance are found
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Check signatures by this public key instead of rebuilding
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// With --key: annotation that the signature must have
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse_pair, requires = "key")]
    annotations: Vec<(String, String)>,
    /// Where a context is now; `context` is the main one
    #[arg(long, value_name = "NAME=SOURCE", value_parser = parse_pair)]
    build_context: Vec<(String, String)>,
    /// Build argument that the provenance does not tell
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    build_arg: Vec<(String, String)>,
    /// Secret for RUN --mount=type=secret: id=NAME[,src=FILE|,env=NAME]
    #[arg(long, value_name = "SPEC", value_parser = parse_secret)]
    secret: Vec<SecretSpec>,
    /// SSH agent or keys for RUN --mount=type=ssh: default, ID=SOCKET or ID=KEY[,KEY]
    #[arg(long, value_name = "SPEC", value_parser = parse_ssh)]
    ssh: Vec<SshSpec>,
    /// Allow network.host, security.insecure or device[=NAME]
    #[arg(long, value_name = "PRIVILEGE", value_parser = parse_allow, value_delimiter = ',')]
    allow: Vec<Allow>,
    #[command(flatten)]
    platform: PlatformArg,
    #[command(flatten)]
    progress: ProgressArgs,
}

/// Verifies.
pub(crate) fn run(args: Args, context: &Context) -> Done {
    match &args.key {
        Some(key) => signed(&args, key, context),
        None => rebuilt(args, context),
    }
}

/// Prints what is signed.
fn signed(args: &Args, key: &std::path::Path, context: &Context) -> Done {
    let key = public_key(&context.env.absolute(key))?;
    let engine = context.open(false)?;
    let spec = parse(&args.image, &context.env);
    let annotations = args.annotations.iter().cloned().collect();
    let claims = check(&engine, &spec, &key, &annotations)?;
    let json = serde_json::to_string(&claims).map_err(|e| Failure::host("write JSON", e))?;
    out::data(&format!("{json}\n"))?;
    Ok(0)
}

fn rebuilt(args: Args, context: &Context) -> Done {
    let progress = args.progress.choose(&context.env, false)?;
    let engine = context.open(false)?;
    let spec = parse(&args.image, &context.env);
    let (platform, session) = (args.platform.get(), context.session());
    let origin = watched(&engine, || {}, || engine.origin(&spec, &platform, &session))??;
    let dir = context.env.absolute(&args.dir);
    let given = Given {
        dir: dir.clone(),
        contexts: args.build_context.into_iter().collect(),
        build_args: args.build_arg.into_iter().collect(),
        secrets: args.secret,
        ssh: args.ssh,
    };
    let specs =
        rebuild(&origin.provenance, &given).map_err(|e| Failure::plan(e, &Redactor::default()))?;
    let name = specs.last().map(|spec| spec.name.clone()).unwrap_or_default();
    let fresh = engine.store().temp_dir("verify").map_err(|e| Failure::host("make a store", e))?;
    let elsewhere = context.elsewhere(fresh.path().to_owned(), dir);
    let job = Job {
        specs,
        progress,
        pull: false,
        allow: args.allow,
        cgroup_parent: None,
        debug: args.progress.debug(),
        gate: None,
        keep_going: false,
    };
    let made = driver::build(job, &elsewhere)?.response;
    let rebuilt = Rebuilt { engine: elsewhere.open(false)?, response: made, name };
    let digest = rebuilt.manifest(&platform)?;
    if digest == origin.manifest {
        out::data(&format!("{}@{digest}: the rebuild is the same\n", args.image))?;
        return Ok(0);
    }
    let told = rebuilt.difference(&args.image, &engine, &origin, &digest)?;
    Err(Failure::Rendered { text: told, exit: ExitCode::Unverified })
}

/// An image that was built once more.
struct Rebuilt {
    engine: Engine,
    response: SolveResponse,
    /// Its target.
    name: String,
}

impl Rebuilt {
    fn manifest(&self, platform: &Platform) -> Done<Digest> {
        let missing = || Failure::usage("the rebuild made no image");
        let top = self.response.images.get(&self.name).ok_or_else(missing)?;
        Ok(self.engine.manifest_for(top, platform)?)
    }

    /// What differs: inputs that are not the same any more, then the first path.
    fn difference(
        &self,
        image: &str,
        engine: &Engine,
        origin: &Origin,
        digest: &Digest,
    ) -> Done<String> {
        let mut text = format!(
            "ERROR: the rebuild of `{image}` is not the same\n  image:   {}\n  rebuild: {digest}\n",
            origin.manifest
        );
        let provenance = self.response.provenance.get(&self.name).and_then(|all| all.first());
        let changed = provenance.map(|(_, p)| changed_inputs(&origin.provenance, p));
        let changed = changed.unwrap_or_default();
        if !changed.is_empty() {
            text.push_str("inputs that changed (- gone, + new, ! other bytes):\n");
        }
        for line in changed.iter().take(MAX_SHOWN) {
            text.push_str(&format!("  {line}\n"));
        }
        if changed.len() > MAX_SHOWN {
            text.push_str(&format!("  … and {} more\n", changed.len() - MAX_SHOWN));
        }
        let compare = || engine.first_difference(&origin.manifest, &self.engine, digest);
        if let Some(first) = watched(engine, || {}, compare)?? {
            text.push_str(&format!("first difference: {first}\n"));
        }
        Ok(text)
    }
}
