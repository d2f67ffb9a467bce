//! What the lowering is given and what it gives back.

use std::collections::{BTreeMap, BTreeSet};

use karman_diag::Diagnostic;
use karman_llb::{Device, ExtraHost, Network, SourceOp, Ulimit, VertexDigest};
use karman_oci::{Digest, ImageConfig, Platform};

use super::outline::Outline;

/// How a Dockerfile is lowered for one platform.
#[derive(Debug, Clone)]
pub struct Options {
    /// The stage to build; the last one where there is none.
    pub target: Option<String>,
    /// `--build-arg` values. `BUILDKIT_…` and proxy arguments belong here too.
    pub build_args: BTreeMap<String, String>,
    /// `--label` values, set on the result.
    pub labels: BTreeMap<String, String>,
    /// The platform that builds.
    pub build_platform: Platform,
    /// The platform that is built for.
    pub target_platform: Platform,
    /// Whether nobody asked for `target_platform`: then the result keeps its base's platform.
    pub implicit_platform: bool,
    /// `--build-context` values by name. A name may end in `::` and a platform (`base::linux/arm64`):
    /// then it is for stages of that platform, which prefer it to the plain name.
    pub contexts: BTreeMap<String, NamedContext>,
    /// Where `COPY` without `--from` reads.
    pub main_context: ContextInput,
    /// Whether cached results of all stages are passed over.
    pub no_cache: bool,
    /// Stages (by name, any case) whose cached results are passed over.
    pub no_cache_filter: Vec<String>,
    /// The network of `RUN`s that do not name one.
    pub network: Network,
    /// Additional lines of `/etc/hosts` in `RUN`.
    pub extra_hosts: Vec<ExtraHost>,
    /// Size of `/dev/shm` in bytes; 0 for the default.
    pub shm_size: u64,
    /// Resource limits of `RUN`.
    pub ulimits: Vec<Ulimit>,
    /// Devices of every `RUN`.
    pub devices: Vec<Device>,
    /// Host name in `RUN`; empty for the default.
    pub hostname: String,
    /// Seconds since 1970 for new history, config and files. A `SOURCE_DATE_EPOCH` build
    /// argument, or a global `ARG` of that name, is used where this is `None`.
    pub epoch: Option<i64>,
    /// Whether progress names carry the platform.
    pub multi_platform: bool,
    /// Whether stages that the target does not need are lowered too, for what the build checks
    /// find in them.
    pub all_stages: bool,
}

impl Options {
    /// The defaults of a build for one platform on itself, with an empty context.
    pub fn new(platform: Platform) -> Self {
        Self {
            target: None,
            build_args: BTreeMap::new(),
            labels: BTreeMap::new(),
            build_platform: platform.clone(),
            target_platform: platform,
            implicit_platform: false,
            contexts: BTreeMap::new(),
            main_context: ContextInput::Empty,
            no_cache: false,
            no_cache_filter: Vec::new(),
            network: Network::Default,
            extra_hosts: Vec::new(),
            shm_size: 0,
            ulimits: Vec::new(),
            devices: Vec::new(),
            hostname: String::new(),
            epoch: None,
            multi_platform: false,
            all_stages: false,
        }
    }
}

/// The main context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContextInput {
    /// A directory of the session.
    Local {
        /// The session's name for it.
        name: String,
        /// `.dockerignore` patterns.
        exclude: Vec<String>,
    },
    /// Something that is in the graph already: git, an unpacked archive.
    Vertex(VertexDigest),
    /// No files.
    Empty,
}

/// A named context. Vertices named here are in the graph that is lowered into.
#[derive(Debug, Clone)]
pub enum NamedContext {
    /// An image with its config, such as the result of another bake target. As a base its
    /// `ONBUILD` triggers fire.
    Image {
        /// Its root filesystem; `None` for one without layers.
        root: Option<VertexDigest>,
        /// Its config.
        config: Box<ImageConfig>,
    },
    /// An image that the resolver finds where it is needed, and for the platform it is needed
    /// for. The resolver is given the text as it is here (`docker.io/library/ubuntu:24.04`,
    /// `oci-layout://…`).
    Reference(String),
    /// Nothing, as `FROM scratch`: `docker-image://scratch`.
    Scratch,
    /// Files from outside, pinned.
    Source(SourceOp),
    /// A directory of the session.
    Local {
        /// The session's name for it.
        name: String,
        /// `.dockerignore` patterns.
        exclude: Vec<String>,
    },
    /// Files that are in the graph already.
    Vertex(VertexDigest),
}

/// Finds base images. All I/O of the lowering is behind this trait.
pub trait Resolver {
    /// The image of that full reference (or of the text of a [`NamedContext::Reference`]) for a
    /// platform. Called once for each use; answers should be remembered by the implementation,
    /// so that one build sees one answer.
    ///
    /// # Errors
    /// When there is no such image, or it cannot be asked for.
    fn image(&self, reference: &str, platform: &Platform) -> Result<ResolvedBase, ResolveError>;
}

/// A base image.
#[derive(Debug, Clone)]
pub struct ResolvedBase {
    /// The pinned source; `None` for an image without layers.
    pub source: Option<SourceOp>,
    /// Its config.
    pub config: ImageConfig,
    /// What it was pinned to, for progress names.
    pub digest: Option<Digest>,
}

/// Why a base image was not found.
#[derive(Debug, thiserror::Error)]
#[error("failed to resolve `{reference}`")]
pub struct ResolveError {
    /// The reference asked for.
    pub reference: String,
    /// What went wrong.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// A lowered Dockerfile.
#[derive(Debug, Clone)]
pub struct Lowered {
    /// The root filesystem of the target; `None` is scratch.
    pub root: Option<VertexDigest>,
    /// The config of the target. `rootfs.diff_ids` are the base's; history is complete.
    pub config: ImageConfig,
    /// The layers made here, lowest first: one for each non-empty history entry made here.
    pub layers: Vec<LayerStep>,
    /// The platform of the target.
    pub platform: Platform,
    /// The epoch that was in force.
    pub epoch: Option<i64>,
    /// Base images used, as pinned references, in the order of their stages.
    pub bases: Vec<String>,
    /// `HTTP_PROXY` and its kin from the build arguments, for the session: they are in no
    /// vertex, config or history.
    pub proxy: BTreeMap<String, String>,
    /// Arguments that a global `ARG` or a lowered stage declares.
    pub declared_args: BTreeSet<String>,
    /// Build arguments that nothing declares.
    pub unused_args: BTreeSet<String>,
    /// What is doubtful; those of a build check have its name as their code.
    pub warnings: Vec<Diagnostic>,
    /// What our own checks say that were not asked for.
    pub advice: Vec<Diagnostic>,
    /// What the target takes.
    pub outline: Outline,
}

/// A layer made by an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerStep {
    /// Its entry in `config.history`.
    pub history: usize,
    /// The vertex whose result is the root filesystem after it.
    pub vertex: VertexDigest,
}
