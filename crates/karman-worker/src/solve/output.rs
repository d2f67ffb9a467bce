//! What a vertex gives to its users.

use std::path::PathBuf;
use std::sync::Arc;

use karman_control::{Cause, SolveError};
use karman_snapshot::View;

use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::OrFail as _;
use crate::sources::context_view;

/// What a vertex gives to its users.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    /// Layers.
    Layers(Chain),
    /// A directory of the caller, read in place.
    Context(ContextDir),
}

/// A directory of the caller without what is ignored.
#[derive(Debug, Clone)]
pub(crate) struct ContextDir {
    /// Where it is.
    pub(crate) path: PathBuf,
    /// `.dockerignore` patterns.
    pub(crate) exclude: Arc<Vec<String>>,
}

impl Output {
    /// A view of the files.
    pub(crate) fn view(&self, engine: &Engine) -> Result<View, SolveError> {
        match self {
            Self::Layers(chain) => {
                engine.snapshots().view(chain).or_fail(Cause::Store, "open the layers")
            }
            Self::Context(context) => context_view(context),
        }
    }

    /// The layers, where there are any.
    pub(crate) fn chain(&self) -> Option<&Chain> {
        match self {
            Self::Layers(chain) => Some(chain),
            Self::Context(_) => None,
        }
    }
}
