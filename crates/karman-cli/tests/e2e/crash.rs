//! Kills, interrupts, and several processes in one store.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant, SystemTime};

use karman_testing::{Place, Tested, Told};
use rustix::process::{Pid, Signal, kill_process};

use crate::Tests;
use crate::lab::{Lab, processes_with, wait_for};

pub(crate) const TESTS: Tests = &[
    ("a_store_survives_kills_at_any_moment", a_store_survives_kills_at_any_moment),
    ("processes_share_one_store", processes_share_one_store),
    ("an_interrupt_ends_everything_with_130", an_interrupt_ends_everything_with_130),
    ("a_killed_build_leaves_no_process", a_killed_build_leaves_no_process),
];

const KILLS: u64 = 15;
const STEPS: &str = "\
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

fn tree(place: &Place) {
    place.write("ctx/Dockerfile", STEPS);
    for n in 0..40 {
        let name = format!("ctx/tree/d{}/f{n}", n % 4);
        let path = place.write(&name, format!("file {n}\n").repeat(n));
        let file = std::fs::File::open(path).expect("a file");
        file.set_modified(SystemTime::UNIX_EPOCH).expect("a time");
    }
    for name in ["d0", "d1", "d2", "d3", "."] {
        let dir = std::fs::File::open(place.work().join("ctx/tree").join(name)).expect("a directory");
        dir.set_modified(SystemTime::UNIX_EPOCH).expect("a time");
    }
}

fn a_store_survives_kills_at_any_moment(lab: &Lab) -> Tested {
    let quiet = lab.place()?;
    tree(&quiet);
    let begun = Instant::now();
    let expected = lab.digest(&quiet, &["-t", "x", "ctx"]);
    let whole = begun.elapsed();

    let place = lab.place()?;
    tree(&place);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let mut random = now.subsec_nanos() | 1;
    for kill in 0..KILLS {
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        let share = f64::from(random) / f64::from(u32::MAX);
        let moment = whole.mul_f64(share);
        let mut child = spawn(&place, lab.build_args(&["--no-cache", "-t", "x", "ctx"]));
        std::thread::sleep(moment);
        signal(&child, Signal::KILL);
        child.wait().expect("it ends");
        let told = lab.build(&place, &["-t", "x", "--metadata-file", "meta", "ctx"]);
        assert_eq!(told.code, 0, "kill {kill} after {moment:?} of {whole:?}: {}", told.err);
        let meta = std::fs::read_to_string(place.work().join("meta")).expect("metadata");
        assert!(meta.contains(&expected), "kill {kill} after {moment:?} of {whole:?}: {meta}");
    }
    // Orphans of the last kill end on their own, and only then is what they used free.
    let store = place.store();
    let swept = wait_for(|| {
        place.run(["cache", "prune", "--force"]).ok();
        std::fs::read_dir(store.join("tmp")).expect("tmp").count() == 0
    });
    let left: Vec<_> = std::fs::read_dir(store.join("tmp")).expect("tmp").flatten().collect();
    assert!(swept, "left in tmp: {left:?}");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&*store.to_string_lossy()), "mounts are left");
    assert_eq!(lab.digest(&place, &["-t", "x", "ctx"]), expected, "after the sweep");
    Ok(())
}

fn processes_share_one_store(lab: &Lab) -> Tested {
    let place = lab.place()?;
    tree(&place);
    place.write("other/Dockerfile", format!("{STEPS}RUN echo other > /other\n"));
    let from = place.work().join("ctx/tree");
    std::os::unix::fs::symlink(&from, place.work().join("other/link")).expect("a link");
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

/// A Dockerfile that sleeps, and the word by which the sleeping process is found.
fn sleeping(place: &Place, seed: u32) -> String {
    let word = format!("sleep 7{seed}{}", std::process::id());
    let text = format!("FROM busybox\nRUN echo before > /b\nRUN {word} & {word}; echo after\n");
    place.write("ctx/Dockerfile", text);
    word
}

fn an_interrupt_ends_everything_with_130(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let word = sleeping(&place, 1);
    let child = spawn(&place, lab.build_args(&["-t", "x", "ctx"]));
    assert!(wait_for(|| !processes_with(&word).is_empty()), "the step starts");
    signal(&child, Signal::INT);
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
