//! Layers along package lines: the final tree of an image, cut so that images share what they have in common.
//!
//! ```text
//! FinalTree (every path, its layer, its bytes' digest)
//!    └─► units (a package, a distribution, the rest of a step), each with a key over its bytes
//!           └─► Plan (over all images of a run, names of units only) ─► cut (of one image) ─► one layer for each group
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | `tree` | reads a merged tree: attributes as they go into a layer, digests of files |
//! | `units` | gives every path to one unit |
//! | [`plan`] | which units are in one layer |
//! | `merge` | which layers become one where there are too many |
//! | `cut` | the layers of one image, within its budget |
//! | `write` | one layer |
//!
//! What makes the same unit the same bytes everywhere, and the flattened tree that of the steps, is in
//! `docs/layering.md`.

mod cut;
mod merge;
pub mod plan;
mod tree;
mod units;
mod write;

pub use cut::{Cut, cut};
pub use tree::{Facts, FinalEntry, FinalTree, Source};
pub use units::{Owner, Unit, UnitInfo, units};
pub use write::write_group;
