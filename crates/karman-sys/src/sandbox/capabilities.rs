//! Docker's default capabilities.

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities,
};

/// What a container's root may do by default (moby `oci/caps/defaults.go`): `0xa80425fb`.
pub(super) const DEFAULT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::MKNOD)
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::SETFCAP)
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::SYS_CHROOT)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::AUDIT_WRITE);

/// The highest capability number any kernel can know: the sets have 64 bits.
const LAST_BIT: u32 = 63;

/// Takes everything but `keep` from the bounding set. Needs `CAP_SETPCAP`.
pub(super) fn bound(keep: CapabilitySet) -> Result<(), Errno> {
    for bit in 0..=LAST_BIT {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if keep.contains(capability) {
            continue;
        }
        match remove_capability_from_bounding_set(capability) {
            // The kernel knows no capability of this number, nor any above it.
            Err(Errno::INVAL) => break,
            other => other?,
        }
    }
    Ok(())
}

/// Reduces the thread's own sets to `keep`. Inheritable and ambient are emptied, as Docker does since
/// CVE-2022-24769: a program of another user gains nothing through file capabilities it inherits.
pub(super) fn reduce(keep: CapabilitySet) -> Result<(), Errno> {
    let have = capabilities(None)?;
    clear_ambient_capability_set()?;
    let sets = CapabilitySets {
        effective: have.effective & keep,
        permitted: have.permitted & keep,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_default_set_is_dockers() {
        assert_eq!(super::DEFAULT.bits(), 0xa804_25fb);
    }
}
