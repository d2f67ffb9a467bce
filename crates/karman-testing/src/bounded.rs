//! A test body in a process of its own, with a limit on memory and on time.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Set in the process that runs the body.
const INSIDE: &str = "KARMAN_TEST_INSIDE";
/// Bytes of stack of the thread that runs the body: what the main thread of a program has.
pub const STACK: usize = 8 << 20;
/// Wall clock time allowed for each second of processor time.
const PATIENCE: u32 = 10;
/// How often the process is looked at.
const PULSE: Duration = Duration::from_millis(20);
/// Address space that a test binary takes before it does anything.
const OVERHEAD: u64 = 256 << 20;

/// What a test body may cost.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Bytes of memory (`RLIMIT_AS`, beyond what the binary itself takes).
    pub memory: u64,
    /// Processor time (`RLIMIT_CPU`), so that a busy machine makes no difference. Tests are debug builds: ten times slower
    /// than what people run. The wall clock may show [`PATIENCE`] times as much.
    pub time: Duration,
}

/// Runs `body` within `bounds`. `test` is the path of the test function that calls this, as libtest prints it; the body
/// runs in a second process that is started with that name, so a stack overflow or an abort is one failed test.
///
/// # Panics
/// When the body panics, dies, needs more memory, or is not done in time.
pub fn bounded(test: &str, bounds: Bounds, body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        body();
        return;
    }
    let me = std::env::current_exe().expect("the test binary");
    let kib = (bounds.memory + OVERHEAD) / 1024;
    let seconds = bounds.time.as_secs().max(1);
    let mut child = Command::new("/bin/sh")
        .args(["-c", &format!("ulimit -v {kib} && ulimit -t {seconds} && exec \"$0\" \"$@\"")])
        .arg(me)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        // One arena: each further one takes 64 MiB of address space.
        .env("MALLOC_ARENA_MAX", "1")
        .env("RUST_BACKTRACE", "0")
        .env("RUST_MIN_STACK", STACK.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("/bin/sh starts");
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a state") {
            break status;
        }
        if begun.elapsed() > bounds.time * PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            panic!("`{test}` is not done after {:?}", begun.elapsed());
        }
        std::thread::sleep(PULSE);
    };
    let told = std::io::read_to_string(child.stdout.take().expect("a pipe")).unwrap_or_default();
    assert!(status.success(), "`{test}` within {bounds:?}: {status}\n{told}");
    assert!(told.contains("1 passed"), "no test is called `{test}`: {told}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Bounds = Bounds { memory: 64 << 20, time: Duration::from_secs(20) };

    #[test]
    fn what_fits_passes() {
        bounded("bounded::tests::what_fits_passes", SMALL, || drop(vec![1_u8; 16 << 20]));
    }

    #[test]
    #[should_panic(expected = "within Bounds")]
    fn too_much_memory_fails() {
        bounded("bounded::tests::too_much_memory_fails", SMALL, || {
            let filled = vec![1_u8; 1 << 30];
            // Inside, this panic is another one than the one expected.
            panic!("got {} bytes", filled.len());
        });
    }

    #[test]
    #[should_panic(expected = "signal")]
    fn too_much_time_fails() {
        let hasty = Bounds { time: Duration::from_secs(1), ..SMALL };
        bounded("bounded::tests::too_much_time_fails", hasty, || {
            loop {
                std::hint::black_box(0);
            }
        });
    }
}
