//! What a fleet of images is made of, what its images share, and what changed since the last one.
//!
//! ```text
//! inventories, manifests ─► Image ─┐
//! rawjson of a build ─► Timeline ──┴► Fleet ─► JSON, page (HTML), Changes (against an older Fleet)
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | [`model`] | [`Fleet`] and its parts: plain data, versioned, the same bytes for the same images |
//! | `collect` | an inventory and a manifest as an [`Image`] |
//! | `programs` | which programs of an image are its own |
//! | `sharing` | which image has which layer, and what that saves |
//! | `timeline` | the steps of a build from `--progress=rawjson`, and its critical path |
//! | `changes` | two fleets compared |
//! | `page` | all of it as one HTML file |

mod changes;
mod collect;
pub mod model;
mod page;
mod programs;
mod sharing;
mod timeline;

pub use changes::{Change, Changes, ImageChanges};
pub use collect::image;
pub use model::{Fleet, FleetError, Image};
pub use page::page;
pub use programs::{Program, programs};
pub use sharing::Sharing;
pub use timeline::Timeline;
