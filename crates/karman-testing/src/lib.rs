//! Test harness: `.case` fixtures, a hermetic place for programs, suites that skip.
//!
//! One case is one file: inputs and expectation together, in sections.
//!
//! ```text
//! What the case shows, in a sentence.
//! //- Dockerfile
//! FROM scratch
//! //- expect: ast
//! …
//! ```
//!
//! A section begins at a line `//- NAME` (with `//- NAME: VALUE` for a value on the line itself).
//! [`run_cases`] finds `*.case` below a directory, calls the subject, and compares what it
//! answers with the section that starts with `expect`. `KARMAN_BLESS=1` rewrites expectations.
//!
//! A [`Place`] runs a program as if on a machine of its own; [`run_trials`] runs tests that may
//! skip with a reason; [`mutate`] damages inputs; [`bounded`] limits what a
//! test may cost.

mod bounded;
mod case;
mod mutate;
mod place;
mod runner;
mod trial;

pub use bounded::{Bounds, STACK, bounded};
pub use case::{Case, Section};
pub use mutate::{Random, mutate};
pub use place::{Place, Told, Who};
pub use runner::{CaseFailure, case_files, check_dir, check_file, run_cases};
pub use trial::{Arguments, Skip, Tested, Trial, run_trials};
