//! The store: content-addressed blobs and the index, for several processes at once, without a daemon.
//!
//! # Layout on disk (version 1)
//!
//! ```text
//! <root>/                   mode 0700
//!   version                 "1\n"; a store of a newer version is refused
//!   blobs/sha256/<hex>      one immutable file per blob, complete from the moment it has this name
//!   index.db                SQLite in WAL mode: tables `blob` (digest, size, created, last_used)
//!                           and `entry` (bucket, key, value, size, created, last_used)
//!   tmp/<process>-<n>-…     work in progress; `<process>` names the lock file of the process that owns it
//!   snapshots/              directories of karman-snapshot
//!   mounts/<id>/            directories of cache mounts, which outlive builds
//!   locks/proc-<process>    locked (flock) while the process has the store open
//!   locks/lease-<process>-<n>  locked while the lease is held; lists what must not be removed
//!   locks/gc                shared while a lease grows, exclusive while garbage is chosen
//!   locks/name-<hash>       advisory locks by name
//!   advisories/             archives that `karman constraints check` downloaded; nobody else looks there
//! ```
//!
//! # Rules
//!
//! * A blob exists when it has a row in `blob` *and* a file of that size. The file gets its name first and its row
//!   second; garbage collection removes the row first. A crash in between leaves a file nobody sees.
//! * A lock belongs to an open file, and the kernel drops it when the process dies. So nothing here ever asks whether
//!   a process id is still alive, and containers with their own process ids can share a store.
//! * Times are nanoseconds since 1970.
//!
//! Absent by design: tar, compression, and what a manifest means.

mod blob;
mod error;
mod gc;
mod index;
mod lease;
mod lock;
mod process;
mod store;
mod verify;

pub use blob::{BlobInfo, BlobWriter, ImportMode};
pub use error::{Result, StoreError};
pub use gc::{GcGuard, GcReport};
pub use index::{Put, Row};
pub use lease::{Lease, LiveLeases};
pub use lock::{LockMode, NamedLock};
pub use store::{STORE_VERSION, Store, TempDir};
