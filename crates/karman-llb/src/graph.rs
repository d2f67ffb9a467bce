//! Vertices by digest.

use std::collections::BTreeMap;
use std::fmt;

use karman_diag::Span;
use karman_oci::{Digest, Hasher, Platform};
use serde::{Deserialize, Serialize};

use crate::Op;

/// Changes whenever the encoding behind vertex digests does.
const DIGEST_DOMAIN: &[u8] = b"karman-llb-1";

/// Names a vertex: the digest of its op, its platform and its inputs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct VertexDigest(pub Digest);

impl fmt::Display for VertexDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for VertexDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vertex:{}", self.0.short())
    }
}

/// An op over inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vertex {
    /// What it does.
    pub op: Op,
    /// What it reads; ops name these by index.
    pub inputs: Vec<VertexDigest>,
    /// What it runs on or selects.
    pub platform: Platform,
}

impl Vertex {
    /// The vertex's name.
    pub fn digest(&self) -> VertexDigest {
        let mut hasher = Hasher::new();
        hasher.field(DIGEST_DOMAIN);
        hasher.field(&self.op_bytes());
        for input in &self.inputs {
            hasher.field(input.0.as_bytes());
        }
        VertexDigest(hasher.finish())
    }

    /// The canonical encoding of op and platform, without the inputs: what the op itself adds to
    /// a cache key.
    pub fn op_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(&(&self.op, self.platform.to_string()))
            .unwrap_or_else(|e| unreachable!("ops are plain data and always encode: {e}"))
    }
}

/// What is known of a vertex besides what it does. Never part of a digest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VertexMeta {
    /// As people see it: `[build 2/5] RUN make`.
    pub name: String,
    /// Where it was written.
    pub spans: Vec<Span>,
    /// Whether cached results are passed over.
    pub ignore_cache: bool,
    /// Whether the vertex is machinery that people need not see.
    pub internal: bool,
}

/// A build graph. Vertices are added after their inputs, so it cannot have a cycle.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    vertices: BTreeMap<VertexDigest, Vertex>,
    meta: BTreeMap<VertexDigest, VertexMeta>,
    order: Vec<VertexDigest>,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a vertex and names it. The same vertex added again keeps its first name; a wish to
    /// ignore the cache sticks.
    ///
    /// # Panics
    /// When an input is not in the graph.
    pub fn add(&mut self, vertex: Vertex, meta: VertexMeta) -> VertexDigest {
        for input in &vertex.inputs {
            assert!(self.vertices.contains_key(input), "input {input:?} is added before its user");
        }
        let digest = vertex.digest();
        if self.vertices.insert(digest, vertex).is_none() {
            self.order.push(digest);
            self.meta.insert(digest, meta);
        } else if let Some(known) = self.meta.get_mut(&digest) {
            known.ignore_cache |= meta.ignore_cache;
            known.internal &= meta.internal;
        }
        digest
    }

    /// The vertex of that name.
    pub fn vertex(&self, digest: &VertexDigest) -> Option<&Vertex> {
        self.vertices.get(digest)
    }

    /// What else is known of the vertex.
    pub fn meta(&self, digest: &VertexDigest) -> Option<&VertexMeta> {
        self.meta.get(digest)
    }

    /// Changes what is known of a vertex, where the graph has it.
    pub fn meta_mut(&mut self, digest: &VertexDigest) -> Option<&mut VertexMeta> {
        self.meta.get_mut(digest)
    }

    /// All vertices, inputs before their users.
    pub fn iter(&self) -> impl Iterator<Item = (&VertexDigest, &Vertex)> {
        self.order.iter().filter_map(|d| self.vertices.get_key_value(d))
    }

    /// How many vertices there are.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The vertices that `targets` need, themselves included, inputs before their users.
    pub fn needed_by(&self, targets: impl IntoIterator<Item = VertexDigest>) -> Vec<VertexDigest> {
        let mut needed: std::collections::BTreeSet<VertexDigest> = targets.into_iter().collect();
        for digest in self.order.iter().rev() {
            if needed.contains(digest)
                && let Some(vertex) = self.vertices.get(digest)
            {
                needed.extend(vertex.inputs.iter().copied());
            }
        }
        self.order.iter().copied().filter(|d| needed.contains(d)).collect()
    }
}
