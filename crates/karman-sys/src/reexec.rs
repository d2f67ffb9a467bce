//! Re-executing ourselves as an internal stage.
//!
//! Threads never fork into Rust code. Whatever needs a single-threaded process (a user namespace, a container)
//! is started by executing this same program under a private `argv[0]`, which [`dispatch`] recognises.
//!
//! This module reads `argv[0]`, and [`crate::identity`] one private environment variable: the exceptions to the
//! rule that lower crates read neither.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::{AtFlags, Mode, OFlags, fstat, open, statat};
use rustix::mount::MountAttrFlags;

use crate::mount::{add_attributes, clone_tree};

/// `argv[0]` of the supervisor of a container.
pub(crate) const SANDBOX_STAGE: &str = "karman-sandbox-init";

/// `argv[0]` of the process that makes the user namespace.
pub(crate) const USERNS_STAGE: &str = "karman-userns-init";

const SELF_EXE: &str = "/proc/self/exe";

/// Runs the internal stage this process was started for, and then never returns; otherwise does nothing.
///
/// Call it first in `main`, before any thread or runtime exists.
pub fn dispatch() {
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    if name == SANDBOX_STAGE {
        crate::sandbox::supervisor_main();
    }
    if name == USERNS_STAGE {
        crate::identity::userns_main(arguments.collect::<Vec<OsString>>());
    }
    crate::identity::take_marker();
}

/// A command that runs this program as the stage `name` with an empty environment: what a stage's environment
/// held, a container could read from `/proc/1/environ`.
pub(crate) fn stage(name: &str) -> Command {
    static READ_ONLY_EXE: OnceLock<Option<OwnedFd>> = OnceLock::new();
    let program = match READ_ONLY_EXE.get_or_init(read_only_exe) {
        Some(fd) => PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd())),
        None => PathBuf::from(SELF_EXE),
    };
    let mut command = Command::new(program);
    command.arg0(name).env_clear();
    command
}

/// Our own program on a detached read-only mount, so that a container which gets hold of its init's
/// `/proc/*/exe` cannot open it for writing (the hole of CVE-2019-5736). None where we may not mount.
fn read_only_exe() -> Option<OwnedFd> {
    // The magic link itself may belong to a mount namespace we left, from which nothing can be cloned.
    let path = rustix::fs::readlink(SELF_EXE, Vec::new()).ok()?;
    let running = statat(rustix::fs::CWD, SELF_EXE, AtFlags::empty()).ok()?;
    let path: &Path = Path::new(std::ffi::OsStr::new(path.to_str().ok()?));
    let file = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let found = fstat(&file).ok()?;
    if (found.st_dev, found.st_ino) != (running.st_dev, running.st_ino) {
        return None;
    }
    let tree = clone_tree(&file, false).ok()?;
    add_attributes(&tree, MountAttrFlags::MOUNT_ATTR_RDONLY, false).ok()?;
    Some(tree)
}

/// Closes every descriptor from `first` on.
pub(crate) fn close_from(first: i32) -> Result<(), rustix::io::Errno> {
    close_range(first, 0)
}

/// Marks every descriptor from `first` on to be closed by `execve`.
pub(crate) fn close_on_exec_from(first: i32) -> Result<(), rustix::io::Errno> {
    close_range(first, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: i32, flags: libc::c_uint) -> Result<(), rustix::io::Errno> {
    // SAFETY: called in a stage that owns its descriptors: it closes what it inherited before it opens any, or only
    // marks them.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) };
    if result < 0 { Err(crate::mount::last_errno()) } else { Ok(()) }
}
