//! Cancelling on SIGINT and SIGTERM.
//!
//! The first signal sets a flag and wakes an eventfd; a second one ends the process at once. Signals that follow
//! each other within 200 ms count as one: a Ctrl-C reaches us from the terminal and may reach us
//! again through the process that forwards signals into the user namespace.

use std::os::fd::{AsRawFd, BorrowedFd, IntoRawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

use crate::OsError;

/// How close signals have to be to count as one: 200 ms.
const DEBOUNCE_NANOSECONDS: i64 = 200_000_000;

const NANOSECONDS_PER_SECOND: i64 = 1_000_000_000;

const SIGNAL_EXIT_BASE: i32 = 128;

static CANCELLED: AtomicBool = AtomicBool::new(false);
static FIRST: AtomicI64 = AtomicI64::new(0);
static WAKE: AtomicI32 = AtomicI32::new(-1);

/// Tells whether the user wants us to stop.
#[derive(Clone, Copy, Debug)]
pub struct Cancellation {
    wake: BorrowedFd<'static>,
}

impl Cancellation {
    /// Installs the handlers, once per process; later calls return the same thing.
    ///
    /// # Errors
    /// When the kernel gives no eventfd.
    pub fn install() -> Result<Self, OsError> {
        static INSTALL: std::sync::Mutex<()> = std::sync::Mutex::new(());
        let _guard = INSTALL.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if WAKE.load(Ordering::SeqCst) < 0 {
            // The descriptor lives as long as the process: the handler may run at any time.
            let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?.into_raw_fd();
            WAKE.store(fd, Ordering::SeqCst);
            handle(libc::SIGINT)?;
            handle(libc::SIGTERM)?;
        }
        // SAFETY: the descriptor was opened above or by an earlier call and is never closed.
        Ok(Self { wake: unsafe { BorrowedFd::borrow_raw(WAKE.load(Ordering::SeqCst)) } })
    }

    /// Whether a signal came.
    pub fn is_cancelled(&self) -> bool {
        CANCELLED.load(Ordering::SeqCst)
    }

    /// Waits for a signal, at most `timeout`; says whether one came.
    pub fn wait(&self, timeout: Duration) -> bool {
        let timeout = rustix::time::Timespec::try_from(timeout).ok();
        let mut fds = [PollFd::from_borrowed_fd(self.wake, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => self.is_cancelled(),
            Err(_) => false,
        }
    }

    /// Readable once a signal came; for `poll`.
    pub fn as_fd(&self) -> BorrowedFd<'static> {
        self.wake
    }
}

fn handle(signal: i32) -> Result<(), OsError> {
    // SAFETY: all-zero is a valid `sigaction`; the handler calls async-signal-safe functions only.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as extern "C" fn(i32) as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    };
    if result < 0 { Err(OsError::last()) } else { Ok(()) }
}

extern "C" fn on_signal(signal: i32) {
    let now = monotonic_nanoseconds();
    if CANCELLED.swap(true, Ordering::SeqCst) {
        if now - FIRST.load(Ordering::SeqCst) > DEBOUNCE_NANOSECONDS {
            // SAFETY: `_exit` is async-signal-safe.
            unsafe { libc::_exit(SIGNAL_EXIT_BASE + signal) };
        }
        return;
    }
    FIRST.store(now, Ordering::SeqCst);
    let one = 1_u64;
    // SAFETY: `write` is async-signal-safe, the descriptor stays open, the buffer is eight bytes. `errno` is put
    // back, because the interrupted code may be about to read it.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(
            WAKE.load(Ordering::SeqCst).as_raw_fd(),
            (&raw const one).cast(),
            size_of::<u64>(),
        );
        *libc::__errno_location() = errno;
    }
}

fn monotonic_nanoseconds() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `clock_gettime` is async-signal-safe and writes to a valid `timespec`.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec * NANOSECONDS_PER_SECOND + now.tv_nsec
}

/// Highest signal number on Linux.
const LAST_SIGNAL: i32 = 64;

/// Unblocks every signal in the calling thread, as a program expects when it starts.
pub(crate) fn unblock_all() {
    // SAFETY: an all-zero set, filled by `sigemptyset`, is valid.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// `struct sigaction` of the kernel, as words: handler, flags, restorer, mask. All zero is `SIG_DFL`.
const DEFAULT_ACTION: [u64; 4] = [0; 4];

/// Size of the kernel's signal set in bytes.
const SIGNAL_SET_SIZE: usize = 8;

/// Gives every signal its default action. Rust's runtime ignores SIGPIPE, which `execve` would pass on: then
/// `yes | head` in a build never ends quietly. The C library's wrapper refuses the two signals it uses itself,
/// which a caller may have left ignored too.
pub(crate) fn restore_defaults() {
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: the action is large enough for every architecture and outlives the call; KILL and STOP answer
        // EINVAL.
        unsafe {
            let old: *mut u64 = std::ptr::null_mut();
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                DEFAULT_ACTION.as_ptr(),
                old,
                SIGNAL_SET_SIZE,
            );
        }
    }
}
