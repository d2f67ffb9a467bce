//! RUN: one command in the sandbox, on a new layer over the root filesystem.

pub(crate) mod borrowed;
mod caches;
mod devices;
mod emulation;
mod log;
mod mounts;
mod scope;
pub(crate) mod users;
mod variables;

use std::io::Read as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use karman_control::{Cause, Event, EventSink, Session, SolveError, Stream};
use karman_llb::{ExecOp, Network, Security, VertexDigest};
use karman_oci::Platform;
use karman_snapshot::{Active, View};
use karman_solver::Cancel;
use karman_sys::overlay::OverlayMount;
use karman_sys::sandbox::{
    self, Rootfs, Running, Sandbox, SandboxError, Spec, StartError, Streams,
};

pub(crate) use caches::{CacheMountInfo, lock_name};
pub(crate) use emulation::check_platform;
pub(crate) use log::Tail;
use mounts::Mounts;
pub(crate) use mounts::secret;
use users::Identity;
pub(crate) use variables::Variables;

use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::{OrFail as _, chain as error_chain};
use crate::layers::{Windows, commit, file_clock, windows_of};

/// How often a running command looks whether the build was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(20);

/// "Exec format error".
const ENOEXEC: i32 = 8;

/// Where the kernel's cgroups are.
const CGROUPS: &str = "/sys/fs/cgroup";

/// What a RUN step reads besides its op.
pub(crate) struct ExecInputs<'a> {
    /// The root filesystem.
    pub(crate) root: Chain,
    /// What it is for.
    pub(crate) platform: &'a Platform,
    /// The views of all inputs, by index.
    pub(crate) views: &'a [Chain],
}

/// Where events of a step go.
#[derive(Clone)]
pub(crate) struct StepEvents {
    pub(crate) sink: EventSink,
    pub(crate) vertex: VertexDigest,
    pub(crate) begun: std::time::Instant,
}

impl StepEvents {
    /// Sends output of the step.
    pub(crate) fn log(&self, stream: Stream, data: &[u8]) {
        let (vertex, at) = (self.vertex, self.begun.elapsed());
        (self.sink)(Event::Log { vertex, stream, data: data.to_vec(), at });
    }

    /// Says something about the step.
    pub(crate) fn warn(&self, message: String) {
        (self.sink)(Event::Warning { vertex: Some(self.vertex), message });
    }
}

/// What a step that waits for a cache mount looks at meanwhile.
pub(crate) struct Waiting<'a> {
    pub(crate) events: &'a StepEvents,
    pub(crate) cancel: &'a Cancel,
}

/// Runs the command; gives the chain with the new layer on top.
pub(crate) fn run(
    engine: &Engine,
    op: &ExecOp,
    inputs: &ExecInputs<'_>,
    session: &Session,
    events: &StepEvents,
    cancel: &Cancel,
) -> Result<Chain, SolveError> {
    check_allowed(op, session)?;
    let started = file_clock();
    let snapshots = engine.snapshots();
    let view = snapshots.view(&inputs.root).or_fail(Cause::Store, "open the root filesystem")?;
    let identity = identity_of(&op.user, &view)?;
    let active = snapshots.prepare(&inputs.root).or_fail(Cause::Store, "prepare a layer")?;
    let active = with_cwd(engine, active, &view, op, &identity)?;
    let lowers = snapshots.lowers(&inputs.root).or_fail(Cause::Store, "open the layers")?;
    let mut env = Variables::of_lines(&op.env);
    let waiting = Waiting { events, cancel };
    let mut mounts = Mounts::prepare(engine, op, inputs, session, &mut env, &waiting)?;
    devices::lend(&op.devices, session, events, &mut env, &mut mounts.list)?;
    if op.network != Network::None && borrowed::reads_ca(&view)? {
        borrowed::lend_ca(session, &mut env, &mut mounts.list)?;
    }
    borrowed::lend_proxies(session, &mut env);
    env.set_default("HOME", &identity.home);
    mounts.list.extend(borrowed::name_resolution(op, engine.resolv_conf()));
    let overlay = OverlayMount {
        lowers,
        upper: Some(active.fs().to_path_buf()),
        work: Some(active.work().to_path_buf()),
        volatile: true,
    };
    let mut spec = Spec::new(Rootfs::Overlay(overlay), op.args.clone());
    fill(&mut spec, op, env, &identity);
    spec.mounts = mounts.list;
    spec.cgroup = session.cgroup_parent.as_deref().map(cgroup).transpose()?;
    let tail = Tail::default();
    supervise(&spec, op, events, &tail, cancel)?;
    drop(mounts.held);
    let mut windows = Windows::since(started);
    windows.add(&windows_of(snapshots, &inputs.root)?);
    for view in inputs.views {
        windows.add(&windows_of(snapshots, view)?);
    }
    let mut result = inputs.root.clone();
    result.push(commit(active, &windows, "run")?);
    Ok(result)
}

/// BuildKit makes a missing working directory before the command starts.
fn with_cwd(
    engine: &Engine,
    active: Active,
    view: &View,
    op: &ExecOp,
    identity: &Identity,
) -> Result<Active, SolveError> {
    let cwd = Path::new(&op.cwd);
    let there = view.lookup(cwd, true).or_fail(Cause::Input, "look up the working directory")?;
    if there.is_some() {
        return Ok(active);
    }
    let owner = karman_sys::fs::Owner { uid: identity.uid, gid: identity.gid };
    let attrs = karman_snapshot::Attrs { mode: 0o755, owner, mtime: engine.epoch_time() };
    let mut writer = active.writer(view).or_fail(Cause::Store, "prepare a layer")?;
    let made = writer.ensure_dir(cwd, attrs).and_then(|()| writer.finish());
    made.or_fail(Cause::Input, &format!("make the working directory `{}`", op.cwd))?;
    Ok(active)
}

fn check_allowed(op: &ExecOp, session: &Session) -> Result<(), SolveError> {
    let refuse = |what: &str| {
        let message = format!("granting entitlement {what} is not allowed by build settings");
        let hint = format!("pass `--allow {what}` when you trust this Dockerfile");
        Err(SolveError::new(Cause::Input, message).with_hint(hint))
    };
    if op.security == Security::Insecure && !session.allow_insecure {
        return refuse("security.insecure");
    }
    if op.network == Network::Host && !session.allow_host_network {
        return refuse("network.host");
    }
    Ok(())
}

/// Who `user` is in a root filesystem.
pub(crate) fn identity_of(user: &str, view: &View) -> Result<Identity, SolveError> {
    let passwd = read_database(view, "/etc/passwd")?;
    let group = read_database(view, "/etc/group")?;
    users::resolve(user, &passwd, &group).map_err(|e| SolveError::new(Cause::Input, e.to_string()))
}

/// The text of a small file of a view; empty where there is none.
pub(crate) fn read_database(view: &View, path: &str) -> Result<String, SolveError> {
    let doing = format!("read `{path}` of the image");
    let Some(found) = view.lookup(Path::new(path), true).or_fail(Cause::Input, &doing)? else {
        return Ok(String::new());
    };
    if !found.stat.is_file() {
        return Ok(String::new());
    }
    let file = view.open_file(&found).or_fail(Cause::Input, &doing)?;
    let mut bytes = Vec::new();
    file.take(users::MAX_DATABASE).read_to_end(&mut bytes).or_fail(Cause::Input, &doing)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn fill(spec: &mut Spec, op: &ExecOp, env: Variables, identity: &Identity) {
    spec.env = env.into_pairs();
    spec.cwd = op.cwd.clone();
    (spec.uid, spec.gid) = (identity.uid, identity.gid);
    spec.groups = identity.groups.clone();
    spec.hostname =
        if op.hostname.is_empty() { borrowed::HOSTNAME.to_owned() } else { op.hostname.clone() };
    spec.network = match op.network {
        Network::None => sandbox::Network::None,
        Network::Default | Network::Host => sandbox::Network::Host,
    };
    spec.security = match op.security {
        Security::Sandbox => sandbox::Security::Sandbox,
        Security::Insecure => sandbox::Security::Insecure,
    };
    if op.shm_size > 0 {
        spec.shm_size = op.shm_size;
    }
    let limit = |n: i64| u64::try_from(n).ok();
    spec.ulimits = op
        .ulimits
        .iter()
        .map(|u| sandbox::Ulimit { name: u.name.clone(), soft: limit(u.soft), hard: limit(u.hard) })
        .collect();
}

/// The cgroup that a step's own is made in; it is made where it is missing.
fn cgroup(parent: &Path) -> Result<sandbox::CgroupLimits, SolveError> {
    let below = parent.strip_prefix("/").unwrap_or(parent);
    let is_plain = below.components().all(|c| matches!(c, std::path::Component::Normal(_)));
    if !is_plain || below.as_os_str().is_empty() {
        let message = format!("`{}` is not the path of a cgroup", parent.display());
        return Err(SolveError::new(Cause::Input, message));
    }
    let root = Path::new(CGROUPS);
    if !root.join("cgroup.controllers").exists() {
        let message = format!("`{CGROUPS}` is no cgroup v2, which `--cgroup-parent` needs");
        return Err(SolveError::new(Cause::Host, message)
            .with_hint("boot with `systemd.unified_cgroup_hierarchy=1`, or leave the flag out"));
    }
    let parent = root.join(below);
    std::fs::create_dir_all(&parent)
        .or_fail(Cause::Host, &format!("make the cgroup `{}`", parent.display()))?;
    Ok(sandbox::CgroupLimits { parent, memory_max: None, pids_max: None, cpu_max: None })
}

/// Starts the command, forwards its output, kills it when the build is cancelled.
fn supervise(
    spec: &Spec,
    op: &ExecOp,
    events: &StepEvents,
    tail: &Tail,
    cancel: &Cancel,
) -> Result<(), SolveError> {
    let mut running = Sandbox::spawn(spec, Streams::piped()).map_err(|e| start_error(&e, op))?;
    let status =
        watch(&mut running, events, tail, cancel).or_fail(Cause::Engine, "run the command")?;
    if cancel.is_cancelled() {
        return Err(SolveError::new(Cause::Interrupted, "cancelled"));
    }
    if status.success() {
        return Ok(());
    }
    let code = status.code();
    let message =
        format!("process `{}` did not complete successfully: exit code: {code}", command_text(op));
    let mut error = SolveError::new(Cause::Command(code), message);
    error.log_tail = tail.lines();
    if code == 137 {
        error = error.with_hint("exit code 137 is SIGKILL: the host may have run out of memory");
    }
    Err(error)
}

pub(crate) fn watch(
    running: &mut Running,
    events: &StepEvents,
    tail: &Tail,
    cancel: &Cancel,
) -> Result<sandbox::ExitStatus, SandboxError> {
    let pipes = (running.take_stdout(), running.take_stderr());
    std::thread::scope(|scope| {
        let forward = |stream| {
            move |data: &[u8]| {
                tail.push(data);
                events.log(stream, data);
            }
        };
        if let Some(out) = pipes.0 {
            scope.spawn(move || log::drain(out, forward(Stream::Stdout)));
        }
        if let Some(err) = pipes.1 {
            scope.spawn(move || log::drain(err, forward(Stream::Stderr)));
        }
        wait_or_kill(running, cancel)
    })
}

/// Waits for the end of a command; kills it when the build is cancelled.
pub(crate) fn wait_or_kill(
    running: &mut Running,
    cancel: &Cancel,
) -> Result<sandbox::ExitStatus, SandboxError> {
    let killer = running.killer();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let poll = scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                if cancel.is_cancelled() {
                    killer.kill();
                    return;
                }
                std::thread::park_timeout(CANCEL_POLL);
            }
        });
        let status = running.wait();
        ended.store(true, Ordering::SeqCst);
        poll.thread().unpark();
        status
    })
}

fn start_error(error: &SandboxError, op: &ExecOp) -> SolveError {
    match error {
        SandboxError::Start(start) if start.exit_code() != sandbox::EXIT_SETUP => {
            let code = start.exit_code();
            let message = format!(
                "process `{}` did not complete successfully: exit code: {code}: {}",
                command_text(op),
                error_chain(start)
            );
            let failed = SolveError::new(Cause::Command(code), message);
            match start {
                StartError::Exec { source, .. } if source.errno() == ENOEXEC => failed.with_hint(
                    "the program is for another architecture, or a script without a `#!` line; \
                     for other architectures install `qemu-user-static` and `binfmt-support`",
                ),
                _ => failed,
            }
        }
        other => {
            let message = format!("failed to start the sandbox: {}", error_chain(other));
            SolveError::new(Cause::Host, message)
                .with_hint("`karman doctor` tells what this host lacks")
        }
    }
}

fn command_text(op: &ExecOp) -> String {
    op.args.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_named_by_a_plain_path() {
        for wrong in ["/", "", "/a/../b", "../x"] {
            let error = cgroup(Path::new(wrong)).expect_err(wrong);
            assert_eq!(error.cause, Cause::Input, "{wrong}");
        }
    }
}
