//! What must run, in which order, and what is cached; generic over the op.
//!
//! [`solve`] asks a [`Subject`] about vertices by number and never learns what they do.
//! It works from the targets down: a vertex whose *definition key* has a result is done without
//! its inputs being looked at. Otherwise the inputs are demanded; when they are there, the
//! *content key* is tried; only then does the vertex run. Independent vertices run at once.
//! The first failure cancels the rest; with [`solve_what_can`] only what needs the vertex that failed.

mod scheduler;
mod subject;

pub use scheduler::{solve, solve_what_can};
pub use subject::{Cancel, Failure, Outcome, Partial, PartlySolved, Subject, VertexId};
