//! Snapshots for overlayfs: prepare, commit, merged views, copies, tree digests. Runs no process and mounts nothing.
//!
//! # Layout below `<store>/snapshots/` (version of the store)
//!
//! ```text
//! <id>/fs/      one immutable overlayfs upper directory; <id> is random and never used again
//! ```
//!
//! Deletions are character devices 0:0, and a directory that hides what is below it has the attribute
//! `user.overlay.opaque=y`: the `userxattr` dialect of overlayfs, for root too, so that one store serves both. The row
//! `snapshot/<id>` of the index makes a snapshot exist; it is written after the directory has its name.
//!
//! # Words
//!
//! A *chain* is a list of snapshots, bottom first, that make a root filesystem. A [`View`] is what such a chain shows
//! when it is merged; [`LayerWriter`] writes the next layer on top of one; [`copy()`] moves files from a view into a
//! layer; [`Below`] unpacks entries of an archive into one; [`digest`] says whether two selections of files are the same.
//!
//! # Sharing of inodes
//!
//! Files of committed snapshots are never written in place, so a copy between snapshots is a hard link wherever owner,
//! mode and times stay the same. Therefore an [`Active`] that a [`LayerWriter`] has written to must be committed before
//! anything is run on it: as the *upper* directory of a mount its files would be written in place.

mod attrs;
pub mod copy;
pub mod digest;
mod error;
mod seal;
mod snapshots;
mod statcache;
mod view;
mod writer;

pub use attrs::is_image_xattr;
pub use copy::{CopiedFile, CopyOptions, CopyReport, copy};
pub use error::{Result, SnapshotError};
pub use snapshots::{Active, Checked, SnapshotId, SnapshotInfo, Snapshots};
pub use statcache::{FileDigest, ViewCache};
pub use view::{Decision, Filter, Found, MergedDir, PathFilter, View, Visit, WalkDir, WalkEntry};
pub use writer::{Attrs, Below, LayerWriter, Node, Replace};
