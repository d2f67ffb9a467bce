//! Interrupts, kills of one build, and several processes in one store.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime};

use karman_testing::{Place, Tested, Told};
use rustix::process::{Pid, Signal, kill_process};

use crate::Tests;
use crate::lab::{Lab, processes_with, wait_for};

pub(crate) const TESTS: Tests = &[
    ("processes_share_one_store", processes_share_one_store),
    ("pruning_spares_what_builds_use", pruning_spares_what_builds_use),
    ("a_store_of_a_newer_version_is_refused", a_store_of_a_newer_version_is_refused),
    ("a_broken_index_is_told", a_broken_index_is_told),
    ("an_interrupt_ends_everything_with_130", an_interrupt_ends_everything_with_130),
    ("an_interrupt_ends_an_export", an_interrupt_ends_an_export),
    ("an_interrupt_ends_an_audit", an_interrupt_ends_an_audit),
    ("a_termination_ends_everything_with_130", a_termination_ends_everything_with_130),
    ("a_killed_build_leaves_no_process", a_killed_build_leaves_no_process),
    ("what_a_killed_build_was_writing_goes_with_the_next", what_a_killed_build_was_writing),
];

pub(crate) const STEPS: &str = "\
FROM busybox AS one
RUN for i in $(seq 60); do mkdir -p /one/$i && echo $i > /one/$i/f; done
FROM busybox AS two
COPY tree /two
RUN cp -r /two /two-again && rm -r /two/d1
FROM busybox
COPY --from=one /one /one
COPY --from=two --link /two-again /two
RUN head -c 300000 /dev/zero > /zeros && ln -s zeros /link
WORKDIR /work
";

fn spawn(place: &Place, args: Vec<String>) -> Child {
    let mut command = place.command(args);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

fn signal(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process id");
    // It may have ended already, and its id is not used again before it is waited for.
    let _ = kill_process(id, signal);
}

pub(crate) fn tree(place: &Place) {
    place.write("ctx/Dockerfile", STEPS);
    for n in 0..40 {
        let name = format!("ctx/tree/d{}/f{n}", n % 4);
        let path = place.write(&name, format!("file {n}\n").repeat(n));
        let file = std::fs::File::open(path).expect("a file");
        file.set_modified(SystemTime::UNIX_EPOCH).expect("a time");
    }
    for name in ["d0", "d1", "d2", "d3", "."] {
        let dir =
            std::fs::File::open(place.work().join("ctx/tree").join(name)).expect("a directory");
        dir.set_modified(SystemTime::UNIX_EPOCH).expect("a time");
    }
}

fn processes_share_one_store(lab: &Lab) -> Tested {
    let place = lab.place()?;
    tree(&place);
    let other = place.write("other.Dockerfile", format!("{STEPS}RUN echo other > /other\n"));
    let other = other.to_string_lossy();
    let args: [&[&str]; 4] = [
        &["-t", "a", "ctx"],
        &["-t", "b", "ctx"],
        &["-t", "c", "-f", &other, "ctx"],
        &["-t", "d", "--no-cache", "ctx"],
    ];
    let children: Vec<Child> = args.iter().map(|a| spawn(&place, lab.build_args(a))).collect();
    for child in children {
        Told::of(&child.wait_with_output().expect("it ends")).ok();
    }
    let digest = |name: &str| {
        let told = place.run(["image", "inspect", name]).ok();
        let json: serde_json::Value = serde_json::from_str(&told.out).expect("JSON");
        json["descriptor"]["digest"].as_str().expect("a digest").to_owned()
    };
    assert_eq!(digest("a"), digest("b"));
    assert_eq!(digest("a"), digest("d"));
    assert_ne!(digest("a"), digest("c"));
    assert_eq!(place.run(["run", "c", "cat", "/other"]).ok().out, "other\n");
    Ok(())
}

fn pruning_spares_what_builds_use(lab: &Lab) -> Tested {
    let place = lab.place()?;
    tree(&place);
    let expected = lab.digest(&place, &["-t", "x", "ctx"]);
    place.run(["image", "rm", "x"]).ok();
    for _ in 0..4 {
        let mut child = spawn(&place, lab.build_args(&["--no-cache", "-t", "x", "ctx"]));
        while child.try_wait().expect("a state").is_none() {
            place.run(["cache", "prune", "--all", "--force"]).ok();
        }
        Told::of(&child.wait_with_output().expect("it ends")).ok();
        let told = place.run(["run", "x", "sh", "-c", "cat /one/60/f && ls /two | wc -l"]).ok();
        assert_eq!(told.out, "60\n4\n");
        assert_eq!(lab.digest(&place, &["-t", "x", "ctx"]), expected);
        place.run(["image", "rm", "x"]).ok();
    }
    Ok(())
}

fn a_store_of_a_newer_version_is_refused(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", "FROM busybox\nRUN true\n");
    lab.build(&place, &["ctx"]).ok();
    std::fs::write(place.store().join("version"), "999\n").expect("a version");
    let told = lab.build(&place, &["ctx"]).is(6, "999");
    assert!(told.err.contains("hint: "), "{}", told.err);
    let version = std::fs::read_to_string(place.store().join("version")).expect("the version");
    assert_eq!(version, "999\n");
    Ok(())
}

fn a_broken_index_is_told(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", "FROM busybox\nRUN true\n");
    lab.build(&place, &["ctx"]).ok();
    for name in ["index.db-wal", "index.db-shm"] {
        // Only there while a process has the index open, or after a kill.
        let _ = std::fs::remove_file(place.store().join(name));
    }
    std::fs::write(place.store().join("index.db"), "no database at all ".repeat(500)).expect("it");
    lab.build(&place, &["ctx"]).is(6, "index.db");
    Ok(())
}

/// A Dockerfile that sleeps, and the word by which the sleeping process is found.
fn sleeping(place: &Place, seed: u32) -> String {
    let word = format!("sleep 7{seed}{}", std::process::id());
    let text = format!("FROM busybox\nRUN echo before > /b\nRUN {word} & {word}; echo after\n");
    place.write("ctx/Dockerfile", text);
    word
}

fn an_interrupt_ends_everything_with_130(lab: &Lab) -> Tested {
    ends_everything(lab, Signal::INT, 1)
}

fn a_termination_ends_everything_with_130(lab: &Lab) -> Tested {
    ends_everything(lab, Signal::TERM, 3)
}

/// Compressing what this build makes takes much longer than the test waits.
fn an_interrupt_ends_an_export(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", "FROM busybox\nRUN head -c 120000000 /dev/urandom > /r\n");
    lab.build(&place, &["-o", "type=cacheonly", "ctx"]).ok();
    let log = place.work().join("log");
    let output = "type=oci,dest=out.tar,compression=zstd,compression-level=19";
    let mut command = place.command(lab.build_args(&["-o", output, "-t", "x", "ctx"]));
    command.stderr(std::fs::File::create(&log).expect("a log"));
    let mut child = command.spawn().expect("karman starts");
    let told = || std::fs::read_to_string(&log).unwrap_or_default();
    assert!(wait_for(|| told().contains("exporting to")), "{}", told());
    signal(&child, Signal::INT);
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{}", told());
    assert!(told().contains("the build was interrupted"), "{}", told());
    let left = std::fs::read_dir(place.work()).expect("work").flatten();
    let left: Vec<String> = left.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    assert!(left.iter().all(|name| !name.contains("out.tar")), "{left:?}");
    Ok(())
}

/// The image's Python sleeps much longer than the test waits: it is killed, and that is no finding of either image.
fn an_interrupt_ends_an_audit(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let word = format!("sleep 74{}", std::process::id());
    let info = "ctx/venv/lib/python3.13/site-packages/demo-1.dist-info";
    place.write(&format!("{info}/METADATA"), "Name: demo\nVersion: 1\n");
    place.write("ctx/venv/bin/python3", format!("#!/bin/sh\n{word}\n"));
    place.write("ctx/Dockerfile", "FROM busybox\nCOPY venv /venv\nRUN chmod 755 /venv/bin/*\n");
    lab.build(&place, &["-t", "one", "ctx"]).ok();
    place.run(["image", "tag", "one", "two"]).ok();
    for by in [Signal::TERM, Signal::INT] {
        let mut command = place.command(["audit", "--format=json", "one", "two"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("karman starts");
        assert!(wait_for(|| !processes_with(&word).is_empty()), "the image's Python starts");
        let begun = Instant::now();
        signal(&child, by);
        let told = Told::of(&child.wait_with_output().expect("it ends"));
        told.clone().is(130, "the audit was interrupted");
        assert_eq!(told.out, "", "no findings");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(wait_for(|| processes_with(&word).is_empty()), "{:?}", processes_with(&word));
    }
    Ok(())
}

fn ends_everything(lab: &Lab, by: Signal, seed: u32) -> Tested {
    let place = lab.place()?;
    let word = sleeping(&place, seed);
    let child = spawn(&place, lab.build_args(&["-t", "x", "ctx"]));
    assert!(wait_for(|| !processes_with(&word).is_empty()), "the step starts");
    signal(&child, by);
    let told = Told::of(&child.wait_with_output().expect("it ends"));
    assert_eq!(told.code, 130, "{}", told.err);
    assert!(wait_for(|| processes_with(&word).is_empty()), "{:?}", processes_with(&word));
    place.run(["image", "inspect", "x"]).is(7, "no image");
    place.write("ctx/Dockerfile", "FROM busybox\nRUN echo before > /b\nRUN echo fine\n");
    let log = lab.build(&place, &["-t", "x", "ctx"]).ok().err;
    assert!(log.contains("fine"), "{log}");
    Ok(())
}

fn a_killed_build_leaves_no_process(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let word = sleeping(&place, 2);
    let mut child = spawn(&place, lab.build_args(&["ctx"]));
    assert!(wait_for(|| !processes_with(&word).is_empty()), "the step starts");
    std::thread::sleep(Duration::from_millis(50));
    signal(&child, Signal::KILL);
    child.wait().expect("it ends");
    assert!(wait_for(|| processes_with(&word).is_empty()), "{:?}", processes_with(&word));
    Ok(())
}

/// Hidden names beside the outputs of a place.
fn drafts(place: &Place) -> Vec<String> {
    let found = std::fs::read_dir(place.work()).expect("work").flatten();
    let names = found.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with('.') && name.ends_with(".tmp")).collect()
}

fn what_a_killed_build_was_writing(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", "FROM scratch\nCOPY files /\n");
    for n in 0..4000 {
        place.write(&format!("ctx/files/d{}/f{n}", n % 50), [b'x'; 9000]);
    }
    let outputs = [
        ("out.tar", "type=tar,dest=out.tar"),
        ("dir", "type=local,dest=dir"),
        ("image.tar", "type=oci,dest=image.tar"),
        ("layout", "type=oci,dest=layout,tar=false"),
    ];
    lab.build(&place, &["-o", "type=oci,dest=/dev/null", "ctx"]).ok();
    for (dest, output) in outputs {
        let args = lab.build_args(&["-o", output, "--metadata-file=m", "ctx"]);
        let mut child = spawn(&place, args.clone());
        // It may be done before it is seen: then there is nothing of it to be removed.
        while child.try_wait().expect("a state").is_none() && drafts(&place).is_empty() {
            std::thread::yield_now();
        }
        signal(&child, Signal::KILL);
        child.wait().expect("it ends");
        for name in [dest, "m"] {
            // Processes with these ids live; only who holds the lock counts.
            place.write(&format!(".{name}.{}.0.tmp", std::process::id()), "half");
            place.write(&format!(".{name}.1.1.tmp"), "half");
        }
        let held = std::fs::File::open(place.work().join(format!(".{dest}.1.1.tmp"))).expect("it");
        held.lock().expect("a lock");
        place.run(args).ok();
        assert_eq!(drafts(&place), [format!(".{dest}.1.1.tmp")], "{dest}");
        drop(held);
        let again = lab.build_args(&["-o", output, "ctx"]);
        place.run(again).ok();
        assert!(drafts(&place).is_empty(), "{dest}: {:?}", drafts(&place));
        assert!(place.work().join(dest).exists());
    }
    Ok(())
}
