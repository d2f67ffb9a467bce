//! What earlier builds left: keys → chains.

use karman_content::{Put, Store};
use karman_control::{Cause, SolveError};
use karman_oci::Digest;
use karman_snapshot::Snapshots;
use serde::{Deserialize, Serialize};

use super::Chain;
use crate::error::{OrFail as _, store as store_error};

const DEFINITION: &str = "definition";
const CONTENT: &str = "content";
const RUNS: &str = "runs";
/// Notes of earlier runs of one op that are looked at on a miss, newest first: each may cost
/// hashing a whole root filesystem.
const MAX_NOTES: usize = 8;

/// What a run had and made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunNote {
    /// The chain of each input; `None` for a directory of the caller.
    pub(crate) inputs: Vec<Option<Chain>>,
    /// The digest of what was read of each input, where it is known.
    pub(crate) contents: Vec<Option<Digest>>,
    /// The result.
    pub(crate) chain: Chain,
}

/// The cache records of a store.
#[derive(Clone)]
pub(crate) struct Records {
    store: Store,
    snapshots: Snapshots,
}

impl Records {
    pub(crate) fn new(store: Store, snapshots: Snapshots) -> Self {
        Self { store, snapshots }
    }

    /// The chain behind a definition key, if all its layers exist.
    pub(crate) fn by_definition(&self, key: &Digest) -> Result<Option<Chain>, SolveError> {
        self.chain(DEFINITION, key)
    }

    /// The chain behind a content key, if all its layers exist.
    pub(crate) fn by_content(&self, key: &Digest) -> Result<Option<Chain>, SolveError> {
        self.chain(CONTENT, key)
    }

    /// Another definition key for a chain.
    pub(crate) fn alias(&self, definition: &Digest, chain: &Chain) -> Result<(), SolveError> {
        self.store.put(DEFINITION, definition.as_bytes(), &json(chain)).map_err(store_error)
    }

    /// A content key for a chain.
    pub(crate) fn put_content(&self, key: &Digest, chain: &Chain) -> Result<(), SolveError> {
        self.store.put(CONTENT, key.as_bytes(), &json(chain)).map_err(store_error)
    }

    /// Remembers a run: its definition key and the note, in one transaction.
    pub(crate) fn save(
        &self,
        op: &Digest,
        definition: &Digest,
        note: &RunNote,
    ) -> Result<(), SolveError> {
        let key = definition.as_bytes().to_vec();
        let put = |bucket, key, value| Put { bucket, key, value, size: None };
        let rows = [
            put(DEFINITION, key, json(&note.chain)),
            put(RUNS, note_key(op, definition), json(note)),
        ];
        self.store.put_many(&rows).map_err(store_error)
    }

    /// Notes of earlier runs of an op whose results still exist, newest first.
    pub(crate) fn notes(&self, op: &Digest) -> Result<Vec<(Digest, RunNote)>, SolveError> {
        let mut rows = self.store.list(RUNS, op.as_bytes()).map_err(store_error)?;
        rows.sort_by_key(|row| std::cmp::Reverse(row.created));
        let mut notes = Vec::new();
        for row in rows.into_iter().take(MAX_NOTES) {
            let Some(definition) = row.key.get(32..64).and_then(|b| b.try_into().ok()) else {
                continue;
            };
            let note: RunNote =
                serde_json::from_slice(&row.value).or_fail(Cause::Store, "read a cache record")?;
            if self.exists(&note.chain) {
                notes.push((Digest::from_bytes(definition), note));
            }
        }
        Ok(notes)
    }

    /// The note of the run that gave a definition key its result.
    pub(crate) fn note(
        &self,
        op: &Digest,
        definition: &Digest,
    ) -> Result<Option<RunNote>, SolveError> {
        let bytes = self.store.get(RUNS, note_key(op, definition)).map_err(store_error)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Writes a note again, with content digests that were not known before.
    pub(crate) fn amend(
        &self,
        op: &Digest,
        definition: &Digest,
        note: &RunNote,
    ) -> Result<(), SolveError> {
        self.store.put(RUNS, note_key(op, definition), &json(note)).map_err(store_error)
    }

    /// Whether every layer of a chain exists.
    pub(crate) fn exists(&self, chain: &Chain) -> bool {
        chain.iter().all(|id| self.snapshots.exists(id).unwrap_or(false))
    }

    fn chain(&self, bucket: &'static str, key: &Digest) -> Result<Option<Chain>, SolveError> {
        let Some(bytes) = self.store.get(bucket, key.as_bytes()).map_err(store_error)? else {
            return Ok(None);
        };
        let chain: Chain =
            serde_json::from_slice(&bytes).or_fail(Cause::Store, "read a cache record")?;
        Ok(Some(chain).filter(|c| self.exists(c)))
    }
}

fn note_key(op: &Digest, definition: &Digest) -> Vec<u8> {
    [op.as_bytes().as_slice(), definition.as_bytes().as_slice()].concat()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|e| unreachable!("records are plain data: {e}"))
}
