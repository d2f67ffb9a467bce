//! The two cache keys and the records behind them.
//!
//! A vertex's *definition key* is the digest of its op and of its inputs' definition keys; a
//! source's is its identity (an image's manifest, a commit, the stat data of a directory). Its
//! *content key* is the digest of its op and of what it reads of its inputs, byte for byte,
//! modification times excepted.
//!
//! Content is hashed as late as possible: a run only notes which inputs it had. When the same op
//! misses by definition later, the notes of earlier runs are hashed then, and only where the
//! snapshots still exist. What was read from a directory of the caller is hashed at once, because
//! the directory may change; the copy read every byte anyway. Where something of it was changed after the step
//! had begun to read, its content is not known, and the run is found by its definition key only.
//!
//! | bucket | key | value (JSON) |
//! |---|---|---|
//! | `definition` | definition key | [`Chain`] |
//! | `content` | content key | [`Chain`] |
//! | `runs` | op digest, definition key | [`RunNote`] |

mod keys;
mod records;

pub(crate) use keys::{
    content_key, definition_key, layers_key, op_digest, portable_key, source_key,
};
pub(crate) use records::{Records, RunNote};

use karman_snapshot::SnapshotId;

/// The layers of a root filesystem, lowest first.
pub(crate) type Chain = Vec<SnapshotId>;
