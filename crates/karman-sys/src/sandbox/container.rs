//! The container's init: assembles the mounts, pivots, forks the command and reaps.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Gid, Mode, OFlags, Uid, fchmod, fchown, open, openat};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::process::{
    DumpableBehavior, Signal, fchdir, pivot_root, set_dumpable_behavior,
    set_parent_process_death_signal,
};

use super::cgroup::Cgroup;
use super::error::{EXIT_SETUP, StartError};
use super::prepare::{Planned, Prepared, Source, open_within};
use super::spec::{Network, Security, Spec};
use super::stubs::{Unobserved, resolve};
use super::{command, devices, isolation, protocol};
use crate::mount::{DATA_ONLY, add_attributes, attach, clone_tree, new_filesystem};

/// Directories of which any host has one: the new root is attached there, in the container's private mount
/// namespace, until it becomes the root. All sources are open by then, so it does not matter what it hides.
const STAGING: [&str; 5] = ["/mnt", "/tmp", "/var", "/usr", "/run"];

/// Runs the init. Failures go to `start`; its end without data says that the program was executed. The command's
/// wait status goes to `result` as a little-endian `i32`.
pub(super) fn main(
    spec: &Spec,
    prepared: &mut Prepared,
    cgroup: Option<&Cgroup>,
    mut start: File,
    mut result: File,
) -> ! {
    let forked = set_up(spec, prepared, cgroup).and_then(|()| fork_command());
    match forked {
        Err(error) => {
            protocol::send(&mut start, &error).ok();
            exit(EXIT_SETUP)
        }
        Ok(0) => {
            let error = command::execute(spec);
            protocol::send(&mut start, &error).ok();
            exit(error.exit_code())
        }
        Ok(command) => {
            drop(start);
            for stream in 0..=2 {
                // SAFETY: the streams belong to the command now; nothing here uses them again.
                unsafe { libc::close(stream) };
            }
            let status = reap_until(command);
            result.write_all(&status.to_le_bytes()).ok();
            exit(0)
        }
    }
}

fn exit(code: i32) -> ! {
    // SAFETY: `_exit` ends the process without running the exit handlers of the process it was cloned from.
    unsafe { libc::_exit(code) }
}

fn fork_command() -> Result<libc::pid_t, StartError> {
    // From here the init holds nothing that the command could not have, but its memory still has the secrets'
    // bytes and its `/proc/1/exe` is our program: neither is for the command to open.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(StartError::setup("protect the container's init"))?;
    // SAFETY: the process has one thread, so the child may go on running Rust code.
    match unsafe { libc::fork() } {
        -1 => Err(StartError::setup("fork the command")(crate::OsError::last())),
        pid => Ok(pid),
    }
}

/// Reaps every orphan of the container until the command itself ends. What still runs then dies with the init.
fn reap_until(command: libc::pid_t) -> i32 {
    loop {
        let mut status = 0;
        // SAFETY: `status` is valid for the kernel to write.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if pid == command {
            return status;
        }
        if pid < 0 && crate::mount::last_errno() == Errno::CHILD {
            return EXIT_SETUP << 8;
        }
    }
}

fn set_up(spec: &Spec, prepared: &mut Prepared, cgroup: Option<&Cgroup>) -> Result<(), StartError> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(StartError::setup("tie the container to us"))?;
    if let Some(cgroup) = cgroup {
        cgroup.join()?;
    }
    isolation::unshare_cgroup();
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .map_err(StartError::setup("make mounts private"))?;
    let staging = open_staging().map_err(StartError::setup("find a place for the new root"))?;
    let mounts = std::mem::take(&mut prepared.mounts);
    let mounts = materialise(mounts, &staging)?;
    let root = attach_root(spec, &prepared.root, &staging)
        .map_err(StartError::setup("attach the root filesystem"))?;
    for mount in mounts {
        mount_one(spec, &root, mount)?;
    }
    if spec.security == Security::Sandbox {
        isolation::mask(&root)?;
    }
    pivot(&root).map_err(StartError::setup("change the root directory"))?;
    rustix::system::sethostname(spec.hostname.as_bytes())
        .map_err(StartError::setup("set the host name"))?;
    if spec.network == Network::None {
        isolation::loopback_up().map_err(StartError::setup("bring up the loopback interface"))?;
    }
    Ok(())
}

fn open_staging() -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut found = Err(Errno::NOENT);
    for directory in STAGING {
        found = open(directory, flags, Mode::empty());
        if found.is_ok() {
            break;
        }
    }
    found
}

/// The root filesystem at the staging place. A read-only root is a second mount of it, because the supervisor
/// still has to remove mount points through the first.
fn attach_root(spec: &Spec, root: &OwnedFd, staging: &OwnedFd) -> Result<OwnedFd, Errno> {
    attach(root, staging)?;
    let top = if spec.readonly_root {
        let copy = clone_tree(root, false)?;
        attach(&copy, root)?;
        add_attributes(&copy, MountAttrFlags::MOUNT_ATTR_RDONLY, false)?;
        copy
    } else {
        root.try_clone().map_err(|_| Errno::MFILE)?
    };
    openat(&top, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Turns parts of detached mounts and file contents into mounts of their own. Only what is attached can be cloned
/// (before Linux 6.15), so their carriers are stacked on the staging place, where the pivot leaves them behind.
fn materialise(mounts: Vec<Planned>, staging: &OwnedFd) -> Result<Vec<Planned>, StartError> {
    let mut files: Option<OwnedFd> = None;
    let mut ready = Vec::with_capacity(mounts.len());
    for (nth, mut planned) in mounts.into_iter().enumerate() {
        let failed = |errno: Errno| StartError::mount(planned.source.label(), &planned.dest)(errno);
        let tree = match &planned.source {
            Source::Within { mount, selector, readonly } => {
                Some(part_of(mount, selector, *readonly, staging).map_err(failed)?)
            }
            Source::Data { bytes, mode, uid, gid } => {
                let directory = match files.take() {
                    Some(directory) => directory,
                    None => data_directory(staging).map_err(failed)?,
                };
                let tree = data_file(&directory, nth, bytes, *mode, *uid, *gid).map_err(failed)?;
                files = Some(directory);
                Some(tree)
            }
            _ => None,
        };
        if let Some(tree) = tree {
            planned.source = Source::Tree(tree);
        }
        ready.push(planned);
    }
    Ok(ready)
}

fn part_of(
    mount: &OwnedFd,
    selector: &str,
    readonly: bool,
    staging: &OwnedFd,
) -> Result<OwnedFd, Errno> {
    attach(mount, staging)?;
    let tree = clone_tree(open_within(mount, selector)?, false)?;
    if readonly {
        add_attributes(&tree, MountAttrFlags::MOUNT_ATTR_RDONLY, false)?;
    }
    Ok(tree)
}

/// A private tmpfs that is never swapped to disk where the kernel can promise that (6.4).
fn data_directory(staging: &OwnedFd) -> Result<OwnedFd, Errno> {
    let mount = new_filesystem("tmpfs", &[("mode", "0700"), ("noswap", "")], DATA_ONLY)
        .or_else(|_| new_filesystem("tmpfs", &[("mode", "0700")], DATA_ONLY))?;
    attach(&mount, staging)?;
    Ok(mount)
}

fn data_file(
    directory: &OwnedFd,
    nth: usize,
    bytes: &[u8],
    mode: u32,
    uid: u32,
    gid: u32,
) -> Result<OwnedFd, Errno> {
    let name = nth.to_string();
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut file = File::from(openat(directory, &name, flags, Mode::empty())?);
    file.write_all(bytes).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    fchmod(&file, Mode::from_raw_mode(mode))?;
    drop(file);
    let tree = clone_tree(
        openat(directory, &name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?,
        false,
    )?;
    add_attributes(&tree, MountAttrFlags::MOUNT_ATTR_RDONLY, false)?;
    Ok(tree)
}

fn mount_one(spec: &Spec, root: &OwnedFd, mount: Planned) -> Result<(), StartError> {
    let failed = |errno: Errno| StartError::mount(mount.source.label(), &mount.dest)(errno);
    let place = resolve(root.as_fd(), &mount.dest, mount.leaf, &mut Unobserved).map_err(failed)?;
    // An unobserved walk is never covered.
    let Some(place) = place else { return Ok(()) };
    match &mount.source {
        Source::Proc => {
            let proc = new_filesystem("proc", &[], DATA_ONLY).map_err(failed)?;
            attach(&proc, &place.fd).map_err(failed)
        }
        Source::Dev => devices::mount(spec, &place.fd),
        Source::Sys => isolation::mount_sys(spec, &place.fd).map_err(failed),
        Source::Tmpfs { size, mode, readonly } => {
            let (size, mode) = (size.map(|size| size.to_string()), format!("{mode:o}"));
            let mut options = vec![("mode", mode.as_str())];
            options.extend(size.as_deref().map(|size| ("size", size)));
            let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
            let tmpfs = new_filesystem("tmpfs", &options, attributes).map_err(failed)?;
            if *readonly {
                add_attributes(&tmpfs, MountAttrFlags::MOUNT_ATTR_RDONLY, false).map_err(failed)?;
            }
            attach(&tmpfs, &place.fd).map_err(failed)
        }
        Source::Tree(tree) => attach(tree, &place.fd).map_err(failed),
        // `materialise` has turned these into trees.
        Source::Within { .. } | Source::Data { .. } => Err(failed(Errno::INVAL)),
    }
}

/// The stacked form of `pivot_root(2)`: the old root ends up on top of the new one, without a directory for it.
fn pivot(root: &OwnedFd) -> Result<(), Errno> {
    fchdir(root)?;
    pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    // The mount point of `.` is the new root now; a failure here would leave us outside.
    rustix::fs::statat(CWD, "/", rustix::fs::AtFlags::empty()).map(drop)
}
