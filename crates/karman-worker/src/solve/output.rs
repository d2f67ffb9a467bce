//! What a vertex gives to its users.

use std::path::PathBuf;
use std::sync::Arc;

use karman_control::{Cause, SolveError};
use karman_snapshot::View;

use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::OrFail as _;
use crate::exec::StepEvents;
use crate::remote::{Lazy, Link};
use crate::sources::context_view;

/// What a vertex gives to its users.
#[derive(Debug, Clone)]
pub(crate) enum Output {
    /// Layers.
    Layers(Chain),
    /// Layers of which some may be in a cache only.
    Lazy(Arc<Lazy>),
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
    /// A result of those layers.
    pub(crate) fn of_links(links: Vec<Link>) -> Self {
        let here = |link: &Link| match link {
            Link::Here(id) => Some(id.clone()),
            Link::There(_) => None,
        };
        match links.iter().map(here).collect() {
            Some(chain) => Self::Layers(chain),
            None => Self::Lazy(Arc::new(Lazy::new(links))),
        }
    }

    /// A view of the files. Layers of a cache must have been fetched.
    pub(crate) fn view(&self, engine: &Engine) -> Result<View, SolveError> {
        if let Self::Context(context) = self {
            return context_view(context);
        }
        let missing = || SolveError::new(Cause::Engine, "layers of a cache were not fetched");
        let chain = self.chain().ok_or_else(missing)?;
        engine.snapshots().view(chain).or_fail(Cause::Store, "open the layers")
    }

    /// The layers, where there are any and they are here.
    pub(crate) fn chain(&self) -> Option<&Chain> {
        match self {
            Self::Layers(chain) => Some(chain),
            Self::Lazy(lazy) => lazy.known(),
            Self::Context(_) => None,
        }
    }

    /// The layers, where there are any; fetches them from their cache.
    pub(crate) fn layers(
        &self,
        engine: &Engine,
        events: &StepEvents,
    ) -> Result<Option<&Chain>, SolveError> {
        match self {
            Self::Lazy(lazy) => lazy.chain(engine, events).map(Some),
            _ => Ok(self.chain()),
        }
    }

    /// The layers, wherever they are.
    pub(crate) fn links(&self) -> Vec<Link> {
        match self {
            Self::Lazy(lazy) => match lazy.known() {
                Some(chain) => chain.iter().cloned().map(Link::Here).collect(),
                None => lazy.links.clone(),
            },
            Self::Layers(chain) => chain.iter().cloned().map(Link::Here).collect(),
            Self::Context(_) => Vec::new(),
        }
    }
}
