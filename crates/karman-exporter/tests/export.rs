//! Images out and in again, judged by other people's tools where they are installed.

mod common;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use common::{Room, exists, have, is_root, listing, options, rich_tree, run, write};
use karman_control::CompressionKind;
use karman_exporter::TimePolicy;
use karman_exporter::export::{
    ArchiveKind, Named, Rootfs, export_local, export_tar, write_archive, write_file, write_layout,
};
use karman_exporter::image::{ImageLayer, ImageOptions, StoredImage, assemble, assemble_index};
use karman_exporter::layout::Layout;
use karman_exporter::unpack::Ownership;
use karman_oci::{ImageConfig, Platform, Reference};
use karman_sys::fs::Dir;

/// Two layers: a rich tree, and one that changes it.
fn layers(room: &Room) -> (Dir, Dir) {
    let lower = room.dir("lower");
    rich_tree(&lower);
    let upper = room.dir("upper");
    upper.whiteout("empty").expect("whiteout");
    write(&upper, b"plain", b"changed\n", 0o600);
    let opaque = upper.ensure_dir("opaque", 0o700).expect("dir");
    opaque.set_xattr(".", "user.overlay.opaque", b"y").expect("xattr");
    write(&opaque, b"fresh", b"fresh", 0o644);
    upper.ensure_dir("sub", 0o755).expect("dir").whiteout("old").expect("whiteout");
    (lower, upper)
}

fn image(room: &Room, platform: &Platform, kind: CompressionKind, oci: bool) -> StoredImage {
    let (lower, upper) = (room.dir("lower"), room.dir("upper"));
    let mut how = options(kind, 2);
    how.oci_media_types = oci;
    let layers = [&lower, &upper].map(|dir| ImageLayer::from(&room.layer(dir, &how)));
    let options = ImageOptions { oci_media_types: oci, ..ImageOptions::default() };
    assemble(ImageConfig::scratch(platform), &layers, &options, &room.store).expect("image")
}

fn names() -> [Reference; 2] {
    ["karman/test:1", "karman/test:two"].map(|name| Reference::parse(name).expect("name"))
}

fn archive_bytes(room: &Room, image: &StoredImage, kind: ArchiveKind) -> Vec<u8> {
    let names = names();
    let named = Named { top: &image.manifest, names: &names };
    let mut out = Vec::new();
    write_archive(&room.store, &[named], kind, &mut out).expect("archive");
    out
}

#[test]
fn the_same_image_gives_the_same_bytes() {
    let room = Room::new();
    layers(&room);
    let host = Platform::new("linux", "amd64");
    for kind in [ArchiveKind::Oci, ArchiveKind::Docker] {
        let one = archive_bytes(&room, &image(&room, &host, CompressionKind::Gzip, true), kind);
        let two = archive_bytes(&room, &image(&room, &host, CompressionKind::Gzip, true), kind);
        assert!(one == two, "{kind:?}");
    }
}

#[test]
fn layouts_are_read_back_from_directories_and_archives() {
    let room = Room::new();
    layers(&room);
    let platforms = [Platform::new("linux", "amd64"), Platform::new("linux", "arm64")];
    let images = platforms.clone().map(|p| image(&room, &p, CompressionKind::Zstd, true).manifest);
    let index = assemble_index(&images, &ImageOptions::default(), &room.store).expect("index");
    let names = names();
    let named = Named { top: &index, names: &names };
    let dir = room.path("layout");
    write_layout(&room.store, &[named], &dir).expect("layout");
    let alone = Named { top: &images[0], names: &names[..1] };
    write_layout(&room.store, &[alone], &dir).expect("again");
    let tar = room.path("layout.tar");
    write_file(&tar, |out| write_archive(&room.store, &[named], ArchiveKind::Oci, out))
        .expect("tar");

    for (path, first) in [(&dir, &images[0]), (&tar, &index)] {
        let layout = Layout::open(path).expect("open");
        assert_eq!(layout.images().len(), 2);
        assert_eq!(layout.resolve(Some("1")).expect("tag").digest, first.digest);
        let top = layout.resolve(Some("two")).expect("tag");
        assert_eq!(top.digest, index.digest);
        assert_eq!(
            layout.resolve(Some(&index.digest.to_string())).expect("digest").digest,
            index.digest
        );
        assert!(layout.resolve(Some("three")).is_err());
        let found = layout.select(&top, &platforms[1]).expect("platform");
        assert_eq!(found.digest, images[1].digest);
        assert!(layout.select(&top, &Platform::new("linux", "s390x")).is_err());
        let other = Room::new();
        let copied = layout.import(&top, &other.store).expect("import");
        for blob in &copied {
            assert_eq!(other.blob(&blob.digest).len() as u64, blob.size);
        }
        assert_eq!(copied.len(), 7, "an index, two manifests, two configs, two layers");
    }
}

#[test]
fn damaged_blobs_are_noticed() {
    let room = Room::new();
    layers(&room);
    let host = Platform::new("linux", "amd64");
    let image = image(&room, &host, CompressionKind::Gzip, true);
    let named = Named { top: &image.manifest, names: &[] };
    let dir = room.path("layout");
    write_layout(&room.store, &[named], &dir).expect("layout");
    let config = dir.join("blobs/sha256").join(image.config.digest.hex());
    let bytes = std::fs::read(&config).expect("read");
    std::fs::remove_file(&config).expect("remove");
    std::fs::write(&config, [&bytes[1..], b" "].concat()).expect("write");
    let layout = Layout::open(&dir).expect("open");
    let top = layout.resolve(None).expect("the only image");
    let other = Room::new();
    assert!(layout.import(&top, &other.store).is_err());
    let dest = room.path("out.tar");
    let done = write_file(&dest, |out| write_archive(&layout, &[named], ArchiveKind::Oci, out));
    assert!(done.is_err() && !exists(&dest));
    let left = std::fs::read_dir(room.temp.path()).expect("read");
    assert!(left.flatten().all(|e| !e.file_name().to_string_lossy().contains(".tmp")));
}

#[test]
fn root_filesystems_are_flattened() {
    let room = Room::new();
    let (lower, upper) = layers(&room);
    let platform = Platform::new("linux", "amd64");
    let layers = [&upper, &lower];
    let system = Rootfs { platform: &platform, layers: &layers };
    let dest = room.path("out");
    std::fs::create_dir(&dest).expect("dir");
    std::fs::write(dest.join("mine"), "mine").expect("write");
    std::fs::write(dest.join("plain"), "old").expect("write");
    let warnings = export_local(&[system], false, &dest, Ownership::Exact).expect("local");
    assert_eq!(warnings.total, 0);
    assert_eq!(std::fs::read_to_string(dest.join("plain")).expect("read"), "changed\n");
    for (path, there) in [
        ("mine", true),
        ("empty", false),
        ("opaque/x", false),
        ("opaque/fresh", true),
        ("sub/old", false),
        ("sub/far", true),
        ("sub/gone", false),
        ("sub/fifo", true),
    ] {
        assert_eq!(exists(&dest.join(path)), there, "{path}");
    }
    let setuid = std::fs::metadata(dest.join("setuid")).expect("setuid");
    assert_eq!(setuid.permissions().mode() & 0o7777, 0o6755);
    assert_eq!(std::fs::metadata(dest.join("big")).expect("big").nlink(), 1);

    let mut tar = Vec::new();
    export_tar(&[system], false, TimePolicy::KEEP, &mut tar).expect("tar");
    let mut again = Vec::new();
    export_tar(&[system], false, TimePolicy::KEEP, &mut again).expect("tar");
    assert!(tar == again);
    std::fs::remove_file(dest.join("mine")).expect("remove");
    let flat = room.dir("flat");
    let done = karman_exporter::unpack::unpack_layer(&tar[..], &flat, &Default::default());
    assert_eq!(done.expect("unpack").warnings.total, 0);
    assert_eq!(listing(&flat), listing(&Dir::open(&dest).expect("open")));

    let other = Platform::new("linux", "arm64");
    let systems = [system, Rootfs { platform: &other, layers: &layers }];
    let dest = room.path("both");
    export_local(&systems, true, &dest, Ownership::Exact).expect("local");
    let mut tar = Vec::new();
    export_tar(&systems, true, TimePolicy::KEEP, &mut tar).expect("tar");
    let flat = room.dir("flat-both");
    karman_exporter::unpack::unpack_layer(&tar[..], &flat, &Default::default()).expect("unpack");
    for platform in ["linux_amd64", "linux_arm64"] {
        let one = listing(&flat.open_dir(platform).expect("dir"));
        assert_eq!(one, listing(&Dir::open(dest.join(platform)).expect("open")));
    }
}

const PYTHON: &str = r#"
import sys, tarfile
t = tarfile.open(sys.argv[1])
m = {i.name.encode("utf-8", "surrogateescape"): i for i in t}
assert m[b"o\xff\n "].size == 3, sorted(m)
assert m["grüße".encode()].size == 4
assert m[b"l" * 200].size == 4
assert m[b"sub/far"].mtime == 8589934700 and m[b"sub/old"].mtime == -5
assert m[b"sub/old"].pax_headers["SCHILY.xattr.user.note"] == "a=b\n\0c"
assert m[b"opaque/.wh..wh..opq"].size == 0 and m[b"sub/.wh.gone"].size == 0
assert m[b"setuid"].mode == 0o6755 and m[b"sub"].mode == 0o1777
# The deep name comes first; the other is a link to it.
links = [i for i in m.values() if i.islnk()]
assert len(links) == 1 and t.extractfile(links[0]).read() == b"plain\n"
assert m[b"sub/longsym"].linkname == "x" * 150 and m[b"sub/fifo"].isfifo()
assert all(i.uname == "" and i.gname == "" for i in m.values())
print(len(m))
"#;

#[test]
fn python_gzip_and_gnu_tar_read_our_layers() {
    let test = "python_gzip_and_gnu_tar_read_our_layers";
    let room = Room::new();
    let from = room.dir("from");
    rich_tree(&from);
    let blob = room.layer(&from, &options(CompressionKind::Gzip, 2));
    let path = room.path("layer.tar.gz");
    File::create(&path)
        .and_then(|mut f| f.write_all(&room.blob(&blob.descriptor.digest)))
        .expect("write");
    if have(test, "gzip") {
        run(Command::new("gzip").arg("-t").arg(&path));
    }
    if have(test, "tar") {
        let out = run(Command::new("tar").args(["--quoting-style=escape", "-tzf"]).arg(&path));
        assert_eq!(out.lines().count() as u64, blob.counts.entries);
    }
    if have(test, "python3") {
        let out = run(Command::new("python3").args(["-c", PYTHON]).arg(&path));
        assert_eq!(out.trim(), blob.counts.entries.to_string());
    }
}

#[test]
fn skopeo_reads_archives_and_layouts() {
    if !have("skopeo_reads_archives_and_layouts", "skopeo") {
        return;
    }
    let room = Room::new();
    layers(&room);
    let host = Platform::new("linux", "amd64");
    for (oci, kind) in
        [(true, ArchiveKind::Oci), (true, ArchiveKind::Docker), (false, ArchiveKind::Docker)]
    {
        let image = image(&room, &host, CompressionKind::Gzip, oci);
        let tar = room.path("image.tar");
        std::fs::write(&tar, archive_bytes(&room, &image, kind)).expect("write");
        let scheme = if kind == ArchiveKind::Oci { "oci-archive" } else { "docker-archive" };
        let name = if kind == ArchiveKind::Oci { "1" } else { "docker.io/karman/test:1" };
        let from = format!("{scheme}:{}:{name}", tar.display());
        let out = room.path(&format!("copied-{oci}-{kind:?}"));
        let to = format!("dir:{}", out.display());
        run(Command::new("skopeo").args(["--insecure-policy", "copy", "-q", &from, &to]));
        assert!(exists(&out.join("manifest.json")));
    }
    let image = image(&room, &host, CompressionKind::Zstd, true);
    let names = names();
    let dir = room.path("layout");
    write_layout(&room.store, &[Named { top: &image.manifest, names: &names }], &dir)
        .expect("layout");
    let from = format!("oci:{}:two", dir.display());
    let out = run(Command::new("skopeo").args(["inspect", "--raw", &from]));
    assert_eq!(karman_oci::Digest::sha256_of(out.as_bytes()), image.manifest.digest);
}

#[test]
fn umoci_unpacks_our_layout() {
    if !have("umoci_unpacks_our_layout", "umoci") {
        return;
    }
    if !is_root() {
        eprintln!("SKIP umoci_unpacks_our_layout: not root");
        return;
    }
    let room = Room::new();
    layers(&room);
    let image = image(&room, &Platform::new("linux", "amd64"), CompressionKind::Gzip, true);
    let names = names();
    let dir = room.path("layout");
    write_layout(&room.store, &[Named { top: &image.manifest, names: &names }], &dir)
        .expect("layout");
    let bundle = room.path("bundle");
    let from = format!("{}:1", dir.display());
    run(Command::new("umoci").args(["unpack", "--image", &from]).arg(&bundle));
    let root = bundle.join("rootfs");
    assert_eq!(std::fs::read_to_string(root.join("plain")).expect("read"), "changed\n");
    assert!(exists(&root.join("opaque/fresh")) && !exists(&root.join("opaque/x")));
    assert!(!exists(&root.join("empty")) && !exists(&root.join("sub/old")));
}
