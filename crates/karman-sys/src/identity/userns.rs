//! The way into a user namespace.
//!
//! Three processes in sequence: the *outer* one (the user's, which stays) starts the *stage*, this program under a
//! private `argv[0]`; the stage unshares and says so; the outer one maps ids; the stage executes the program again
//! with its original arguments. Messages are single bytes over a socket pair; after [`FAILED`] follows an `errno`
//! and the name of the step. The end of the stream means that the program runs.

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use rustix::fs::{Access, access};
use rustix::process::{
    Pid, Signal, WaitOptions, kill_process, set_parent_process_death_signal, waitpid,
};
use rustix::thread::{UnshareFlags, set_thread_groups};

use super::subid::{IdRange, SubIds, User};
use super::{
    EnterConfig, IdentityError, MARKER, MARKER_FULL, MARKER_SINGLE, NoSubIdsReason,
    keep_mounts_inside,
};
use crate::OsError;

const UNSHARED: u8 = b'u';
const MAPPED: u8 = b'm';
const FAILED: u8 = b'e';

/// Longest failure report.
const MAX_REPORT: u64 = 4096;

const SIGNAL_EXIT_BASE: i32 = 128;

/// Signals that the outer process passes on.
const FORWARDED: [i32; 5] =
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGWINCH, libc::SIGQUIT];

/// The tools that map a range of ids.
struct Tools {
    uid: PathBuf,
    gid: PathBuf,
}

/// Runs the program inside, and exits with its code.
pub(super) fn enter(config: &EnterConfig) -> Result<Infallible, IdentityError> {
    let user = User::current();
    let subids = SubIds::read(&user);
    let tools = Tools::find(&config.search_path);
    let full = match (subids.is_complete(), &tools) {
        (true, Some(tools)) => Some(tools),
        _ if config.allow_single_id => None,
        (false, _) => {
            return Err(IdentityError::NoSubIds {
                user: user.display(),
                reason: NoSubIdsReason::NoRanges,
            });
        }
        (true, None) => {
            return Err(IdentityError::NoSubIds {
                user: user.display(),
                reason: NoSubIdsReason::NoTools,
            });
        }
    };
    let signals = block_signals();
    let (mut ours, theirs) =
        UnixStream::pair().map_err(IdentityError::system("make a socket pair"))?;
    let mut child = start_stage(config, &theirs, full.is_some())?;
    drop(theirs);
    if let Err(error) = bring_in(&mut ours, &child, &user, &subids, full) {
        child.kill().ok();
        child.wait().ok();
        unblock_signals(&signals);
        return Err(error);
    }
    std::process::exit(stand_by(&child, &signals))
}

fn start_stage(
    config: &EnterConfig,
    socket: &UnixStream,
    full: bool,
) -> Result<Child, IdentityError> {
    // One thread, so nobody else can inherit the descriptor in between.
    let inherited =
        rustix::io::dup(socket).map_err(IdentityError::system("duplicate a descriptor"))?;
    let mode = if full { MARKER_FULL } else { MARKER_SINGLE };
    Command::new("/proc/self/exe")
        .arg0(crate::reexec::USERNS_STAGE)
        .arg(inherited.as_raw_fd().to_string())
        .arg(std::process::id().to_string())
        .arg(mode)
        .args(&config.argv)
        .spawn()
        .map_err(IdentityError::system("re-execute ourselves"))
}

fn bring_in(
    socket: &mut UnixStream,
    child: &Child,
    user: &User,
    subids: &SubIds,
    tools: Option<&Tools>,
) -> Result<(), IdentityError> {
    expect(socket, Some(UNSHARED))?;
    if let Some(tools) = tools {
        map(&tools.uid, child.id(), user.uid, &subids.uids)?;
        map(&tools.gid, child.id(), user.gid, &subids.gids)?;
    }
    socket
        .write_all(&[MAPPED])
        .map_err(IdentityError::system("speak to the re-executed program"))?;
    expect(socket, None)
}

/// Reads the next byte and compares it; none expects the end of the stream.
fn expect(socket: &mut UnixStream, expected: Option<u8>) -> Result<(), IdentityError> {
    let mut byte = [0];
    let read = socket
        .read(&mut byte)
        .map_err(IdentityError::system("hear from the re-executed program"))?;
    let got = (read == 1).then_some(byte[0]);
    if got == expected {
        return Ok(());
    }
    let mut report = Vec::new();
    socket.take(MAX_REPORT).read_to_end(&mut report).ok();
    let (errno, step) =
        report.split_first_chunk().unwrap_or((&[0; size_of::<i32>()], b"enter a user namespace"));
    let source = std::io::Error::from_raw_os_error(i32::from_le_bytes(*errno)).into();
    Err(IdentityError::NamespacesRefused {
        step: String::from_utf8_lossy(step).into_owned(),
        source,
    })
}

/// Maps 0 to the user and 1… to the ranges, one after the other.
fn map(tool: &Path, pid: u32, own: u32, ranges: &[IdRange]) -> Result<(), IdentityError> {
    let mut arguments = vec![pid.to_string(), "0".to_owned(), own.to_string(), "1".to_owned()];
    let mut next = 1_u32;
    for range in ranges {
        arguments.extend([next.to_string(), range.start.to_string(), range.count.to_string()]);
        let Some(after) = next.checked_add(range.count) else { break };
        next = after;
    }
    let output = Command::new(tool)
        .args(arguments)
        .env_clear()
        .output()
        .map_err(IdentityError::system("start the id mapping tool"))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(IdentityError::MapTool { tool: tool.to_owned(), message })
}

impl Tools {
    pub(super) fn find(search_path: &OsStr) -> Option<Self> {
        Some(Self {
            uid: find_program("newuidmap", search_path)?,
            gid: find_program("newgidmap", search_path)?,
        })
    }
}

/// The first executable `name` in the directories of `search_path`.
pub(super) fn find_program(name: &str, search_path: &OsStr) -> Option<PathBuf> {
    let directories =
        search_path.as_bytes().split(|byte| *byte == b':').filter(|part| part.starts_with(b"/"));
    let mut candidates =
        directories.map(|directory| Path::new(OsStr::from_bytes(directory)).join(name));
    candidates.find(|candidate| candidate.is_file() && access(candidate, Access::EXEC_OK).is_ok())
}

/// The signals the outer process takes in turn with `sigwaitinfo` instead of being interrupted.
fn block_signals() -> libc::sigset_t {
    // SAFETY: an all-zero set, filled by `sigemptyset`, is valid for these calls.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for signal in FORWARDED.into_iter().chain([libc::SIGCHLD]) {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        set
    }
}

fn unblock_signals(set: &libc::sigset_t) {
    // SAFETY: the set is valid.
    unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, set, std::ptr::null_mut()) };
}

/// Forwards signals until the program inside ends; returns the code to exit with.
fn stand_by(child: &Child, signals: &libc::sigset_t) -> i32 {
    let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return SIGNAL_EXIT_BASE;
    };
    loop {
        match waitpid(Some(pid), WaitOptions::NOHANG) {
            Ok(Some((_, status))) => {
                let signal = status.terminating_signal().map(|signal| SIGNAL_EXIT_BASE + signal);
                return status.exit_status().or(signal).unwrap_or(SIGNAL_EXIT_BASE);
            }
            Ok(None) => {}
            Err(_) => return SIGNAL_EXIT_BASE,
        }
        // SAFETY: both pointers are valid; all-zero is a valid `siginfo_t`.
        let (signal, info) = unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            (libc::sigwaitinfo(signals, &raw mut info), info)
        };
        // What the terminal's driver sends goes to the whole foreground group, the program inside included.
        let pass_on = signal > 0 && signal != libc::SIGCHLD && info.si_code != libc::SI_KERNEL;
        if let Some(signal) = Signal::from_named_raw(signal).filter(|_| pass_on) {
            kill_process(pid, signal).ok();
        }
    }
}

/// A step of the stage that failed.
type StageError = (&'static str, OsError);

/// Runs the stage: `arguments` are a descriptor, the outer process, the mode, and the program's own `argv`.
pub(crate) fn main(arguments: Vec<OsString>) -> ! {
    let number = |nth: usize| arguments.get(nth)?.to_str()?.parse::<i32>().ok();
    let (Some(fd), Some(outer)) = (number(0), number(1)) else {
        std::process::exit(SIGNAL_EXIT_BASE)
    };
    if rustix::io::fcntl_setfd(unsafe_borrow(fd), rustix::io::FdFlags::CLOEXEC).is_err() {
        std::process::exit(SIGNAL_EXIT_BASE);
    }
    // SAFETY: the outer process passed this descriptor for us alone, and it is open: its flags were just set.
    let mut socket = UnixStream::from(unsafe { OwnedFd::from_raw_fd(fd) });
    let mode = arguments.get(2).cloned().unwrap_or_default();
    let (step, source) =
        match run_stage(&mut socket, outer, &mode, arguments.get(3..).unwrap_or_default()) {
            Err(error) => error,
            Ok(never) => match never {},
        };
    let mut report = vec![FAILED];
    report.extend(source.errno().to_le_bytes());
    report.extend(step.as_bytes());
    socket.write_all(&report).ok();
    std::process::exit(SIGNAL_EXIT_BASE)
}

fn unsafe_borrow(fd: i32) -> std::os::fd::BorrowedFd<'static> {
    // SAFETY: only used to ask the kernel about a descriptor number; a wrong one answers EBADF.
    unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) }
}

fn run_stage(
    socket: &mut UnixStream,
    outer: i32,
    mode: &OsStr,
    argv: &[OsString],
) -> Result<Infallible, StageError> {
    fn at<E: Into<OsError>>(step: &'static str) -> impl FnOnce(E) -> StageError {
        move |source| (step, source.into())
    }
    let own = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    // SAFETY: the process has one thread.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER | UnshareFlags::NEWNS) }
        .map_err(at("make a user namespace"))?;
    socket.write_all(&[UNSHARED]).map_err(at("report the user namespace"))?;
    socket.read_exact(&mut [0]).map_err(at("wait for the id maps"))?;
    if mode == MARKER_SINGLE {
        // Without privileges the kernel wants group changes given up first.
        std::fs::write("/proc/self/setgroups", "deny").map_err(at("deny setgroups"))?;
        std::fs::write("/proc/self/uid_map", format!("0 {} 1", own.0))
            .map_err(at("map our user id"))?;
        std::fs::write("/proc/self/gid_map", format!("0 {} 1", own.1))
            .map_err(at("map our group id"))?;
    } else {
        set_thread_groups(&[]).map_err(at("drop supplementary groups"))?;
    }
    keep_mounts_inside().map_err(at("change mounts in the user namespace"))?;
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(at("tie the program to its parent"))?;
    if rustix::process::getppid().map(Pid::as_raw_nonzero).map(i32::from) != Some(outer) {
        return Err(("find our parent alive", rustix::io::Errno::SRCH.into()));
    }
    crate::signals::unblock_all();
    let (name, rest) =
        argv.split_first().ok_or(("find the program's name", rustix::io::Errno::INVAL.into()))?;
    let error = Command::new("/proc/self/exe").arg0(name).args(rest).env(MARKER, mode).exec();
    Err(("execute the program again", error.into()))
}
