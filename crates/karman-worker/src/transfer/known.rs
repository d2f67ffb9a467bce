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
    let row = Row { store, bucket: BUCKET, key: key(&reference.host, digest) };
    row.add(&reference.repository, MAX_REPOSITORIES)
}

/// The repositories of a host that are known to have a blob, the newest last.
pub(crate) fn repositories(
    store: &Store,
    host: &str,
    digest: &Digest,
) -> Result<Vec<String>, SolveError> {
    Row { store, bucket: BUCKET, key: key(host, digest) }.lines()
}

fn key(host: &str, digest: &Digest) -> Vec<u8> {
    format!("{host} {digest}").into_bytes()
}

/// A row of a bucket that is a short list, one a line, the newest last.
pub(super) struct Row<'s> {
    pub(super) store: &'s Store,
    pub(super) bucket: &'static str,
    pub(super) key: Vec<u8>,
}

impl Row<'_> {
    /// What is in it; nothing where it is not there.
    pub(super) fn lines(&self) -> Result<Vec<String>, SolveError> {
        let found = self.store.get(self.bucket, &self.key).map_err(store_error)?;
        let text = String::from_utf8(found.unwrap_or_default()).unwrap_or_default();
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Adds `line`, or makes it the newest; the oldest go where there are more than `most`.
    pub(super) fn add(&self, line: &str, most: usize) -> Result<(), SolveError> {
        let mut known = self.lines()?;
        if known.last().is_some_and(|last| last == line) {
            return Ok(());
        }
        known.retain(|other| other != line);
        known.push(line.to_owned());
        let surplus = known.len().saturating_sub(most);
        let text = known[surplus..].join("\n");
        self.store.put(self.bucket, &self.key, text.as_bytes()).map_err(store_error)
    }
}
