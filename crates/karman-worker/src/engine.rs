//! The engine: an open store with everything that works on it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use karman_content::Store;
use karman_control::{
    Backend, Cause, EventSink, ResolvedImage, Session, SolveError, SolveRequest, SolveResponse,
};
use karman_llb::{Graph, SourceOp, VertexDigest};
use karman_net::Client;
use karman_oci::Platform;
use karman_registry::{DockerConfig, Registry, Rules};
use karman_snapshot::Snapshots;
use karman_solver::Cancel;
use karman_sys::fs::Time;

use crate::cache::Records;
use crate::config::Config;
use crate::error::{OrFail as _, interrupted_while, store as store_error};
use crate::inventory::Gate;
use crate::sources::Resolutions;

/// The longest wait for a silent server.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

/// The embedded backend. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    config: Config,
    store: Store,
    snapshots: Snapshots,
    records: Records,
    client: Client,
    registry: Registry,
    resolutions: Mutex<Resolutions>,
    cancel: Cancel,
    interrupted: AtomicBool,
    gate: OnceLock<Gate>,
}

impl Engine {
    /// Opens the store of `config` and sets everything up; makes no request yet.
    ///
    /// # Errors
    /// When the store cannot be opened, the CA bundle cannot be read, or a credential file is broken.
    pub fn open(config: Config) -> Result<Self, SolveError> {
        let store = Store::open(&config.root).map_err(store_error)?;
        // Dead processes leave work behind. What cannot go now is gone the next time.
        let _ = store.sweep_tmp();
        let snapshots = Snapshots::new(&store).or_fail(Cause::Store, "open the snapshots")?;
        let records = Records::new(store.clone(), snapshots.clone());
        let rules = Rules::load(&config.registry_rules)
            .or_fail(Cause::Input, "read the rules about registries")?
            .without_verifying(&config.unverified_registries);
        let client = Client::new(karman_net::Config {
            host_tls: rules.tls(),
            ca_bundle: config.ca_bundle.clone(),
            proxies: config.proxies.clone(),
            read_timeout: READ_TIMEOUT,
            ..karman_net::Config::default()
        })
        .or_fail(Cause::Input, "set up the HTTP client")?;
        let registry = Registry::new(client.clone(), registry_config(&config, rules)?);
        let resolutions = Mutex::default();
        let (cancel, interrupted) = (Cancel::new(), AtomicBool::new(false));
        Ok(Self(Arc::new(Inner {
            config,
            store,
            snapshots,
            records,
            client,
            registry,
            resolutions,
            cancel,
            interrupted,
            gate: OnceLock::new(),
        })))
    }

    /// Stops everything that runs on this engine; it cannot be used for anything afterwards.
    pub fn cancel(&self) {
        self.0.interrupted.store(true, Ordering::SeqCst);
        self.0.cancel.cancel();
    }

    /// Lets builds of this engine export only what passes; the first gate stays.
    pub fn set_gate(&self, gate: Gate) {
        // A second gate is not an error of the build.
        let _ = self.0.gate.set(gate);
    }

    pub(crate) fn gate(&self) -> Option<&Gate> {
        self.0.gate.get()
    }

    /// Whether [`Engine::cancel`] was called.
    pub(crate) fn interrupted(&self) -> bool {
        self.0.interrupted.load(Ordering::SeqCst)
    }

    /// Does something that ends early when somebody interrupts it: whatever failed then failed for that reason. `what` is its
    /// name in the error.
    pub(crate) fn stoppable<T>(
        &self,
        what: &str,
        body: impl FnOnce() -> Result<T, SolveError>,
    ) -> Result<T, SolveError> {
        if !self.interrupted() {
            match body() {
                Err(_) if self.interrupted() => {}
                ended => return ended,
            }
        }
        Err(interrupted_while(what))
    }

    /// Set by [`Engine::cancel`], and by the first failure of a solve.
    pub(crate) fn cancel_token(&self) -> Cancel {
        self.0.cancel.clone()
    }

    /// Whatever a build or a run makes or finds in the store stays until the engine is gone.
    pub(crate) fn keep_uses(&self) -> Result<(), SolveError> {
        self.store().keep_uses().map_err(store_error)
    }

    /// Goes on after a failure of a solve, unless somebody stopped the engine.
    pub(crate) fn resume(&self) {
        self.0.cancel.reset();
        if self.interrupted() {
            self.0.cancel.cancel();
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.0.snapshots
    }

    pub(crate) fn records(&self) -> &Records {
        &self.0.records
    }

    pub(crate) fn client(&self) -> &Client {
        &self.0.client
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    pub(crate) fn resolutions(&self) -> &Mutex<Resolutions> {
        &self.0.resolutions
    }

    pub(crate) fn resolv_conf(&self) -> &Path {
        &self.0.config.resolv_conf
    }

    /// The time of files that the engine itself makes.
    pub(crate) fn epoch_time(&self) -> Time {
        Time::from_secs(0)
    }

    /// How many vertices run at once.
    pub(crate) fn parallelism(&self) -> usize {
        match self.0.config.parallelism {
            // Steps wait for networks and disks as much as for cores.
            0 => std::thread::available_parallelism().map_or(4, |n| (n.get() * 2).clamp(4, 16)),
            n => n,
        }
    }

    /// Threads for hashing and compressing.
    pub(crate) fn cores(&self) -> usize {
        std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
    }
}

fn registry_config(config: &Config, rules: Rules) -> Result<karman_registry::Config, SolveError> {
    let env = config.commands.env.clone();
    let runner: karman_registry::HelperRunner = Arc::new(move |program: &str, input: &str| {
        let run = karman_sys::program::Program::new(program).arg("get").env_all(&env);
        let output = run.input(input.as_bytes().to_vec()).output()?;
        Ok(karman_registry::HelperOutput { success: output.success, stdout: output.stdout })
    });
    let credentials = DockerConfig::load(&config.credential_files, runner)
        .or_fail(Cause::Input, "read the registry credentials")?;
    let plain = config.insecure_registries.clone();
    Ok(karman_registry::Config { plain, rules, credentials: Arc::new(credentials) })
}

impl Backend for Engine {
    fn resolve_image(
        &self,
        source: &SourceOp,
        platform: &Platform,
        session: &Session,
    ) -> Result<ResolvedImage, SolveError> {
        self.keep_uses()?;
        crate::sources::resolve(self, source, platform, session)
    }

    fn read_file(
        &self,
        graph: &Graph,
        vertex: &VertexDigest,
        path: &str,
        limit: u64,
        session: &Session,
    ) -> Result<Option<Vec<u8>>, SolveError> {
        self.keep_uses()?;
        crate::solve::read_file(
            self,
            &crate::solve::FileWanted { graph, vertex, path, limit },
            session,
        )
    }

    fn solve(
        &self,
        request: SolveRequest,
        session: &Session,
        events: EventSink,
    ) -> Result<SolveResponse, SolveError> {
        self.keep_uses()?;
        crate::solve::solve(self, &request, session, &events)
    }
}
