//! Bake targets.

use karman_bake::{Request, Target, parse, resolve};
use karman_build::{TargetSpec, from_bake};
use karman_control::OutputKind;

use crate::support::{Caller, map, shown};

/// The attribute lines as the resolved target `t`.
fn target(body: &str) -> Target {
    let text = format!("target \"t\" {{\n{body}\n}}\n");
    let request = Request { targets: vec!["t".to_owned()], ..Request::default() };
    let (bake, problems) = parse(&[("docker-bake.hcl".to_owned(), text)], &request);
    assert!(problems.is_empty(), "{problems:?}");
    let mut resolved = resolve(&bake, &request).unwrap_or_else(|e| panic!("{e:?}"));
    resolved.targets.remove("t").expect("the target")
}

fn spec(body: &str) -> TargetSpec {
    from_bake("t", &target(body)).unwrap_or_else(|e| panic!("{}", shown(&e)))
}

fn refused(body: &str) -> String {
    shown(&from_bake("t", &target(body)).expect_err("refused"))
}

#[test]
fn the_dockerfile_is_inside_a_local_context() {
    assert_eq!(spec("").dockerfile, None);
    assert_eq!(spec("context = \"nova\"").dockerfile, None);
    let joined = spec("context = \"nova\"\ndockerfile = \"x.Dockerfile\"").dockerfile;
    assert_eq!(joined.as_deref(), Some("nova/x.Dockerfile"));
    let remote = spec("context = \"https://h/a.git\"\ndockerfile = \"x\"").dockerfile;
    assert_eq!(remote.as_deref(), Some("x"));
    assert_eq!(spec("dockerfile = \"cwd://x\"").dockerfile.as_deref(), Some("x"));
}

#[test]
fn attributes_are_carried_over() {
    let spec = spec(
        "target = \"final\"\nargs = { A = \"1\" }\nlabels = { l = \"2\" }\ntags = [\"nova:1\"]\n\
         platforms = [\"linux/arm64\"]\nshm-size = \"128m\"\nulimits = [\"nofile=1024:2048\"]\n\
         no-cache = true\nno-cache-filter = [\"x\"]\nnetwork = \"none\"\n\
         contexts = { base = \"docker-image://alpine\" }\nextra-hosts = { h = \"1.2.3.4\" }\n\
         secret = [\"id=a,env=B\"]\nssh = [\"default\"]\n\
         annotations = [\"k=v\", \"manifest:m=w\"]",
    );
    assert_eq!(spec.stage.as_deref(), Some("final"));
    assert_eq!(spec.build_args["A"].as_deref(), Some("1"));
    assert_eq!(spec.labels, map(&[("l", "2")]));
    assert_eq!(spec.tags, ["nova:1"]);
    assert_eq!(spec.platforms[0].to_string(), "linux/arm64");
    assert_eq!((spec.shm_size, spec.ulimits[0].hard), (128 << 20, 2048));
    assert!(spec.no_cache);
    assert_eq!(spec.no_cache_filter, ["x"]);
    assert_eq!(spec.network.as_deref(), Some("none"));
    assert_eq!(spec.contexts, map(&[("base", "docker-image://alpine")]));
    assert_eq!(spec.extra_hosts, [("h".to_owned(), "1.2.3.4".to_owned())]);
    assert_eq!(spec.secrets[0].env.as_deref(), Some("B"));
    assert_eq!(spec.ssh[0].id, "default");
    let keys: Vec<&str> = spec.annotations.iter().map(|a| a.key.as_str()).collect();
    assert_eq!(keys, ["k", "m"]);
}

#[test]
fn outputs_are_bound() {
    let exports = spec(
        "output = [\"type=oci,dest=x,tar=false\", \"type=docker\", \"type=image,push=false,name=a\", \"out\"]",
    )
    .exports;
    let kinds: Vec<OutputKind> = exports.iter().map(|e| e.kind).collect();
    assert_eq!(kinds, [OutputKind::Oci, OutputKind::Image, OutputKind::Image, OutputKind::Local]);
    assert!(!exports[0].archive && !exports[1].oci_media_types);
    assert_eq!(exports[2].names, ["a"]);
}

#[test]
fn what_cannot_be_done_is_said() {
    for (body, want) in [
        ("output = [\"type=tar,dest=x,push=true\"]", "unknown attribute `push`"),
        ("output = [\"type=zip\"]", "unknown output type `zip`"),
        ("platforms = [\"a/b/c/d\"]", "is not a platform"),
        ("shm-size = \"much\"", "`much` is not a size"),
        ("ulimits = [\"nofile\"]", "`nofile` is not a limit"),
        ("annotations = [\"indx:k=v\"]", "unknown annotation type \"indx\""),
    ] {
        let error = refused(body);
        assert!(error.contains(want) && error.contains("target `t`"), "{body}: {error}");
    }
}

#[test]
fn a_registry_is_pushed_to() {
    use karman_control::Push;
    let push = |output: &str| spec(&format!("output = [\"{output}\"]")).exports[0].push;
    assert_eq!(push("type=registry"), Push::Tags);
    assert_eq!(push("type=image,push=true"), Push::Tags);
    assert_eq!(push("type=image,name=r/a,push=true,push-by-digest=true"), Push::Digest);
    assert_eq!(push("type=image"), Push::No);
}

#[test]
fn a_linked_target_goes_nowhere() {
    let mut linked = target("tags = [\"a\"]\noutput = [\"type=registry\"]");
    linked.linked = true;
    let spec = from_bake("t", &linked).unwrap_or_else(|e| panic!("{}", shown(&e)));
    assert!(spec.tags.is_empty() && spec.exports.is_empty());
}

#[test]
fn a_bake_target_is_planned() {
    let mut caller = Caller::new().file("nova/build.Dockerfile", "FROM alpine\nCOPY . /\n");
    let spec = spec("context = \"nova\"\ndockerfile = \"build.Dockerfile\"");
    let planned = caller.planned(&[spec]);
    assert_eq!(caller.session.locals["context"].path, caller.path("nova"));
    assert_eq!(planned.request.targets[0].name, "t");
}

#[test]
fn platforms_are_split_and_count_once() {
    let body = "platforms = [\"linux/amd64,linux/arm64/v8\", \"linux/x86_64\", \"local\"]";
    let spec = from_bake("t", &target(body)).unwrap_or_else(|e| panic!("{}", shown(&e)));
    let mut texts: Vec<String> = spec.platforms.iter().map(ToString::to_string).collect();
    texts.dedup();
    assert_eq!(texts[..2], ["linux/amd64", "linux/arm64"]);
    assert_eq!(texts.len(), spec.platforms.len());
}
