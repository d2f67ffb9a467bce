//! The trait that runs builds.

use std::collections::BTreeMap;

use karman_llb::{Graph, SourceOp, VertexDigest};
use karman_oci::{Descriptor, Digest, ImageConfig, Platform};

use crate::provenance::{Asked, Provenance};
use crate::{
    Annotation, Attestations, CacheExport, CacheImport, EventSink, Export, LayerPlan, Session,
    SolveError,
};

/// A graph with what is wanted of it.
#[derive(Debug, Clone, Default)]
pub struct SolveRequest {
    /// The graph of all targets.
    pub graph: Graph,
    /// What is wanted.
    pub targets: Vec<TargetResult>,
    /// Seconds since 1970 of everything that carries a time; `None` is 1970 itself.
    pub epoch: Option<i64>,
    /// Whether a target that fails leaves the others alone, instead of stopping everything.
    pub keep_going: bool,
    /// Caches to look into for what the own one does not have.
    pub cache_from: Vec<CacheImport>,
}

/// What is wanted for one target.
#[derive(Debug, Clone, Default)]
pub struct TargetResult {
    /// The target's name for people and files.
    pub name: String,
    /// Its images, one for each platform.
    pub images: Vec<ImageResult>,
    /// Image references to tag.
    pub tags: Vec<String>,
    /// Where it goes; empty builds and throws away (the cache keeps it).
    pub exports: Vec<Export>,
    /// Annotations of all outputs that are images.
    pub annotations: Vec<Annotation>,
    /// Whether the result is an index over platforms although there may be only one.
    pub is_index: bool,
    /// What is attested of its images.
    pub attest: Attestations,
    /// How it was asked for; without it nothing can be said of how it came to be.
    pub asked: Option<Asked>,
    /// Where the target is defined, to know it again: context, Dockerfile and stage.
    pub definition: String,
    /// Names of the build arguments that were given.
    pub args: Vec<String>,
    /// Caches to write once the target is built.
    pub cache_to: Vec<CacheExport>,
}

/// One platform's result.
#[derive(Debug, Clone)]
pub struct ImageResult {
    /// The platform.
    pub platform: Platform,
    /// The root filesystem; `None` is scratch.
    pub root: Option<VertexDigest>,
    /// The config without `rootfs.diff_ids`; the exporter fills these in. Each history entry that
    /// is not an empty layer stands for one layer.
    pub config: ImageConfig,
}

/// What a solve made.
#[derive(Debug, Clone, Default)]
pub struct SolveResponse {
    /// For each target: the descriptor of its image or index, where it was exported as one.
    pub images: BTreeMap<String, Descriptor>,
    /// For each target that is one image: the digest of its config, as `--iidfile` wants.
    pub configs: BTreeMap<String, Digest>,
    /// For each target with images: how each came to be, by platform.
    pub provenance: BTreeMap<String, Vec<(Platform, Provenance)>>,
    /// Targets that failed, with [`SolveRequest::keep_going`]; nothing of them was exported or tagged.
    pub failed: BTreeMap<String, SolveError>,
    /// Where an output has layers along packages: what they are.
    pub layers: Option<LayerPlan>,
}

/// An image resolved before the graph is made.
#[derive(Debug, Clone)]
pub struct ResolvedImage {
    /// The source, pinned to the platform's manifest.
    pub source: SourceOp,
    /// The digest that names the image: of the index where there is one.
    pub digest: Digest,
    /// The config.
    pub config: ImageConfig,
}

/// Runs builds.
pub trait Backend: Send + Sync {
    /// Finds an image and its config, without fetching layers where that can wait.
    ///
    /// Idempotent; the same source gives the same answer for the life of the backend.
    ///
    /// # Errors
    /// When the source does not exist, has no such platform, or does not verify.
    fn resolve_image(
        &self,
        source: &SourceOp,
        platform: &Platform,
        session: &Session,
    ) -> Result<ResolvedImage, SolveError>;

    /// Solves `vertex` and reads one file of it; `None` where there is no such file.
    /// For Dockerfiles inside git and http contexts.
    ///
    /// # Errors
    /// When the vertex fails, or when the file is larger than `limit` bytes.
    fn read_file(
        &self,
        graph: &Graph,
        vertex: &VertexDigest,
        path: &str,
        limit: u64,
        session: &Session,
    ) -> Result<Option<Vec<u8>>, SolveError>;

    /// Solves and exports. Nothing is exported or tagged unless everything asked for succeeded; with
    /// [`SolveRequest::keep_going`], unless everything of the target did.
    ///
    /// # Errors
    /// The first failure; other vertices are cancelled and their logs kept.
    fn solve(
        &self,
        request: SolveRequest,
        session: &Session,
        events: EventSink,
    ) -> Result<SolveResponse, SolveError>;
}
