//! From layers to blobs, manifests and outputs.
//!
//! First every blob and document of every target is made, which nobody sees; then the outputs
//! appear, each whole or not at all; then what goes to registries is there; names in the local store
//! move last.
//!
//! | room | what is done there |
//! |---|---|
//! | `prepare` | one output of one target: its images, attestations and index, as blobs of the store |
//! | `layers` | which layers an image has: those of the steps, or along packages; what a push leaves where it is |
//! | `documents` | media types, annotations and names |
//! | `blobs` | the bytes of a layer, made once |
//! | `attest` | what is said of an image |
//! | `stoppable` | writing that an interrupt ends |
//! | `write`, `publish` | outputs appear, images go to registries |
//! | `shipped` | whether a layer still gives the bytes that it was shipped with |

mod attest;
mod blobs;
mod documents;
mod layers;
mod prepare;
mod publish;
mod shipped;
mod stoppable;
mod write;

use std::sync::Arc;

use karman_control::{
    Export, OutputKind, SolveError, SolveRequest, SolveResponse, TargetResult, VertexStatus,
};
use karman_llb::VertexDigest;
use karman_oci::{Descriptor, Digest, Reference};

pub(crate) use attest::{PROVENANCE, recall};
pub(crate) use blobs::{Blob, Compressor, LayerRecipe, remember_blob, shipped};
pub(crate) use layers::{complete_history, plan_layers};
use prepare::Stage;
pub(crate) use shipped::is_as_shipped;
pub(crate) use stoppable::Stoppable;
pub(crate) use write::write_images;

use crate::cache::Chain;
use crate::layering::Cuts;
use crate::remote::RemoteLayer;
use crate::solve::{Build, Scene};

/// An output whose blobs exist and which nobody sees yet.
pub(crate) struct Prepared<'a> {
    pub(crate) target: &'a TargetResult,
    export: &'a Export,
    /// The image or index, for outputs that are images.
    pub(crate) top: Option<Descriptor>,
    pub(crate) names: Vec<Reference>,
    pub(crate) chains: Vec<Chain>,
    /// Layers of caches that were not fetched, as a push may not need their bytes.
    left: Vec<Arc<RemoteLayer>>,
}

/// Makes and writes all outputs.
pub(crate) fn export_all(
    scene: &Scene<'_>,
    request: &SolveRequest,
    build: &Build<'_>,
    compressor: &Compressor,
    cuts: &Cuts,
) -> Result<SolveResponse, SolveError> {
    let mut response = SolveResponse::default();
    let mut prepared = Vec::new();
    for target in &request.targets {
        for export in &target.exports {
            let stage = Stage { scene, request, build, compressor, cuts };
            let vertex = export_vertex(target, export);
            scene.started(vertex, &format!("[{}] {}", target.name, label(export)));
            let one = stage.prepare(target, export, vertex, &mut response);
            if let Err(error) = &one {
                scene.ended(vertex, VertexStatus::Failed(error.message.clone()));
            }
            prepared.push((vertex, one?));
        }
    }
    crate::inventory::check(scene, &prepared)?;
    let is_name = |(_, one): &&(VertexDigest, Prepared<'_>)| one.export.kind == OutputKind::Image;
    write_all(scene, request, prepared.iter().filter(|one| !is_name(one)))?;
    publish::publish(scene, prepared.iter().map(|(_, one)| one))?;
    write_all(scene, request, prepared.iter().filter(is_name))?;
    Ok(response)
}

/// Makes prepared outputs appear.
fn write_all<'p>(
    scene: &Scene<'_>,
    request: &SolveRequest,
    prepared: impl Iterator<Item = &'p (VertexDigest, Prepared<'p>)>,
) -> Result<(), SolveError> {
    for (vertex, one) in prepared {
        let written = write::write(scene, one, request.epoch.unwrap_or(0));
        let status = match &written {
            Ok(()) => VertexStatus::Done,
            Err(error) => VertexStatus::Failed(error.message.clone()),
        };
        scene.ended(*vertex, status);
        written?;
    }
    Ok(())
}

fn export_vertex(target: &TargetResult, export: &Export) -> VertexDigest {
    VertexDigest(Digest::sha256_of(format!("export {} {export:?}", target.name).as_bytes()))
}

fn label(export: &Export) -> String {
    if let Some(loader) = export.load {
        return format!("loading into {}", loader.program());
    }
    let what = match export.kind {
        OutputKind::Oci => "oci image format",
        OutputKind::Docker => "docker image format",
        OutputKind::Image => "image",
        OutputKind::Local => "client directory",
        OutputKind::Tar => "client tarball",
        OutputKind::CacheOnly => "cache",
    };
    format!("exporting to {what}")
}
