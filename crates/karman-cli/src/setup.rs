//! From environment, flags and configuration file to an engine and a session.
//!
//! A flag wins over the environment, the environment over the file.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use karman_control::Session;
use karman_registry::RuleFiles;
use karman_sys::identity::{EnterConfig, Identity, enter};
use karman_worker::{CommandRunner, Config, Engine};

use crate::config::FileConfig;
use crate::env::Environment;
use crate::failure::{Done, Failure};
use crate::units::parse_pair;

/// The store of real root.
const SYSTEM_ROOT: &str = "/var/lib/karman";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Flags of every command.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Directory of the store [env: KARMAN_ROOT] [default: $XDG_DATA_HOME/karman; /var/lib/karman for root]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Configuration file [env: KARMAN_CONFIG] [default: $XDG_CONFIG_HOME/karman/config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Registry spoken to without TLS [env: KARMAN_INSECURE_REGISTRIES, comma-separated]
    #[arg(long, global = true, value_name = "HOST[:PORT]")]
    pub(crate) insecure_registry: Vec<String>,
    /// Directory with a directory for each registry that has a `hosts.toml` or certificates
    /// [env: KARMAN_HOSTS_DIR] [default: certs.d of containerd, docker and podman]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) hosts_dir: Vec<PathBuf>,
    /// podman's registries.conf [env: CONTAINERS_REGISTRIES_CONF] [default: the user's, then /etc/containers/registries.conf]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) registries_conf: Option<PathBuf>,
    /// Archive mirror for debootstrap:// contexts [env: KARMAN_DEBOOTSTRAP_MIRRORS, comma-separated]
    #[arg(long, global = true, value_name = "FROM=TO", value_parser = parse_pair)]
    pub(crate) debootstrap_mirror: Vec<(String, String)>,
}

/// What every command that builds begins with.
pub(crate) struct Context {
    /// The environment.
    pub(crate) env: Environment,
    /// The configuration file.
    pub(crate) file: FileConfig,
    global: GlobalArgs,
}

impl Context {
    /// Reads environment and configuration.
    pub(crate) fn load(global: GlobalArgs) -> Done<Self> {
        let env = Environment::read();
        let asked = match &global.config {
            Some(path) => Some(env.absolute(path)),
            None => env.path("KARMAN_CONFIG"),
        };
        let file = match (&asked, env.xdg("XDG_CONFIG_HOME", ".config")) {
            (Some(path), _) => FileConfig::load(path, true)?,
            (None, Some(dir)) => FileConfig::load(&dir.join("karman/config.toml"), false)?,
            (None, None) => FileConfig::default(),
        };
        Ok(Self { env, file, global })
    }

    /// The same without a configuration file, for commands that go on without.
    pub(crate) fn without_file(global: GlobalArgs) -> Self {
        Self { env: Environment::read(), file: FileConfig::default(), global }
    }

    /// The same with another store and working directory, and without the variables that would change
    /// what a build makes.
    pub(crate) fn elsewhere(&self, root: PathBuf, cwd: PathBuf) -> Self {
        let mut env = Environment { cwd, ..self.env.clone() };
        env.texts.remove("SOURCE_DATE_EPOCH");
        let global = GlobalArgs { root: Some(root), ..self.global.clone() };
        Self { env, file: self.file.clone(), global }
    }

    /// Takes on the identity to build with. An ordinary user's program is executed again inside a
    /// user namespace and comes here a second time.
    pub(crate) fn enter(&self) -> Done<Identity> {
        let search_path = self.env.all.iter().find(|(n, _)| n == "PATH").map(|(_, v)| v.clone());
        let config = EnterConfig {
            argv: std::env::args_os().collect(),
            search_path: search_path.unwrap_or_default(),
            allow_single_id: false,
        };
        Ok(enter(&config)?)
    }

    /// The store's directory.
    pub(crate) fn store_root(&self, real_root: bool) -> Done<PathBuf> {
        let chosen = self.global.root.as_deref().map(|p| self.env.absolute(p));
        let chosen =
            chosen.or_else(|| self.env.path("KARMAN_ROOT")).or_else(|| self.file.root.clone());
        if let Some(root) = chosen {
            return Ok(root);
        }
        if real_root {
            return Ok(PathBuf::from(SYSTEM_ROOT));
        }
        let data = self.env.xdg("XDG_DATA_HOME", ".local/share").map(|d| d.join("karman"));
        data.ok_or_else(|| {
            Failure::usage_hint(
                "neither `HOME` nor `XDG_DATA_HOME` is set, so there is no place for the store",
                "name a directory with `--root` or `KARMAN_ROOT`",
            )
        })
    }

    /// The store's directory for commands that keep something there and need no engine; made, for
    /// nobody else to read, where it is not there.
    pub(crate) fn store_dir(&self) -> Done<PathBuf> {
        let root = self.store_root(rustix::process::geteuid().is_root())?;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&root);
        made.map_err(|e| Failure::host("make the store's directory", e))?;
        Ok(root)
    }

    /// The bundle of certificate authorities, where one is named.
    pub(crate) fn ca_bundle(&self) -> Option<PathBuf> {
        self.env.path("SSL_CERT_FILE").or_else(|| self.file.ca.clone())
    }

    /// Takes on the identity and opens the store. `pull` looks up images again.
    pub(crate) fn open(&self, pull: bool) -> Done<Engine> {
        self.open_for(pull, Vec::new())
    }

    /// The same for a build of which a spec says that these registries need not be verified.
    pub(crate) fn open_for(&self, pull: bool, unverified: Vec<String>) -> Done<Engine> {
        let identity = self.enter()?;
        let root = self.store_root(identity == Identity::Root)?;
        let mut insecure = self.file.insecure_registries.clone();
        insecure.extend(list(self.env.get("KARMAN_INSECURE_REGISTRIES")));
        insecure.extend(self.global.insecure_registry.iter().cloned());
        let config = Config {
            root,
            ca_bundle: self.ca_bundle(),
            proxies: self.env.net_proxies(),
            insecure_registries: insecure,
            unverified_registries: unverified,
            registry_rules: self.registry_rules()?,
            credential_files: self.env.credential_files(),
            commands: CommandRunner { env: self.env.all.clone() },
            parallelism: self.file.parallelism,
            pull,
            resolv_conf: PathBuf::from(RESOLV_CONF),
            archive_mirrors: self.archive_mirrors()?,
        };
        Ok(Engine::open(config)?)
    }

    /// Where rules about registries are: what is named replaces what is usual. As in podman, a
    /// `registries.conf` that is named must be there.
    fn registry_rules(&self) -> Done<RuleFiles> {
        let global = &self.global;
        let mut host_dirs: Vec<PathBuf> =
            global.hosts_dir.iter().map(|dir| self.env.absolute(dir)).collect();
        if host_dirs.is_empty() {
            host_dirs = self
                .env
                .path("KARMAN_HOSTS_DIR")
                .map_or_else(|| self.env.host_dirs(), |dir| vec![dir]);
        }
        let conf = global.registries_conf.as_deref().map(|file| self.env.absolute(file));
        let conf = conf.or_else(|| self.env.path("CONTAINERS_REGISTRIES_CONF"));
        if let Some(path) = &conf {
            let failed = |source| Failure::File { doing: "read", path: path.clone(), source };
            std::fs::File::open(path).map_err(failed)?;
        }
        let registries_conf = conf.map_or_else(|| self.env.registries_conf(), |file| vec![file]);
        Ok(RuleFiles { host_dirs, registries_conf })
    }

    /// Mirrors, the most particular source of them first.
    fn archive_mirrors(&self) -> Done<Vec<(String, String)>> {
        let mut mirrors = self.global.debootstrap_mirror.clone();
        for pair in list(self.env.get("KARMAN_DEBOOTSTRAP_MIRRORS")) {
            let pair = parse_pair(&pair)
                .map_err(|e| Failure::usage(format!("`KARMAN_DEBOOTSTRAP_MIRRORS`: {e}")))?;
            mirrors.push(pair);
        }
        mirrors.extend(self.file.debootstrap_mirrors.clone());
        Ok(mirrors)
    }

    /// What steps may borrow, before secrets and contexts.
    pub(crate) fn session(&self) -> Session {
        Session { ca_bundle: self.ca_bundle(), proxies: self.env.proxies(), ..Session::default() }
    }
}

/// The entries of a comma-separated list.
fn list(text: Option<&str>) -> impl Iterator<Item = String> {
    let entries = text.unwrap_or_default().split(',').map(str::trim).filter(|e| !e.is_empty());
    entries.map(str::to_owned).collect::<Vec<_>>().into_iter()
}
