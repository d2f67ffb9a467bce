//! Caches of other places: read lazily with `--cache-from`, written with `--cache-to`.
//!
//! What is exchanged is BuildKit's cache config (`format`): layers, and records from keys to chains of
//! layers. Keys are Karman's own, so a cache of another builder has nothing for us, nor ours for it:
//!
//! - A *portable key* is the digest of an op and, for each input, of its portable key; where the input
//!   is a directory of the caller, of the content that is read of it. It needs nothing but the graph
//!   and the directory, so a machine that has nothing yet can ask for the last step first.
//! - A *content key* is written where it is known, for results whose inputs came to be in another way.
//!
//! A hit is a list of [`Link`]s: layers that may not be here. They are fetched and unpacked when a step
//! runs on them or files are wanted of them; an image is exported from the blobs alone. The cache is
//! trusted to say the truth about steps, as a base image is about its files; bytes are verified against
//! their digests. A layer that cannot be had spoils its cache: the build says so and goes on without it.

mod export;
mod format;
mod import;
mod inline;
mod lazy;

pub(crate) use export::{StepResult, export_caches};
pub(crate) use import::Imports;
pub(crate) use inline::inline_config;
pub(crate) use lazy::{Lazy, Link, Origin, Place, RemoteLayer};
