//! A Debian or Ubuntu root filesystem from a signed archive, without apt, dpkg or gpg on the host.
//!
//! 1. [`Source::parse`] reads `debootstrap://debian/trixie?include=…`.
//! 2. [`Plan::make`] fetches the signed Release files and package indexes and decides which packages
//!    are needed. [`Plan::identity`] is what a cache key rests on.
//! 3. [`unpack`] downloads, verifies and unpacks them into an empty directory, with a dpkg database.
//! 4. [`configure_steps`] says what must run inside, in a sandbox without network; this crate runs nothing.
//! 5. [`finish`] removes the traces and dates everything, so that two runs give the same tree.
//!
//! Nothing an archive says is believed before a key of the [`Keyring`] has vouched for it: Release files
//! by their signatures, indexes by the digests in Release files, packages by the digests in indexes.

mod archive;
mod cache;
mod configure;
mod database;
mod date;
mod deb;
mod decompress;
mod extract;
mod fetch;
mod finish;
mod hint;
mod index;
mod keyring;
mod net;
mod plan;
mod pocket;
mod relation;
mod release;
mod resolve;
mod settings;
mod slim;
mod source;
mod tree;
mod unpack;

pub use archive::{Mirrors, debian_arch};
pub use cache::{Cache, CacheError};
pub use configure::{IMAGE_CMD, IMAGE_PATH, Step, configure_steps};
pub use deb::DebError;
pub use extract::ExtractError;
pub use fetch::{Fetch, FetchError, Want};
pub use finish::finish;
pub use index::IndexError;
pub use keyring::{Keyring, KeyringError, SignatureError, Signed};
pub use plan::{Package, Plan, PlanError, ReleaseInfo};
pub use pocket::{Environment, PocketError};
pub use relation::RelationError;
pub use release::ReleaseError;
pub use resolve::ResolveError;
pub use source::{Distribution, SCHEME, Security, Source, SourceError, Variant};
pub use tree::TreeError;
pub use unpack::{UnpackError, Unpacked, unpack};
