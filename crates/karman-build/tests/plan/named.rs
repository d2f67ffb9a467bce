//! Named contexts.

use karman_build::TargetSpec;
use karman_llb::{Op, SourceOp};
use karman_oci::{Digest, Platform};

use crate::support::{Caller, inline, locals, map, names, sources};

fn with_context(dockerfile: &str, name: &str, source: &str) -> TargetSpec {
    TargetSpec { contexts: map(&[(name, source)]), ..inline("t", dockerfile) }
}

const FROM: &str = "FROM base\nRUN true\n";
const COPY: &str = "FROM scratch\nCOPY --from=base /a /a\n";

#[test]
fn an_image_replaces_a_base_and_is_pinned() {
    let mut caller = Caller::new();
    let planned = caller.planned(&[with_context(FROM, "base", "docker-image://ubuntu:24.04")]);
    let all = sources(&planned);
    let [SourceOp::Image(image)] = all.as_slice() else { panic!("one image, not {all:?}") };
    assert_eq!(image.reference, "docker.io/library/ubuntu:24.04");
    assert!(image.manifest.is_some());
    assert_eq!(caller.backend.asked("library/base"), 0);
}

#[test]
fn an_image_that_nothing_uses_is_not_asked_for() {
    let mut caller = Caller::new();
    caller.planned(&[with_context("FROM alpine\n", "other", "docker-image://missing")]);
    assert_eq!(caller.backend.asked("missing"), 0);
}

#[test]
fn a_pinned_image_keeps_its_digest() {
    let digest = Digest::sha256_of(b"x");
    let mut caller = Caller::new();
    let full = format!("docker.io/library/ubuntu@{digest}");
    caller.backend = std::mem::take(&mut caller.backend).with_image(&full);
    caller.planned(&[with_context(FROM, "base", &format!("docker-image://ubuntu@{digest}"))]);
    assert_eq!(caller.backend.asked(&full), 1);
}

#[test]
fn a_malformed_image_is_refused() {
    let mut caller = Caller::new();
    let error = caller.refused(&[with_context(FROM, "base", "docker-image://UPPER")]);
    assert!(error.contains("context `base`") && error.contains("lowercase"), "{error}");
}

#[test]
fn a_layout_is_a_name_of_the_session() {
    let digest = Digest::sha256_of(b"x");
    for (suffix, want) in [
        ("", "layout".to_owned()),
        (":v1", "layout:v1".to_owned()),
        (&format!("@{digest}") as &str, format!("layout@{digest}")),
        (&format!(":v1@{digest}"), format!("layout@{digest}")),
    ] {
        let mut caller = Caller::new().file("oci/index.json", "{}");
        caller.backend = std::mem::take(&mut caller.backend).with_image(&want);
        let source = format!("oci-layout://oci{suffix}");
        let planned = caller.planned(&[with_context(FROM, "base", &source)]);
        let is_layout = |s: &SourceOp| matches!(s, SourceOp::OciLayout(l) if l.name == want);
        assert!(sources(&planned).iter().any(is_layout), "{source}");
        assert_eq!(caller.session.layouts["layout"], caller.path("oci"));
    }
}

#[test]
fn a_missing_layout_is_refused() {
    let mut caller = Caller::new();
    let error = caller.refused(&[with_context(FROM, "base", "oci-layout://nowhere:v1")]);
    assert!(error.contains("there is no OCI layout at `nowhere`"), "{error}");
}

#[test]
fn debootstrap_is_an_image() {
    let mut caller = Caller::new();
    let source = "debootstrap://debian/trixie?variant=minbase";
    caller.backend = std::mem::take(&mut caller.backend).with_image(source);
    let planned = caller.planned(&[with_context(FROM, "base", source)]);
    let is_it = |s: &SourceOp| matches!(s, SourceOp::Debootstrap(d) if d.source == source);
    assert!(sources(&planned).iter().any(is_it));
}

#[test]
fn a_directory_is_read_with_its_own_ignore_file() {
    let mut caller = Caller::new().file("lib/a", "").file("lib/.dockerignore", "b\n");
    let planned = caller.planned(&[with_context(COPY, "base", "./lib")]);
    assert_eq!(locals(&planned), [("base".to_owned(), vec!["b".to_owned()])]);
    assert_eq!(caller.session.locals["base"].path, caller.path("lib"));
    assert!(names(&planned).iter().any(|n| n == "[context base] load from client"));
    let error = caller.refused(&[with_context(COPY, "base", "./gone")]);
    assert!(error.contains("context `base`: `./gone` does not exist"), "{error}");
}

#[test]
fn git_and_http_are_sources() {
    let mut caller = Caller::new();
    let planned = caller.planned(&[with_context(COPY, "base", "git@h.example:a/b.git#main")]);
    assert!(
        sources(&planned).iter().any(|s| matches!(s, SourceOp::Git(g) if g.reference == "main"))
    );
    let planned = caller.planned(&[with_context(COPY, "base", "https://h/a.tar.gz")]);
    assert!(sources(&planned).iter().any(|s| matches!(s, SourceOp::Http(_))));
    assert!(names(&planned).iter().any(|n| n == "[context base] https://h/a.tar.gz"));
    // A named context by HTTP is a file and not what it may hold.
    let files = planned.request.graph.iter().filter(|(_, v)| matches!(v.op, Op::File(_)));
    assert_eq!(files.count(), 1, "only the copy");
}

#[test]
fn scratch_is_nothing() {
    let mut caller = Caller::new();
    let planned = caller.planned(&[with_context(FROM, "base", "docker-image://scratch")]);
    assert!(sources(&planned).iter().all(|s| !matches!(s, SourceOp::Image(_))));
}

#[test]
fn a_context_may_be_for_one_platform() {
    let mut caller = Caller::new();
    caller.backend = std::mem::take(&mut caller.backend)
        .with_image("docker.io/library/any:latest")
        .with_image("docker.io/library/arm:latest");
    let spec = TargetSpec {
        contexts: map(&[
            ("base", "docker-image://any"),
            ("base::linux/arm64", "docker-image://arm"),
        ]),
        platforms: vec![Platform::new("linux", "amd64"), Platform::new("linux", "arm64")],
        ..inline("t", "FROM base\nRUN true\n")
    };
    caller.planned(&[spec]);
    assert_eq!(caller.backend.asked("docker.io/library/any:latest linux/amd64"), 1);
    assert_eq!(caller.backend.asked("docker.io/library/arm:latest linux/arm64"), 1);
    assert_eq!(caller.backend.asked("image "), 2);
}

#[test]
fn names_and_sources_are_checked() {
    let mut caller = Caller::new();
    for (name, source, want) in [
        ("Base", "docker-image://a", "invalid context name Base"),
        ("base::nowhere/at/all/x", "docker-image://a", "is not a platform"),
        ("base", "docker-images://a", "unsupported context source docker-images"),
    ] {
        let error = caller.refused(&[with_context(FROM, name, source)]);
        assert!(error.contains(want), "{name}: {error}");
    }
}

#[test]
fn a_linked_target_is_an_image_whose_triggers_fire() {
    let mut caller = Caller::new();
    let base = inline("lower", "FROM alpine\nENV A=1\nONBUILD RUN echo fired\n");
    let user = with_context("FROM base\n", "base", "target:lower");
    let planned = caller.planned(&[base, user]);
    let images = &planned.request.targets[1].images;
    let env = images[0].config.config.env.clone().unwrap_or_default();
    assert!(env.contains(&"A=1".to_owned()), "{env:?}");
    let fired = planned.request.graph.iter().filter(|(_, v)| match &v.op {
        Op::Exec(exec) => exec.args.iter().any(|a| a.contains("echo fired")),
        _ => false,
    });
    assert_eq!(fired.count(), 1);
    assert!(images[0].config.config.on_build.is_none());
}

#[test]
fn a_link_uses_the_image_of_its_platform() {
    let platforms = vec![Platform::new("linux", "amd64"), Platform::new("linux", "arm64")];
    let base =
        TargetSpec { platforms: platforms.clone(), ..inline("lower", "FROM alpine\nRUN a\n") };
    let user =
        TargetSpec { platforms, ..with_context("FROM base\nRUN b\n", "base", "target:lower") };
    let mut caller = Caller::new();
    let planned = caller.planned(&[base.clone(), user.clone()]);
    let [lower, upper] = planned.request.targets.as_slice() else { panic!("two targets") };
    for (below, above) in lower.images.iter().zip(&upper.images) {
        let needed = planned.request.graph.needed_by(above.root);
        assert!(needed.contains(&below.root.expect("a root")));
        assert_eq!(below.platform, above.platform);
    }
    let user = TargetSpec { platforms: vec![Platform::new("linux", "s390x")], ..user };
    let error = caller.refused(&[base, user]);
    assert!(error.contains("target `lower` is not built for linux/s390x"), "{error}");
}

#[test]
fn a_failed_link_is_blamed_once() {
    let mut caller = Caller::new();
    let base = inline("lower", "FROM alpine\nRUM\n");
    let error = caller.refused(&[base, with_context("FROM base\n", "base", "target:lower")]);
    assert_eq!(error.matches("ERROR").count(), 1, "{error}");
}

#[test]
fn circles_and_unknown_links_are_refused() {
    let mut caller = Caller::new();
    let link = |name: &str, to: &str| TargetSpec {
        contexts: map(&[("x", &format!("target:{to}"))]),
        ..inline(name, "FROM x\n")
    };
    let error = caller.refused(&[link("a", "b"), link("b", "a")]);
    assert!(error.contains("circle: a -> b -> a"), "{error}");
    assert!(caller.refused(&[link("a", "a")]).contains("circle: a -> a"));
    let error = caller.refused(&[link("nova", "nowa"), inline("x", "FROM alpine\n")]);
    assert!(
        error.contains("`nowa`, which is not a target") && error.contains("`nova`?"),
        "{error}"
    );
}

#[test]
fn standard_input_is_no_named_context() {
    let mut caller = Caller::new().stdin("x");
    assert!(caller.refused(&[with_context(COPY, "base", "-")]).contains("only the main context"));
}
