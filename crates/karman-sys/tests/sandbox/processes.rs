//! What a command may do, and how it starts and ends.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::Duration;

use karman_sys::identity::{Identity, ProbeInput, probe};
use karman_sys::sandbox::{ExitStatus, Network, Sandbox, Security, StartError, Streams};
use karman_sys::signals::Cancellation;
use rustix::process::{Pid, Signal, kill_process};

use crate::lab::{Lab, fails, names, run, shell};
use crate::{Outcome, SIGNALLED, Test};

pub(crate) const TESTS: [(&str, Test); 16] = [
    ("runs_true", runs_true),
    ("reports_exit_codes_and_signals", reports_exit_codes_and_signals),
    ("paths_are_masked", paths_are_masked),
    ("root_has_dockers_capabilities", root_has_dockers_capabilities),
    ("user_has_no_capabilities", user_has_no_capabilities),
    ("insecure_has_more", insecure_has_more),
    ("network_none_has_only_loopback", network_none_has_only_loopback),
    ("kill_ends_everything", kill_ends_everything),
    ("dropping_ends_everything", dropping_ends_everything),
    ("missing_executable", missing_executable),
    ("missing_working_directory", missing_working_directory),
    ("seccomp_blocks_namespaces_and_mounts", seccomp_blocks_namespaces_and_mounts),
    ("signals_have_defaults", signals_have_defaults),
    ("a_second_signal_ends_at_once", a_second_signal_ends_at_once),
    ("stdin_and_environment", stdin_and_environment),
    ("host_facts", host_facts),
];

fn runs_true(lab: &Lab) -> Outcome {
    assert_eq!(run(&lab.spec(&["true"]).0), (ExitStatus::Code(0), String::new()));
    Outcome::Passed
}

fn reports_exit_codes_and_signals(lab: &Lab) -> Outcome {
    assert_eq!(run(&shell(lab, "exit 7").0).0, ExitStatus::Code(7));
    assert_eq!(run(&shell(lab, "exit 127").0).0, ExitStatus::Code(127));
    let (status, _) = run(&shell(lab, "kill -TERM $$").0);
    assert_eq!((status, status.code()), (ExitStatus::Signal(15), 143));
    Outcome::Passed
}

fn paths_are_masked(lab: &Lab) -> Outcome {
    let script = "head -c 1 /proc/kcore 2>/dev/null; cat /proc/timer_list /proc/interrupts 2>/dev/null; \
                  ls -A /proc/scsi /sys/firmware 2>/dev/null | grep -v -e : -e '^$'; \
                  for f in /proc/sys/kernel/hostname /sys/kernel/uevent_seqnum; do (echo x > $f) 2>&1; done";
    let (_, output) = run(&shell(lab, script).0);
    assert_eq!(output.matches("Read-only file system").count(), 2, "{output}");
    assert!(output.lines().all(|line| line.contains("can't create")), "{output}");
    Outcome::Passed
}

fn status_fields(output: &str) -> Vec<(String, String)> {
    let fields = output.lines().filter_map(|line| line.split_once(":\t"));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn field(output: &str, name: &str) -> String {
    let found = status_fields(output).into_iter().find(|(field, _)| field == name);
    found.unwrap_or_else(|| panic!("no {name} in {output}")).1
}

fn root_has_dockers_capabilities(lab: &Lab) -> Outcome {
    let (_, output) = run(&shell(lab, "cat /proc/self/status").0);
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert_eq!(field(&output, set), "00000000a80425fb", "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(field(&output, set), "0000000000000000", "{set}");
    }
    assert_eq!(
        (field(&output, "Seccomp").as_str(), field(&output, "NoNewPrivs").as_str()),
        ("2", "0")
    );
    Outcome::Passed
}

fn user_has_no_capabilities(lab: &Lab) -> Outcome {
    let (mut spec, _) = shell(lab, "cat /proc/self/status; touch /home/x");
    (spec.uid, spec.gid, spec.groups) = (1000, 1001, vec![1001, 1002]);
    if lab.identity == Identity::SingleId {
        assert!(matches!(fails(&spec), StartError::UnmappedId { uid: 1000, .. }));
        return Outcome::Passed;
    }
    let (status, output) = run(&spec);
    assert_eq!(field(&output, "CapEff"), "0000000000000000");
    assert_eq!(field(&output, "CapBnd"), "00000000a80425fb");
    assert_eq!(field(&output, "Uid"), "1000\t1000\t1000\t1000");
    assert_eq!(field(&output, "Groups").trim(), "1001 1002");
    assert!(!status.success());
    Outcome::Passed
}

fn insecure_has_more(lab: &Lab) -> Outcome {
    let (mut spec, _) = shell(lab, "cat /proc/self/status; mount -t tmpfs x /home && echo mounted");
    spec.security = Security::Insecure;
    let (status, output) = run(&spec);
    assert_eq!(field(&output, "Seccomp"), "0");
    assert!(status.success() && output.contains("mounted"), "{output}");
    Outcome::Passed
}

fn network_none_has_only_loopback(lab: &Lab) -> Outcome {
    let (mut spec, _) = shell(lab, "ls /sys/class/net; ip -o addr");
    spec.network = Network::None;
    let (_, output) = run(&spec);
    assert!(output.starts_with("lo\n") || output.contains("lo"), "{output}");
    assert!(
        output.contains("127.0.0.1") && !output.contains("eth") && !output.contains("2: "),
        "{output}"
    );
    Outcome::Passed
}

fn kill_ends_everything(lab: &Lab) -> Outcome {
    let (spec, upper) = shell(lab, "sleep 1000 & sleep 1000");
    let mut running = Sandbox::spawn(&spec, Streams::piped()).expect("starts");
    let killer = running.killer();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(50));
        killer.kill();
    });
    assert_eq!(running.wait().expect("reports"), ExitStatus::Signal(9));
    thread.join().expect("ends");
    let mut output = String::new();
    running
        .take_stdout()
        .expect("piped")
        .read_to_string(&mut output)
        .expect("every writer is gone");
    assert!(names(&upper).is_empty());
    Outcome::Passed
}

fn dropping_ends_everything(lab: &Lab) -> Outcome {
    let (spec, upper) = shell(lab, "sleep 1000");
    let mut running = Sandbox::spawn(&spec, Streams::piped()).expect("starts");
    let mut stdout = running.take_stdout().expect("piped");
    drop(running);
    assert_eq!(stdout.read(&mut [0]).expect("every writer is gone"), 0);
    assert!(names(&upper).is_empty());
    Outcome::Passed
}

fn missing_executable(lab: &Lab) -> Outcome {
    let (spec, upper) = lab.spec(&["foo"]);
    let error = fails(&spec);
    assert_eq!(error.to_string(), "exec: \"foo\": executable file not found in $PATH");
    assert_eq!(error.exit_code(), 127);
    assert!(names(&upper).is_empty());
    assert_eq!(
        fails(&lab.spec(&["/bin/foo"]).0).to_string(),
        "exec: \"/bin/foo\": no such file or directory"
    );
    let denied = fails(&lab.spec(&["/etc/plain"]).0);
    assert_eq!(
        (denied.to_string().as_str(), denied.exit_code()),
        ("exec: \"/etc/plain\": permission denied", 126)
    );
    Outcome::Passed
}

fn missing_working_directory(lab: &Lab) -> Outcome {
    let (mut spec, _) = lab.spec(&["true"]);
    spec.cwd = "/no/such".to_owned();
    assert_eq!(fails(&spec).to_string(), "failed to enter working directory `/no/such`");
    Outcome::Passed
}

fn seccomp_blocks_namespaces_and_mounts(lab: &Lab) -> Outcome {
    let (status, output) = run(&shell(lab, "unshare -r true; mount -t tmpfs x /home").0);
    assert!(!status.success());
    assert_eq!(
        output.matches("Operation not permitted").count()
            + output.matches("permission denied").count(),
        2,
        "{output}"
    );
    Outcome::Passed
}

/// What the program does that `a_second_signal_ends_at_once` starts: it notices the first signal, and never ends.
pub(crate) fn wait_for_signals() -> ! {
    let cancellation = Cancellation::install().expect("handlers");
    println!("ready");
    while !cancellation.wait(Duration::from_secs(1)) {}
    println!("cancelled");
    loop {
        std::thread::sleep(Duration::from_secs(1));
    }
}

fn a_second_signal_ends_at_once(_: &Lab) -> Outcome {
    for (first, second, code) in
        [(Signal::INT, Signal::INT, 130), (Signal::TERM, Signal::TERM, 143)]
    {
        let mut command = Command::new("/proc/self/exe");
        let mut child = command.env(SIGNALLED, "1").stdout(Stdio::piped()).spawn().expect("starts");
        let id = Pid::from_child(&child);
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut line = || lines.next().expect("a line").expect("text");
        assert_eq!(line(), "ready");
        kill_process(id, first).expect("signalled");
        assert_eq!(line(), "cancelled");
        // Within 200 ms both count as one Ctrl-C.
        std::thread::sleep(Duration::from_millis(300));
        kill_process(id, second).expect("signalled");
        assert_eq!(child.wait().expect("ends").code(), Some(code));
    }
    Outcome::Passed
}

fn signals_have_defaults(lab: &Lab) -> Outcome {
    let (_, output) = run(&lab.spec(&["cat", "/proc/self/status"]).0);
    assert_eq!(field(&output, "SigIgn"), "0000000000000000");
    assert_eq!(field(&output, "SigBlk"), "0000000000000000");
    Outcome::Passed
}

fn stdin_and_environment(lab: &Lab) -> Outcome {
    if lab.identity != Identity::Root {
        assert_eq!(std::env::var("KARMAN_SYS_TEST_KEPT").as_deref(), Ok("a b"));
        assert!(std::env::vars().all(|(name, _)| !name.contains("USERNS")));
    }
    let (mut spec, _) =
        shell(lab, "cat; echo $A; ls /proc/self/fd | grep -c .; cat /proc/1/environ; exec env");
    spec.env.push(("A".to_owned(), "b=c".to_owned()));
    let path = lab.directory.path().join("input");
    std::fs::write(&path, "from stdin\n").expect("writes");
    let stdin = std::fs::File::open(&path).expect("opens").into();
    let mut running =
        Sandbox::spawn(&spec, Streams { stdin: Some(stdin), ..Streams::piped() }).expect("starts");
    let mut output = String::new();
    running.take_stdout().expect("piped").read_to_string(&mut output).expect("reads");
    running.wait().expect("ends");
    assert!(output.starts_with("from stdin\nb=c\n4\n"), "{output}");
    assert!(!output.contains("TMPDIR"), "{output}");
    Outcome::Passed
}

fn host_facts(lab: &Lab) -> Outcome {
    let search_path = std::env::var_os("PATH").unwrap_or_default();
    let facts = probe(&ProbeInput { search_path, store: Some(lab.directory.path().to_owned()) });
    assert_eq!(facts.euid, 0);
    assert!(facts.seccomp && facts.kernel.contains('.'));
    assert!(matches!(facts.overlay, Some(Ok(()))), "{:?}", facts.overlay);
    assert!(names(lab.directory.path()).iter().all(|name| !name.contains("probe")));
    Outcome::Passed
}
