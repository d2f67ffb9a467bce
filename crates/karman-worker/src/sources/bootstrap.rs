//! Root filesystems from signed archives.
//!
//! Bucket `debootstrap`: digest of source and architecture → [`Known`]. What was made once is used
//! until `--pull` asks for the archive's present state, as with images that were pulled.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use karman_control::provenance::Dependency;
use karman_control::{Cause, ResolvedImage, SolveError, Stream};
use karman_debootstrap::{
    Environment, IMAGE_CMD, IMAGE_PATH, Keyring, Mirrors, Plan, Source, Step,
};
use karman_llb::{DebootstrapSource, SourceOp};
use karman_oci::{Digest, ImageConfig, Platform};
use karman_snapshot::Active;
use karman_solver::Cancel;
use karman_sys::sandbox::{Network, Rootfs, Sandbox, Spec, Streams};
use serde::{Deserialize, Serialize};

use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::{OrFail as _, chain as error_chain, failed, store as store_error};
use crate::exec::{StepEvents, Tail};
use crate::layers::commit_dated;
use crate::sources::encoded;

const BUCKET: &str = "debootstrap";
/// Packages fetched and decompressed at once.
const THREADS: usize = 6;

#[derive(Serialize, Deserialize)]
struct Known {
    identity: String,
    chain: Chain,
    /// What it was made of; older records do not tell.
    #[serde(default)]
    packages: Vec<Made>,
}

/// A package of a root filesystem.
#[derive(Clone, Serialize, Deserialize)]
struct Made {
    name: String,
    version: String,
    arch: String,
    sha256: String,
}

impl From<&karman_debootstrap::Package> for Made {
    fn from(package: &karman_debootstrap::Package) -> Self {
        let karman_debootstrap::Package { name, version, arch, sha256, .. } = package;
        let [name, version, arch, sha256] = [name, version, arch, sha256].map(Clone::clone);
        Self { name, version, arch, sha256 }
    }
}

pub(super) fn resolve(
    source: &DebootstrapSource,
    platform: &Platform,
) -> Result<ResolvedImage, SolveError> {
    let parsed = parse(source)?;
    arch(platform)?;
    let mut config = ImageConfig::scratch(platform);
    config.config.env = Some(vec![format!("PATH={IMAGE_PATH}")]);
    config.config.cmd = Some(IMAGE_CMD.iter().map(|a| (*a).to_owned()).collect());
    let digest = Digest::sha256_of(format!("{parsed:?} {platform}").as_bytes());
    Ok(ResolvedImage { source: SourceOp::Debootstrap(source.clone()), digest, config })
}

fn parse(source: &DebootstrapSource) -> Result<Source, SolveError> {
    Source::parse(&source.source).map_err(|e| {
        let message =
            format!("`{}` is not a debootstrap source: {}", source.source, error_chain(&e));
        let error = SolveError::new(Cause::Input, message);
        match e.hint() {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    })
}

fn arch(platform: &Platform) -> Result<&'static str, SolveError> {
    let known =
        karman_debootstrap::debian_arch(&platform.architecture, platform.variant.as_deref());
    known.ok_or_else(|| {
        SolveError::new(Cause::Input, format!("Debian has no architecture for {platform}"))
    })
}

fn key(source: &DebootstrapSource, arch: &str) -> Digest {
    Digest::sha256_of(format!("{arch} {}", source.source).as_bytes())
}

/// The identity of what the archive offers; of what was made before, unless `--pull` asks anew.
pub(super) fn identity(
    engine: &Engine,
    source: &DebootstrapSource,
    platform: &Platform,
) -> Result<Digest, SolveError> {
    let arch = arch(platform)?;
    if !engine.config().pull
        && let Some(known) = known(engine, &key(source, arch))?
    {
        return Ok(Digest::sha256_of(known.identity.as_bytes()));
    }
    Ok(Digest::sha256_of(plan(engine, source, arch)?.identity().as_bytes()))
}

fn known(engine: &Engine, key: &Digest) -> Result<Option<Known>, SolveError> {
    let Some(bytes) = engine.store().get(BUCKET, key.as_bytes()).map_err(store_error)? else {
        return Ok(None);
    };
    let known: Known = serde_json::from_slice(&bytes).or_fail(Cause::Store, "read a record")?;
    Ok(Some(known).filter(|k| engine.records().exists(&k.chain)))
}

/// Asks the archive once in the life of an engine.
fn plan(engine: &Engine, source: &DebootstrapSource, arch: &str) -> Result<Arc<Plan>, SolveError> {
    let name = format!("{arch} {}", source.source);
    let mut resolutions = super::lock(engine);
    if let Some(plan) = resolutions.plans.get(&name) {
        return Ok(Arc::clone(plan));
    }
    let parsed = parse(source)?;
    let keyring =
        Keyring::bundled(parsed.distribution).or_fail(Cause::Engine, "read the keyring")?;
    let cache = cache(engine)?;
    let env = Environment {
        fetch: engine.client(),
        keyring: &keyring,
        mirrors: &mirrors(engine),
        cache: &cache,
        now: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
    };
    let plan = Plan::make(&parsed, arch, &env).map_err(|e| {
        let error = failed(Cause::Fetch, error_chain(&e), &e);
        match e.hint() {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    })?;
    let plan = Arc::new(plan);
    resolutions.plans.insert(name, Arc::clone(&plan));
    Ok(plan)
}

/// The archive's answer as a whole, then every package.
pub(super) fn materials(
    engine: &Engine,
    source: &DebootstrapSource,
    platform: &Platform,
) -> Result<Vec<Dependency>, SolveError> {
    let arch = arch(platform)?;
    let distribution = parse(source)?.distribution;
    let (identity, packages) = match known(engine, &key(source, arch))? {
        Some(known) => (known.identity, known.packages),
        None => {
            let plan = plan(engine, source, arch)?;
            (plan.identity(), plan.packages.iter().map(Made::from).collect())
        }
    };
    let package = |made: &Made| {
        let [name, version, arch] = [&made.name, &made.version, &made.arch].map(|t| encoded(t));
        let uri = format!("pkg:deb/{}/{name}@{version}?arch={arch}", distribution.as_str());
        Dependency::new(uri, "sha256", made.sha256.clone())
    };
    let whole = Dependency::new(source.source.clone(), "sha256", identity);
    Ok(std::iter::once(whole).chain(packages.iter().map(package)).collect())
}

fn mirrors(engine: &Engine) -> Mirrors {
    let pairs = engine.config().archive_mirrors.iter();
    pairs.fold(Mirrors::new(), |m, (from, to)| m.with(from, to))
}

fn cache(engine: &Engine) -> Result<karman_debootstrap::Cache, SolveError> {
    let dir: PathBuf = engine.store().root().join("packages");
    karman_debootstrap::Cache::open(dir).or_fail(Cause::Store, "open the package cache")
}

pub(super) fn run(
    engine: &Engine,
    source: &DebootstrapSource,
    platform: &Platform,
    events: &StepEvents,
    cancel: &Cancel,
) -> Result<Chain, SolveError> {
    let arch = arch(platform)?;
    if !engine.config().pull
        && let Some(known) = known(engine, &key(source, arch))?
    {
        return Ok(known.chain);
    }
    let plan = plan(engine, source, arch)?;
    say(
        events,
        &format!(
            "{} packages, {} MB to fetch at most\n",
            plan.packages.len(),
            plan.download_size() / 1_000_000
        ),
    );
    let active = engine.snapshots().prepare(&[]).or_fail(Cause::Store, "prepare a layer")?;
    let unpacked =
        karman_debootstrap::unpack(&plan, &cache(engine)?, engine.client(), active.fs(), THREADS)
            .or_fail(Cause::Fetch, "unpack the packages")?;
    for step in karman_debootstrap::configure_steps(&plan, &unpacked) {
        say(events, &format!("{}\n", step.description));
        configure(&active, &step, events, cancel)?;
    }
    karman_debootstrap::finish(&plan, &unpacked, active.fs())
        .or_fail(Cause::Engine, "finish the root filesystem")?;
    let chain = vec![commit_dated(active, "debootstrap")?];
    let packages = plan.packages.iter().map(Made::from).collect();
    let record = Known { identity: plan.identity(), chain: chain.clone(), packages };
    let bytes = serde_json::to_vec(&record).or_fail(Cause::Engine, "write a record")?;
    engine.store().put(BUCKET, key(source, arch).as_bytes(), &bytes).map_err(store_error)?;
    Ok(chain)
}

fn say(events: &StepEvents, text: &str) {
    events.log(Stream::Stdout, text.as_bytes());
}

/// Runs one configuration step with the new root filesystem as `/` and no network.
fn configure(
    active: &Active,
    step: &Step,
    events: &StepEvents,
    cancel: &Cancel,
) -> Result<(), SolveError> {
    let root = Rootfs::Directory { path: active.fs().to_path_buf(), readonly: false };
    let mut spec = Spec::new(root, step.argv.clone());
    spec.env = step.env.clone().into_iter().collect::<BTreeMap<_, _>>().into_iter().collect();
    spec.network = Network::None;
    let tail = Tail::default();
    let mut running =
        Sandbox::spawn(&spec, Streams::piped()).or_fail(Cause::Host, "start the sandbox")?;
    let status = crate::exec::watch(&mut running, events, &tail, cancel)
        .or_fail(Cause::Engine, "configure the packages")?;
    if cancel.is_cancelled() {
        return Err(SolveError::new(Cause::Interrupted, "cancelled"));
    }
    if status.success() {
        return Ok(());
    }
    let message = format!("{} failed with exit code {}", step.description, status.code());
    let mut error = SolveError::new(Cause::Engine, message);
    error.log_tail = tail.lines();
    Err(error)
}
