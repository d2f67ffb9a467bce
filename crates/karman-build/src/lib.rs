//! Targets to one solve request: contexts, Dockerfiles, bases, lowering.
//!
//! [`plan`] takes the targets of a `karman build` or a `karman bake` and gives one
//! [`karman_control::SolveRequest`] over one graph, so that whatever two targets share (a context,
//! a base, a stage) is one vertex. It reads local files itself; everything remote is asked of the
//! [`karman_control::Backend`]. Environment, home and arguments are handed in as [`BuildFacts`].
//!
//! | file | content |
//! |---|---|
//! | `spec` | what comes in and goes out |
//! | `bake` | a bake target as a [`TargetSpec`] |
//! | `definition` | bake files of a git repository, an archive, or one file by HTTP |
//! | `plan` | all targets, in the order in which they link each other |
//! | `lowering` | one target for its platforms |
//! | `call` | what is asked of targets instead of building them |
//! | `location`, `git` | what a context's text names |
//! | `context`, `stdin` | the main context |
//! | `named` | named contexts |
//! | `dockerfile`, `ignore`, `files` | Dockerfiles, ignore files, local files |
//! | `resolver` | base images |
//! | `names`, `units` | progress names; sizes and limits as docker writes them |
//! | `borrow` | secrets and ssh agents for the session |
//! | `rebuild` | targets from a provenance |
//! | `asked` | how a target was asked for, for its provenance |

mod asked;
mod bake;
mod borrow;
mod call;
mod context;
mod definition;
mod dockerfile;
mod error;
mod files;
mod git;
mod ignore;
mod location;
mod lowering;
mod named;
mod names;
mod plan;
mod rebuild;
mod resolver;
mod spec;
mod stdin;
mod units;

pub use bake::from_bake;
pub use call::{Answered, Call, call};
pub use definition::{Definition, is_remote, read_definition};
pub use error::PlanError;
pub use karman_dockerfile::call::{short as short_warning, summary as warnings_summary};
pub use plan::{plan, plan_what_can};
pub use rebuild::{Given, rebuild};
pub use spec::{BuildFacts, Planned, SecretSpec, SshSpec, TargetSpec, needs_stdin};
