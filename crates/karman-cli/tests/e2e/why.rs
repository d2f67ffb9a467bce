//! `cache why`: the first thing that differs between the last two builds of a target.

use std::fs;

use karman_testing::{Place, Tested};
use serde_json::Value;

use crate::Tests;
use crate::lab::Lab;

pub(crate) const TESTS: Tests = &[
    ("what_changed_is_named_with_both_values", what_changed_is_named_with_both_values),
    ("a_base_image_that_moved_is_named", a_base_image_that_moved_is_named),
    ("what_did_not_change_is_told_too", what_did_not_change_is_told_too),
    ("targets_are_told_apart", targets_are_told_apart),
    ("labels_of_the_progress_are_understood", labels_of_the_progress_are_understood),
];

const DOCKERFILE: &str = "\
FROM busybox AS build
ARG VERSION=1
RUN echo tools-$VERSION > /tools
COPY src /src
RUN cat /src/a /src/b > /out
FROM busybox
COPY --from=build /out /out
RUN echo last
";

fn write(place: &Place, text: &str) {
    place.write("ctx/Dockerfile", text);
    place.write("ctx/src/a", "a\n");
    place.write("ctx/src/b", "b\n");
}

/// What ran in the last build: step and reason.
fn why(place: &Place, args: &[&str]) -> Vec<(String, Value)> {
    let told = place.run([&["cache", "why", "--format=json"], args].concat()).ok();
    let json: Value = serde_json::from_str(&told.out).expect("JSON");
    let steps = json["steps"].as_array().expect("steps").iter();
    let ran = steps.filter(|step| !step["reason"].is_null());
    ran.map(|s| (s["step"].as_str().expect("a step").to_owned(), s["reason"].clone())).collect()
}

fn kinds(found: &[(String, Value)]) -> Vec<&str> {
    found.iter().map(|(_, reason)| reason["kind"].as_str().expect("a kind")).collect()
}

fn what_changed_is_named_with_both_values(lab: &Lab) -> Tested {
    let place = lab.place()?;
    write(&place, DOCKERFILE);
    lab.build(&place, &["ctx"]).ok();
    assert_eq!(kinds(&why(&place, &[])), ["first-build"; 5]);

    // A build argument.
    lab.build(&place, &["--build-arg", "VERSION=2", "ctx"]).ok();
    let found = why(&place, &[]);
    let first = &found[0];
    assert!(first.0.contains("RUN echo tools"), "{found:?}");
    assert_eq!(first.1["message"], "build arg VERSION changed: `1` → `2`");
    assert_eq!(
        (&first.1["kind"], &first.1["old"], &first.1["new"]),
        (&"build-arg".into(), &"1".into(), &"2".into())
    );
    // What the last step copies did not change.
    assert_eq!(kinds(&found), ["build-arg", "parent", "build-arg"], "{found:?}");
    let text = place.run(["cache", "why", "default/tools"]).ok().out;
    assert!(text.contains("  build arg VERSION changed: `1` → `2`\n"), "{text}");

    // A file, among others that stay.
    let build = ["--build-arg", "VERSION=2", "ctx"];
    place.write("ctx/src/b", "changed\n");
    lab.build(&place, &build).ok();
    let found = why(&place, &[]);
    assert!(found[0].0.contains("COPY src"), "{found:?}");
    assert_eq!((&found[0].1["kind"], &found[0].1["name"]), (&"file".into(), &"src/b".into()));
    assert_eq!(found[0].1["more"], 0, "{found:?}");
    let step = found[1].1["step"].as_str().expect("a step");
    assert!(found[1].0.contains("RUN cat") && step.contains("COPY src"), "{found:?}");

    // A new file, and one that goes.
    place.write("ctx/src/c", "c\n");
    fs::remove_file(place.work().join("ctx/src/a")).expect("a file");
    lab.build(&place, &["--build-arg", "VERSION=2", "--target=build", "ctx"]);
    place.write("ctx/src/a", "a\n");
    lab.build(&place, &build).ok();
    let text = place.run(["cache", "why"]).ok().out;
    assert!(text.contains("file `src/c` is new"), "{text}");

    // A command, and a step put in between.
    let text = DOCKERFILE.replace("echo last", "echo other");
    write(&place, &text.replace("FROM busybox\n", "FROM busybox\nRUN echo between\n"));
    lab.build(&place, &build).ok();
    let found = why(&place, &[]);
    let of = |word: &str| {
        found.iter().find(|(s, _)| s.contains(word)).map(|(_, r)| r["message"].clone())
    };
    let new = "the step is new: the build before had none like it";
    assert_eq!(of("echo between"), Some(new.into()), "{found:?}");
    assert_eq!(
        of("echo other"),
        Some("the command changed: `echo last` → `echo other`".into()),
        "{found:?}"
    );

    // Nothing.
    lab.build(&place, &build).ok();
    assert!(why(&place, &[]).is_empty());
    let text = place.run(["cache", "why"]).ok().out;
    assert!(text.contains("steps were there"), "{text}");
    Ok(())
}

fn a_base_image_that_moved_is_named(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write("base/Dockerfile", "FROM busybox\nRUN echo one > /base\n");
    lab.build(&place, &["-t", "base", "base"]).ok();
    place.write("ctx/Dockerfile", "FROM base\nRUN echo on-top\n");
    lab.build(&place, &["-t", "app", "ctx"]).ok();
    place.write("base/Dockerfile", "FROM busybox\nRUN echo two > /base\n");
    lab.build(&place, &["-t", "base", "base"]).ok();
    lab.build(&place, &["-t", "app", "ctx"]).ok();
    let found = why(&place, &["default"]);
    assert_eq!(found[0].1["kind"], "source", "{found:?}");
    assert_eq!(found[0].1["name"], "digest", "{found:?}");
    let (old, new) = (found[0].1["old"].as_str(), found[0].1["new"].as_str());
    assert!(old != new && old.is_some_and(|o| o.starts_with("sha256:")), "{found:?}");
    Ok(())
}

fn what_did_not_change_is_told_too(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write(
        "ctx/Dockerfile",
        "FROM busybox\nRUN echo one\nRUN test -e /nothing\nRUN echo two\n",
    );
    lab.build(&place, &["ctx"]).is(1, "did not complete");
    lab.build(&place, &["ctx"]).is(1, "did not complete");
    let found = why(&place, &[]);
    assert_eq!(kinds(&found), ["failed-before"], "{found:?}");
    place.write("ctx/Dockerfile", "FROM busybox\nRUN echo one\nRUN echo two\n");
    lab.build(&place, &["--no-cache", "ctx"]).ok();
    assert_eq!(kinds(&why(&place, &[])), ["passed-over", "passed-over"]);
    place.run(["cache", "prune", "--force"]).ok();
    place.run(["image", "ls"]).ok();
    lab.build(&place, &["-o", "type=cacheonly", "ctx"]).ok();
    let found = why(&place, &[]);
    assert!(kinds(&found).iter().all(|kind| *kind == "gone"), "{found:?}");
    let told = place.run(["cache", "why", "default/9"]);
    assert!(told.code == 7 && told.err.contains("no step of `default`"), "{}", told.err);
    let told = place.run(["cache", "why", "defualt"]);
    assert!(told.code != 0 && told.err.contains("did you mean `default`?"), "{}", told.err);
    Ok(())
}

fn targets_are_told_apart(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let file = |word: &str| {
        format!(
            "target \"one\" {{\n  dockerfile-inline = \"FROM busybox\\nRUN echo {word}\"\n  \
             contexts = {{ busybox = \"{base}\" }}\n}}\n\
             target \"two\" {{\n  dockerfile-inline = \"FROM busybox\\nRUN echo two\"\n  \
             contexts = {{ busybox = \"{base}\" }}\n}}\n",
            base = lab.base()
        )
    };
    let bake = ["bake", "--progress=plain", "--allow=fs.read=/", "one", "two"];
    place.write("docker-bake.hcl", file("1"));
    place.run(bake).ok();
    place.write("docker-bake.hcl", file("2"));
    place.run(bake).ok();
    let found = why(&place, &["one"]);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].1["message"], "the command changed: `echo 1` → `echo 2`");
    assert!(why(&place, &["two"]).is_empty());
    Ok(())
}

/// Every label that the progress prints for a step that runs, as it is and in parts.
fn labels_of_the_progress_are_understood(lab: &Lab) -> Tested {
    let place = lab.place()?;
    let stages = "FROM busybox AS build\nFROM busybox\nFROM busybox\n";
    place.write("ctx/Dockerfile", format!("{stages}RUN echo first\nRUN echo second\n"));
    let log = lab.build(&place, &["ctx"]).ok().err;
    let line = log.lines().find(|l| l.contains("] RUN echo second")).expect("the step is shown");
    let label = line.split_once(' ').expect("a number before it").1;
    assert_eq!(label, "[stage-2 2/3] RUN echo second");
    let step = |args: &[&str]| {
        let told = place.run([&["cache", "why", "--format=json"], args].concat()).ok();
        let json: Value = serde_json::from_str(&told.out).expect("JSON");
        let steps: Vec<&Value> = json["steps"].as_array().expect("steps").iter().collect();
        steps.iter().map(|s| s["step"].as_str().expect("a step").to_owned()).collect::<Vec<_>>()
    };
    for asked in [
        line.to_owned(),
        label.to_owned(),
        format!("default/{label}"),
        "default/stage-2 2/3".to_owned(),
        "default/stage-2 2".to_owned(),
        "stage-2 2/3".to_owned(),
        "default/[stage-2 2/3]".to_owned(),
        "default/'stage-2 2/3'".to_owned(),
    ] {
        assert_eq!(step(&[&asked]), [label], "{asked}");
        // As a shell hands it over when nobody quotes it.
        let words: Vec<&str> = asked.split_whitespace().collect();
        assert_eq!(step(&words), [label], "{words:?}");
    }
    let told = place.run(["cache", "why", "default/stage-2 7/3"]).is(7, "called `stage-2 7/3`");
    assert!(told.err.contains("[stage-2 1/3] RUN echo first"), "{}", told.err);
    Ok(())
}
