//! Who we are: real root, root of a user namespace with a full range of ids, or with a single one.
//!
//! [`enter`] is called once, early in `main`. For an ordinary user it re-executes the program inside a new user and
//! mount namespace; the outer process stays behind to forward signals and to pass on the exit code. Every mount the
//! program makes later lives in a private mount namespace and never appears on the host.

mod probe;
mod subid;
mod userns;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::OnceLock;

pub use probe::{HostFacts, ProbeInput, probe};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Signal, geteuid, set_parent_process_death_signal};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities};
pub use subid::{IdRange, SubIds, User};
pub(crate) use userns::main as userns_main;

use crate::OsError;

/// The variable that tells the re-executed program what it is; removed by [`crate::reexec::dispatch`].
const MARKER: &str = "_KARMAN_USERNS";

const MARKER_FULL: &str = "full";
const MARKER_SINGLE: &str = "single";

static INSIDE: OnceLock<Identity> = OnceLock::new();

/// What ids the program has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The host's (or an outer container's) root; no user namespace was made.
    Root,
    /// Root of our own user namespace; the user's subordinate ids are mapped from 1 on.
    UserNamespace,
    /// Root of our own user namespace, and no other id exists.
    SingleId,
}

/// What [`enter`] needs from its caller, who alone reads the environment and arguments.
#[derive(Clone, Debug)]
pub struct EnterConfig {
    /// The program's arguments from `argv[0]` on; they survive the re-execution unchanged.
    pub argv: Vec<OsString>,
    /// The value of `PATH`, to find `newuidmap` and `newgidmap`.
    pub search_path: OsString,
    /// Whether a single id will do when the user has no subordinate ids.
    pub allow_single_id: bool,
}

/// Why the program cannot become a builder.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Threads exist already: namespaces would only change for one of them.
    #[error("failed to enter namespaces: {count} threads exist already")]
    Threads {
        /// How many.
        count: usize,
    },
    /// Root in a container that may not mount.
    #[error("running as root without `CAP_SYS_ADMIN`, as in an unprivileged container")]
    RootWithoutSysAdmin,
    /// The user has no subordinate ids, or the tools that map them are missing.
    #[error("user `{user}` cannot map more than one id: {reason}")]
    NoSubIds {
        /// The user's name, or number.
        user: String,
        /// What is missing.
        reason: NoSubIdsReason,
    },
    /// The kernel or its configuration refuses user namespaces.
    #[error("user namespaces are not available: failed to {step}")]
    NamespacesRefused {
        /// What was tried.
        step: String,
        /// The cause.
        #[source]
        source: OsError,
    },
    /// `newuidmap` or `newgidmap` failed.
    #[error("`{}` failed: {message}", tool.display())]
    MapTool {
        /// The tool.
        tool: PathBuf,
        /// Its message.
        message: String,
    },
    /// Anything else on the way.
    #[error("failed to {step}")]
    System {
        /// What was tried.
        step: &'static str,
        /// The cause.
        #[source]
        source: OsError,
    },
}

/// What a full range of ids is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSubIdsReason {
    /// No line for the user.
    #[error("no subordinate ids in `/etc/subuid` and `/etc/subgid`")]
    NoRanges,
    /// `newuidmap` or `newgidmap` is not installed.
    #[error("`newuidmap` and `newgidmap` are not installed")]
    NoTools,
}

impl IdentityError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSubIds { reason: NoSubIdsReason::NoTools, .. } => {
                Some("install the package `uidmap` (Debian, Ubuntu) or `shadow-utils` (Fedora)".to_owned())
            }
            Self::NoSubIds { user, .. } => Some(format!(
                "run `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}`"
            )),
            Self::RootWithoutSysAdmin => {
                Some("start the container with `--privileged` or `--cap-add SYS_ADMIN`, or build as an ordinary user".to_owned())
            }
            Self::NamespacesRefused { .. } => Some(
                "check `kernel.unprivileged_userns_clone`, `user.max_user_namespaces` and \
                 `kernel.apparmor_restrict_unprivileged_userns`"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    fn system<E: Into<OsError>>(step: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::System { step, source: source.into() }
    }
}

/// Takes on the identity to build with. As an ordinary user this returns only in the re-executed program; the outer
/// process exits with its code.
///
/// # Errors
/// See [`IdentityError`]; [`IdentityError::hint`] says what to do.
pub fn enter(config: &EnterConfig) -> Result<Identity, IdentityError> {
    if let Some(identity) = INSIDE.get() {
        return Ok(*identity);
    }
    let count = std::fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if count > 1 {
        return Err(IdentityError::Threads { count });
    }
    if !geteuid().is_root() {
        return userns::enter(config).map(|never| match never {});
    }
    let ours = capabilities(None).map_err(IdentityError::system("read our capabilities"))?;
    if !ours.effective.contains(CapabilitySet::SYS_ADMIN) {
        return Err(IdentityError::RootWithoutSysAdmin);
    }
    // SAFETY: the process has one thread, so no other thread relies on the shared working directory or mounts.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNS) }
        .map_err(IdentityError::system("make a mount namespace"))?;
    keep_mounts_inside().map_err(IdentityError::system("keep mounts off the host"))?;
    INSIDE.set(Identity::Root).ok();
    Ok(Identity::Root)
}

/// Mounts of the host still arrive here (an automounted home, a new disk); ours do not go out.
fn keep_mounts_inside() -> Result<(), rustix::io::Errno> {
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)
}

/// Reads and removes the marker of a re-executed program.
pub(crate) fn take_marker() {
    // The exception of `crate::reexec`: a private variable between two incarnations of one program.
    let Some(marker) = std::env::var_os(MARKER) else { return };
    // SAFETY: called first in `main`, before any thread exists.
    unsafe { std::env::remove_var(MARKER) };
    // Somebody who sets the variable by hand deceives nobody but themselves: without the capabilities of a
    // namespace's root nothing works.
    if !geteuid().is_root() {
        return;
    }
    let identity =
        if marker == MARKER_SINGLE { Identity::SingleId } else { Identity::UserNamespace };
    INSIDE.set(identity).ok();
    // `execve` of an ordinary program keeps the signal, but says so nowhere: set it again.
    set_parent_process_death_signal(Some(Signal::KILL)).ok();
}
