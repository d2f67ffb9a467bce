//! Running one command in a container.
//!
//! Processes: the caller (any thread) starts the *supervisor*, this program re-executed and single-threaded, which
//! opens all sources and mounts the root filesystem, makes missing mount points, and clones the *init* into new
//! pid, mount, ipc, uts and cgroup namespaces. The init mounts, pivots, forks the *command* and reaps. When the
//! init is gone the supervisor removes the mount points it had made, so that they never show up in a layer.
//!
//! The supervisor ends everything when its socket to the caller closes. A parent-death signal would not do there:
//! it fires when the *thread* that started the supervisor ends. Between supervisor and init it is right, and used.

mod capabilities;
mod cgroup;
mod command;
mod container;
mod devices;
mod error;
mod isolation;
mod prepare;
mod protocol;
mod prune;
mod spec;
mod stubs;
mod supervisor;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr, ChildStdout, Stdio};
use std::sync::Arc;

pub use error::{EXIT_NOT_EXECUTABLE, EXIT_NOT_FOUND, EXIT_SETUP, SandboxError, StartError};
use protocol::Report;
pub use spec::{
    CgroupLimits, DEFAULT_SHM_SIZE, Mount, MountKind, Network, Rootfs, Security, Spec, Ulimit,
};
pub(crate) use supervisor::main as supervisor_main;

/// Added to a signal number to make an exit code, as shells do.
const SIGNAL_EXIT_BASE: i32 = 128;

/// The byte that asks the supervisor to kill.
const KILL: u8 = b'k';

/// Starts containers.
#[derive(Debug)]
pub struct Sandbox;

/// Where the command's standard streams go.
#[derive(Debug)]
pub struct Streams {
    /// Standard input; none is `/dev/null`.
    pub stdin: Option<OwnedFd>,
    /// Standard output.
    pub stdout: Stdio,
    /// Standard error.
    pub stderr: Stdio,
}

impl Streams {
    /// Pipes for output, nothing to read.
    pub fn piped() -> Self {
        Self { stdin: None, stdout: Stdio::piped(), stderr: Stdio::piped() }
    }
}

impl Sandbox {
    /// Starts `spec` and returns when the command's program has been executed.
    ///
    /// # Errors
    /// [`SandboxError::Start`] with the reason when the command did not start; see [`StartError::exit_code`].
    pub fn spawn(spec: &Spec, streams: Streams) -> Result<Running, SandboxError> {
        let json = serde_json::to_vec(spec).map_err(SandboxError::Encode)?;
        let (ours, theirs) = UnixStream::pair().map_err(SandboxError::Spawn)?;
        let mut child = crate::reexec::stage(crate::reexec::SANDBOX_STAGE)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(streams.stdout)
            .stderr(streams.stderr)
            .spawn()
            .map_err(SandboxError::Spawn)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let mut running = Running {
            child,
            socket: Arc::new(ours),
            stdout,
            stderr,
            created: Vec::new(),
            ended: None,
        };
        let sent = protocol::send_spec(&mut running.stream()?, &json, streams.stdin);
        match (running.report(), sent) {
            (Ok(Report::Started { created }), _) => {
                running.created = created;
                Ok(running)
            }
            (Ok(Report::Failed(error)), _) => Err(error.into()),
            (Err(_), Err(error)) => Err(SandboxError::Spawn(error)),
            (Ok(_), _) => Err(running.lost()),
            (Err(error), Ok(())) => Err(error),
        }
    }
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl ExitStatus {
    /// Whether the code is 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }

    /// The exit code; 128 + n for signal n.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => SIGNAL_EXIT_BASE + signal,
        }
    }
}

/// A command that was started. Dropping it kills the command and waits for the clean-up.
#[derive(Debug)]
pub struct Running {
    child: Child,
    socket: Arc<UnixStream>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    created: Vec<String>,
    ended: Option<ExitStatus>,
}

impl Running {
    /// The read end of stdout, once, when it was piped.
    pub fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.stdout.take()
    }

    /// The read end of stderr, once, when it was piped.
    pub fn take_stderr(&mut self) -> Option<ChildStderr> {
        self.stderr.take()
    }

    /// Paths inside the root filesystem that were made as mount points. [`Running::wait`] removes those the command
    /// left untouched.
    pub fn created_mount_points(&self) -> &[String] {
        &self.created
    }

    /// A handle that can kill the command from another thread while this one waits.
    pub fn killer(&self) -> Killer {
        Killer { socket: Arc::clone(&self.socket) }
    }

    /// Kills every process of the container.
    pub fn kill(&self) {
        self.killer().kill();
    }

    /// Waits for the command's end and the removal of mount points. The output pipes are to be drained meanwhile.
    ///
    /// # Errors
    /// When the supervisor is lost.
    pub fn wait(&mut self) -> Result<ExitStatus, SandboxError> {
        if let Some(status) = self.ended {
            return Ok(status);
        }
        let status = match self.report()? {
            Report::Exited(code) => ExitStatus::Code(code),
            Report::Signaled(signal) => ExitStatus::Signal(signal),
            Report::Failed(error) => return Err(error.into()),
            Report::Started { .. } => return Err(self.lost()),
        };
        self.ended = Some(status);
        self.child.wait().map_err(SandboxError::Spawn)?;
        Ok(status)
    }

    fn stream(&self) -> Result<UnixStream, SandboxError> {
        self.socket.try_clone().map_err(SandboxError::Spawn)
    }

    fn report(&mut self) -> Result<Report, SandboxError> {
        match protocol::receive(&mut &*self.socket) {
            Ok(Some(report)) => Ok(report),
            Ok(None) => Err(self.lost()),
            Err(error) => Err(SandboxError::Spawn(error)),
        }
    }

    fn lost(&mut self) -> SandboxError {
        self.socket.shutdown(std::net::Shutdown::Both).ok();
        match self.child.wait() {
            Ok(status) => SandboxError::Lost { status },
            Err(error) => SandboxError::Spawn(error),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.socket.shutdown(std::net::Shutdown::Both).ok();
        self.child.wait().ok();
    }
}

/// Kills a container from any thread.
#[derive(Clone, Debug)]
pub struct Killer {
    socket: Arc<UnixStream>,
}

impl Killer {
    /// Kills every process of the container; nothing happens when it has ended.
    pub fn kill(&self) {
        rustix::net::send(&*self.socket, &[KILL], rustix::net::SendFlags::NOSIGNAL).ok();
    }
}
