//! Everything that needs the host's view of the filesystem, done by the supervisor before the container exists:
//! sources are opened and cloned, overlays mounted detached, missing mount points made.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::error::StartError;
use super::prune::CopiedUp;
use super::spec::{Mount, MountKind, Rootfs, Spec};
use super::stubs::{Leaf, Stubs, resolve};
use crate::mount::{add_attributes, clone_tree};

/// Longest host name (`HOST_NAME_MAX`).
const MAX_HOSTNAME: usize = 64;

/// Most mounts of one container.
const MAX_MOUNTS: usize = 1024;

/// A container ready to be assembled.
pub(super) struct Prepared {
    /// The detached root filesystem.
    pub(super) root: OwnedFd,
    /// What goes on it, in order.
    pub(super) mounts: Vec<Planned>,
    /// What was made in it.
    pub(super) stubs: Stubs,
}

/// A mount and its place.
pub(super) struct Planned {
    pub(super) dest: String,
    pub(super) source: Source,
    pub(super) leaf: Leaf,
}

/// A mount as far as the supervisor can make it.
pub(super) enum Source {
    Proc,
    Dev,
    Sys,
    /// A detached mount, ready.
    Tree(OwnedFd),
    /// A path inside a detached mount, which has to be attached before a part of it can be cloned.
    Within {
        mount: OwnedFd,
        selector: String,
        readonly: bool,
    },
    Tmpfs {
        size: Option<u64>,
        mode: u32,
        readonly: bool,
    },
    Data {
        bytes: Vec<u8>,
        mode: u32,
        uid: u32,
        gid: u32,
    },
}

impl Source {
    /// For messages.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Proc => "proc",
            Self::Dev => "the device directory",
            Self::Sys => "sysfs",
            Self::Tree(_) => "a bind",
            Self::Within { .. } => "a part of an overlay",
            Self::Tmpfs { .. } => "a tmpfs",
            Self::Data { .. } => "a file",
        }
    }
}

/// Checks `spec`, opens and mounts what it names, and makes mount points.
pub(super) fn prepare(spec: &Spec) -> Result<Prepared, StartError> {
    check(spec)?;
    let root = open_rootfs(&spec.rootfs)?;
    let mut mounts = vec![
        Planned { dest: "/proc".to_owned(), source: Source::Proc, leaf: Leaf::Directory },
        Planned { dest: "/dev".to_owned(), source: Source::Dev, leaf: Leaf::Directory },
        Planned { dest: "/sys".to_owned(), source: Source::Sys, leaf: Leaf::Directory },
    ];
    let mut wanted: Vec<&Mount> = spec.mounts.iter().collect();
    // Parents before what lies in them; the sort is stable, so a later mount of one place covers an earlier one.
    wanted.sort_by_cached_key(|mount| {
        Path::new(&mount.dest).components().map(|c| c.as_os_str().to_owned()).collect::<Vec<_>>()
    });
    for mount in wanted {
        mounts.push(plan(mount)?);
    }
    let mut stubs = new_stubs(spec, &root)?;
    make_mount_points(&root, &mounts, &mut stubs).inspect_err(|_| {
        stubs.remove();
    })?;
    stubs.seal();
    Ok(Prepared { root, mounts, stubs })
}

fn check(spec: &Spec) -> Result<(), StartError> {
    let problem = if spec.args.is_empty() {
        Some("no program to run".to_owned())
    } else if !spec.cwd.starts_with('/') {
        Some(format!("working directory `{}` is not absolute", spec.cwd))
    } else if spec.hostname.len() > MAX_HOSTNAME {
        Some(format!("host name is longer than {MAX_HOSTNAME} bytes"))
    } else if spec.mounts.len() > MAX_MOUNTS {
        Some(format!("more than {MAX_MOUNTS} mounts"))
    } else {
        let bad = spec.mounts.iter().find(|mount| !mount.dest.starts_with('/'));
        bad.map(|mount| format!("mount destination `{}` is not absolute", mount.dest))
    };
    problem.map_or(Ok(()), |problem| Err(StartError::InvalidSpec { problem }))
}

fn open_rootfs(rootfs: &Rootfs) -> Result<OwnedFd, StartError> {
    match rootfs {
        Rootfs::Overlay(overlay) => Ok(overlay.mount()?.into_fd()),
        Rootfs::Directory { path, readonly } => bind(path, None, *readonly, false),
    }
}

fn new_stubs(spec: &Spec, root: &OwnedFd) -> Result<Stubs, StartError> {
    let Rootfs::Overlay(overlay) = &spec.rootfs else { return Ok(Stubs::default()) };
    // Without lowers the upper is bound as it is, and nothing is ever copied up.
    let (Some(upper), false) = (&overlay.upper, overlay.lowers.is_empty()) else {
        return Ok(Stubs::default());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let upper =
        open(upper, flags, Mode::empty()).map_err(StartError::setup("open the upper directory"))?;
    let root = root.try_clone().map_err(StartError::setup("duplicate a descriptor"))?;
    Ok(Stubs::in_overlay(root, CopiedUp::new(upper)))
}

fn make_mount_points(
    root: &OwnedFd,
    mounts: &[Planned],
    stubs: &mut Stubs,
) -> Result<(), StartError> {
    for mount in mounts {
        let failed = StartError::mount(mount.source.label(), &mount.dest);
        if let Some(place) =
            resolve(root.as_fd(), &mount.dest, mount.leaf, stubs).map_err(failed)?
        {
            stubs.cover(place.path);
        }
    }
    Ok(())
}

fn plan(mount: &Mount) -> Result<Planned, StartError> {
    let (source, leaf) = match &mount.kind {
        MountKind::Bind { source, selector, readonly } => {
            let tree = bind(source, selector.as_deref(), *readonly, true)?;
            let leaf = leaf_of(&tree).map_err(StartError::setup("inspect a mount source"))?;
            (Source::Tree(tree), leaf)
        }
        MountKind::Overlay { overlay, selector, readonly } => {
            let mount = overlay.mount()?.into_fd();
            match selector.as_deref().filter(|selector| !is_root(selector)) {
                None => (Source::Tree(read_only_if(mount, *readonly)?), Leaf::Directory),
                Some(selector) => {
                    let failed = |errno: Errno| StartError::Source {
                        path: overlay
                            .lowers
                            .first()
                            .or(overlay.upper.as_ref())
                            .cloned()
                            .unwrap_or_default(),
                        selector: Some(selector.to_owned()),
                        source: errno.into(),
                    };
                    let part = open_within(&mount, selector).map_err(failed)?;
                    let leaf = leaf_of(&part).map_err(failed)?;
                    (
                        Source::Within {
                            mount,
                            selector: selector.to_owned(),
                            readonly: *readonly,
                        },
                        leaf,
                    )
                }
            }
        }
        MountKind::Tmpfs { size, mode, readonly } => {
            (Source::Tmpfs { size: *size, mode: *mode, readonly: *readonly }, Leaf::Directory)
        }
        MountKind::FileData { bytes, mode, uid, gid } => {
            (Source::Data { bytes: bytes.clone(), mode: *mode, uid: *uid, gid: *gid }, Leaf::File)
        }
    };
    Ok(Planned { dest: mount.dest.clone(), source, leaf })
}

fn is_root(selector: &str) -> bool {
    Path::new(selector).components().all(|part| !matches!(part, std::path::Component::Normal(_)))
}

fn bind(
    path: &Path,
    selector: Option<&str>,
    readonly: bool,
    recursive: bool,
) -> Result<OwnedFd, StartError> {
    let failed = |errno: Errno| StartError::Source {
        path: path.to_owned(),
        selector: selector.map(str::to_owned),
        source: errno.into(),
    };
    let mut source = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
    if let Some(selector) = selector.filter(|selector| !is_root(selector)) {
        source = open_within(&source, selector).map_err(failed)?;
    }
    let tree = clone_tree(&source, recursive).map_err(failed)?;
    if readonly {
        add_attributes(&tree, MountAttrFlags::MOUNT_ATTR_RDONLY, recursive).map_err(failed)?;
    }
    Ok(tree)
}

fn read_only_if(mount: OwnedFd, readonly: bool) -> Result<OwnedFd, StartError> {
    if readonly {
        add_attributes(&mount, MountAttrFlags::MOUNT_ATTR_RDONLY, false)
            .map_err(StartError::setup("make a mount read-only"))?;
    }
    Ok(mount)
}

/// Opens `selector` with `root` as the root directory.
pub(super) fn open_within(root: impl AsFd, selector: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    openat2(
        root,
        selector,
        flags,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
}

fn leaf_of(fd: &OwnedFd) -> Result<Leaf, Errno> {
    match FileType::from_raw_mode(fstat(fd)?.st_mode) {
        FileType::Directory => Ok(Leaf::Directory),
        _ => Ok(Leaf::File),
    }
}
