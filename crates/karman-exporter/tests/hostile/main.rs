//! Archives made to do harm. Each is unpacked as a layer and extracted as an `ADD` archive; whatever the result, the
//! surroundings of the destination stay as they were, and an error or a harmless tree comes out.

#[path = "../common/mod.rs"]
mod common;
mod corpus;

use common::{Room, archive, listing};
use karman_exporter::tarball::Kind;
use karman_exporter::unpack::{
    DirSink, Limits, Ownership, UnpackError, UnpackOptions, extract_archive, unpack_layer,
};
use karman_oci::Digest;
use karman_sys::fs::Dir;

use corpus::{Verdict, corpus};

/// Files around the destination that an escape would change.
fn surroundings(room: &Room) -> Dir {
    let around = room.dir("around");
    common::write(&around, b"secret", b"secret", 0o600);
    around.mkdir("outside", 0o755).expect("dir");
    around.mkdir("into", 0o755).expect("dir");
    around.mkdir("plain", 0o755).expect("dir");
    around
}

fn around_only(dir: &Dir) -> Vec<String> {
    let lines = listing(dir).into_iter();
    lines.filter(|line| !line.starts_with("/into") && !line.starts_with("/plain")).collect()
}

#[test]
fn nothing_escapes_and_nothing_hangs() {
    let cases = corpus();
    assert!(cases.len() >= 15);
    for case in cases {
        let room = Room::new();
        let around = surroundings(&room);
        let before = around_only(&around);
        let into = around.open_dir("into").expect("into");
        let limits = Limits { bytes: 64 << 20, entries: 1000, ratio: 100 };
        let how =
            UnpackOptions { limits, ownership: Ownership::Process, ..UnpackOptions::default() };
        let layer = unpack_layer(&case.bytes[..], &into, &how);
        let plain = around.open_dir("plain").expect("plain");
        let mut sink = DirSink::new(&plain, Ownership::Process);
        let added = extract_archive(&case.bytes[..], &mut sink, limits);
        let finished = sink.finish();
        assert_eq!(around_only(&around), before, "{}", case.name);
        match case.verdict {
            Verdict::Refused => {
                assert!(layer.is_err(), "{}: {layer:?}", case.name);
            }
            Verdict::RefusedByBoth => {
                assert!(layer.is_err(), "{}: {layer:?}", case.name);
                assert!(added.is_err(), "{}: {added:?}", case.name);
            }
            Verdict::Harmless(path) => {
                layer.unwrap_or_else(|error| panic!("{}: {error:?}", case.name));
                assert!(common::exists(&room.path("around/into").join(path)), "{}", case.name);
                finished.expect("finish");
            }
        }
    }
}

#[test]
fn a_wrong_digest_is_an_error() {
    let room = Room::new();
    let tar = archive(&[(b"f", Kind::File(0), b"f")]);
    let expected = Some(Digest::sha256_of(b"something else"));
    let how = UnpackOptions { expected, ownership: Ownership::Process, ..UnpackOptions::default() };
    let done = unpack_layer(&tar[..], &room.dir("into"), &how);
    assert!(matches!(done, Err(UnpackError::DiffId { .. })));
}

#[test]
fn every_truncation_is_an_error_or_a_shorter_tree() {
    let tar = archive(&[
        (b"a", Kind::File(0), &[1; 700]),
        (&[b'l'; 150], Kind::File(0), b"long"),
        (b"b", Kind::Symlink(b"a"), b""),
    ]);
    for cut in (0..tar.len()).step_by(37) {
        let room = Room::new();
        let how = UnpackOptions { ownership: Ownership::Process, ..UnpackOptions::default() };
        let done = unpack_layer(&tar[..cut], &room.dir("into"), &how);
        if cut % 512 != 0 && cut < tar.len() - 1024 {
            assert!(done.is_err(), "{cut}");
        }
    }
}

#[test]
fn flipped_bytes_never_escape() {
    let tar = archive(&[
        (b"dir", Kind::Dir, b""),
        (b"dir/link", Kind::Symlink(b"../../../outside"), b""),
        (b"dir/link/file", Kind::File(0), b"data"),
        (b"hard", Kind::HardLink(b"dir/link/file"), b""),
    ]);
    let mut seed = 7_u32;
    let room = Room::new();
    let around = surroundings(&room);
    let before = around_only(&around);
    for round in 0..300 {
        let mut bad = tar.clone();
        for _ in 0..3 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = seed as usize % bad.len();
            bad[at] ^= 1 << (seed >> 29);
        }
        corpus::fix_checksums(&mut bad);
        let name = format!("n{round}");
        around.open_dir("into").expect("into").mkdir(&name, 0o755).expect("dir");
        let into = around.open_dir_beneath(format!("into/{name}")).expect("open");
        let how = UnpackOptions { ownership: Ownership::Process, ..UnpackOptions::default() };
        // Any result will do as long as nothing happens outside.
        drop(unpack_layer(&bad[..], &into, &how));
        assert_eq!(around_only(&around), before, "round {round}");
    }
}
