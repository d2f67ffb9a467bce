//! Test harness: `.case` fixtures.
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

mod case;
mod runner;

pub use case::{Case, Section};
pub use runner::{CaseFailure, check_dir, run_cases};
