//! What an engine is given: nothing here is read from the environment.

use std::ffi::OsString;
use std::path::PathBuf;

/// How an engine is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// The store's directory.
    pub root: PathBuf,
    /// Bundle of certificate authorities for the engine's own requests.
    pub ca_bundle: Option<PathBuf>,
    /// Proxies for the engine's own requests.
    pub proxies: karman_net::Proxies,
    /// Registry hosts spoken to without TLS.
    pub insecure_registries: Vec<String>,
    /// Registry hosts whose certificates are not verified, and that are spoken to without TLS where they speak none.
    pub unverified_registries: Vec<String>,
    /// Where rules about registries are looked for.
    pub registry_rules: karman_registry::RuleFiles,
    /// Docker's `config.json`, and files like it, for credentials.
    pub credential_files: Vec<PathBuf>,
    /// How programs of the host are found and run (`git`, credential helpers).
    pub commands: CommandRunner,
    /// Vertices that run at once; 0 chooses by the number of cores.
    pub parallelism: usize,
    /// Whether images and archives are looked up again although the store has them.
    pub pull: bool,
    /// The resolver configuration that RUN steps see.
    pub resolv_conf: PathBuf,
    /// Archive mirrors used instead of the official ones: official URL → mirror URL.
    pub archive_mirrors: Vec<(String, String)>,
}

/// What programs of the host get.
#[derive(Debug, Clone, Default)]
pub struct CommandRunner {
    /// The whole environment of such programs.
    pub env: Vec<(OsString, OsString)>,
}
