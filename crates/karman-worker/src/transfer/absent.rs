//! Layers of images that the store has in a registry only: they were pushed without having been fetched.
//!
//! Bucket `absent-blob`: digest → references that have it, one a line, the surest last. A row may outlive the absence: what
//! is in the store is never asked for.

use karman_content::Store;
use karman_control::SolveError;
use karman_oci::{Descriptor, Digest, Reference};

use crate::engine::Engine;
use crate::error::store as store_error;
use crate::sources::fetch;

const BUCKET: &str = "absent-blob";
/// References remembered for one blob: where it came from, and where it went last.
const MAX_PLACES: usize = 4;

/// Notes that a blob, which the store may not have, can be had from the repository of `reference`.
pub(crate) fn note(
    store: &Store,
    digest: &Digest,
    reference: &Reference,
) -> Result<(), SolveError> {
    let name = super::push::bare(reference);
    let mut known = places(store, digest)?;
    if known.last() == Some(&name) {
        return Ok(());
    }
    known.retain(|place| *place != name);
    known.push(name);
    let surplus = known.len().saturating_sub(MAX_PLACES);
    let lines: Vec<String> = known[surplus..].iter().map(ToString::to_string).collect();
    store.put(BUCKET, digest.as_bytes(), lines.join("\n").as_bytes()).map_err(store_error)
}

/// Whether a blob that is not in the store can be had from a registry.
pub(crate) fn is_elsewhere(store: &Store, digest: &Digest) -> Result<bool, SolveError> {
    Ok(!places(store, digest)?.is_empty())
}

/// Brings a blob into the store, where it is absent and known to be elsewhere. Says whether the store has it.
pub(crate) fn bring(engine: &Engine, descriptor: &Descriptor) -> Result<bool, SolveError> {
    let store = engine.store();
    if store.contains(&descriptor.digest).map_err(store_error)? {
        return Ok(true);
    }
    let mut last = Ok(false);
    for place in places(store, &descriptor.digest)?.iter().rev() {
        last = fetch(engine, place, descriptor).map(|()| true);
        if last.is_ok() || engine.interrupted() {
            break;
        }
    }
    last
}

fn places(store: &Store, digest: &Digest) -> Result<Vec<Reference>, SolveError> {
    let found = store.get(BUCKET, digest.as_bytes()).map_err(store_error)?.unwrap_or_default();
    let text = String::from_utf8(found).unwrap_or_default();
    Ok(text.lines().filter_map(|line| Reference::parse(line).ok()).collect())
}
