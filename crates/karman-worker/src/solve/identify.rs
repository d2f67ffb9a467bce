//! Identities of all sources of a solve, asked for at once: most wait for the network.

use std::collections::BTreeMap;
use std::sync::Mutex;

use karman_control::{SolveError, VertexStatus};
use karman_llb::{Op, SourceOp, VertexDigest};
use karman_oci::Digest;

use super::{Scene, locked};

/// The identity of every source among `needed`.
pub(super) fn all(scene: &Scene<'_>, needed: &[VertexDigest]) -> Result<Identities, SolveError> {
    let (found, failed) = each(scene, needed);
    match failed.into_values().next() {
        Some(error) => Err(error),
        None => Ok(found),
    }
}

/// Identities by vertex.
pub(super) type Identities = BTreeMap<VertexDigest, Digest>;

/// The identities that are known, and why others are not.
pub(super) fn each(
    scene: &Scene<'_>,
    needed: &[VertexDigest],
) -> (Identities, BTreeMap<VertexDigest, SolveError>) {
    let sources: Vec<(VertexDigest, &SourceOp)> = needed
        .iter()
        .filter_map(|digest| match &scene.graph.vertex(digest)?.op {
            Op::Source(source) => Some((*digest, source)),
            _ => None,
        })
        .collect();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let found: Mutex<BTreeMap<VertexDigest, Digest>> = Mutex::default();
    let failed: Mutex<BTreeMap<VertexDigest, SolveError>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..scene.engine.parallelism().min(sources.len()) {
            scope.spawn(|| {
                while let Some((digest, source)) =
                    sources.get(next.fetch_add(1, std::sync::atomic::Ordering::SeqCst))
                {
                    match one(scene, *digest, source) {
                        Ok(identity) => {
                            locked(&found).insert(*digest, identity);
                        }
                        Err(error) => {
                            let error = scene.explain(*digest, error);
                            locked(&failed).insert(*digest, error);
                        }
                    }
                }
            });
        }
    });
    let found = std::mem::take(&mut *locked(&found));
    let failed = std::mem::take(&mut *locked(&failed));
    (found, failed)
}

fn one(scene: &Scene<'_>, digest: VertexDigest, source: &SourceOp) -> Result<Digest, SolveError> {
    let Some(vertex) = scene.graph.vertex(&digest) else {
        unreachable!("sources were taken from the graph");
    };
    let asks_network =
        !matches!(source, SourceOp::Image(_) | SourceOp::OciLayout(_) | SourceOp::Local(_));
    let identity = crate::sources::identify(scene.engine, source, &vertex.platform, scene.session);
    if let (Err(error), true) = (&identity, asks_network) {
        let name = scene.graph.meta(&digest).map_or("", |m| m.name.as_str());
        scene.started(digest, name);
        scene.ended(digest, VertexStatus::Failed(error.message.clone()));
    }
    identity
}
