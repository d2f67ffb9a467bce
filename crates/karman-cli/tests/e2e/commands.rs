//! `karman run`, `karman image`, `karman cache`.

use std::fs;
use std::process::Stdio;

use karman_testing::{Place, Skip, Tested, Told};
use serde_json::Value;

use crate::Tests;
use crate::lab::{Lab, processes_with, wait_for};

pub(crate) const TESTS: Tests = &[
    ("run_passes_the_exit_code_on", run_passes_the_exit_code_on),
    ("run_takes_env_workdir_and_user", run_takes_env_workdir_and_user),
    ("run_shows_volumes_and_keeps_read_only", run_shows_volumes_and_keeps_read_only),
    ("run_without_network_has_loopback_only", run_without_network),
    ("run_passes_standard_input_on", run_passes_standard_input_on),
    ("run_keeps_nothing", run_keeps_nothing),
    ("images_are_listed_tagged_and_removed", images_are_listed_tagged_and_removed),
    ("pruning_spares_images_and_rebuilds_work", pruning_spares_images_and_rebuilds_work),
    ("everything_can_be_pruned", everything_can_be_pruned),
    ("pruning_spares_cache_mounts_in_use", pruning_spares_cache_mounts_in_use),
    ("cache_mounts_outlive_builds_until_pruned", cache_mounts_outlive_builds_until_pruned),
];

fn place(lab: &Lab) -> Result<Place, Skip> {
    let place = lab.place()?;
    let text = "FROM busybox\nRUN echo made > /made\nENV A=image B=image\nWORKDIR /srv\n\
                ENTRYPOINT [\"/bin/sh\", \"-c\"]\nCMD [\"echo $A $B in $(pwd)\"]\n";
    place.write("ctx/Dockerfile", text);
    lab.build(&place, &["-t", "demo", "ctx"]).ok();
    Ok(place)
}

fn run(place: &Place, args: &[&str]) -> Told {
    place.run([&["run"], args].concat())
}

fn run_passes_the_exit_code_on(lab: &Lab) -> Tested {
    let place = place(lab)?;
    assert_eq!(run(&place, &["demo"]).ok().out, "image image in /srv\n");
    assert_eq!(run(&place, &["demo", "echo out; echo err >&2; exit 42"]).code, 42);
    assert_eq!(run(&place, &["demo", "kill -9 $$"]).code, 137);
    let told = run(&place, &["--entrypoint", "", "demo", "--", "/no/such/program"]);
    assert_eq!(told.code, 127, "{}", told.err);
    run(&place, &["none"]).is(7, "no image `none`");
    Ok(())
}

fn run_takes_env_workdir_and_user(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let told = run(&place, &["-e", "B=run", "-w", "/tmp", "demo"]).ok();
    assert_eq!(told.out, "image run in /tmp\n");
    let told = run(&place, &["-u", "app", "demo", "id -un; id -G; echo $HOME"]).ok();
    assert_eq!(told.out, "app\n1000 3000\n/home/app\n");
    let told = run(&place, &["-u", "12:34", "demo", "id -u; id -g"]).ok();
    assert_eq!(told.out, "12\n34\n");
    let passed = place.with_env("C", "from-caller");
    let told = run(&passed, &["-e", "C", "demo", "echo $C; env"]).ok();
    assert!(told.out.starts_with("from-caller\n"), "{}", told.out);
    assert!(!told.out.contains("KARMAN_ROOT"), "the caller's environment stays out: {}", told.out);
    Ok(())
}

fn run_shows_volumes_and_keeps_read_only(lab: &Lab) -> Tested {
    let place = place(lab)?;
    place.write("data/in", "from the host");
    let told =
        run(&place, &["-v", "data:/data", "demo", "cat /data/in; echo back > /data/out"]).ok();
    assert_eq!(told.out, "from the host");
    assert_eq!(fs::read_to_string(place.work().join("data/out")).expect("the file"), "back\n");
    let told = run(&place, &["-v", "data:/data:ro", "demo", "echo x > /data/no"]);
    assert_ne!(told.code, 0);
    assert!(!place.work().join("data/no").exists());
    let told = run(&place, &["--read-only", "demo", "echo x > /no || echo refused"]).ok();
    assert_eq!(told.out, "refused\n");
    run(&place, &["-v", "none:/data", "demo", "true"]).is(3, "none");
    Ok(())
}

fn run_without_network(lab: &Lab) -> Tested {
    let place = place(lab)?;
    let told =
        run(&place, &["--network", "none", "demo", "ls /sys/class/net; cat /proc/net/dev"]).ok();
    let names: Vec<&str> =
        told.out.lines().filter_map(|l| l.split_once(':')).map(|(n, _)| n.trim()).collect();
    assert_eq!(names, ["lo"], "{}", told.out);
    Ok(())
}

fn run_passes_standard_input_on(lab: &Lab) -> Tested {
    use std::io::Write as _;
    let place = place(lab)?;
    let mut command = place.command(["run", "-i", "demo", "tr a-z A-Z"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    child.stdin.take().expect("a pipe").write_all(b"words\n").expect("written");
    let told = Told::of(&child.wait_with_output().expect("it ends")).ok();
    assert_eq!(told.out, "WORDS\n");
    assert_eq!(run(&place, &["demo", "wc -c"]).ok().out.trim(), "0", "empty without -i");
    Ok(())
}

fn run_keeps_nothing(lab: &Lab) -> Tested {
    let place = place(lab)?;
    run(&place, &["demo", "rm /made && echo x > /new"]).ok();
    let told = run(&place, &["demo", "cat /made; ls /new"]);
    assert_eq!((told.out.as_str(), told.code), ("made\n", 1));
    let left = fs::read_dir(place.store().join("tmp")).expect("tmp").count();
    assert_eq!(left, 0, "in the store's tmp");
    Ok(())
}

fn list(place: &Place) -> Vec<String> {
    let told = place.run(["image", "ls", "--format", "json"]).ok();
    let json: Value = serde_json::from_str(&told.out).expect("JSON");
    let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
    let row = |v: &Value| {
        let (name, tag) = (&v["repository"], &v["tag"]);
        format!("{}:{}", text(name), text(tag))
    };
    let mut names: Vec<String> = json.as_array().expect("a list").iter().map(row).collect();
    names.sort();
    names
}

fn images_are_listed_tagged_and_removed(lab: &Lab) -> Tested {
    let place = place(lab)?;
    assert_eq!(list(&place), ["demo:latest"]);
    place.run(["image", "tag", "demo", "registry.example/team/other:2"]).ok();
    assert_eq!(list(&place), ["demo:latest", "registry.example/team/other:2"]);
    let inspect = |name: &str| -> Value {
        serde_json::from_str(&place.run(["image", "inspect", name]).ok().out).expect("JSON")
    };
    let (a, b) = (inspect("demo"), inspect("registry.example/team/other:2"));
    let digest = a["descriptor"]["digest"].as_str().expect("a digest").to_owned();
    assert_eq!(inspect(&format!("demo@{digest}"))["name"], "demo:latest");
    assert_eq!(inspect(&format!("registry.example/team/other:1@{digest}"))["name"], b["name"]);
    place.run(["image", "inspect", &format!("another@{digest}")]).is(7, "no image");
    assert_eq!(a["descriptor"]["digest"], b["descriptor"]["digest"]);
    assert_eq!(a["platforms"][0]["config"]["config"]["WorkingDir"], "/srv");
    let told = place.run(["image", "rm", "demo"]).ok();
    assert_eq!(told.out, "Untagged: demo:latest\n");
    place.run(["image", "rm", "demo"]).is(7, "no image `demo`");
    assert_eq!(list(&place), ["registry.example/team/other:2"]);
    run(&place, &["registry.example/team/other:2"]).ok();
    let quiet = place.run(["image", "ls", "-q"]).ok().out;
    assert!(b["descriptor"]["digest"].as_str().is_some_and(|d| quiet.contains(d)), "{quiet}");
    Ok(())
}

/// Bytes in all, and those that can go.
fn usage(place: &Place) -> (u64, u64) {
    let told = place.run(["cache", "du", "--json"]).ok();
    let json: Value = serde_json::from_str(&told.out).expect("JSON");
    let number = |name: &str| json[name].as_u64().expect("a number");
    (number("total"), number("reclaimable"))
}

fn pruning_spares_images_and_rebuilds_work(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let text = "FROM busybox AS big\nRUN head -c 5000000 /dev/zero > /big\nFROM busybox\n\
                RUN --mount=from=big,target=/b wc -c < /b/big > /size\n";
    place.write("ctx/Dockerfile", text);
    let digest = lab.digest(&place, &["-t", "x", "ctx"]);
    let (total, reclaimable) = usage(&place);
    assert!(reclaimable > 5_000_000 && reclaimable < total, "{reclaimable} of {total}");
    place.run(["cache", "prune", "--force"]).ok();
    let (after, left) = usage(&place);
    assert!(after < total - 5_000_000 && left == 0, "{after}, {left}");
    assert_eq!(run(&place, &["x", "cat", "/size"]).ok().out.trim(), "5000000");
    assert_eq!(lab.digest(&place, &["-t", "x", "ctx"]), digest);
    Ok(())
}

fn everything_can_be_pruned(lab: &Lab) -> Tested {
    let place = place(lab)?;
    place.run(["image", "rm", "demo"]).ok();
    place.run(["cache", "prune", "--all", "--force"]).ok();
    assert_eq!(usage(&place), (0, 0));
    lab.build(&place, &["-t", "demo", "ctx"]).ok();
    assert_eq!(run(&place, &["demo"]).ok().out, "image image in /srv\n");
    Ok(())
}

fn pruning_spares_cache_mounts_in_use(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let word = format!("sleep 1.{}", std::process::id());
    let text = format!(
        "FROM busybox\nRUN --mount=type=cache,target=/c echo x > /c/f && {word} && cat /c/f > /kept\n"
    );
    place.write("ctx/Dockerfile", text);
    let mut command = place.command(lab.build_args(&["-t", "x", "ctx"]));
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let child = child.expect("the program starts");
    assert!(wait_for(|| !processes_with(&word).is_empty()), "the step starts");
    place.run(["cache", "prune", "--all", "--force"]).ok();
    Told::of(&child.wait_with_output().expect("it ends")).ok();
    assert_eq!(run(&place, &["x", "cat", "/kept"]).ok().out, "x\n");
    Ok(())
}

fn cache_mounts_outlive_builds_until_pruned(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let text =
        "FROM busybox\nRUN --mount=type=cache,target=/c echo x >> /c/n && wc -l < /c/n > /n\n";
    place.write("ctx/Dockerfile", text);
    let count = || {
        lab.build(&place, &["--no-cache", "-t", "x", "ctx"]).ok();
        run(&place, &["x", "cat", "/n"]).ok().out.trim().to_owned()
    };
    assert_eq!([count(), count()], ["1", "2"]);
    place.run(["cache", "prune", "--force"]).ok();
    assert_eq!(count(), "3", "kept without --all");
    place.run(["cache", "prune", "--all", "--force"]).ok();
    assert_eq!(count(), "1");
    Ok(())
}
