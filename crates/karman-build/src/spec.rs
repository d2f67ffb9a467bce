//! What comes in and goes out.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use karman_control::{Annotation, Attestations, CacheExport, CacheImport, Export, SolveRequest};
use karman_diag::{Diagnostic, SourceMap};
use karman_oci::Platform;

/// The context and Dockerfile name that means standard input.
pub(crate) const STDIN: &str = "-";

/// One build, as the command line or a bake file describes it.
#[derive(Debug, Clone)]
pub struct TargetSpec {
    /// Its name for people, and for `target:NAME` contexts.
    pub name: String,
    /// The main context as written: a path, `-`, a git or http URL, or any source of a named
    /// context; `.` by default.
    pub context: String,
    /// `-f`: relative to the working directory, or inside a remote context where it is relative;
    /// `-` is standard input.
    pub dockerfile: Option<String>,
    /// The text of a Dockerfile; wins over `dockerfile`.
    pub dockerfile_inline: Option<String>,
    /// The stage to build; the last one by default.
    pub stage: Option<String>,
    /// Build arguments; one without a value is taken from [`BuildFacts::env`], where it is set.
    pub build_args: BTreeMap<String, Option<String>>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Named contexts as written.
    pub contexts: BTreeMap<String, String>,
    /// Platforms; none is the host's.
    pub platforms: Vec<Platform>,
    /// Image references to tag.
    pub tags: Vec<String>,
    /// Where the result goes. Relative places are relative to the working directory.
    pub exports: Vec<Export>,
    /// Annotations of all outputs that are images.
    pub annotations: Vec<Annotation>,
    /// What is attested of its images.
    pub attest: Attestations,
    /// Caches to read. Relative places are relative to the working directory.
    pub cache_from: Vec<CacheImport>,
    /// Caches to write.
    pub cache_to: Vec<CacheExport>,
    /// Whether cached results are passed over.
    pub no_cache: bool,
    /// Stages whose cached results are passed over.
    pub no_cache_filter: Vec<String>,
    /// The network of `RUN`: `default`, `host` or `none`.
    pub network: Option<String>,
    /// Host names and addresses; `host-gateway` is the address of the host.
    pub extra_hosts: Vec<(String, String)>,
    /// Size of `/dev/shm` in bytes; 0 for the default.
    pub shm_size: u64,
    /// Resource limits of `RUN`.
    pub ulimits: Vec<karman_llb::Ulimit>,
    /// Secrets.
    pub secrets: Vec<SecretSpec>,
    /// SSH agents.
    pub ssh: Vec<SshSpec>,
}

impl Default for TargetSpec {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            context: ".".to_owned(),
            dockerfile: None,
            dockerfile_inline: None,
            stage: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            contexts: BTreeMap::new(),
            platforms: Vec::new(),
            tags: Vec::new(),
            exports: Vec::new(),
            annotations: Vec::new(),
            attest: Attestations::default(),
            cache_from: Vec::new(),
            cache_to: Vec::new(),
            no_cache: false,
            no_cache_filter: Vec::new(),
            network: None,
            extra_hosts: Vec::new(),
            shm_size: 0,
            ulimits: Vec::new(),
            secrets: Vec::new(),
            ssh: Vec::new(),
        }
    }
}

/// `--secret id=…`. With neither file nor variable it is the variable of that id, else the file
/// of that name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecretSpec {
    /// The name `RUN --mount=type=secret` uses.
    pub id: String,
    /// A file; relative to the working directory.
    pub src: Option<PathBuf>,
    /// An environment variable.
    pub env: Option<String>,
}

/// `--ssh ID[=SOCKET]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SshSpec {
    /// The name `RUN --mount=type=ssh` uses; empty is `default`.
    pub id: String,
    /// An agent's socket; none is the one of `SSH_AUTH_SOCK`.
    pub paths: Vec<PathBuf>,
}

/// What planning may not look up itself.
#[derive(Clone, Default)]
pub struct BuildFacts {
    /// The working directory, absolute.
    pub cwd: PathBuf,
    /// Standard input; needed only where [`needs_stdin`] says so.
    pub stdin: Option<Vec<u8>>,
    /// The environment, for build arguments without a value, secrets, `SOURCE_DATE_EPOCH` and
    /// `SSH_AUTH_SOCK`.
    pub env: BTreeMap<String, String>,
    /// A directory for what has to be unpacked. It must last as long as the build, and is the
    /// caller's to remove.
    pub scratch: PathBuf,
}

impl fmt::Debug for BuildFacts {
    /// Names of variables only: values may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildFacts")
            .field("cwd", &self.cwd)
            .field("stdin", &self.stdin.as_ref().map(Vec::len))
            .field("env", &self.env.keys())
            .field("scratch", &self.scratch)
            .finish()
    }
}

/// Whether some target reads standard input.
pub fn needs_stdin(targets: &[TargetSpec]) -> bool {
    targets.iter().any(|t| {
        let is_file = t.dockerfile_inline.is_none() && t.dockerfile.as_deref() == Some(STDIN);
        t.context == STDIN || is_file
    })
}

/// A build that can be solved.
#[derive(Debug)]
pub struct Planned {
    /// What to solve.
    pub request: SolveRequest,
    /// The Dockerfiles, for messages about vertices.
    pub sources: SourceMap,
    /// What is doubtful.
    pub warnings: Vec<Diagnostic>,
}
