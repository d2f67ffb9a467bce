//! Layers in and out: canonical tar, compression, unpacking, image layouts and archives.
//!
//! | module | what it does |
//! |---|---|
//! | [`tarball`] | canonical tar writer, tar reader |
//! | [`layer`] | layer snapshot → blob; a blob in another compression |
//! | [`layering`] | a final tree cut into layers along packages |
//! | [`unpack`] | layer blob → layer snapshot; archives for `ADD` |
//! | [`attestation`] | in-toto statements about an image, as a manifest of its index |
//! | [`image`] | config, manifest and index over layers |
//! | [`export`] | OCI layouts, docker archives, root filesystems as files or as a tar |
//! | [`layout`] | reading OCI layouts |
//! | [`compare`] | where two layers begin to differ |
//! | [`blobs`] | where blobs come from and go to |
//!
//! A *layer snapshot* is an overlayfs upper directory in `userxattr` form: a whiteout is a character device 0:0, an
//! opaque directory has `user.overlay.opaque` = `y`, and there are neither redirects nor metacopies.

pub mod attestation;
pub mod blobs;
pub mod compare;
pub mod decompress;
pub mod export;
pub mod image;
pub mod layer;
pub mod layering;
pub mod layout;
pub mod tarball;
mod time;
pub mod unpack;
mod walk;
mod xattr;

pub use time::TimePolicy;
pub use walk::WalkError;
