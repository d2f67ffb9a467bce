//! Which extended attributes are part of an image.

use std::ffi::OsStr;

use karman_sys::fs::{Dir, FsError, Xattrs};

/// Marks a directory that hides what lower layers have at its place.
pub(crate) const OPAQUE: &str = "user.overlay.opaque";

/// Whether an attribute belongs to the image: `user.*` and `security.capability`, but not overlayfs's own marks.
#[must_use]
pub fn is_image_xattr(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name == b"security.capability"
        || (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
}

/// The attributes that belong to the image.
pub(crate) fn image_xattrs(mut all: Xattrs) -> Xattrs {
    all.retain(|(name, _)| is_image_xattr(name));
    all
}

/// Whether a directory has the opaque mark.
pub(crate) fn is_opaque(dir: &Dir) -> Result<bool, FsError> {
    Ok(dir.get_xattr_self(OPAQUE)?.is_some_and(|value| value == b"y"))
}
