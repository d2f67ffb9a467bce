//! Which extended attributes travel in layers.
//!
//! `user.*` and `security.capability` do. What overlayfs notes for itself, labels of the host's security modules
//! (`security.selinux`) and what only real root can see (`trusted.*`) do not: the same tree would give different
//! layers on different hosts.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// The attribute with file capabilities (`capabilities(7)`).
pub(crate) const CAPABILITY: &str = "security.capability";

const OVERLAY: &[u8] = b"user.overlay.";
const REVISION_MASK: u32 = 0xff00_0000;
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;
const REVISION_2_SIZE: usize = 20;

/// Whether an attribute may be in a layer.
pub(crate) fn travels(name: &OsStr) -> bool {
    let bytes = name.as_bytes();
    name == CAPABILITY || (bytes.starts_with(b"user.") && !bytes.starts_with(OVERLAY))
}

/// The attribute as it goes into a layer; `None` for one that stays behind. Capabilities bound to a user namespace
/// (revision 3) lose the binding, which means nothing elsewhere.
pub(crate) fn portable(name: &OsStr, value: &[u8]) -> Option<(OsString, Vec<u8>)> {
    if !travels(name) {
        return None;
    }
    let mut value = value.to_vec();
    if name == CAPABILITY
        && let Some(first) = value.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes))
        && first & REVISION_MASK == REVISION_3
        && value.len() > REVISION_2_SIZE
    {
        value.truncate(REVISION_2_SIZE);
        let revised = first & !REVISION_MASK | REVISION_2;
        value[..4].copy_from_slice(&revised.to_le_bytes());
    }
    Some((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_attributes_stay_and_capabilities_lose_their_namespace() {
        for name in
            ["user.overlay.opaque", "trusted.x", "security.selinux", "system.posix_acl_access"]
        {
            assert_eq!(portable(OsStr::new(name), b"y"), None, "{name}");
        }
        assert!(portable(OsStr::new("user.x"), b"y").is_some());
        let mut bound = vec![1, 0, 0, 3];
        bound.resize(24, 7);
        let (_, value) = portable(OsStr::new(CAPABILITY), &bound).expect("kept");
        assert_eq!((&value[..4], value.len()), (&[1, 0, 0, 2][..], 20));
    }
}
