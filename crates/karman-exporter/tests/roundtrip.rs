//! A tree becomes a layer and a tree again; the same bytes whatever the number of threads.

mod common;

use std::io::Read;

use common::{Room, archive, is_root, listing, options, rich_tree, write};
use karman_control::CompressionKind;
use karman_exporter::TimePolicy;
use karman_exporter::layer::{LayerOptions, recompress, write_layer};
use karman_exporter::tarball::{Kind, TarReader};
use karman_exporter::unpack::{
    DirSink, Limits, LowerLayers, Ownership, UnpackError, UnpackOptions, extract_archive,
    is_archive, unpack_layer,
};
use karman_oci::Digest;
use karman_sys::fs::{Dir, Owner, Time};

const KINDS: [CompressionKind; 4] = [
    CompressionKind::Gzip,
    CompressionKind::Zstd,
    CompressionKind::Uncompressed,
    CompressionKind::Estargz,
];

fn names(tar: &[u8]) -> Vec<String> {
    let mut reader = TarReader::new(tar);
    let mut out = Vec::new();
    while let Some(entry) = reader.next_entry().expect("entry") {
        out.push(String::from_utf8_lossy(&entry.path).into_owned());
    }
    out
}

#[test]
fn every_kind_of_file_survives_every_compression() {
    let room = Room::new();
    let from = room.dir("from");
    rich_tree(&from);
    let before = listing(&from);
    assert!(before.len() > 40);
    for kind in KINDS {
        let blob = room.layer(&from, &options(kind, 2));
        let into = room.dir(&format!("into-{kind:?}"));
        let bytes = room.blob(&blob.descriptor.digest);
        let how = UnpackOptions { expected: Some(blob.diff_id), ..UnpackOptions::default() };
        let done = unpack_layer(&bytes[..], &into, &how).expect("unpack");
        assert_eq!(done.warnings.total, 0);
        assert_eq!(done.size, blob.uncompressed_size);
        assert_eq!(listing(&into), before, "{kind:?}");
        let again = room.layer(&into, &options(kind, 1));
        assert_eq!(again, blob, "{kind:?}");
    }
}

#[test]
fn bytes_do_not_depend_on_the_number_of_threads() {
    let room = Room::new();
    let from = room.dir("from");
    rich_tree(&from);
    let mut seed = 1_u32;
    let noise: Vec<u8> = (0..20 << 20)
        .map(|_| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 29) as u8
        })
        .collect();
    write(&from, b"noise", &noise, 0o644);
    for kind in KINDS {
        let one = room.layer(&from, &options(kind, 1));
        for threads in [2, 3, 8] {
            assert_eq!(room.layer(&from, &options(kind, threads)), one, "{kind:?} {threads}");
        }
    }
}

#[test]
fn recompression_keeps_the_layer() {
    let room = Room::new();
    let from = room.dir("from");
    rich_tree(&from);
    let gzip = room.layer(&from, &options(CompressionKind::Gzip, 2));
    let how = options(CompressionKind::Zstd, 2);
    let made = recompress(&room.store, &gzip.descriptor.digest, &gzip.diff_id, &how, &room.store);
    let mut direct = room.layer(&from, &how);
    direct.counts = karman_exporter::layer::Counts::default();
    assert_eq!(made.expect("recompress"), direct);
    let wrong = Digest::sha256_of(b"");
    let made = recompress(&room.store, &gzip.descriptor.digest, &wrong, &how, &room.store);
    assert!(made.is_err());
}

#[test]
fn order_and_end_are_canonical() {
    let room = Room::new();
    let from = room.dir("from");
    for name in ["b", "a-b"] {
        write(&from, name.as_bytes(), b"", 0o644);
    }
    let sub = from.ensure_dir("a", 0o755).expect("dir");
    write(&sub, b"z", b"z", 0o644);
    sub.whiteout("m").expect("whiteout");
    sub.set_xattr(".", "user.overlay.opaque", b"y").expect("xattr");
    write(&from, b".wh.forged", b"", 0o644);
    let blob = room.layer(&from, &options(CompressionKind::Uncompressed, 1));
    let tar = room.blob(&blob.descriptor.digest);
    assert_eq!(names(&tar), ["a/", "a/.wh..wh..opq", "a/.wh.m", "a/z", "a-b", "b"]);
    assert_eq!(blob.counts.reserved, 1);
    assert_eq!(tar.len(), 512 * (6 + 1 + 2));
    assert_eq!(blob.diff_id, blob.descriptor.digest);
}

#[test]
fn times_follow_the_policy() {
    let room = Room::new();
    let from = room.dir("from");
    for (name, sec) in [("old", 100), ("own", 1000), ("new", 5000)] {
        write(&from, name.as_bytes(), b"", 0o644);
        from.utimens(name, Time { sec, nsec: 999 }).expect("times");
    }
    let second = 1_000_000_000;
    let times =
        TimePolicy { epoch: 7, windows: &[(900 * second, 1100 * second)], clamp_later: false };
    let blob =
        room.layer(&from, &LayerOptions { times, ..options(CompressionKind::Uncompressed, 1) });
    let tar = room.blob(&blob.descriptor.digest);
    let mut reader = TarReader::new(&tar[..]);
    let mut seen = Vec::new();
    while let Some(entry) = reader.next_entry().expect("entry") {
        seen.push((String::from_utf8_lossy(&entry.path).into_owned(), entry.mtime.sec));
    }
    assert_eq!(seen, [("new".into(), 5000), ("old".into(), 100), ("own".into(), 7)]);
}

#[test]
fn links_and_parents_of_lower_layers_are_copied_up() {
    let room = Room::new();
    let lower = room.dir("lower");
    let usr = lower.ensure_dir("usr", 0o755).expect("dir");
    lower.chmod("usr", 0o1770).expect("chmod");
    lower.utimens("usr", Time::from_secs(77)).expect("times");
    write(&usr, b"tool", b"tool", 0o755);
    lower.utimens("usr", Time::from_secs(77)).expect("times");
    let tar = archive(&[
        (b"usr/alias", Kind::HardLink(b"usr/tool"), b""),
        (b"new/x", Kind::File(0), b"x"),
    ]);
    let into = room.dir("into");
    let layers = [&lower];
    let below = LowerLayers(&layers);
    let how = UnpackOptions { lower: Some(&below), ..UnpackOptions::default() };
    unpack_layer(&tar[..], &into, &how).expect("unpack");
    let usr = into.open_dir("usr").expect("usr");
    assert_eq!(usr.stat("alias").expect("alias").ino, usr.stat("tool").expect("tool").ino);
    assert_eq!(usr.stat("tool").expect("tool").permissions(), 0o755);
    let stat = into.stat("usr").expect("usr");
    assert_eq!((stat.permissions(), stat.mtime.sec), (0o1770, 77));
    assert_eq!(into.stat("new").expect("new").permissions(), 0o755);
    // Deleted below: not there to be linked.
    let top = room.dir("top");
    top.ensure_dir("usr", 0o755).expect("dir").whiteout("tool").expect("whiteout");
    let layers = [&top, &lower];
    let below = LowerLayers(&layers);
    let how = UnpackOptions { lower: Some(&below), ..UnpackOptions::default() };
    let done = unpack_layer(&tar[..], &room.dir("into2"), &how);
    assert!(matches!(done, Err(UnpackError::LinkTarget { .. })));
}

#[test]
fn whiteouts_apply_to_lower_layers_whatever_their_place() {
    let room = Room::new();
    for (at, order) in [[0, 1], [1, 0]].into_iter().enumerate() {
        let parts: [(&[u8], Kind<'_>, &[u8]); 2] =
            [(b".wh.d", Kind::File(0), b""), (b"d", Kind::Dir, b"")];
        let mut entries: Vec<_> = order.iter().map(|i| parts[*i]).collect();
        entries.push((b"d/f", Kind::File(0), b"f"));
        let into = room.dir(&format!("into{at}"));
        unpack_layer(&archive(&entries)[..], &into, &UnpackOptions::default()).expect("unpack");
        let opaque = into.get_xattr("d", "user.overlay.opaque").expect("xattr");
        assert_eq!(opaque.as_deref(), Some(&b"y"[..]), "{order:?}");
        assert!(into.open_dir("d").expect("d").exists("f").expect("f"));
    }
}

#[test]
fn later_entries_win_and_links_on_the_way_are_followed() {
    let room = Room::new();
    let entries: [(&[u8], Kind<'_>, &[u8]); 9] = [
        (b"x", Kind::File(0), b"file"),
        (b"x/y", Kind::File(0), b"in a directory"),
        (b"d/e", Kind::File(0), b"e"),
        (b"d", Kind::File(0), b"now a file"),
        (b"usr/lib", Kind::Dir, b""),
        (b"lib", Kind::Symlink(b"/usr/lib"), b""),
        (b"lib/so", Kind::File(0), b"so"),
        (b"twice", Kind::File(0), b"1"),
        (b"twice", Kind::File(0), b"22"),
    ];
    let into = room.dir("into");
    unpack_layer(&archive(&entries)[..], &into, &UnpackOptions::default()).expect("unpack");
    assert!(into.stat("x").expect("x").is_dir());
    assert_eq!(
        into.get_xattr("x", "user.overlay.opaque").expect("xattr").as_deref(),
        Some(&b"y"[..])
    );
    assert!(into.stat("d").expect("d").is_file());
    assert!(into.stat("lib").expect("lib").is_symlink());
    assert_eq!(into.open_dir_beneath("usr/lib").expect("lib").stat("so").expect("so").size, 2);
    assert_eq!(into.stat("twice").expect("twice").size, 2);
}

/// A directory that a layer names after what is in it was first made as the layers below have it.
#[test]
fn a_directory_has_the_owner_of_its_last_entry() {
    if !is_root() {
        eprintln!("SKIP a_directory_has_the_owner_of_its_last_entry: needs root");
        return;
    }
    let room = Room::new();
    let lower = room.dir("lower");
    lower.ensure_dir("theirs", 0o755).expect("dir");
    lower.chown("theirs", Owner { uid: 1000, gid: 1000 }).expect("chown");
    let entries: [(&[u8], Kind<'_>, &[u8]); 2] =
        [(b"theirs/f", Kind::File(0), b""), (b"theirs", Kind::Dir, b"")];
    let into = room.dir("into");
    let layers = [&lower];
    let lower = LowerLayers(&layers);
    let how = UnpackOptions { lower: Some(&lower), ..UnpackOptions::default() };
    unpack_layer(&archive(&entries[..1])[..], &into, &how).expect("unpack");
    assert_eq!(into.stat("theirs").expect("stat").uid, 1000);
    let into = room.dir("again");
    unpack_layer(&archive(&entries)[..], &into, &how).expect("unpack");
    let stat = into.stat("theirs").expect("stat");
    assert_eq!((stat.uid, stat.gid), (0, 0));
}

#[test]
fn archives_for_add_are_recognised_and_extracted() {
    let room = Room::new();
    let tar = archive(&[
        (b"/abs/f", Kind::File(0), b"x\n"),
        (b"a/../b/h", Kind::File(0), b"x\n"),
        (b"../../evil", Kind::File(0), b"x\n"),
        (b".wh.literal", Kind::File(0), b"x\n"),
        (b"link", Kind::HardLink(b"/abs/f"), b""),
    ]);
    assert!(is_archive(&tar[..]));
    assert!(!is_archive(&archive(&[])[..]), "an archive without entries is a file");
    assert!(!is_archive(&b"#!/bin/sh\necho hello\n"[..]));
    assert!(!is_archive(&b"\x1f\x8b\x08 not really"[..]));
    let root = room.dir("out");
    let mut sink = DirSink::new(&root, Ownership::Process);
    let done = extract_archive(&tar[..], &mut sink, Limits::default()).expect("extract");
    assert_eq!(sink.finish().expect("finish").total, 0);
    assert_eq!(done.entries, 5);
    for path in ["abs/f", "b/h", "evil", ".wh.literal", "link"] {
        assert!(common::exists(&room.path("out").join(path)), "{path}");
    }
    assert!(!common::exists(&room.path("evil")));
    for program in ["gzip", "bzip2", "xz", "zstd"] {
        if !common::have("archives_for_add_are_recognised_and_extracted", program) {
            continue;
        }
        let plain = room.path("t.tar");
        std::fs::write(&plain, &tar).expect("write");
        let out = std::process::Command::new(program).args(["-q", "-c"]).arg(&plain).output();
        assert!(is_archive(&out.expect("run").stdout[..]), "{program}");
    }
}

#[test]
fn a_tree_that_changes_is_noticed_and_the_store_stays_clean() {
    let room = Room::new();
    let from = room.dir("from");
    from.mkdir("locked", 0o700).expect("dir");
    let missing = Dir::open(room.path("from/locked")).expect("open");
    std::fs::remove_dir(room.path("from/locked")).expect("remove");
    assert!(write_layer(&missing, &options(CompressionKind::Gzip, 1), &room.store).is_err());
    assert_eq!(std::fs::read_dir(room.path("store/blobs/sha256")).expect("read").count(), 0);
}

#[test]
fn sparse_files_of_gnu_tar_are_filled() {
    if !common::have("sparse_files_of_gnu_tar_are_filled", "tar") {
        return;
    }
    let room = Room::new();
    std::fs::create_dir(room.path("s")).expect("dir");
    let file = std::fs::File::create(room.path("s/holes")).expect("create");
    for piece in 0..40_u64 {
        std::os::unix::fs::FileExt::write_at(&file, b"data", piece * 200_000).expect("write");
    }
    file.set_len(20_000_000).expect("length");
    for format in ["gnu", "posix", "--sparse-version=0.0", "--sparse-version=0.1"] {
        let mut tar = std::process::Command::new("tar");
        tar.arg("-S");
        match format.starts_with("--") {
            true => tar.args(["--format=posix", format]),
            false => tar.arg(format!("--format={format}")),
        };
        let out = tar.arg("-C").arg(room.path("s")).args(["-cf", "-", "holes"]).output();
        let out = out.expect("tar").stdout;
        assert!(out.len() < 1_000_000, "{format}");
        let mut reader = TarReader::new(&out[..]);
        let entry = reader.next_entry().expect("read").expect("entry");
        assert_eq!(entry.path, b"holes", "{format}");
        let mut data = Vec::new();
        reader.read_to_end(&mut data).expect("data");
        assert!(data == std::fs::read(room.path("s/holes")).expect("read"), "{format}");
        assert!(reader.next_entry().expect("end").is_none(), "{format}");
    }
}

#[test]
fn a_deep_tree_costs_no_descriptors_to_walk() {
    let room = Room::new();
    let from = room.dir("from");
    let mut deep = from.reopen().expect("open");
    for _ in 0..390 {
        deep = deep.ensure_dir("directory-with-a-name", 0o755).expect("dir");
    }
    write(&deep, b"leaf", b"leaf", 0o644);
    let blob = room.layer(&from, &options(CompressionKind::Gzip, 2));
    assert_eq!(blob.counts.entries, 391);
    let into = room.dir("into");
    let bytes = room.blob(&blob.descriptor.digest);
    unpack_layer(&bytes[..], &into, &UnpackOptions::default()).expect("unpack");
    assert_eq!(listing(&into).len(), 392);
    if !is_root() {
        eprintln!("SKIP owners in a_deep_tree_costs_no_descriptors_to_walk: not root");
    }
}
