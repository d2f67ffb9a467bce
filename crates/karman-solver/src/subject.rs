//! The trait between the solver and what is solved.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A vertex by its index; inputs have lower numbers than their users.
pub type VertexId = usize;

/// Tells running work to stop.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everything that holds the token to stop. Idempotent.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Takes the request back, for whoever starts anew. Nothing may be running.
    pub fn reset(&self) {
        self.0.store(false, Ordering::SeqCst);
    }

    /// Whether work should stop.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// How a vertex got its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It ran.
    Ran,
    /// Its definition key had a result.
    DefinitionHit,
    /// Its content key had a result.
    ContentHit,
}

/// The first failure of a solve.
#[derive(Debug)]
pub enum Failure<E> {
    /// This vertex failed.
    Vertex(VertexId, E),
    /// The caller cancelled.
    Cancelled,
}

/// What could be done of a solve that went on after failures.
#[derive(Debug)]
pub struct Partial<O, E> {
    /// For each target its result, or the vertex whose failure it needed.
    pub results: Vec<Result<O, VertexId>>,
    /// Why vertices failed.
    pub failures: BTreeMap<VertexId, E>,
}

/// What [`crate::solve_what_can`] gives.
pub type PartlySolved<S> =
    Result<Partial<<S as Subject>::Output, <S as Subject>::Error>, Failure<<S as Subject>::Error>>;

/// What is solved. All methods may be called from several threads at once.
pub trait Subject: Sync {
    /// A vertex's result; cheap to clone.
    type Output: Clone + Send + Sync;
    /// Why a vertex failed.
    type Error: Send;

    /// The vertices that `vertex` reads. Pure.
    fn inputs(&self, vertex: VertexId) -> &[VertexId];

    /// A result found by the definition key; `None` also where the cache is to be passed over.
    /// Idempotent.
    ///
    /// # Errors
    /// When the cache cannot be read.
    fn by_definition(&self, vertex: VertexId) -> Result<Option<Self::Output>, Self::Error>;

    /// A result found by the content key, given the inputs' results. Idempotent.
    ///
    /// # Errors
    /// When an input or the cache cannot be read.
    fn by_content(
        &self,
        vertex: VertexId,
        inputs: &[Self::Output],
    ) -> Result<Option<Self::Output>, Self::Error>;

    /// Does the work and remembers the result. Called at most once for each vertex.
    ///
    /// # Errors
    /// When the work fails or `cancel` is set meanwhile.
    fn run(
        &self,
        vertex: VertexId,
        inputs: &[Self::Output],
        cancel: &Cancel,
    ) -> Result<Self::Output, Self::Error>;

    /// Told when the vertex has its result; never told for one that is not needed.
    fn finished(&self, vertex: VertexId, outcome: Outcome, output: &Self::Output);
}
