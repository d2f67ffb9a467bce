//! Images between the store and registries: `push`, `pull`, and what is known of who has which blob.
//!
//! Bucket `registry-blob`: host and digest → repositories of that host that had the blob when we last
//! looked, the newest last, for mounts across repositories. Bucket `upload`: repository and digest → where
//! an upload that was begun goes on. Bucket `absent-blob`: what images of the store have in a registry only.

mod absent;
mod journal;
mod known;
mod load;
mod login;
mod pull;
mod push;
mod referrers;

pub use load::{LoadFrom, Loaded};
pub use pull::Pulled;
pub use push::{PushItem, PushReport};
pub use referrers::Attachment;

pub(crate) use absent::{bring, is_elsewhere, note as note_absent};
pub(crate) use known::remember;
pub(crate) use push::{push, push_cache};
