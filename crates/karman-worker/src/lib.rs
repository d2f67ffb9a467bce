//! The embedded [`Backend`](karman_control::Backend): binds ops to sandbox, snapshots, content,
//! registry and exporter.
//!
//! | module | what it does |
//! |---|---|
//! | [`Engine`] | opens a store, implements `Backend` |
//! | `config` | what it is given |
//! | `solve` | one solve: identities, keys, the solver's subject |
//! | `cache` | the two cache keys and the records behind them |
//! | `agent` | SSH agents: the caller's, or key files answered here |
//! | `exec` | RUN: sandbox, mounts, users, borrowed things |
//! | `files` | COPY, ADD, WORKDIR: file actions on a new layer |
//! | `sources` | images, layouts, contexts, git, HTTP, debootstrap |
//! | `layers` | layer snapshots: windows of build time, layers of images |
//! | `images` | images by name in the local store |
//! | `export` | from layers to blobs, manifests and outputs |
//! | `layering` | layers along packages, planned over all images of a run |
//! | `remote` | caches of other places: `--cache-from`, `--cache-to` |
//! | `made_by` | which step made a layer, for inventories |
//! | `inventory` | images of any place, read for their inventory |
//! | `mounts` | cache mounts, listed and moved |
//! | `why` | why steps were no cache hits |
//! | `usage` | what the store holds, and pruning it |
//! | `verify` | whether the store is what its index says |
//! | `transfer` | images to and from registries |
//! | `rebuild` | how an image came to be, and whether another build of it is the same |
//! | `signatures` | signatures of images, where the image is |
//! | `running` | `karman run`: an image in the same sandbox |

mod agent;
mod cache;
mod config;
mod engine;
mod error;
mod exec;
mod export;
mod files;
mod images;
mod inventory;
mod layering;
mod layers;
mod made_by;
mod mounts;
mod rebuild;
mod remote;
mod running;
mod signatures;
mod solve;
mod sources;
mod transfer;
mod usage;
mod verify;
mod why;

pub use config::{CommandRunner, Config};
pub use engine::Engine;
pub use images::{ImageDetails, LocalImage};
pub use inventory::{AuditOptions, Gate, ImageSpec, Inspected, MoreFindings};
pub use layering::{Relayer, Relayered, RelayeredImage, check_layer_plan};
pub use mounts::{CacheMount, MountsPlace, MovedMount};
pub use rebuild::{Origin, changed_inputs};
pub use running::RunRequest;
pub use signatures::{Signable, SignedPayload};
pub use transfer::{Attachment, LoadFrom, Loaded, Pulled, PushItem, PushReport};
pub use usage::{PruneFilter, Pruned, RowFilter, SpaceLimits, UsageRow};
pub use verify::{Damage, Verified};
pub use why::{Explained, Happened, Reason, WhyReport};
