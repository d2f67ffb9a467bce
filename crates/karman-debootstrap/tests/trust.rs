//! What is believed and what is not: signatures, dates, suites, digests.

mod support;

use karman_debootstrap::{Mirrors, PlanError};
use support::{Key, MAIN, SECURITY, World, base, deb, shown, suite, with_base};

const QUERY: &str = "security=none";

fn failure(world: &World, query: &str) -> String {
    shown(&world.plan(query).expect_err("must fail"))
}

#[test]
fn a_signed_archive_gives_a_plan() {
    let world = World::new(base());
    let plan = world.plan(QUERY).expect("plan");
    let names: Vec<&str> = plan.packages.iter().map(|package| package.name.as_str()).collect();
    assert_eq!(names, ["apt", "base-files", "dpkg"]);
    assert_eq!(plan.releases[0].signers.len(), 1);
    assert_eq!(plan.date(), support::DATE_SECONDS);
}

#[test]
fn a_detached_signature_does_as_well() {
    let mut world = World::empty();
    let text = suite(MAIN, "stretchy", base()).publish(&mut world.archive);
    let url = format!("{MAIN}/dists/stretchy");
    world.archive.files.insert(format!("{url}/Release.gpg"), world.key.detached(&text));
    world.archive.files.insert(format!("{url}/Release"), text.clone().into_bytes());
    world.plan(QUERY).expect("plan");
    world.archive.files.insert(format!("{url}/Release"), text.replace("main", "evil").into_bytes());
    assert!(failure(&world, QUERY).contains("is wrong"), "{}", failure(&world, QUERY));
}

#[test]
fn a_changed_release_file_is_refused() {
    let mut world = World::new(base());
    let file = world
        .archive
        .files
        .get_mut(&format!("{MAIN}/dists/stretchy/InRelease"))
        .expect("InRelease");
    *file = String::from_utf8(file.clone())
        .expect("text")
        .replace("Codename: stretchy", "Codename: stretched")
        .into();
    assert!(failure(&world, QUERY).contains("is wrong"), "{}", failure(&world, QUERY));
}

#[test]
fn text_around_the_signed_part_is_not_believed() {
    let mut world = World::new(base());
    let file = world
        .archive
        .files
        .get_mut(&format!("{MAIN}/dists/stretchy/InRelease"))
        .expect("InRelease");
    let honest = file.clone();
    *file = [b"Codename: evil\n\n".as_slice(), &honest].concat();
    world.plan(QUERY).expect_err("leading text");
    let file = world
        .archive
        .files
        .get_mut(&format!("{MAIN}/dists/stretchy/InRelease"))
        .expect("InRelease");
    *file = [honest.as_slice(), b"\nCodename: evil\n"].concat();
    world.plan(QUERY).expect_err("trailing text");
}

#[test]
fn a_stranger_is_refused_by_name() {
    let world = World::new(base());
    let error = world.plan_with(QUERY, &Key::new().keyring()).expect_err("must fail");
    assert!(shown(&error).contains("none of which is in the keyring"), "{}", shown(&error));
    assert!(error.hint().is_some_and(|hint| hint.contains("keyring")));
}

#[test]
fn unsigned_is_refused() {
    let mut world = World::empty();
    let text = suite(MAIN, "stretchy", base()).publish(&mut world.archive);
    world.archive.files.insert(format!("{MAIN}/dists/stretchy/InRelease"), text.into_bytes());
    assert!(failure(&world, QUERY).contains("signature"), "{}", failure(&world, QUERY));
}

#[test]
fn dates_are_checked_except_for_snapshots() {
    let mut world = World::empty();
    world
        .add(&suite(MAIN, "stretchy", base()).with("Valid-Until", "Sat, 21 Nov 2026 23:59:59 UTC"));
    let error = world.plan(QUERY).expect_err("expired");
    assert!(shown(&error).contains("expired on `2026-11-21 23:59:59 UTC`"), "{}", shown(&error));
    assert!(error.hint().is_some_and(|hint| hint.contains("snapshot=")));
    world.add(&suite(MAIN, "stretchy", base()).with("Date", "Mon, 23 Nov 2026 00:00:00 UTC"));
    assert!(failure(&world, QUERY).contains("in the future"), "{}", failure(&world, QUERY));

    let snapshot = "http://snapshot.debian.org/archive/debian/20200101T000000Z";
    world.add(
        &suite(snapshot, "stretchy", base()).with("Valid-Until", "Wed, 08 Jan 2020 00:00:00 UTC"),
    );
    world.plan("security=none&snapshot=20200101T000000Z").expect("snapshot");
}

#[test]
fn another_suite_is_refused() {
    let mut world = World::empty();
    world.add(&suite(MAIN, "stretchy", base()).with("Codename", "jessie"));
    assert!(
        failure(&world, QUERY).contains("codename `jessie`, not of `stretchy`"),
        "{}",
        failure(&world, QUERY)
    );
}

#[test]
fn missing_suites_components_and_architectures_are_named() {
    let mut world = World::new(base());
    let error = world.plan("").expect_err("no security");
    assert!(matches!(error, PlanError::Pocket(_)));
    assert!(shown(&error).contains("has no suite `stretchy-security`"), "{}", shown(&error));
    assert!(
        failure(&world, "security=none&components=main,extra").contains("no component `extra`")
    );
    world.add(&suite(MAIN, "stretchy", base()).with("Architectures", "s390x"));
    assert!(failure(&world, QUERY).contains("no architecture `amd64`"));
}

#[test]
fn an_index_that_is_not_the_signed_one_is_refused() {
    let mut world = World::new(base());
    let url = format!("{MAIN}/dists/stretchy/main/binary-amd64/Packages.gz");
    world.archive.files.insert(url, b"something else".to_vec());
    assert!(failure(&world, QUERY).contains("has digest"), "{}", failure(&world, QUERY));
}

#[test]
fn security_updates_win() {
    let mut world = World::new(with_base(vec![deb("libaa", "1.0-1")]));
    world.add(&suite(
        SECURITY,
        "stretchy-security",
        vec![deb("libaa", "1.0-1+deb13u1"), deb("dpkg", "1.21")],
    ));
    let plan = world.plan("include=libaa").expect("plan");
    let version = |name: &str| {
        plan.packages
            .iter()
            .find(|package| package.name == name)
            .map(|package| package.version.clone())
    };
    assert_eq!(version("libaa").as_deref(), Some("1.0-1+deb13u1"));
    assert_eq!(version("dpkg").as_deref(), Some("1.22"));
    let url = plan
        .packages
        .iter()
        .find(|package| package.name == "libaa")
        .map(|package| package.url.clone());
    assert!(url.is_some_and(|url| url.starts_with(SECURITY)));
}

#[test]
fn a_mirror_changes_urls_and_not_the_identity() {
    let world = World::new(base());
    let direct = world.plan(QUERY).expect("plan");
    let mut mirrored = World::empty();
    mirrored.key = world.key;
    mirrored.mirrors = Mirrors::new().with(MAIN, "http://mirror.example/d");
    mirrored.add(&suite("http://mirror.example/d", "stretchy", base()));
    let plan = mirrored.plan(QUERY).expect("plan");
    assert!(plan.packages[0].url.starts_with("http://mirror.example/d/pool/"));
    assert_eq!(plan.releases[0].archive, MAIN);
    assert_eq!(plan.identity(), direct.identity());
    assert_ne!(
        plan.identity(),
        mirrored.plan("security=none&slim=false").expect("plan").identity()
    );
}
