//! The contract between what plans a build and what runs it: [`SolveRequest`], [`Event`],
//! [`Session`], [`Backend`].
//!
//! Nothing above this crate knows which backend ran; nothing below it knows a Dockerfile.

mod annotation;
mod attest;
mod backend;
mod cache;
mod error;
mod event;
mod layers;
mod output;
pub mod provenance;
mod session;

pub use annotation::{Annotation, AnnotationError, AnnotationScope};
pub use attest::{AttestError, Attestations, ProvenanceMode, ProvenanceSpec};
pub use backend::{Backend, ImageResult, ResolvedImage, SolveRequest, SolveResponse, TargetResult};
pub use cache::{CacheExport, CacheImport, CachePlace, CacheSpecError};
pub use error::{Cause, SolveError};
pub use event::{Event, EventSink, Stream, VertexStatus};
pub use layers::{LayerPlan, PlannedImage, PlannedLayer};
pub use output::{
    Compression, CompressionKind, DEFAULT_LAYER_BUDGET, Export, Layering, Loader, MAX_LAYER_BUDGET,
    OutputKind, OutputSpec, OutputSpecError, PackageLayers, Push,
};
pub use session::{LocalDir, Proxies, SecretSource, Session, SshSource};
