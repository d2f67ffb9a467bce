//! Layers of images that the store has in a registry only: they were pushed without having been fetched.
//!
//! Bucket `absent-blob`: digest → references that have it, one a line, the surest last. A row may outlive the absence: what
//! is in the store is never asked for.

use karman_content::Store;
use karman_control::SolveError;
use karman_oci::{Descriptor, Digest, Reference};

use super::known::Row;
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
    row(store, digest).add(&super::push::bare(reference).to_string(), MAX_PLACES)
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
    let lines = row(store, digest).lines()?;
    Ok(lines.iter().filter_map(|line| Reference::parse(line).ok()).collect())
}

fn row<'s>(store: &'s Store, digest: &Digest) -> Row<'s> {
    Row { store, bucket: BUCKET, key: digest.as_bytes().to_vec() }
}
