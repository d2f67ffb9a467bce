//! What this host can do, for `karman doctor`.

use std::ffi::OsString;
use std::path::PathBuf;

use rustix::fs::{Access, access};
use rustix::process::geteuid;

use super::subid::{SubIds, User};
use super::userns::find_program;
use crate::overlay;

/// What [`probe`] needs from its caller.
#[derive(Clone, Debug)]
pub struct ProbeInput {
    /// The value of `PATH`.
    pub search_path: OsString,
    /// A writable directory on the filesystem of the store; an overlay is mounted there for a moment.
    pub store: Option<PathBuf>,
}

/// Facts, without judgement.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// Effective user id.
    pub euid: u32,
    /// The user.
    pub user: User,
    /// Subordinate ids.
    pub subids: SubIds,
    /// Where `newuidmap` is.
    pub newuidmap: Option<PathBuf>,
    /// Where `newgidmap` is.
    pub newgidmap: Option<PathBuf>,
    /// Where `pasta` is.
    pub pasta: Option<PathBuf>,
    /// Whether the kernel's settings allow user namespaces to an ordinary user.
    pub user_namespaces: bool,
    /// Whether AppArmor takes the capabilities from unconfined programs in user namespaces (Ubuntu 23.10 and later).
    pub apparmor_restricts_user_namespaces: bool,
    /// The result of a real overlay mount in the store, as the identity we have now; none without a store.
    pub overlay: Option<Result<(), overlay::OverlayError>>,
    /// Whether the kernel filters system calls.
    pub seccomp: bool,
    /// The cgroup v2 directory of this process, when it may make children there.
    pub delegated_cgroup: Option<PathBuf>,
    /// Kernel release, as `uname -r`.
    pub kernel: String,
}

/// Looks around. Call it after [`super::enter`] to see whether overlays work there.
pub fn probe(input: &ProbeInput) -> HostFacts {
    let user = User::current();
    let find = |name| find_program(name, &input.search_path);
    HostFacts {
        euid: geteuid().as_raw(),
        subids: SubIds::read(&user),
        user,
        newuidmap: find("newuidmap"),
        newgidmap: find("newgidmap"),
        pasta: find("pasta"),
        user_namespaces: user_namespaces(),
        apparmor_restricts_user_namespaces: setting("kernel/apparmor_restrict_unprivileged_userns")
            == Some(1),
        overlay: input.store.as_deref().map(overlay::probe),
        seccomp: std::path::Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
        delegated_cgroup: delegated_cgroup(),
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
    }
}

fn user_namespaces() -> bool {
    std::path::Path::new("/proc/self/ns/user").exists()
        && setting("kernel/unprivileged_userns_clone") != Some(0)
        && setting("user/max_user_namespaces").is_some_and(|most| most > 0)
}

fn setting(name: &str) -> Option<u64> {
    std::fs::read_to_string(format!("/proc/sys/{name}")).ok()?.trim().parse().ok()
}

fn delegated_cgroup() -> Option<PathBuf> {
    let text = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let path = PathBuf::from("/sys/fs/cgroup").join(own);
    let usable = path.join("cgroup.procs").is_file() && access(&path, Access::WRITE_OK).is_ok();
    usable.then_some(path)
}
