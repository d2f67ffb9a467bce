//! An archive: unpacked as a layer and extracted as `ADD` does, in a directory with something beside it.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use karman_exporter::unpack::{
    DirSink, Limits, Ownership, UnpackOptions, extract_archive, is_archive, unpack_layer,
};
use karman_sys::fs::Dir;

const LIMITS: Limits = Limits { bytes: 4 << 20, entries: 500, ratio: 100 };
const SECRET: &[u8] = b"secret";

/// The layout of a tar header (POSIX `ustar`).
const BLOCK: usize = 512;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const MAGIC: std::ops::Range<usize> = 257..262;

pub(crate) fn run(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    fix_checksums(&mut bytes);
    let room = tempfile::tempdir().expect("a directory");
    std::fs::write(room.path().join("secret"), SECRET).expect("a file");
    for name in ["layer", "plain"] {
        std::fs::create_dir(room.path().join(name)).expect("a directory");
    }
    let open = |name: &str| Dir::open(room.path().join(name)).expect("a directory");
    let how =
        UnpackOptions { limits: LIMITS, ownership: Ownership::Process, ..UnpackOptions::default() };
    let layer = unpack_layer(&bytes[..], &open("layer"), &how);
    let into = open("plain");
    let mut sink = DirSink::new(&into, Ownership::Process);
    let plain = extract_archive(&bytes[..], &mut sink, LIMITS);
    if plain.is_ok() {
        // A path may have become too long to be entered again; that is told, not a panic.
        let _ = sink.finish();
        assert!(is_archive(&bytes[..]) || plain.is_ok_and(|done| done.entries == 0));
    }
    if let Ok(layer) = layer {
        assert!(layer.entries <= LIMITS.entries && layer.size <= LIMITS.bytes);
    }
    check_outside(room.path());
}

/// Nothing was added, changed or linked beside the two trees.
fn check_outside(room: &Path) {
    let entries = std::fs::read_dir(room).expect("the room").map(|e| e.expect("an entry"));
    let mut names: Vec<_> = entries.map(|e| e.file_name().as_bytes().to_vec()).collect();
    names.sort();
    assert_eq!(names, [&b"layer"[..], b"plain", b"secret"], "something appeared outside");
    let secret = room.join("secret");
    assert_eq!(std::fs::read(&secret).expect("the file"), SECRET, "a file outside was written");
    let links = std::os::unix::fs::MetadataExt::nlink(&secret.metadata().expect("the file"));
    assert_eq!(links, 1, "a file outside was linked");
}

/// Makes the checksum of every block that looks like a header right, so that what lies behind it is reached.
fn fix_checksums(tar: &mut [u8]) {
    for block in tar.chunks_exact_mut(BLOCK).filter(|block| &block[MAGIC] == b"ustar") {
        block[CHECKSUM].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}
