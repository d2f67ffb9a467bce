//! Overlay mounts as detached file descriptors.
//!
//! `userxattr` is always set, as root too, so that the upper directories of a store have one format
//! (`user.overlay.*`) whoever wrote them. A mount with lowers only is read-only; with a single lower it is a
//! plain bind, and with an upper but no lower it is a bind of the upper.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, StatVfsMountFlags, accessat, fstatvfs, open};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount, unmount,
};
use serde::{Deserialize, Serialize};

use crate::OsError;
use crate::mount::{add_attributes, attach, clone_tree};

/// Most lower directories the kernel takes in one overlay (`OVL_MAX_STACK`).
pub const MAX_LOWERS: usize = 500;

/// Longest string `fsconfig(2)` takes, including its NUL.
const FSCONFIG_STRING_LIMIT: usize = 256;

/// Longest line of the kernel's mount log that goes into an error.
const LOG_LIMIT: usize = 512;

/// What to merge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayMount {
    /// Read-only directories, topmost first.
    pub lowers: Vec<PathBuf>,
    /// Directory that receives the writes; none makes the mount read-only.
    pub upper: Option<PathBuf>,
    /// Empty directory on the filesystem of `upper`. With `volatile` it cannot be used a second time.
    pub work: Option<PathBuf>,
    /// Whether `fsync` inside the mount may be ignored.
    pub volatile: bool,
}

/// Why an overlay could not be mounted.
#[derive(Clone, Debug, thiserror::Error, Serialize, Deserialize)]
pub enum OverlayError {
    /// Neither lowers nor an upper.
    #[error("an overlay needs at least one directory")]
    Empty,
    /// More lowers than the kernel takes.
    #[error("{count} lower directories exceed the kernel's limit of {MAX_LOWERS}")]
    TooManyLowers {
        /// How many there were.
        count: usize,
    },
    /// `upper` was given without `work`.
    #[error("the upper directory `{}` has no work directory", upper.display())]
    MissingWork {
        /// The upper directory.
        upper: PathBuf,
    },
    /// A directory cannot be opened.
    #[error("failed to open overlay directory `{}`", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: OsError,
    },
    /// The kernel refused the mount.
    #[error("failed to mount an overlay of {lowers} lower directories on upper `{}`{log}", upper.as_deref().unwrap_or(Path::new("none")).display())]
    Mount {
        /// Number of lower directories.
        lowers: usize,
        /// The upper directory.
        upper: Option<PathBuf>,
        /// What the kernel logged, as `: text`, or nothing.
        log: String,
        /// The cause.
        #[source]
        source: OsError,
    },
    /// The kernel mounted the overlay read-only without an error: upper or work belong to an id that is not
    /// mapped, or the work directory is not usable.
    #[error("the kernel made the overlay on `{}` read-only: upper and work directory must belong to the builder and lie on a writable filesystem", upper.display())]
    SilentlyReadOnly {
        /// The upper directory.
        upper: PathBuf,
    },
    /// The mount cannot be attached.
    #[error("failed to attach a mount at `{}`", path.display())]
    Attach {
        /// Where.
        path: PathBuf,
        /// The cause.
        #[source]
        source: OsError,
    },
}

impl OverlayMount {
    /// Mounts the overlay, attached nowhere.
    ///
    /// # Errors
    /// When a directory is missing, the kernel refuses, or it silently falls back to read-only.
    pub fn mount(&self) -> Result<DetachedMount, OverlayError> {
        if self.lowers.len() > MAX_LOWERS {
            return Err(OverlayError::TooManyLowers { count: self.lowers.len() });
        }
        match (self.lowers.as_slice(), &self.upper) {
            ([], None) => Err(OverlayError::Empty),
            ([], Some(upper)) => bind(upper, false),
            ([lower], None) => bind(lower, true),
            _ => self.merge(),
        }
    }

    fn merge(&self) -> Result<DetachedMount, OverlayError> {
        if let (Some(upper), None) = (&self.upper, &self.work) {
            return Err(OverlayError::MissingWork { upper: upper.clone() });
        }
        let fd = match self.merge_with_new_api() {
            Err(MergeFailure::Unsupported) => self.merge_with_old_api()?,
            Err(MergeFailure::Failed(error)) => return Err(error),
            Ok(fd) => fd,
        };
        if let Some(upper) = &self.upper {
            check_writable(&fd, upper)?;
        }
        Ok(DetachedMount { fd })
    }

    fn merge_with_new_api(&self) -> Result<OwnedFd, MergeFailure> {
        let context = match fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC) {
            Err(Errno::NOSYS) => return Err(MergeFailure::Unsupported),
            other => other.map_err(|errno| self.failed(errno, None))?,
        };
        // Directories opened here stay open until the mount exists: their `/proc/self/fd` names are in use.
        let mut held = Vec::new();
        let fail = |errno| MergeFailure::Failed(self.failed(errno, Some(context.as_fd())));
        fsconfig_set_flag(context.as_fd(), "userxattr").map_err(fail)?;
        for (nth, lower) in self.lowers.iter().enumerate() {
            let name = directory_name(lower, &mut held)?;
            match fsconfig_set_string(context.as_fd(), "lowerdir+", name) {
                // Before Linux 6.7 the key is unknown; the first use tells.
                Err(Errno::INVAL) if nth == 0 => return Err(MergeFailure::Unsupported),
                other => other.map_err(fail)?,
            }
        }
        if let (Some(upper), Some(work)) = (&self.upper, &self.work) {
            fsconfig_set_string(context.as_fd(), "upperdir", directory_name(upper, &mut held)?)
                .map_err(fail)?;
            fsconfig_set_string(context.as_fd(), "workdir", directory_name(work, &mut held)?)
                .map_err(fail)?;
            if self.volatile {
                fsconfig_set_flag(context.as_fd(), "volatile").map_err(fail)?;
            }
        }
        // Kernels built without these features refuse the words, and then the features are off anyway.
        fsconfig_set_string(context.as_fd(), "index", "off").ok();
        fsconfig_set_string(context.as_fd(), "metacopy", "off").ok();
        fsconfig_create(context.as_fd()).map_err(fail)?;
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, self.attributes()).map_err(fail)
    }

    /// `mount(2)` needs a place: the upper (or first lower) itself, which overlayfs has opened by then.
    fn merge_with_old_api(&self) -> Result<OwnedFd, OverlayError> {
        static ATTACH: Mutex<()> = Mutex::new(());
        let _guard = ATTACH.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = Vec::new();
        let place = self.upper.as_ref().or(self.lowers.first()).ok_or(OverlayError::Empty)?;
        let options = self.old_api_options(&mut held)?;
        let flags = if self.upper.is_some() { MountFlags::empty() } else { MountFlags::RDONLY };
        let data = std::ffi::CString::new(options).map_err(|_| self.failed(Errno::INVAL, None))?;
        mount("overlay", place, "overlay", flags, data.as_c_str())
            .map_err(|errno| self.failed(errno, None))?;
        let tree = open_path(place)
            .and_then(|top| clone_tree(&top, false).map_err(|errno| self.failed(errno, None)));
        unmount(place, UnmountFlags::DETACH).ok();
        tree
    }

    /// All options in one string, which must fit a page: hence the short `/proc/self/fd` names.
    fn old_api_options(&self, held: &mut Vec<OwnedFd>) -> Result<String, OverlayError> {
        let mut short = |path: &Path| -> Result<String, OverlayError> {
            let fd = open_path(path)?;
            let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
            held.push(fd);
            Ok(name)
        };
        let lowers = self.lowers.iter().map(|lower| short(lower)).collect::<Result<Vec<_>, _>>()?;
        let mut options = format!("userxattr,lowerdir={}", lowers.join(":"));
        if let (Some(upper), Some(work)) = (&self.upper, &self.work) {
            options.push_str(&format!(",upperdir={},workdir={}", short(upper)?, short(work)?));
            if self.volatile {
                options.push_str(",volatile");
            }
        }
        Ok(options)
    }

    fn attributes(&self) -> MountAttrFlags {
        if self.upper.is_some() {
            MountAttrFlags::empty()
        } else {
            MountAttrFlags::MOUNT_ATTR_RDONLY
        }
    }

    fn failed(&self, errno: Errno, context: Option<BorrowedFd<'_>>) -> OverlayError {
        let mut log = context.map(read_log).unwrap_or_default();
        // The kernel tells this to `dmesg` only.
        if self.work.as_ref().is_some_and(|work| work.join("work/incompat/volatile").exists()) {
            log.push_str(": the work directory was used by a volatile mount before");
        }
        OverlayError::Mount {
            lowers: self.lowers.len(),
            upper: self.upper.clone(),
            log,
            source: errno.into(),
        }
    }
}

/// A mount that is attached nowhere; closing it unmounts it.
#[derive(Debug)]
pub struct DetachedMount {
    fd: OwnedFd,
}

impl DetachedMount {
    /// Attaches the mount at an existing directory until the guard is dropped.
    ///
    /// # Errors
    /// When `path` cannot be opened or is not a directory.
    pub fn attach(self, path: &Path) -> Result<MountGuard, OverlayError> {
        let failed =
            |source: Errno| OverlayError::Attach { path: path.to_owned(), source: source.into() };
        let target = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        attach(&self.fd, &target).map_err(failed)?;
        Ok(MountGuard { path: Some(path.to_owned()) })
    }

    /// The mount's root directory as an open directory (`O_PATH`).
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

impl AsFd for DetachedMount {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Keeps a mount attached; dropping it unmounts (lazily when still busy).
#[derive(Debug)]
pub struct MountGuard {
    path: Option<PathBuf>,
}

impl MountGuard {
    /// Where the mount is attached.
    pub fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or(Path::new("/"))
    }

    /// Unmounts now.
    ///
    /// # Errors
    /// When the mount is busy.
    pub fn unmount(mut self) -> Result<(), OsError> {
        match self.path.take() {
            Some(path) => Ok(unmount(&path, UnmountFlags::NOFOLLOW)?),
            None => Ok(()),
        }
    }
}

impl Drop for MountGuard {
    fn drop(&mut self) {
        if let Some(path) = self.path.take() {
            unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).ok();
        }
    }
}

enum MergeFailure {
    Unsupported,
    Failed(OverlayError),
}

impl From<OverlayError> for MergeFailure {
    fn from(error: OverlayError) -> Self {
        Self::Failed(error)
    }
}

fn bind(path: &Path, read_only: bool) -> Result<DetachedMount, OverlayError> {
    let failed =
        |source: Errno| OverlayError::Open { path: path.to_owned(), source: source.into() };
    let fd = clone_tree(open_path(path)?, false).map_err(failed)?;
    if read_only {
        add_attributes(&fd, MountAttrFlags::MOUNT_ATTR_RDONLY, false).map_err(failed)?;
    }
    Ok(DetachedMount { fd })
}

fn open_path(path: &Path) -> Result<OwnedFd, OverlayError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty())
        .map_err(|errno| OverlayError::Open { path: path.to_owned(), source: errno.into() })
}

/// The name under which `fsconfig` gets a directory: its path when that is short and free of the backslashes
/// that overlayfs would unescape (readable in `/proc/self/mountinfo`), else a name of its descriptor.
fn directory_name(path: &Path, held: &mut Vec<OwnedFd>) -> Result<PathBuf, OverlayError> {
    let bytes = path.as_os_str().as_encoded_bytes();
    if bytes.len() < FSCONFIG_STRING_LIMIT && !bytes.contains(&b'\\') && path.is_absolute() {
        return Ok(path.to_owned());
    }
    let fd = open_path(path)?;
    let name = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    held.push(fd);
    Ok(name)
}

/// An overlay whose work directory is not usable is mounted read-only with no error but a line in `dmesg`, and
/// one whose upper belongs to an unmapped id refuses writes later. Asking leaves no trace in the upper.
fn check_writable(fd: &OwnedFd, upper: &Path) -> Result<(), OverlayError> {
    let read_only = fstatvfs(fd).is_ok_and(|vfs| vfs.f_flag.contains(StatVfsMountFlags::RDONLY));
    // The empty-path form needs Linux 5.8; "." relative to the mount works everywhere.
    if read_only || accessat(fd, ".", Access::WRITE_OK, AtFlags::EACCESS).is_err() {
        return Err(OverlayError::SilentlyReadOnly { upper: upper.to_owned() });
    }
    Ok(())
}

/// The kernel's messages about a failed mount: one per read, with a severity letter before each.
fn read_log(context: BorrowedFd<'_>) -> String {
    let mut log = String::new();
    let mut line = [0_u8; LOG_LIMIT];
    while let Ok(length) = rustix::io::read(context, &mut line) {
        if length == 0 || log.len() > LOG_LIMIT {
            break;
        }
        let text = String::from_utf8_lossy(&line[..length]);
        log.push_str(": ");
        log.push_str(text.get(2..).unwrap_or_default().trim_end());
    }
    log
}

/// Whether `directory` can be the upper of an overlay: mounts one for real in throw-away subdirectories.
pub(crate) fn probe(directory: &Path) -> Result<(), OverlayError> {
    let base = directory.join(format!(".karman-probe-{}", std::process::id()));
    let part = |name: &str| base.join(name);
    let make = |path: PathBuf| {
        rustix::fs::mkdirat(CWD, &path, Mode::RWXU)
            .map_err(|errno| OverlayError::Open { path: path.clone(), source: errno.into() })
            .map(|()| path)
    };
    let mounted = make(base.clone()).and_then(|_| {
        OverlayMount {
            lowers: vec![make(part("lower"))?],
            upper: Some(make(part("upper"))?),
            work: Some(make(part("work"))?),
            volatile: true,
        }
        .mount()
    });
    let result = mounted.map(drop);
    std::fs::remove_dir_all(&base).ok();
    result
}

#[cfg(test)]
mod tests {
    use rustix::mount::{MountPropagationFlags, mount_change};
    use rustix::thread::UnshareFlags;

    use super::*;

    #[test]
    fn incomplete_overlays_are_refused() {
        assert!(matches!(OverlayMount::default().mount(), Err(OverlayError::Empty)));
        let overlay = OverlayMount {
            lowers: vec!["/l".into()],
            upper: Some("/u".into()),
            ..OverlayMount::default()
        };
        assert!(matches!(overlay.mount(), Err(OverlayError::MissingWork { .. })));
        let overlay =
            OverlayMount { lowers: vec!["/l".into(); MAX_LOWERS + 1], ..OverlayMount::default() };
        assert!(matches!(overlay.mount(), Err(OverlayError::TooManyLowers { count: 501 })));
    }

    /// The way of kernels without `lowerdir+`.
    #[test]
    fn old_api_mounts_a_hundred_lowers() {
        // SAFETY: only this thread moves, and it uses absolute paths.
        let alone = unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) };
        if alone
            .and_then(|()| {
                mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
            })
            .is_err()
        {
            eprintln!("SKIP old_api_mounts_a_hundred_lowers: needs root");
            return;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let make = |name: &str| {
            let path = directory.path().join(name);
            std::fs::create_dir(&path).expect("makes");
            path
        };
        let lowers: Vec<PathBuf> = (0..100).map(|nth| make(&format!("a,b:{nth}"))).collect();
        std::fs::write(lowers[99].join("deep"), "x").expect("writes");
        let (upper, work) = (make("upper"), make("work"));
        let overlay =
            OverlayMount { lowers, upper: Some(upper.clone()), work: Some(work), volatile: true };
        let fd = overlay.merge_with_old_api().expect("mounts");
        check_writable(&fd, &upper).expect("writable");
        assert!(accessat(&fd, "deep", Access::EXISTS, AtFlags::empty()).is_ok());
        rustix::fs::mkdirat(&fd, "new", Mode::RWXU).expect("makes");
        assert!(upper.join("new").is_dir());
        assert!(!upper.join("deep").exists(), "the mount is attached nowhere");
    }
}
