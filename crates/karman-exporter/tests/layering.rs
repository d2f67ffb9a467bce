//! The same unit gives the same layer in every image, and layers put together give the final tree.

mod common;

use common::{Room, listing, options, write};
use karman_control::CompressionKind;
use karman_exporter::TimePolicy;
use karman_exporter::layering::{
    Facts, FinalEntry, FinalTree, Owner, Source, Unit, units, write_group,
};
use karman_exporter::unpack::{UnpackOptions, unpack_layer};
use karman_oci::Digest;
use karman_sys::fs::{Dir, Time};

fn read(dirs: &[&Dir]) -> FinalTree {
    let times = vec![TimePolicy::KEEP; dirs.len()];
    let source = Source { dirs, times: &times, epoch: 0 };
    FinalTree::read(&source, &Facts::default(), 2).expect("a tree")
}

/// What begins with `p-` below any directory is of package `p`, and so on.
fn owner(entry: &FinalEntry) -> Owner {
    let name = entry.path.rsplit(|b| *b == b'/').next().unwrap_or_default();
    match name.split(|b| *b == b'-').next() {
        Some([letter]) if !entry.is_dir() => Owner::Unit(format!("deb:{}", char::from(*letter))),
        _ => Owner::Step,
    }
}

fn find<'u>(units: &'u [Unit], name: &str) -> &'u Unit {
    let names: Vec<&str> = units.iter().map(|u| u.info.name.as_str()).collect();
    units.iter().find(|u| u.info.name == name).unwrap_or_else(|| panic!("{name} of {names:?}"))
}

fn layer(room: &Room, tree: &FinalTree, unit: &Unit, dirs: &[&Dir]) -> Digest {
    let options = options(CompressionKind::Gzip, 1);
    let blob = write_group(tree, &unit.entries, dirs, &options, &room.store).expect("a layer");
    blob.descriptor.digest
}

/// A directory of an image with package `p` in it.
fn with_package(dir: &Dir) -> Dir {
    let etc = dir.ensure_dir("etc", 0o755).expect("dir");
    write(&etc, b"p-conf", b"conf", 0o640);
    etc.link("p-conf", &etc, "p-same").expect("link");
    etc.symlink("p-conf", "p-link").expect("link");
    etc.utimens("p-link", Time::from_secs(5)).expect("times");
    etc
}

#[test]
fn a_unit_is_the_same_in_images_that_differ_elsewhere() {
    let room = Room::new();
    let (one, two, upper) = (room.dir("one"), room.dir("two"), room.dir("upper"));
    with_package(&one);
    let etc = with_package(&two);
    write(&etc, b"q-conf", b"other", 0o644);
    // The directory is another one: mode, time, an attribute.
    two.chmod("etc", 0o750).expect("chmod");
    two.utimens("etc", Time::from_secs(77)).expect("times");
    write(&upper, b"rest", b"rest", 0o644);
    let (first, second) = (read(&[&one]), read(&[&upper, &two]));
    let (of_first, of_second) = (units(&first, owner), units(&second, owner));
    let (p1, p2) = (find(&of_first, "deb:p"), find(&of_second, "deb:p"));
    assert_eq!(p1.info, p2.info);
    assert_eq!(layer(&room, &first, p1, &[&one]), layer(&room, &second, p2, &[&upper, &two]));
    assert_eq!(
        find(&of_second, "step:0000").info.step,
        Some(0),
        "the directory is of the lower layer"
    );
    assert_eq!(find(&of_second, "step:0001").entries.len(), 1);
}

#[test]
fn links_across_units_stay_links() {
    let room = Room::new();
    let dir = room.dir("image");
    write(&dir, b"a-file", b"same", 0o644);
    for name in ["b-file", "c-file"] {
        dir.link("a-file", &dir, name).expect("link");
    }
    write(&dir, b"d-file", b"rest", 0o644);
    dir.link("d-file", &dir, "other").expect("link");
    let tree = read(&[&dir]);
    let found = units(&tree, owner);
    assert_eq!(find(&found, "deb:a+deb:b+deb:c").entries.len(), 3);
    assert_eq!(find(&found, "step:0000").entries.len(), 2, "nobody's name makes it the step's");
}

#[test]
fn large_files_of_a_rest_stand_alone() {
    let room = Room::new();
    let dir = room.dir("image");
    write(&dir, b"database", &vec![1; 1 << 20], 0o644);
    write(&dir, b"small", &vec![1; (1 << 20) - 1], 0o644);
    let found = units(&read(&[&dir]), owner);
    assert_eq!(find(&found, "file:/database").info.step, Some(0));
    assert_eq!(find(&found, "step:0000").entries.len(), 1);
}

#[test]
fn layers_give_the_tree_back() {
    let room = Room::new();
    let (lower, upper) = (room.dir("lower"), room.dir("upper"));
    let etc = with_package(&lower);
    write(&etc, b"q-conf", b"q", 0o600);
    write(&etc, b"changed", b"before", 0o600);
    etc.ensure_dir("empty", 0o700).expect("dir");
    etc.ensure_dir("gone", 0o700).expect("dir");
    let above = upper.ensure_dir("etc", 0o711).expect("dir");
    write(&above, b"changed", b"after", 0o644);
    write(&above, b"p-later", b"later", 0o644);
    above.whiteout("gone").expect("whiteout");
    above.set_xattr(".", "user.note", b"1").expect("xattr");
    upper.utimens("etc", Time::from_secs(99)).expect("times");
    etc.utimens("empty", Time::from_secs(98)).expect("times");

    let dirs = [&upper, &lower];
    let tree = read(&dirs);
    let mut found = units(&tree, owner);
    found.sort_by_key(|u| u.info.step);
    let into = room.dir("into");
    for unit in &found {
        let digest = layer(&room, &tree, unit, &dirs);
        unpack_layer(&room.blob(&digest)[..], &into, &UnpackOptions::default()).expect("unpack");
    }
    let expected = room.dir("expected");
    let whole = unpack_merged(&room, &tree, &dirs, &expected);
    assert_eq!(listing(&into), whole);
    assert!(whole.iter().any(|l| l.starts_with("/etc/changed 100644")), "{whole:#?}");
    assert!(whole.iter().any(|l| l.starts_with("/etc 40711") && l.contains(" 99 ")), "{whole:#?}");
    assert!(!whole.iter().any(|l| l.contains("gone")), "{whole:#?}");
}

/// The whole tree as one layer.
fn unpack_merged(room: &Room, tree: &FinalTree, dirs: &[&Dir], into: &Dir) -> Vec<String> {
    let entries: Vec<u32> = (0..tree.entries.len() as u32).collect();
    let options = options(CompressionKind::Uncompressed, 1);
    let blob = write_group(tree, &entries, dirs, &options, &room.store).expect("a layer");
    let bytes = room.blob(&blob.descriptor.digest);
    unpack_layer(&bytes[..], into, &UnpackOptions::default()).expect("unpack");
    listing(into)
}
