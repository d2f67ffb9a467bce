//! Which repositories of a registry have a blob. Only a hint: the registry decides, and what it no
//! longer has is sent.

use karman_content::Store;
use karman_control::SolveError;
use karman_oci::{Digest, Reference};

use crate::error::store as store_error;

const BUCKET: &str = "registry-blob";
/// Repositories remembered for one blob: each is one more request when all have lost it.
const MAX_REPOSITORIES: usize = 3;

/// Notes that the repository of `reference` has a blob.
pub(crate) fn remember(
    store: &Store,
    reference: &Reference,
    digest: &Digest,
) -> Result<(), SolveError> {
    let mut known = repositories(store, &reference.host, digest)?;
    if known.last() == Some(&reference.repository) {
        return Ok(());
    }
    known.retain(|repository| *repository != reference.repository);
    known.push(reference.repository.clone());
    let surplus = known.len().saturating_sub(MAX_REPOSITORIES);
    let text = known[surplus..].join("\n");
    store.put(BUCKET, key(&reference.host, digest), text.as_bytes()).map_err(store_error)
}

/// The repositories of a host that are known to have a blob, the newest last.
pub(crate) fn repositories(
    store: &Store,
    host: &str,
    digest: &Digest,
) -> Result<Vec<String>, SolveError> {
    let found = store.get(BUCKET, key(host, digest)).map_err(store_error)?.unwrap_or_default();
    let text = String::from_utf8(found).unwrap_or_default();
    Ok(text.lines().map(str::to_owned).collect())
}

fn key(host: &str, digest: &Digest) -> Vec<u8> {
    format!("{host} {digest}").into_bytes()
}
