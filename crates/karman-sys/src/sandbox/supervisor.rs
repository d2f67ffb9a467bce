//! The supervisor: one single-threaded process per container, outside of it.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, setsid, umask, waitpid};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};

use super::cgroup::Cgroup;
use super::container;
use super::error::{EXIT_SETUP, StartError};
use super::prepare::{Prepared, prepare};
use super::protocol::{self, Report};
use super::spec::{Network, Spec};

/// Lowest descriptor that is not a standard stream.
const FIRST_FREE_FD: i32 = 3;

/// Runs the supervisor stage.
pub(crate) fn main() -> ! {
    let mut control = match take_control() {
        Ok(control) => control,
        // Nobody to tell: the exit status is all there is.
        Err(_) => std::process::exit(EXIT_SETUP),
    };
    let report = supervise(&mut control).unwrap_or_else(Report::Failed);
    let code = if protocol::send(&mut control, &report).is_ok() { 0 } else { EXIT_SETUP };
    std::process::exit(code);
}

/// Takes the socket from stdin, where it was passed without ever being inheritable by another child.
fn take_control() -> Result<UnixStream, Errno> {
    crate::reexec::close_from(FIRST_FREE_FD)?;
    let control = fcntl_dupfd_cloexec(rustix::stdio::stdin(), FIRST_FREE_FD)?;
    dup2_stdin(null()?)?;
    // Signals of the terminal are for the caller, which then decides what happens to the container.
    setsid().ok();
    // Executed through a descriptor, the process would be called by its number in `ps`.
    rustix::thread::set_name(c"karman-sandbox").ok();
    umask(Mode::empty());
    Ok(UnixStream::from(control))
}

fn null() -> Result<OwnedFd, Errno> {
    open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
}

fn supervise(control: &mut UnixStream) -> Result<Report, StartError> {
    let (spec, stdin) =
        protocol::receive_spec(control).map_err(StartError::setup("read the specification"))?;
    if let Some(stdin) = stdin {
        dup2_stdin(stdin).map_err(StartError::setup("pass on stdin"))?;
    }
    let mut prepared = prepare(&spec)?;
    let cgroup = spec.cgroup.as_ref().map(Cgroup::create).transpose();
    let report = cgroup.and_then(|cgroup| {
        let report = run(control, &spec, &mut prepared, cgroup.as_ref());
        if let Some(cgroup) = cgroup {
            cgroup.remove();
        }
        report
    });
    let Prepared { root, mounts, mut stubs } = prepared;
    let copied_up = stubs.remove();
    drop((root, mounts, stubs));
    if let Some(copied_up) = copied_up {
        copied_up.prune();
    }
    report
}

fn run(
    control: &mut UnixStream,
    spec: &Spec,
    prepared: &mut Prepared,
    cgroup: Option<&Cgroup>,
) -> Result<Report, StartError> {
    let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(StartError::setup("make a pipe"));
    let ((start, start_writer), (result, result_writer)) = (pipe()?, pipe()?);
    let init = match clone_init(spec)
        .map_err(StartError::setup("make the container's namespaces"))?
    {
        Some(init) => init,
        None => container::main(spec, prepared, cgroup, start_writer.into(), result_writer.into()),
    };
    drop((start_writer, result_writer));
    release_streams();
    let created = prepared.stubs.paths();
    let mut watch = Watch { control, init, start: start.into(), result: result.into() };
    let report = watch.follow(created);
    kill_process(init, Signal::KILL).ok();
    while matches!(waitpid(Some(init), WaitOptions::empty()), Err(Errno::INTR)) {}
    report
}

/// Readers of the command's output wait for the last writer, which shall not be us.
fn release_streams() {
    if let Ok(null) = null() {
        dup2_stdin(&null).ok();
        dup2_stdout(&null).ok();
        dup2_stderr(&null).ok();
    }
}

/// Forks the init into new namespaces; none in the init itself.
fn clone_init(spec: &Spec) -> Result<Option<Pid>, Errno> {
    let mut flags = libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS
        | libc::SIGCHLD;
    if spec.network == Network::None {
        flags |= libc::CLONE_NEWNET;
    }
    // SAFETY: without CLONE_VM and with a null stack this is a fork; the process has one thread, so the copy may
    // go on running Rust code.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone, i64::from(flags), 0_i64, 0_i64, 0_i64, 0_i64) };
    match i32::try_from(pid) {
        Ok(pid) if pid >= 0 => Ok(Pid::from_raw(pid)),
        _ => Err(crate::mount::last_errno()),
    }
}

/// What the supervisor listens to while the container lives.
struct Watch<'a> {
    control: &'a mut UnixStream,
    init: Pid,
    start: File,
    result: File,
}

impl Watch<'_> {
    fn follow(&mut self, created: Vec<String>) -> Result<Report, StartError> {
        self.wait_for(|watch| watch.start.as_fd());
        // At the end of the stream the program has been executed, or everything was killed: then there is no result.
        let failure: Option<StartError> = protocol::receive(&mut self.start)
            .map_err(StartError::setup("read the container's status"))?;
        if let Some(failure) = failure {
            return Err(failure);
        }
        protocol::send(self.control, &Report::Started { created }).ok();
        self.wait_for(|watch| watch.result.as_fd());
        let mut status = [0; size_of::<i32>()];
        if self.result.read_exact(&mut status).is_err() {
            return Ok(Report::Signaled(libc::SIGKILL));
        }
        let status = i32::from_le_bytes(status);
        Ok(match libc::WIFSIGNALED(status) {
            true => Report::Signaled(libc::WTERMSIG(status)),
            false => Report::Exited(libc::WEXITSTATUS(status)),
        })
    }

    /// Waits until the chosen pipe has something; kills the container when the caller asks or goes away.
    fn wait_for(&mut self, pipe: impl Fn(&Self) -> std::os::fd::BorrowedFd<'_>) {
        let mut listen = true;
        loop {
            let control = if listen { PollFlags::IN } else { PollFlags::empty() };
            let mut fds = [
                PollFd::from_borrowed_fd(pipe(self), PollFlags::IN),
                PollFd::from_borrowed_fd(self.control.as_fd(), control),
            ];
            if poll(&mut fds[..if listen { 2 } else { 1 }], None).is_err() {
                continue;
            }
            if !fds[0].revents().is_empty() {
                return;
            }
            if listen && !fds[1].revents().is_empty() {
                kill_process(self.init, Signal::KILL).ok();
                listen = false;
            }
        }
    }
}
