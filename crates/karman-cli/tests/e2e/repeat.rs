//! Equal inputs give equal digests, and nothing runs twice.

use std::fs::File;
use std::time::{Duration, SystemTime};

use karman_testing::{Place, Tested};

use crate::Tests;
use crate::lab::{Lab, wait_for};

pub(crate) const TESTS: Tests = &[
    ("equal_digests_in_empty_stores", equal_digests_in_empty_stores),
    ("a_second_build_runs_nothing", a_second_build_runs_nothing),
    ("a_changed_file_reruns_what_follows", a_changed_file_reruns_what_follows),
    ("a_touched_file_reruns_nothing", a_touched_file_reruns_nothing),
    ("a_file_that_changes_during_a_build", a_file_that_changes_during_a_build),
    ("a_file_from_the_future_is_cached_elsewhere", a_file_from_the_future_is_cached_elsewhere),
    ("equal_results_end_the_chain_of_reruns", equal_results_end_the_chain_of_reruns),
    ("targets_share_the_steps_they_have_in_common", targets_share_steps),
    ("no_cache_runs_everything", no_cache_runs_everything),
    ("a_failed_build_leaves_everything_as_it_was", a_failed_build_leaves_everything_as_it_was),
];

/// Everything whose time or order could slip into a digest.
const MANY_WAYS: &str = "\
FROM busybox AS made
RUN mkdir -p /out/dir/deep && date > /dev/null && echo a > /out/a && ln /out/a /out/hard && ln -s a /out/soft
RUN echo more > /out/dir/deep/b && touch /var/lib && mkdir /out/empty
FROM busybox
WORKDIR /new/work
COPY --from=made /out /copied
COPY --from=made --link /out/dir /linked/dir
COPY src /src
COPY --link --chown=1000:1000 src/one /linked/one
RUN echo log > /var/log/l && rm -r /opt && chmod 700 /srv && ln /copied/a /copied/second
RUN --mount=type=cache,target=/cache echo x >> /cache/n && echo y > /after-cache
ADD src/one /added
LABEL a=b
";

const STEPS: &str = "\
FROM busybox
COPY a /a
RUN cp /a /a2
COPY b /b
RUN cp /b /b2
";

/// The time of every context file.
fn stamp() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000)
}

fn date(place: &Place, name: &str, time: SystemTime) {
    let file = File::open(place.work().join(name)).expect("a file");
    file.set_modified(time).expect("a time");
}

fn many_ways(lab: &Lab) -> Result<Place, karman_testing::Skip> {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", MANY_WAYS);
    place.write("ctx/src/one", "1");
    place.write("ctx/src/sub/two", "2");
    for name in ["ctx/src/one", "ctx/src/sub/two", "ctx/src/sub", "ctx/src"] {
        date(&place, name, stamp());
    }
    Ok(place)
}

fn equal_digests_in_empty_stores(lab: &Lab) -> Tested {
    let first = many_ways(lab)?;
    let digest = lab.digest(&first, &["ctx"]);
    // Files, directories and whole builds of another second.
    std::thread::sleep(Duration::from_millis(1100));
    let second = many_ways(lab)?;
    assert_eq!(lab.digest(&second, &["ctx"]), digest);
    assert_eq!(lab.digest(&second, &["--no-cache", "ctx"]), digest, "run again in one store");
    Ok(())
}

/// The steps of a plain log: name and how it ended.
pub(crate) fn steps(log: &str) -> Vec<(String, String)> {
    let mut names = std::collections::BTreeMap::new();
    let mut ended = Vec::new();
    for line in log.lines().filter_map(|l| l.strip_prefix('#')) {
        let Some((number, rest)) = line.split_once(' ') else { continue };
        match rest.split(' ').next() {
            Some(word @ ("DONE" | "CACHED" | "ERROR:" | "CANCELED")) => {
                let name: &String = &names[number];
                ended.push((name.clone(), word.to_owned()));
            }
            _ => {
                names.entry(number.to_owned()).or_insert_with(|| rest.to_owned());
            }
        }
    }
    ended
}

/// The instructions that were executed, without planning, sources and exports.
fn executed(log: &str) -> Vec<String> {
    let instruction = |name: &String| {
        ["RUN ", "COPY ", "ADD ", "WORKDIR "].iter().any(|word| name.contains(word))
    };
    let done = steps(log).into_iter().filter(|(name, how)| how == "DONE" && instruction(name));
    done.map(|(name, _)| name.split_once("] ").map_or(name.clone(), |(_, n)| n.to_owned()))
        .collect()
}

fn step_place(lab: &Lab) -> Result<Place, karman_testing::Skip> {
    let place = lab.place()?;
    place.write("ctx/Dockerfile", STEPS);
    place.write("ctx/a", "a");
    place.write("ctx/b", "b");
    let log = lab.build(&place, &["-t", "x", "ctx"]).ok().err;
    let all = ["COPY a /a", "RUN cp /a /a2", "COPY b /b", "RUN cp /b /b2"];
    let mut ran = executed(&log);
    ran.sort();
    let mut all: Vec<String> = all.iter().map(|s| (*s).to_owned()).collect();
    all.sort();
    assert_eq!(ran, all, "{log}");
    Ok(place)
}

fn a_second_build_runs_nothing(lab: &Lab) -> Tested {
    let place = step_place(lab)?;
    let log = lab.build(&place, &["-t", "x", "ctx"]).ok().err;
    assert_eq!(executed(&log), [""; 0], "{log}");
    assert!(steps(&log).iter().any(|(_, how)| how == "CACHED"), "{log}");
    Ok(())
}

fn a_changed_file_reruns_what_follows(lab: &Lab) -> Tested {
    let place = step_place(lab)?;
    place.write("ctx/b", "changed");
    let log = lab.build(&place, &["-t", "x", "ctx"]).ok().err;
    assert_eq!(executed(&log), ["COPY b /b", "RUN cp /b /b2"], "{log}");
    let told = place.run(["run", "x", "cat", "/b2"]).ok();
    assert_eq!(told.out, "changed");
    // The same size and, as far as possible, the same moment: still another file.
    place.write("ctx/b", "CHANGED");
    let log = lab.build(&place, &["-t", "x", "ctx"]).ok().err;
    assert_eq!(executed(&log), ["COPY b /b", "RUN cp /b /b2"], "{log}");
    place.write("ctx/b", "b");
    let log = lab.build(&place, &["-t", "x", "ctx"]).ok().err;
    assert_eq!(executed(&log), [""; 0], "back to what was built before: {log}");
    Ok(())
}

fn a_touched_file_reruns_nothing(lab: &Lab) -> Tested {
    let place = step_place(lab)?;
    date(&place, "ctx/a", stamp());
    let log = lab.build(&place, &["-t", "x", "ctx"]).ok().err;
    assert_eq!(executed(&log), [""; 0], "{log}");
    Ok(())
}

/// The result of a step belongs to what it read, not to what the directory holds when it ends.
fn a_file_that_changes_during_a_build(lab: &Lab) -> Tested {
    let text = "FROM busybox\nRUN --mount=type=bind,source=src,target=/m \
                cp /m/a /read && echo has-read && sleep 1\n";
    let place = lab.place()?;
    place.write("ctx/Dockerfile", text);
    place.write("ctx/src/a", "one");
    let log = place.work().join("first.log");
    let told = || std::fs::read_to_string(&log).unwrap_or_default();
    let cache = place.work().join("cache");
    let to = format!("--cache-to=type=local,dest={}", cache.display());
    let mut first = place.command(lab.build_args(&["-o", "files", &to, "ctx"]));
    first.stderr(File::create(&log).expect("a log"));
    let mut first = first.spawn().expect("karman starts");
    let has_read = || told().lines().any(|line| line.ends_with(" has-read"));
    assert!(wait_for(has_read), "the step has read its file");
    place.write("ctx/src/a", "two");
    assert!(first.wait().expect("it ends").success(), "{}", told());
    let read = |place: &Place| std::fs::read_to_string(place.work().join("files/read")).ok();
    assert_eq!(read(&place).as_deref(), Some("one"), "a step sees its files as they were");

    let log = lab.build(&place, &["-o", "files", "ctx"]).ok().err;
    assert_eq!((read(&place).as_deref(), executed(&log).len()), (Some("two"), 1), "{log}");
    // The same in the cache that was written.
    for (content, steps) in [("one", 0), ("two", 1)] {
        let other = lab.place()?;
        other.write("ctx/Dockerfile", text);
        other.write("ctx/src/a", content);
        let from = format!("--cache-from=type=local,src={}", cache.display());
        let log = lab.build(&other, &["-o", "files", &from, "ctx"]).ok().err;
        assert_eq!(
            (read(&other).as_deref(), executed(&log).len()),
            (Some(content), steps),
            "{log}"
        );
    }
    Ok(())
}

/// What was read is known although its own time says that it is still to be written.
fn a_file_from_the_future_is_cached_elsewhere(lab: &Lab) -> Tested {
    let text = "FROM busybox\nRUN --mount=type=bind,source=a,target=/m cp /m /read\n";
    let place = |more: &str| -> Result<(Place, String), karman_testing::Skip> {
        let place = lab.place()?;
        place.write("ctx/Dockerfile", text);
        place.write("ctx/a", "one");
        date(&place, "ctx/a", SystemTime::now() + Duration::from_secs(1 << 30));
        let log = lab.build(&place, &["-o", "files", more, "ctx"]).ok().err;
        Ok((place, log))
    };
    let (first, _) = place("--cache-to=type=local,dest=cache")?;
    let cache = first.work().join("cache");
    let (_, log) = place(&format!("--cache-from=type=local,src={}", cache.display()))?;
    assert_eq!(executed(&log), [""; 0], "{log}");
    Ok(())
}

fn equal_results_end_the_chain_of_reruns(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let text = "FROM busybox AS a\nCOPY a /a\nRUN wc -c < /a > /size\nFROM busybox\n\
                COPY --from=a /size /\nRUN cat /size > /copy\n";
    place.write("ctx/Dockerfile", text);
    place.write("ctx/a", "one");
    lab.build(&place, &["ctx"]).ok();
    place.write("ctx/a", "two");
    let log = lab.build(&place, &["ctx"]).ok().err;
    assert_eq!(executed(&log), ["COPY a /a", "RUN wc -c < /a > /size"], "{log}");
    Ok(())
}

fn targets_share_steps(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let bake = format!(
        "target \"_common\" {{\n  contexts = {{ busybox = \"{}\" }}\n  context = \"ctx\"\n}}\n\
         group \"default\" {{ targets = [\"one\", \"two\"] }}\n\
         target \"one\" {{\n  inherits = [\"_common\"]\n  target = \"one\"\n}}\n\
         target \"two\" {{\n  inherits = [\"_common\"]\n  target = \"two\"\n}}\n",
        lab.base()
    );
    place.write("docker-bake.hcl", bake);
    let text = "FROM busybox AS shared\nRUN sleep 0.2; echo shared > /s\nFROM shared AS one\n\
                RUN cat /s > /one\nFROM shared AS two\nRUN cat /s > /two\n";
    place.write("ctx/Dockerfile", text);
    let log = place.run(["bake", "--progress=plain", "--metadata-file", "meta"]).ok().err;
    let mut ran = executed(&log);
    ran.sort();
    assert_eq!(ran, ["RUN cat /s > /one", "RUN cat /s > /two", "RUN sleep 0.2; echo shared > /s"]);
    let told = place.run(["run", "two", "cat", "/two"]).ok();
    assert_eq!(told.out, "shared\n");
    let meta = std::fs::read_to_string(place.work().join("meta")).expect("metadata");
    let meta: serde_json::Value = serde_json::from_str(&meta).expect("JSON");
    assert_eq!(meta["one"]["image.name"], "docker.io/library/one:latest");
    assert_ne!(meta["one"]["containerimage.digest"], meta["two"]["containerimage.digest"]);
    Ok(())
}

fn no_cache_runs_everything(lab: &Lab) -> Tested {
    let place = step_place(lab)?;
    let log = lab.build(&place, &["--no-cache", "-t", "x", "ctx"]).ok().err;
    assert_eq!(executed(&log).len(), 4, "{log}");
    Ok(())
}

fn a_failed_build_leaves_everything_as_it_was(lab: &Lab) -> Tested {
    let place = step_place(lab)?;
    let outputs = ["-t", "x", "-t", "y", "-o", "type=oci,dest=out.tar", "-o", "type=image", "ctx"];
    lab.build(&place, &outputs).ok();
    let before = std::fs::read(place.work().join("out.tar")).expect("the output");
    let image = place.run(["image", "inspect", "x"]).ok().out;
    let names = || {
        let mut names: Vec<_> = std::fs::read_dir(place.work())
            .expect("work")
            .flatten()
            .map(|e| e.file_name())
            .collect();
        names.sort();
        names
    };
    let files = names();
    place.write("ctx/Dockerfile", format!("{STEPS}RUN echo new > /n\nRUN exit 9\n"));
    let args = ["-t", "z", "--iidfile", "id", "--metadata-file", "meta"];
    let told = lab.build(&place, &[&args[..], &outputs].concat());
    told.is(1, "exit code: 9");
    assert_eq!(std::fs::read(place.work().join("out.tar")).expect("the output"), before);
    assert_eq!(place.run(["image", "inspect", "x"]).ok().out, image);
    place.run(["image", "inspect", "z"]).is(7, "no image `z`");
    assert_eq!(names(), files, "no new files");
    Ok(())
}
