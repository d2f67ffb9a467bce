//! Files relative to open directories: every path is opened from a directory descriptor the caller holds.
//!
//! * [`Dir`] is an open directory. Its methods take *names*; a path of several components is resolved by the kernel
//!   and may pass through symbolic links, so a name that comes from outside must be a single component, or be opened
//!   by [`Dir::open_in_root`] / [`Dir::open_beneath`] first.
//! * No method here follows a link in the last component.
//! * Names are bytes: nothing in this module requires UTF-8.
//!
//! The module is written for trees of tens of thousands of small files: one call is one system call wherever the kernel
//! allows it, and nothing allocates a joined path.

mod copy;
mod dir;
mod draft;
mod entries;
mod error;
mod meta;
mod remove;
mod stat;
mod write;
mod xattr;

pub use copy::{Copier, SMALL_FILE};
pub use dir::Dir;
pub use draft::{Draft, sweep_drafts};
pub use entries::Entry;
pub use error::{FsError, Result};
pub use meta::{Owner, process_owner, process_umask};
pub use remove::remove_tree;
pub use stat::{FileKind, Stat, Time, device_number, is_stray_pipe, stat_fd};
pub use write::{Durability, atomic_write};
pub use xattr::{Xattrs, fd_set_xattr, fd_xattrs};

#[cfg(test)]
mod tests;
