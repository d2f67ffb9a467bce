//! What a container sees of the kernel: `/sys`, cgroups, masked and read-only paths, loopback.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2, statfs};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::UnshareFlags;

use super::error::StartError;
use super::spec::{Security, Spec};
use crate::mount::{DATA_ONLY, add_attributes, attach, clone_tree, new_filesystem};

/// Paths that look empty (moby `oci/defaults.go`).
const MASKED: [&str; 12] = [
    "proc/acpi",
    "proc/asound",
    "proc/interrupts",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/sched_debug",
    "proc/scsi",
    "proc/timer_list",
    "proc/timer_stats",
    "sys/devices/virtual/powercap",
    "sys/firmware",
];

/// Paths that cannot be written (moby `oci/defaults.go`).
const READ_ONLY: [&str; 5] = ["proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"];

const LOOPBACK: &[u8] = b"lo";

/// `CGROUP2_SUPER_MAGIC`.
const CGROUP2_MAGIC: i64 = 0x6367_7270;

/// Hides and protects what Docker hides and protects.
pub(super) fn mask(root: &OwnedFd) -> Result<(), StartError> {
    let null = open_inside(root, "dev/null").map_err(StartError::setup("open the null device"))?;
    let empty = new_filesystem(
        "tmpfs",
        &[("mode", "0755"), ("size", "0")],
        DATA_ONLY | MountAttrFlags::MOUNT_ATTR_RDONLY,
    )
    .map_err(StartError::setup("make an empty directory"))?;
    let mut empty = Some(empty);
    let mut attached: Option<OwnedFd> = None;
    for path in MASKED {
        let failed = |errno: Errno| StartError::mount("a mask", &format!("/{path}"))(errno);
        let Some(place) = present(open_inside(root, path)).map_err(failed)? else { continue };
        let directory =
            FileType::from_raw_mode(fstat(&place).map_err(failed)?.st_mode) == FileType::Directory;
        let cover = match (directory, empty.take()) {
            (false, unused) => {
                empty = unused;
                clone_tree(&null, false).map_err(failed)?
            }
            (true, Some(first)) => first,
            // Once attached, the empty directory can be cloned: one tmpfs for all masks.
            (true, None) => {
                clone_tree(attached.as_ref().ok_or(Errno::INVAL).map_err(failed)?, false)
                    .map_err(failed)?
            }
        };
        attach(&cover, &place).map_err(failed)?;
        if directory && attached.is_none() {
            attached = Some(cover);
        }
    }
    for path in READ_ONLY {
        let failed =
            |errno: Errno| StartError::mount("a read-only view", &format!("/{path}"))(errno);
        let Some(place) = present(open_inside(root, path)).map_err(failed)? else { continue };
        let tree = clone_tree(&place, true).map_err(failed)?;
        add_attributes(&tree, MountAttrFlags::MOUNT_ATTR_RDONLY, true).map_err(failed)?;
        attach(&tree, &place).map_err(failed)?;
    }
    Ok(())
}

fn open_inside(root: &OwnedFd, path: &str) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
}

fn present(found: Result<OwnedFd, Errno>) -> Result<Option<OwnedFd>, Errno> {
    match found {
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        other => other.map(Some),
    }
}

/// Mounts `/sys`: a new sysfs where we own the network namespace, else the host's, read-only in both cases.
pub(super) fn mount_sys(spec: &Spec, place: &OwnedFd) -> Result<(), Errno> {
    let read_only = match spec.security {
        Security::Sandbox => MountAttrFlags::MOUNT_ATTR_RDONLY,
        Security::Insecure => MountAttrFlags::empty(),
    };
    if let Ok(sysfs) = new_filesystem("sysfs", &[], DATA_ONLY | read_only) {
        attach(&sysfs, place)?;
        mount_cgroup(&sysfs, read_only);
        return Ok(());
    }
    // The copy has to be recursive: in a user namespace the mounts below are locked together.
    let host = open("/sys", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let tree = clone_tree(&host, true)?;
    add_attributes(&tree, DATA_ONLY | MountAttrFlags::MOUNT_ATTR_RDONLY, true)?;
    attach(&tree, place)
}

/// cgroup v2 as the container's own cgroup sees it. On v1 and hybrid hosts the directory stays empty.
fn mount_cgroup(sysfs: &OwnedFd, read_only: MountAttrFlags) {
    let unified = statfs("/sys/fs/cgroup").is_ok_and(|fs| fs.f_type == CGROUP2_MAGIC);
    if !unified {
        return;
    }
    if let (Ok(cgroup), Ok(place)) =
        (new_filesystem("cgroup2", &[], DATA_ONLY | read_only), open_inside(sysfs, "fs/cgroup"))
    {
        // Without it nothing but `systemd` inside a build would notice.
        attach(cgroup, place).ok();
    }
}

/// Moves the init into its own cgroup namespace. Hosts without cgroups have none to hide.
pub(super) fn unshare_cgroup() {
    // SAFETY: a cgroup namespace changes what `/proc/self/cgroup` shows; no memory or descriptor is affected.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWCGROUP) }.ok();
}

/// Sets `lo` up in the container's own network namespace.
pub(super) fn loopback_up() -> Result<(), Errno> {
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    // SAFETY: all-zero is a valid `ifreq`: it is plain integers and bytes.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(LOOPBACK) {
        *to = from.cast_signed() as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an `ifreq`, which outlives the call.
    let result =
        unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) };
    if result < 0 { Err(crate::mount::last_errno()) } else { Ok(()) }
}
