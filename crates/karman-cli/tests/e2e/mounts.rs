//! Cache mounts: who shares them, waiting for them, moving them to another store.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use karman_testing::{Place, Tested};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::Tests;
use crate::lab::{Lab, wait_for};
use crate::registry::Registry;

pub(crate) const TESTS: Tests = &[
    ("a_mount_is_of_one_distribution_and_python", a_mount_is_of_one_distribution_and_python),
    ("a_mount_may_be_shared_by_all", a_mount_may_be_shared_by_all),
    ("waiting_for_a_locked_mount_can_be_interrupted", waiting_can_be_interrupted),
    ("mounts_move_to_another_store", mounts_move_to_another_store),
    ("a_mount_is_pruned_by_its_id_and_use", a_mount_is_pruned_by_its_id_and_use),
    ("mounts_that_are_not_there_are_told", mounts_that_are_not_there_are_told),
];

/// A stage that looks like a distribution with a Python, and writes its name into a cache mount.
fn stage(name: &str, version: &str, python: &str) -> String {
    format!(
        "FROM busybox AS {name}\n\
         RUN mkdir -p /usr/bin /out && printf 'ID=testos\\nVERSION_ID=\"{version}\"\\n' > /etc/os-release\n\
         RUN test -z '{python}' || (touch /usr/bin/{python} && ln -s {python} /usr/bin/python3)\n\
         RUN --mount=type=cache,id=c,target=/c ls /c > /out/{name} && touch /c/{name}\n"
    )
}

/// Steps run one after another: each stage waits for the one before.
fn chained(stages: &[(&str, &str, &str)]) -> String {
    let mut text = String::new();
    let mut before: Option<&str> = None;
    for (name, version, python) in stages {
        let own = stage(name, version, python);
        let waits = before.map(|b| format!("COPY --from={b} /out/ /out/\n")).unwrap_or_default();
        let at = own.rfind("RUN --mount").expect("the last step");
        text.push_str(&own[..at]);
        text.push_str(&waits);
        text.push_str(&own[at..]);
        before = Some(name);
    }
    text
}

fn seen(lab: &Lab, place: &Place, args: &[&str], name: &str) -> String {
    lab.build(place, &[&["-o", "files"], args, &["ctx"]].concat()).ok();
    fs::read_to_string(place.work().join("files/out").join(name)).expect("the file")
}

fn listed(place: &Place) -> Vec<(String, String)> {
    let told = place.run(["cache", "mounts", "--json"]).ok();
    let json: Value = serde_json::from_str(&told.out).expect("JSON");
    let text = |m: &Value, key: &str| m[key].as_str().expect("text").to_owned();
    let mounts = json["mounts"].as_array().expect("mounts").iter();
    mounts.map(|m| (text(m, "id"), text(m, "scope"))).collect()
}

const STAGES: [(&str, &str, &str); 5] = [
    ("one", "1", "python3.13"),
    ("same", "1", "python3.13"),
    ("newer", "1", "python3.14"),
    ("other", "2", "python3.13"),
    ("bare", "1", ""),
];

fn a_mount_is_of_one_distribution_and_python(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", chained(&STAGES));
    assert_eq!(seen(lab, &place, &[], "one"), "");
    let read = |name: &str| {
        fs::read_to_string(place.work().join("files/out").join(name)).expect("the file")
    };
    assert_eq!(read("same"), "one\n", "the same release and ABI share it");
    for name in ["newer", "other", "bare"] {
        assert_eq!(read(name), "", "{name} has its own");
    }
    let scopes: Vec<String> = listed(&place).into_iter().map(|(_, scope)| scope).collect();
    let scopes: Vec<&str> =
        scopes.iter().map(|s| s.split_once(' ').expect("a platform first").1).collect();
    assert_eq!(scopes, ["testos-1", "testos-1 cp313", "testos-1 cp314", "testos-2 cp313"]);
    let table = place.run(["cache", "mounts"]).ok().out;
    assert!(table.contains("testos-1 cp313") && table.contains("shared"), "{table}");
    Ok(())
}

fn a_mount_may_be_shared_by_all(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", chained(&STAGES));
    let arg = ["--build-arg", "KARMAN_CACHE_MOUNT_SCOPE=id"];
    assert_eq!(seen(lab, &place, &arg, "bare"), "newer\none\nother\nsame\n");
    assert_eq!(listed(&place), [("c".to_owned(), String::new())]);
    let told = lab.build(&place, &["--build-arg", "KARMAN_CACHE_MOUNT_SCOPE=os", "ctx"]);
    assert!(told.code != 0 && told.err.contains("hint: want `abi` or `id`"), "{}", told.err);
    Ok(())
}

fn waiting_can_be_interrupted(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let step = |what: &str| {
        format!("FROM busybox\nRUN --mount=type=cache,target=/c,sharing=locked {what}\n")
    };
    place.write("holder/Dockerfile", step("echo holding && sleep 30"));
    place.write("ctx/Dockerfile", step("echo got-it"));
    let spawn = |context: &str, log: &str| {
        let file = fs::File::create(place.work().join(log)).expect("a log");
        let mut command = place.command(lab.build_args(&[context]));
        command.stderr(file.try_clone().expect("the log")).stdout(file);
        command.spawn().expect("karman starts")
    };
    let has = |log: &str, word: &str| {
        let path = place.work().join(log);
        wait_for(|| fs::read_to_string(&path).unwrap_or_default().contains(word))
    };
    let mut holder = spawn("holder", "holder.log");
    assert!(has("holder.log", " holding"), "the first build holds the mount");
    let mut waiter = spawn("ctx", "waiter.log");
    assert!(has("waiter.log", "waiting for the cache mount `/c`"), "the second waits for it");
    let begun = Instant::now();
    let interrupt = |child: &std::process::Child| {
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid")).expect("a pid");
        kill_process(pid, Signal::INT).expect("a signal");
    };
    interrupt(&waiter);
    let status = waiter.wait().expect("it ends");
    assert_eq!(status.code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(10), "it does not wait for the other");
    interrupt(&holder);
    holder.wait().expect("it ends");
    Ok(())
}

/// The directory of a mount does not tell when it was used.
fn a_mount_is_pruned_by_its_id_and_use(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let text = "FROM busybox\nARG N\nRUN --mount=type=cache,id=a,target=/a \
                --mount=type=cache,id=b,target=/b cat /a/f /b/f; echo $N > /a/f && echo > /b/f\n";
    place.write("ctx/Dockerfile", text);
    lab.build(&place, &["ctx"]).ok();
    let mounts = fs::read_dir(place.store().join("mounts")).expect("mounts").flatten();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000);
    for mount in mounts {
        fs::File::open(mount.path()).and_then(|d| d.set_modified(long_ago)).expect("a time");
    }
    let prune = |filter: &str| {
        let kind = ["cache", "prune", "--force", "--filter", "type=cache-mount", "--filter"];
        place.run([&kind[..], &[filter]].concat()).ok().out
    };
    assert!(prune("until=1h").starts_with("Removed: 0\n"), "it was used right now");
    assert!(prune("id=a").starts_with("Removed: 1\n"));
    let left: Vec<String> = listed(&place).into_iter().map(|(id, _)| id).collect();
    assert_eq!(left, ["b"]);
    Ok(())
}

fn mounts_move_to_another_store(lab: &Lab) -> Tested {
    let first = lab.place()?;
    let registry = Registry::start(lab, &first, false)?;
    let text = "FROM busybox\nRUN --mount=type=cache,id=c,target=/c,mode=0750,uid=7,gid=8 \
                mkdir -p /out && (cat /c/f /c/d/g; stat -c '%a %u %Y' /c /c/f) > /out/seen 2>&1; \
                echo kept > /c/f && mkdir -p /c/d && ln -f /c/f /c/d/g && touch -d @1000000000 /c/f \
                && chmod 600 /c/f\n";
    first.write("ctx/Dockerfile", text);
    seen(lab, &first, &[], "seen");
    let reference = format!("docker-image://127.0.0.1:{}/mounts:ci", registry.port);
    let shared = first.work().join("mounts");
    let archive = first.work().join("mounts.tar");
    for to in [&reference, &shared.display().to_string(), &archive.display().to_string()] {
        let told = first.run(["cache", "export", to]).ok();
        assert!(told.out.starts_with("c@"), "{}{}", told.out, told.err);
        let second = lab.place()?;
        second.write("ctx/Dockerfile", text);
        let told = second.run(["cache", "import", to]).ok();
        assert!(told.err.contains("imported"), "{}", told.err);
        assert_eq!(listed(&second), listed(&first));
        let seen = seen(lab, &second, &[], "seen");
        let lines: Vec<&str> = seen.lines().collect();
        assert_eq!(lines[..2], ["kept", "kept"], "contents and links: {seen}");
        assert!(lines[2].starts_with("750 7 "), "mode and owner of the mount: {seen}");
        assert_eq!(lines[3], "600 0 1000000000", "mode, owner and time of a file: {seen}");
        second.run(["cache", "import", "--id", "x", to]).is(7, "no cache mount `x`");
        let again = second.run(["cache", "import", to]).ok();
        assert!(again.out.is_empty() && again.err.contains("kept"), "{}", again.err);
        let again = second.run(["cache", "import", "--replace", "--id", "c", to]).ok();
        assert!(again.out.starts_with("c@"), "{}", again.err);
    }
    // The same mount is the same bytes.
    let digest = |path: &std::path::Path| fs::read(path).expect("the archive");
    let before = digest(&archive);
    first.run(["cache", "export", "mounts.tar"]).ok();
    assert_eq!(digest(&archive), before);
    // Another content takes the place of the one before in a directory; what is read meanwhile stays.
    let blobs = || fs::read_dir(shared.join("blobs/sha256")).expect("a layout").count();
    assert_eq!(blobs(), 3, "a manifest, its config, a layer");
    first.write("ctx/Dockerfile", text.replace("echo kept", "echo other"));
    seen(lab, &first, &[], "seen");
    let reader = fs::File::open(&shared).expect("the directory");
    reader.lock_shared().expect("a lock");
    let mut command = first.command(["cache", "export", "mounts"]);
    let mut writer =
        command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().expect("it starts");
    std::thread::sleep(Duration::from_millis(500));
    assert!(writer.try_wait().expect("a state").is_none(), "it waits for the reader");
    drop(reader);
    assert!(writer.wait().expect("it ends").success());
    assert_eq!(blobs(), 3, "nothing of the one before");
    let second = lab.place()?;
    second.run(["cache", "import", &shared.display().to_string()]).ok();
    Ok(())
}

fn mounts_that_are_not_there_are_told(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let told = place.run(["cache", "export", "--id", "none", "x.tar"]);
    assert!(told.code != 0 && told.err.contains("no cache mount `none`"), "{}", told.err);
    place.run(["cache", "import", "nowhere.tar"]).is(3, "nowhere.tar");
    place.write("ctx/Dockerfile", "FROM busybox\nRUN true\n");
    lab.build(&place, &["-o", "type=oci,dest=image.tar", "ctx"]).ok();
    let told = place.run(["cache", "import", "image.tar"]);
    assert!(told.code != 0 && told.err.contains("it holds no cache mounts"), "{}", told.err);
    Ok(())
}
