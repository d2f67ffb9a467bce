//! The steps behind an image whose layers are cut along packages. Its layers are no snapshots; the layers of the steps
//! have the same files, and say which step wrote what.
//!
//! Bucket `steps-of-image`: manifest → [`Steps`] (JSON).

use karman_control::{Cause, SolveError};
use karman_oci::{Digest, History};
use serde::{Deserialize, Serialize};

use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::{OrFail as _, store as store_error};

const BUCKET: &str = "steps-of-image";

/// The layers of steps with the same files as an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Steps {
    pub(crate) chain: Chain,
    /// The history of an image of those layers.
    pub(crate) history: Vec<History>,
}

/// Remembers the steps behind an image.
pub(crate) fn remember_steps(
    engine: &Engine,
    manifest: &Digest,
    steps: &Steps,
) -> Result<(), SolveError> {
    let bytes = serde_json::to_vec(steps).or_fail(Cause::Engine, "write a record")?;
    engine.store().put(BUCKET, manifest.as_bytes(), &bytes).map_err(store_error)
}

/// The steps behind an image, as far as their layers are still in the store.
pub(crate) fn steps_of(engine: &Engine, manifest: &Digest) -> Result<Option<Steps>, SolveError> {
    let Some(bytes) = engine.store().get(BUCKET, manifest.as_bytes()).map_err(store_error)? else {
        return Ok(None);
    };
    // Without what is understood the image is unpacked.
    let steps: Option<Steps> = serde_json::from_slice(&bytes).ok();
    Ok(steps.filter(|steps| engine.records().exists(&steps.chain)))
}
