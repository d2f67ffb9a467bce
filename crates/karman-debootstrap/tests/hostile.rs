//! Packages that are damaged or mean harm. Their digests are right: the archive itself is hostile.

mod support;

use std::path::{Path, PathBuf};

use karman_debootstrap::unpack;
use support::{Deb, Entry, World, ar, deb, dir, file, hard_link, shown, symlink, tar, with_base};

/// Unpacks a base with one more package; the directory holds `rootfs` and the witness `outside/secret`.
fn unpacked(package: Deb) -> (World, Result<PathBuf, String>) {
    let name = package.name.clone();
    let world = World::new(with_base(vec![package]));
    let plan = world.plan(&format!("security=none&include={name}")).expect("plan");
    let rootfs = world.dir.path().join("rootfs");
    std::fs::create_dir(&rootfs).expect("rootfs");
    std::fs::create_dir(world.dir.path().join("outside")).expect("outside");
    std::fs::write(world.dir.path().join("outside/secret"), "secret").expect("secret");
    let result = unpack(&plan, &world.cache(), &world.archive, &rootfs, 4);
    assert_eq!(
        entries(&world.dir.path().join("outside")),
        ["secret"],
        "something was written outside"
    );
    assert_eq!(
        std::fs::read_to_string(world.dir.path().join("outside/secret")).expect("secret"),
        "secret"
    );
    let result = result.map(|_| rootfs).map_err(|error| shown(&error));
    (world, result)
}

fn entries(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .expect("directory")
        .map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn refused(data: Vec<Entry>, expected: &str) {
    let (_world, result) = unpacked(deb("evil", "1").data(data));
    let error = result.expect_err("must be refused");
    assert!(error.contains(expected), "{error}");
}

#[test]
fn paths_with_dots_are_refused() {
    refused(vec![file("./../outside/new", "x")], "not a path inside");
    refused(vec![dir("./etc/../../outside/new")], "not a path inside");
    refused(vec![hard_link("./usr/secret", "../outside/secret")], "not a path inside");
}

#[test]
fn absolute_paths_are_refused() {
    refused(vec![file("/outside/new", "x")], "not a path inside");
    refused(vec![hard_link("./usr/secret", "/etc/passwd")], "not a path inside");
}

#[test]
fn line_ends_in_paths_are_refused() {
    refused(vec![file("./usr/a\n/etc/b", "x")], "not a path inside");
}

#[test]
fn links_lead_nowhere_but_into_the_tree() {
    let (world, result) = unpacked(deb("evil", "1").data(vec![
        symlink("./up", "../outside"),
        file("./usr/keep", "x"),
        symlink("./root-link", "/usr"),
        file("./root-link/inside", "x"),
    ]));
    let rootfs = result.expect("links themselves are legal");
    assert!(rootfs.join("usr/inside").exists());
    drop(world);
    // `..` of the root is the root, so this is a dangling link inside the tree.
    refused(vec![symlink("./up", "../outside"), file("./up/secret", "changed")], "`/up`");
    refused(vec![symlink("./up", "../outside"), hard_link("./usr/stolen", "./up/secret")], "");
}

#[test]
fn a_file_is_not_written_through_a_link() {
    let (_world, result) =
        unpacked(deb("evil", "1").data(vec![
            symlink("./usr/target", "../../outside/secret"),
            file("./usr/target", "new"),
        ]));
    let rootfs = result.expect("unpack");
    assert_eq!(std::fs::read_to_string(rootfs.join("usr/target")).expect("file"), "new");
    assert!(std::fs::symlink_metadata(rootfs.join("usr/target")).expect("stat").is_file());
}

#[test]
fn devices_are_left_out() {
    let device = Entry { kind: b'3', ..file("./usr/device", "") };
    let pipe = Entry { kind: b'6', ..file("./usr/pipe", "") };
    let (_world, result) = unpacked(deb("evil", "1").data(vec![device, pipe]));
    let rootfs = result.expect("unpack");
    assert!(!rootfs.join("usr/device").exists() && !rootfs.join("usr/pipe").exists());
}

#[test]
fn unknown_kinds_are_refused() {
    refused(vec![Entry { kind: b'S', ..file("./usr/sparse", "") }], "evil");
}

#[test]
fn a_directory_is_not_replaced_by_a_file() {
    refused(vec![file("./etc", "x")], "replace `/etc`");
}

#[test]
fn damaged_ar_archives_are_refused() {
    let sound = deb("evil", "1").build();
    let huge = ar(&[("debian-binary", b"2.0\n")]);
    let mut oversize = huge.clone();
    oversize[8 + 48..8 + 58].copy_from_slice(b"9999999999");
    for (bytes, expected) in [
        (b"not a package".to_vec(), "not an ar archive"),
        (sound[..sound.len() - 10].to_vec(), "truncated"),
        (sound[..40].to_vec(), "truncated"),
        (oversize, "truncated"),
        (huge, "`control.tar` is missing"),
        (ar(&[("debian-binary", b"3.0\n")]), "format 2.x"),
        (
            ar(&[("debian-binary", b"2.0\n"), ("control.tar.lzma", b""), ("data.tar", b"")]),
            "unknown compression",
        ),
        (
            ar(&[("debian-binary", b"2.0\n"), ("control.tar.xz", b"rubbish"), ("data.tar", b"")]),
            "control archive",
        ),
        (ar(&[("debian-binary", b"2.0\n".as_slice()); 20]), "malformed"),
    ] {
        let (_world, result) = unpacked(deb("evil", "1").bytes(bytes));
        let error = result.expect_err(expected);
        assert!(error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn truncated_data_is_refused() {
    let control = tar(&[file("./control", "Package: evil\nVersion: 1\n")]);
    let data = tar(&[file("./usr/long", &"x".repeat(4000))]);
    let zst = zstd::encode_all(data.as_slice(), 1).expect("zstd");
    for (name, bytes) in [("data.tar", &data[..1000]), ("data.tar.zst", &zst[..zst.len() - 4])] {
        let bytes = ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), (name, bytes)]);
        let (_world, result) = unpacked(deb("evil", "1").bytes(bytes));
        result.expect_err(name);
    }
}

#[test]
fn a_control_file_cannot_smuggle_in_a_second_package() {
    let control =
        tar(&[file("./control", "Package: evil\nVersion: 1\n\nPackage: dpkg\nVersion: 99\n")]);
    let bytes =
        ar(&[("debian-binary", b"2.0\n"), ("control.tar", &control), ("data.tar", &tar(&[]))]);
    let (_world, result) = unpacked(deb("evil", "1").bytes(bytes));
    assert!(result.expect_err("two stanzas").contains("no usable `control`"));
}

#[test]
fn a_package_that_is_not_the_listed_one_is_refused() {
    let mut world = World::new(with_base(Vec::new()));
    let plan = world.plan("security=none").expect("plan");
    let url = plan.packages[0].url.clone();
    world.archive.files.insert(url, deb("apt", "666").build());
    let rootfs = world.dir.path().join("rootfs");
    std::fs::create_dir(&rootfs).expect("rootfs");
    let error = unpack(&plan, &world.cache(), &world.archive, &rootfs, 4).expect_err("must fail");
    assert!(shown(&error).contains("has digest"), "{}", shown(&error));
}

#[test]
fn a_damaged_cache_heals() {
    let world = World::new(with_base(Vec::new()));
    let plan = world.plan("security=none").expect("plan");
    plan.download(&world.cache(), &world.archive, 4).expect("download");
    let asked = world.archive.asked.lock().expect("lock").len();
    plan.download(&world.cache(), &world.archive, 4).expect("nothing to do");
    assert_eq!(world.archive.asked.lock().expect("lock").len(), asked);
    let path = world.dir.path().join("cache").join(&plan.packages[0].sha256);
    std::fs::write(&path, "damaged").expect("damage");
    plan.download(&world.cache(), &world.archive, 4).expect("download again");
    assert_eq!(support::sha256(&std::fs::read(&path).expect("read")), plan.packages[0].sha256);
}
