//! The gate of a build: nothing is exported, tagged or written unless every image passes its audit.

use karman_control::{Cause, SolveError};
use karman_inventory::audit::report::text;
use karman_oci::{ImageConfig, Manifest};

use super::audit::AuditOptions;
use super::image::Opened;
use crate::export::Prepared;
use crate::images::{manifests_of, read_document};
use crate::layering::steps_of;
use crate::solve::Scene;

/// What images of a build must pass.
#[derive(Debug, Clone)]
pub struct Gate {
    /// How they are audited.
    pub options: AuditOptions,
}

/// Audits all outputs of a build, where there is a gate.
pub(crate) fn check(
    scene: &Scene<'_>,
    prepared: &[(karman_llb::VertexDigest, Prepared<'_>)],
) -> Result<(), SolveError> {
    let Some(gate) = scene.engine.gate() else { return Ok(()) };
    let mut failures = Vec::new();
    let mut seen = Vec::new();
    for (_, one) in prepared {
        let name = one.names.first().map_or_else(|| one.target.name.clone(), |n| n.familiar());
        for opened in images(scene, one)? {
            let digest = opened.digest();
            if seen.contains(&digest) {
                continue;
            }
            seen.push(digest);
            let audited =
                scene.engine.audit_opened(&name, &opened, &gate.options, scene.session)?;
            if audited.fails() {
                failures.push(text(&audited));
            }
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    let message =
        format!("the gate is closed, nothing was exported:\n{}", failures.concat().trim_end());
    Err(SolveError::new(Cause::Engine, message))
}

/// The images of one output, one for each platform.
fn images(scene: &Scene<'_>, one: &Prepared<'_>) -> Result<Vec<Opened>, SolveError> {
    let store = scene.engine.store();
    let mut stored = Vec::new();
    if let Some(top) = &one.top {
        for descriptor in manifests_of(store, top)? {
            let manifest: Manifest = read_document(store, &descriptor.digest)?;
            let config: ImageConfig = read_document(store, &manifest.config.digest)?;
            stored.push((Some(descriptor.digest), config));
        }
    } else {
        stored.extend(one.target.images.iter().map(|i| (None, i.config.clone())));
    }
    let mut opened = Vec::new();
    for ((manifest, config), chain) in stored.into_iter().zip(one.chains.iter().cloned()) {
        let steps = match &manifest {
            Some(manifest) => steps_of(scene.engine, manifest)?.map(|steps| steps.history),
            None => None,
        };
        opened.push(Opened { manifest, config, chain, steps });
    }
    Ok(opened)
}
