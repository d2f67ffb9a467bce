//! The build graph: typed ops with stable digests.
//!
//! A [`Graph`] holds [`Vertex`]es by their [`VertexDigest`]: the digest of the op and of the
//! digests of its inputs, and of nothing else. Names, spans and the wish to ignore the cache are
//! [`VertexMeta`], kept beside the vertex. Adding the same op over the same inputs twice gives
//! one vertex, which is how a stage shared by two targets is built once.
//!
//! Differences to BuildKit's LLB, on purpose: every vertex has one output (an exec's is its root
//! filesystem), an absent input means *scratch*, and sources are typed instead of a URL with
//! attributes. Protobuf comes with the remote backend that needs it.

mod dump;
mod exec;
mod file;
mod graph;
mod op;
mod source;

pub use dump::dump;
pub use exec::{
    CacheScope, CacheSharing, Device, ExecOp, ExtraHost, Mount, MountKind, Network, SecretEnv,
    Security, Ulimit,
};
pub use file::{Copy, Data, FileAction, FileOp, Mkdir, Mkfile, Owner, Principal, Remove, Symlink};
pub use graph::{Graph, Vertex, VertexDigest, VertexMeta};
pub use op::{DiffOp, MergeOp, Op};
pub use source::{
    DebootstrapSource, GitSource, HttpSource, ImageSource, LocalSource, OciLayoutSource, SourceOp,
    shown_remote,
};
