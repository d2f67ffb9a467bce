//! `/dev` of a container, as Docker makes it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, makedev, mkdirat, mknodat, open, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::error::StartError;
use super::spec::Spec;
use super::stubs::{Leaf, Unobserved, resolve};
use crate::mount::{DATA_ONLY, attach, clone_tree, new_filesystem};

/// Name, major and minor number (Linux `Documentation/admin-guide/devices.txt`).
const NODES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

const LINKS: [(&str, &str); 6] = [
    ("/proc/self/fd", "fd"),
    ("/proc/self/fd/0", "stdin"),
    ("/proc/self/fd/1", "stdout"),
    ("/proc/self/fd/2", "stderr"),
    ("/proc/kcore", "core"),
    ("pts/ptmx", "ptmx"),
];

const NODE_MODE: Mode = Mode::from_raw_mode(0o666);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

/// The `tty` group of every distribution; absent from single-id user namespaces.
const TTY_GROUP: &str = "5";

/// Mounts `/dev` at `place` and fills it.
pub(super) fn mount(spec: &Spec, place: &OwnedFd) -> Result<(), StartError> {
    let failed = |dest: &str| StartError::mount::<Errno>("the device directory", dest);
    let options = [("mode", "0755"), ("size", "65536k")];
    let dev = new_filesystem("tmpfs", &options, MountAttrFlags::MOUNT_ATTR_NOSUID)
        .map_err(failed("/dev"))?;
    attach(&dev, place).map_err(failed("/dev"))?;
    for (name, major, minor) in NODES {
        node(&dev, name, major, minor).map_err(failed(&format!("/dev/{name}")))?;
    }
    for (target, name) in LINKS {
        symlinkat(target, &dev, name).map_err(failed(&format!("/dev/{name}")))?;
    }
    for device in &spec.devices {
        extra(&dev, device)?;
    }
    filesystems(spec, &dev)
}

fn filesystems(spec: &Spec, dev: &OwnedFd) -> Result<(), StartError> {
    let size = spec.shm_size.to_string();
    let no_programs = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let pts = [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620")];
    let pts_with_group =
        [("newinstance", ""), ("ptmxmode", "0666"), ("mode", "0620"), ("gid", TTY_GROUP)];
    let shm = [("mode", "1777"), ("size", size.as_str())];
    let mounts = [
        (
            "pts",
            new_filesystem("devpts", &pts_with_group, no_programs)
                .or_else(|_| new_filesystem("devpts", &pts, no_programs)),
        ),
        ("shm", new_filesystem("tmpfs", &shm, DATA_ONLY)),
        ("mqueue", new_filesystem("mqueue", &[], DATA_ONLY)),
    ];
    for (name, mount) in mounts {
        let failed = |errno: Errno| StartError::mount(name, &format!("/dev/{name}"))(errno);
        let mount = match mount {
            // A kernel without POSIX message queues.
            Err(Errno::NODEV) if name == "mqueue" => continue,
            other => other.map_err(failed)?,
        };
        mkdirat(dev, name, DIRECTORY_MODE).map_err(failed)?;
        let place =
            openat(dev, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        attach(&mount, &place).map_err(failed)?;
    }
    Ok(())
}

/// Makes a device node, or binds the host's where making nodes is not permitted (user namespaces).
fn node(dev: &OwnedFd, name: &str, major: u32, minor: u32) -> Result<(), Errno> {
    match mknodat(dev, name, FileType::CharacterDevice, NODE_MODE, makedev(major, minor)) {
        Err(Errno::PERM | Errno::ACCESS) => bind(dev, name, &Path::new("/dev").join(name)),
        other => other,
    }
}

fn bind(dev: &OwnedFd, name: &str, host: &Path) -> Result<(), Errno> {
    let source = match open(host, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        // A host without a controlling terminal device is no reason to fail.
        Err(Errno::NOENT) if name == "tty" => return Ok(()),
        other => clone_tree(other?, false)?,
    };
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
    drop(openat(dev, name, flags, NODE_MODE)?);
    attach(source, openat(dev, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// A host device the caller asked for, at its own path below `/dev`.
fn extra(dev: &OwnedFd, device: &Path) -> Result<(), StartError> {
    let display = device.display().to_string();
    let failed = |errno: Errno| StartError::mount("a host device", &display)(errno);
    let inside = device
        .strip_prefix("/dev")
        .ok()
        .and_then(Path::to_str)
        .ok_or_else(|| failed(Errno::INVAL))?;
    let source = rustix::fs::openat(CWD, device, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(failed)?;
    let tree = clone_tree(source, false).map_err(failed)?;
    let place = resolve(dev.as_fd(), inside, Leaf::File, &mut Unobserved).map_err(failed)?;
    place.map_or(Ok(()), |place| attach(tree, place.fd)).map_err(failed)
}
