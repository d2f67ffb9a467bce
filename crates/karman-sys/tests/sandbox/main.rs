//! The sandbox on a real kernel: as root, and again as an ordinary user inside a user namespace.
//!
//! A harness of its own, because `reexec::dispatch` must run first. `KARMAN_SYS_TEST_ENTER` is set by the harness
//! itself for its second incarnation, which runs as a throw-away user.

mod lab;
mod mounts;
mod processes;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use karman_sys::identity::{EnterConfig, Identity, IdentityError, NoSubIdsReason, enter};

use crate::lab::Lab;

const ENTER: &str = "KARMAN_SYS_TEST_ENTER";
/// Makes this program wait for signals, for `processes`.
const SIGNALLED: &str = "KARMAN_SYS_TEST_SIGNALLED";
const USER: u32 = 54_321;

enum Outcome {
    Passed,
    Skipped(String),
}
type Test = fn(&Lab) -> Outcome;

fn main() {
    karman_sys::reexec::dispatch();
    if std::env::var_os(SIGNALLED).is_some() {
        processes::wait_for_signals();
    }
    let mode = std::env::var(ENTER).unwrap_or_default();
    let config = EnterConfig {
        argv: std::env::args_os().collect(),
        search_path: std::env::var_os("PATH").unwrap_or_default(),
        allow_single_id: mode == "single",
    };
    let identity = match enter(&config) {
        Ok(identity) => identity,
        Err(error) if mode == "refused" => {
            let refused =
                matches!(&error, IdentityError::NoSubIds { reason: NoSubIdsReason::NoRanges, .. });
            println!("{error}; hint: {:?}", error.hint());
            std::process::exit(if refused { 3 } else { 1 });
        }
        Err(error) => {
            println!(
                "SKIP all: {error}\n0 passed, 0 failed, {} skipped",
                mounts::TESTS.len() + processes::TESTS.len()
            );
            return;
        }
    };
    let mut counts = run_all(&Lab::new(identity));
    if mode.is_empty() && identity == Identity::Root {
        as_ordinary_user(&mut counts);
    }
    let [passed, failed, skipped] = counts;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    std::process::exit(i32::from(failed > 0));
}

fn run_all(lab: &Lab) -> [u32; 3] {
    let mut counts = [0; 3];
    let filter =
        std::env::args().nth(1).filter(|argument| !argument.starts_with('-')).unwrap_or_default();
    for (name, test) in
        processes::TESTS.iter().chain(&mounts::TESTS).filter(|(name, _)| name.contains(&filter))
    {
        let label = format!("{name} [{:?}]", lab.identity);
        let outcome = match lab.busybox {
            None => Ok(Outcome::Skipped("no static busybox (package busybox-static)".to_owned())),
            Some(_) => std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(lab))),
        };
        count(&mut counts, &label, outcome.ok());
    }
    counts
}

fn count(counts: &mut [u32; 3], label: &str, outcome: Option<Outcome>) {
    let slot = match outcome {
        Some(Outcome::Passed) => {
            println!("{label}: ok");
            0
        }
        None => {
            println!("{label}: FAILED");
            1
        }
        Some(Outcome::Skipped(reason)) => {
            eprintln!("SKIP {label}: {reason}");
            2
        }
    };
    counts[slot] += 1;
}

/// Runs this program again as a user of its own, with `/etc/passwd`, `subuid` and `subgid` of its own.
fn as_ordinary_user(counts: &mut [u32; 3]) {
    for (mode, ranges, expected) in
        [("full", "54321:200000:65536\n", 0), ("single", "", 0), ("refused", "", 3)]
    {
        let label = format!("ordinary user, {mode}");
        let outcome = std::panic::catch_unwind(|| run_as_user(mode, ranges, expected));
        count(counts, &label, outcome.ok());
    }
}

fn run_as_user(mode: &str, ranges: &str, expected: i32) -> Outcome {
    for tool in ["unshare", "setpriv", "newuidmap"] {
        if !["/usr/bin", "/bin"].iter().any(|directory| Path::new(directory).join(tool).exists()) {
            return Outcome::Skipped(format!("`{tool}` is not installed"));
        }
    }
    let home = tempfile::Builder::new().prefix("karman-user").tempdir().expect("a directory");
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let program = home.path().join("tests");
    std::fs::copy("/proc/self/exe", &program).expect("copies itself");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("chmod");
    let passwd = std::fs::read_to_string("/etc/passwd").expect("reads")
        + "karmantest:x:54321:54321::/:/bin/sh\n";
    std::fs::write(home.path().join("passwd"), passwd).expect("writes");
    std::fs::write(home.path().join("subids"), ranges).expect("writes");
    std::fs::create_dir(home.path().join("tmp")).expect("makes");
    std::os::unix::fs::chown(home.path().join("tmp"), Some(USER), Some(USER)).expect("chown");
    let script = r#"touch /etc/subuid /etc/subgid; mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/subids" /etc/subuid &&
        mount --bind "$0/subids" /etc/subgid && cd / &&
        exec setpriv --reuid 54321 --regid 54321 --clear-groups --inh-caps=-all "$0/tests" "#;
    let filter =
        std::env::args().nth(1).filter(|argument| !argument.starts_with('-')).unwrap_or_default();
    let status = Command::new("unshare")
        .args(["-m", "sh", "-c", &(script.to_owned() + &filter)])
        .arg(home.path())
        .env(ENTER, mode)
        .env("TMPDIR", home.path().join("tmp"))
        .env("KARMAN_SYS_TEST_KEPT", "a b")
        .status()
        .expect("runs");
    assert_eq!(status.code(), Some(expected));
    Outcome::Passed
}
