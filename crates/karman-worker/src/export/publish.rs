//! Pushing the images of a build: those of all targets at once, so that what they share is sent once
//! and no tag moves before every image is complete.

use karman_control::{Event, Push, SolveError, VertexStatus};
use karman_llb::VertexDigest;
use karman_oci::{Digest, Reference};

use super::Prepared;
use crate::solve::Scene;
use crate::transfer::{PushItem, push};

/// Pushes what is to be pushed.
pub(super) fn publish<'p>(
    scene: &Scene<'_>,
    prepared: impl Iterator<Item = &'p Prepared<'p>>,
) -> Result<(), SolveError> {
    let prepared: Vec<&Prepared<'_>> = prepared.collect();
    let items: Vec<PushItem> = prepared.iter().filter_map(|one| item(one)).collect();
    let names: Vec<String> = items.iter().flat_map(|i| &i.names).map(Reference::familiar).collect();
    let title = match names.as_slice() {
        [] => return Ok(()),
        [only] => format!("pushing {only}"),
        several => format!("pushing {} names", several.len()),
    };
    let vertex = VertexDigest(Digest::sha256_of(format!("push {names:?}").as_bytes()));
    scene.started(vertex, &title);
    let on_blob = |current: usize, total: usize| {
        (scene.events)(Event::Progress {
            vertex,
            id: "pushing layers".to_owned(),
            current: current as u64,
            total: total as u64,
            at: scene.begun.elapsed(),
            done: current == total,
        });
    };
    let pushed = push(scene.engine, &items, &on_blob);
    if pushed.is_err() && !scene.engine.interrupted() {
        prepared.iter().flat_map(|one| &one.left).for_each(|layer| layer.check_left(scene.engine));
    }
    let status = match &pushed {
        Ok(_) => VertexStatus::Done,
        Err(error) => VertexStatus::Failed(error.message.clone()),
    };
    scene.ended(vertex, status);
    pushed.map(drop)
}

fn item(one: &Prepared<'_>) -> Option<PushItem> {
    let top = one.top.clone()?;
    let names = match one.export.push {
        Push::No => return None,
        Push::Tags => one.names.clone(),
        Push::Digest => {
            let bare = |name: &Reference| Reference { tag: None, digest: None, ..name.clone() };
            one.names.iter().map(bare).collect()
        }
    };
    Some(PushItem { top, names })
}
