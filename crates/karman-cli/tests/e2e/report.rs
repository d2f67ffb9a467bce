//! Reports on images and fleets, and what changed between two.

use karman_testing::Tested;
use serde_json::Value;

use crate::Tests;
use crate::lab::Lab;

pub(crate) const TESTS: Tests =
    &[("a_fleet_is_reported_and_compared", fleet), ("what_is_no_report_is_refused", refused)];

const BAKE: &str = r#"
variable "VERSION" { default = "1" }
group "default" { targets = ["one", "two"] }
target "base" {
  context = "ctx"
  target  = "base"
  args    = { VERSION = VERSION }
}
target "one" {
  inherits = ["base"]
  target   = "one"
  tags     = ["fleet/one:latest"]
}
target "two" {
  inherits = ["base"]
  target   = "two"
}
target "never" {
  inherits = ["base"]
  tags     = ["fleet/never"]
}
"#;

const DOCKERFILE: &str = "\
FROM busybox AS base
RUN head -c 300000 /dev/urandom > /shared
FROM base AS one
ARG VERSION
RUN mkdir -p /v/six-$VERSION.dist-info && cd /v && printf 'Metadata-Version: 2.1\\nName: six\\nVersion: %s\\n' $VERSION > six-$VERSION.dist-info/METADATA \\
 && echo \"v = $VERSION\" > six.py && printf 'six.py,,\\nsix-%s.dist-info/METADATA,,\\nsix-%s.dist-info/RECORD,,\\n' $VERSION $VERSION > six-$VERSION.dist-info/RECORD
FROM base AS two
RUN echo two > /two
";

fn fleet(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write("docker-bake.hcl", BAKE);
    place.write("ctx/Dockerfile", DOCKERFILE);
    let busybox = format!("*.contexts.busybox={}", lab.base());
    let build = |version: &str| {
        let version = format!("VERSION={version}");
        place
            .run([
                "bake",
                "--progress=rawjson",
                "--allow=fs.read=/",
                "--set",
                &busybox,
                "--var",
                &version,
            ])
            .ok()
    };
    let record = build("1").err;
    place.write("build.json", &record);
    let report = |more: &[&str]| place.run([&["fleet", "report"][..], more].concat()).ok();
    report(&["--format=json", "-o", "old.json", "--timeline", "build.json"]);
    let text = std::fs::read_to_string(place.work().join("old.json")).expect("the report");
    let old: Value = serde_json::from_str(&text).expect("JSON");
    let names: Vec<_> =
        old["images"].as_array().expect("images").iter().map(|i| &i["name"]).collect();
    assert_eq!(names, ["fleet/one", "two"]);
    assert_eq!(old["images"][0]["distributions"][0]["name"], "six");
    let layers = |at: usize| old["images"][at]["layers"].as_array().expect("layers").clone();
    assert_eq!(layers(0)[..2], layers(1)[..2], "the base and what `base` made are shared");
    assert_ne!(layers(0).last(), layers(1).last());
    assert!(
        old["timeline"]["steps"].as_array().is_some_and(|s| s.len() >= 3),
        "{}",
        old["timeline"]
    );
    assert_eq!(report(&["--format=json", "--timeline", "build.json"]).out, text, "the same twice");

    build("2");
    report(&["-o", "page.html", "--since", "old.json", "--timeline", "build.json"]);
    let page = std::fs::read_to_string(place.work().join("page.html")).expect("the page");
    for part in ["A fleet of 2 images", "Shared layers", "1 → 2", "The build"] {
        assert!(page.contains(part), "{part}");
    }
    report(&["--format=json", "-o", "new.json"]);
    let told = place.run(["fleet", "diff", "old.json", "new.json"]).ok();
    assert!(
        told.out.starts_with("Python pins:\n  six 1 → 2\nImages:\n  fleet/one "),
        "{}",
        told.out
    );
    assert!(!told.out.contains("\n  two "), "{}", told.out);
    let json = place.run(["fleet", "diff", "--format=json", "old.json", "new.json"]).ok().out;
    let changes: Value = serde_json::from_str(&json).expect("JSON");
    assert!(changes["push"].as_u64() < changes["fleet"].as_u64().map(|f| f / 10), "{json}");
    let same = place.run(["fleet", "diff", "new.json", "new.json"]).ok();
    assert_eq!(same.out, "nothing changed\n");

    let one = place.run(["report", "two", "fleet/one"]).ok().out;
    assert!(one.contains("<title>A fleet of 2 images</title>"));
    let told = report(&["--format=json", "never", "two"]);
    assert!(told.err.contains("no image `fleet/never` in the local store"), "{}", told.err);
    place.run(["fleet", "report", "never"]).is(7, "none of the images");
    Ok(())
}

fn refused(lab: &Lab) -> Tested {
    let place = lab.place()?;
    place.write("no.json", "{}");
    place.write("newer.json", "{\"version\": 99, \"images\": 7}");
    place.run(["fleet", "diff", "no.json", "no.json"]).is(3, "this is not a report");
    place.run(["fleet", "diff", "newer.json", "newer.json"]).is(3, "version 99");
    let image = "{\"name\": \"x\", \"digest\": \"\", \"platform\": \"\", \"compressed\": 18446744073709551615, \"unpacked\": 1, \
                 \"files\": 0, \"packages\": [], \"distributions\": [], \"layers\": [], \"origins\": []}";
    place.write("large.json", format!("{{\"version\": 1, \"images\": [{image}]}}"));
    place
        .run(["fleet", "diff", "large.json", "large.json"])
        .is(3, "counts more bytes than any disk");
    place.run(["report", "x", "--timeline", "no.json"]).is(3, "no step of a build");
    place.run(["report", "x", "--format=json"]).is(7, "no image `x`");
    Ok(())
}
