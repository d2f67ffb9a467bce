//! Arguments, platforms, tags, times, names, and what several targets share.

use karman_build::{PlanError, TargetSpec};
use karman_control::{CachePlace, OutputSpec};
use karman_diag::ExitCode;
use karman_oci::Platform;

use crate::support::{Caller, inline, locals, map, names, shown};

#[test]
fn arguments_without_a_value_come_from_the_environment() {
    let mut caller = Caller::new().env("A", "outer");
    let args = [
        ("A".to_owned(), None),
        ("B".to_owned(), None),
        ("C".to_owned(), Some("given".to_owned())),
    ];
    let dockerfile = "FROM alpine\nARG A=a\nARG B=b\nARG C=c\nENV ALL=$A-$B-$C\n";
    let spec = TargetSpec { build_args: args.into(), ..inline("t", dockerfile) };
    let planned = caller.planned(&[spec]);
    let env = planned.request.targets[0].images[0].config.config.env.clone().unwrap_or_default();
    assert!(env.contains(&"ALL=outer-b-given".to_owned()), "{env:?}");
}

#[test]
fn unused_arguments_are_doubtful() {
    let mut caller = Caller::new().env("SOURCE_DATE_EPOCH", "1");
    let args = [("X".to_owned(), Some("1".to_owned()))];
    let spec = TargetSpec { build_args: args.into(), ..inline("t", "FROM alpine\n") };
    let planned = caller.planned(&[spec]);
    assert_eq!(planned.warnings.len(), 1);
    assert!(planned.warnings[0].message.contains("not consumed: `X`"));
}

#[test]
fn the_epoch_comes_from_the_environment_or_an_argument() {
    let spec = inline("t", "FROM alpine\nARG SOURCE_DATE_EPOCH\nENV E=$SOURCE_DATE_EPOCH\n");
    let mut caller = Caller::new();
    assert_eq!(caller.planned(std::slice::from_ref(&spec)).request.epoch, None);
    let mut caller = caller.env("SOURCE_DATE_EPOCH", "1700000000");
    let planned = caller.planned(std::slice::from_ref(&spec));
    assert_eq!(planned.request.epoch, Some(1_700_000_000));
    let config = &planned.request.targets[0].images[0].config;
    assert_eq!(config.created.as_deref(), Some("2023-11-14T22:13:20Z"));
    assert!(config.config.env.clone().unwrap_or_default().contains(&"E=1700000000".to_owned()));
    let args = [("SOURCE_DATE_EPOCH".to_owned(), Some("5".to_owned()))];
    let dated = TargetSpec { name: "u".into(), build_args: args.into(), ..spec.clone() };
    let planned = caller.planned(&[dated.clone(), spec]);
    assert_eq!(planned.request.epoch, Some(5));
    assert!(
        planned.warnings.iter().any(|w| w.message.contains("dated 5")),
        "{:?}",
        planned.warnings
    );
    let mut wrong = Caller::new().env("SOURCE_DATE_EPOCH", "soon");
    assert!(
        wrong.refused(&[inline("t", "FROM alpine\n")]).contains("invalid SOURCE_DATE_EPOCH: soon")
    );
}

#[test]
fn every_platform_has_an_image() {
    let platforms = vec![Platform::new("linux", "amd64"), Platform::new("linux", "arm64")];
    let dockerfile = "FROM --platform=$BUILDPLATFORM alpine AS b\nRUN build\n\
                      FROM alpine\nARG TARGETARCH\nENV T=$TARGETARCH\nCOPY --from=b /o /o\n";
    let spec = TargetSpec { platforms: platforms.clone(), ..inline("t", dockerfile) };
    let mut caller = Caller::new();
    let planned = caller.planned(&[spec]);
    let images = &planned.request.targets[0].images;
    let have: Vec<Platform> = images.iter().map(|i| i.platform.clone()).collect();
    assert_eq!(have, platforms);
    for image in images {
        let want = format!("T={}", image.platform.architecture);
        assert!(image.config.config.env.clone().unwrap_or_default().contains(&want), "{want}");
    }
    assert!(names(&planned).iter().any(|n| n.contains("linux/")), "{:?}", names(&planned));
}

#[test]
fn no_platform_is_the_hosts() {
    let mut caller = Caller::new();
    let planned = caller.planned(&[inline("t", "FROM alpine\n")]);
    let images = &planned.request.targets[0].images;
    assert_eq!(images.len(), 1);
    assert_eq!(images[0].platform, Platform::host());
    assert!(images[0].config.rootfs.diff_ids.is_empty());
}

#[test]
fn a_base_is_resolved_once_for_all_targets() {
    let mut caller = Caller::new();
    let dockerfile = "FROM alpine AS a\nFROM alpine\nCOPY --from=a /x /x\n";
    caller.planned(&[inline("t", dockerfile), inline("u", dockerfile)]);
    assert_eq!(caller.backend.asked("image docker.io/library/alpine:latest"), 1);
}

#[test]
fn a_missing_base_points_at_its_from() {
    let mut caller = Caller::new();
    let error = caller.plan(&[inline("t", "FROM alpine\nFROM gone:1\n")]).expect_err("no base");
    let text = shown(&error);
    assert!(text.contains("gone:1") && text.contains(">>> FROM gone:1"), "{text}");
    assert!(text.contains("hint: check the name"), "{text}");
    assert_eq!(error.exit_code(), ExitCode::Fetch);
    let error = caller.plan(&[inline("t", "FROM\n"), inline("u", "FROM gone:1\n")]);
    assert_eq!(error.map_err(|e| e.exit_code()).err(), Some(ExitCode::Input));
}

#[test]
fn shared_contexts_and_stages_are_one_vertex() {
    let dockerfile = "FROM alpine AS dep\nCOPY . /src\nRUN make\nFROM dep AS one\nRUN one\nFROM dep AS two\nRUN two\n";
    let mut caller = Caller::new().file("Dockerfile", dockerfile);
    let stage = |name: &str| TargetSpec {
        name: name.to_owned(),
        stage: Some(name.to_owned()),
        ..TargetSpec::default()
    };
    let planned = caller.planned(&[stage("one"), stage("two")]);
    assert_eq!(locals(&planned).len(), 1);
    // Base, context, COPY, make, one, two.
    assert_eq!(planned.request.graph.len(), 6);
}

#[test]
fn names_carry_the_target_only_where_there_are_several() {
    let mut caller = Caller::new();
    let dockerfile = "FROM alpine AS build\nRUN make\nFROM alpine\nCOPY --from=build /o /o\n";
    let one = caller.planned(&[inline("nova", dockerfile)]);
    assert!(names(&one).iter().any(|n| n == "[build 2/2] RUN make"), "{:?}", names(&one));
    let two = caller
        .planned(&[inline("nova", dockerfile), inline("glance", "FROM ubuntu:24.04\nRUN x\n")]);
    let names = names(&two);
    assert!(names.iter().any(|n| n == "[nova build 2/2] RUN make"), "{names:?}");
    assert!(names.iter().any(|n| n.starts_with("[glance 2/2] RUN x")), "{names:?}");
}

#[test]
fn results_keep_the_order_asked_for() {
    let mut caller = Caller::new();
    let user =
        TargetSpec { contexts: map(&[("x", "target:low")]), ..inline("top", "FROM x\nRUN t\n") };
    let planned = caller.planned(&[user, inline("low", "FROM alpine\nRUN l\n")]);
    let names: Vec<&str> = planned.request.targets.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["top", "low"]);
    assert!(planned.request.targets.iter().all(|t| t.exports.is_empty()));
}

#[test]
fn two_targets_have_two_names() {
    let mut caller = Caller::new();
    let error = caller.plan(&[inline("a", "FROM alpine\n"), inline("a", "FROM alpine\n")]);
    assert!(matches!(error, Err(PlanError::Usage { .. })));
}

#[test]
fn tags_and_outputs_are_spelled_out() {
    let mut caller = Caller::new();
    let export =
        OutputSpec::parse("type=oci,dest=out.tar").and_then(|o| o.bind()).expect("an export");
    let spec = TargetSpec {
        tags: vec!["nova".into(), "ghcr.io/a/b:1".into()],
        annotations: karman_control::Annotation::parse("k=v").expect("one"),
        exports: vec![export],
        ..inline("t", "FROM alpine\n")
    };
    let planned = caller.planned(std::slice::from_ref(&spec));
    let target = &planned.request.targets[0];
    assert_eq!(target.tags, ["docker.io/library/nova:latest", "ghcr.io/a/b:1"]);
    assert_eq!(target.exports[0].dest, Some(caller.path("out.tar")));
    assert_eq!(target.annotations[0].key, "k");
    let wrong = TargetSpec { tags: vec!["a:b:c".into()], ..spec };
    assert!(caller.refused(&[wrong]).contains("invalid reference format"));
}

#[test]
fn cache_filters_mark_vertices() {
    let mut caller = Caller::new();
    let dockerfile = "FROM alpine AS a\nRUN a\nFROM a\nRUN b\n";
    let count = |planned: &karman_build::Planned| {
        let graph = &planned.request.graph;
        graph.iter().filter_map(|(d, _)| graph.meta(d)).filter(|m| m.ignore_cache).count()
    };
    let filtered = TargetSpec { no_cache_filter: vec!["a".into()], ..inline("t", dockerfile) };
    assert_eq!(count(&caller.planned(&[filtered])), 1);
    let none = TargetSpec { no_cache: true, ..inline("t", dockerfile) };
    assert!(count(&caller.planned(&[none])) >= 2);
    assert_eq!(count(&caller.planned(&[inline("t", dockerfile)])), 0);
}

#[test]
fn an_unknown_stage_is_refused() {
    let mut caller = Caller::new();
    let spec = TargetSpec { stage: Some("biuld".into()), ..inline("t", "FROM alpine AS build\n") };
    let error = caller.refused(&[spec]);
    assert!(error.contains("target stage \"biuld\" could not be found"), "{error}");
    assert!(error.contains("hint: did you mean `build`?"), "{error}");
}

#[test]
fn an_index_is_made_of_several_platforms_or_where_it_is_asked_for() {
    let mut caller = Caller::new();
    let spec = |platforms: &[&str], wish: Option<&str>| TargetSpec {
        platforms: platforms.iter().map(|a| Platform::new("linux", a)).collect(),
        build_args: wish
            .map(|v| ("BUILDKIT_MULTI_PLATFORM".to_owned(), Some(v.to_owned())))
            .into_iter()
            .collect(),
        ..inline("t", "FROM scratch\n")
    };
    for (platforms, wish, want) in [
        (&["amd64"][..], None, false),
        (&["amd64", "arm64"], None, true),
        (&[], Some("1"), true),
        (&["amd64"], Some("false"), false),
    ] {
        let planned = caller.planned(&[spec(platforms, wish)]);
        assert_eq!(planned.request.targets[0].is_index, want, "{platforms:?} {wish:?}");
    }
    let error = caller.refused(&[spec(&["amd64", "arm64"], Some("0"))]);
    assert!(error.contains("returning multiple target platforms is not allowed"), "{error}");
    let error = caller.refused(&[spec(&[], Some("maybe"))]);
    assert!(error.contains("invalid boolean value for multi-platform: maybe"), "{error}");
}

#[test]
fn outputs_that_cannot_hold_the_result_are_refused_before_the_build() {
    let mut caller = Caller::new();
    let parse = |text: &str| karman_control::Annotation::parse(text).expect("valid");
    let index = TargetSpec { annotations: parse("index:k=v"), ..inline("t", "FROM scratch\n") };
    let error = caller.refused(&[index]);
    assert!(error.contains("index annotations not supported for single platform export"));
    let mut attested =
        TargetSpec { annotations: parse("index:k=v"), ..inline("t", "FROM scratch\n") };
    attested.attest.add("sbom", false, &map(&[])).expect("valid");
    caller.planned(&[attested]);
    let export = karman_control::OutputSpec::parse("type=docker,dest=x.tar").expect("a spec");
    let docker = TargetSpec {
        platforms: vec![Platform::new("linux", "amd64"), Platform::new("linux", "arm64")],
        exports: vec![export.bind().expect("valid")],
        ..inline("t", "FROM scratch\n")
    };
    let error = caller.refused(&[docker]);
    assert!(error.contains("docker exporter does not support exporting manifest lists"), "{error}");
}

#[test]
fn the_old_build_argument_asks_for_an_inline_cache() {
    let mut caller = Caller::new();
    let places = |caller: &mut Caller, value: &str, output: &str| {
        let args = [("BUILDKIT_INLINE_CACHE".to_owned(), Some(value.to_owned()))];
        let export = OutputSpec::parse(output).and_then(|o| o.bind());
        let spec = TargetSpec {
            build_args: args.into_iter().collect(),
            exports: export.into_iter().collect(),
            ..inline("t", "FROM scratch\n")
        };
        let planned = caller.planned(&[spec]);
        planned.request.targets[0].cache_to.iter().map(|c| c.place.clone()).collect::<Vec<_>>()
    };
    assert_eq!(places(&mut caller, "1", "type=image"), [CachePlace::Inline]);
    assert_eq!(places(&mut caller, "true", "type=image"), [CachePlace::Inline]);
    for other in ["0", "", "perhaps"] {
        assert_eq!(places(&mut caller, other, "type=image"), []);
    }
}
