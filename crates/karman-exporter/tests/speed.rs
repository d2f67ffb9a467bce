//! `cargo test --release -p karman-exporter --test speed -- --ignored --nocapture`: MB/s for a tree of mixed files,
//! `KARMAN_SPEED_TREE` or the host's Python library, against `tar | gzip -6`.

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use common::{Room, options};
use karman_control::{Compression, CompressionKind};
use karman_exporter::layer::{LayerOptions, write_layer};
use karman_exporter::unpack::{UnpackOptions, unpack_layer};
use karman_sys::fs::Dir;

#[test]
#[ignore = "measures; takes a minute"]
fn speed_of_layers() {
    let tree =
        std::env::var_os("KARMAN_SPEED_TREE").map_or("/usr/lib/python3".into(), PathBuf::from);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let room = Room::new();
    let mut cases = vec![(CompressionKind::Uncompressed, None)];
    cases.extend([1, 3, 4, 5, 6, 7, 9].map(|level| (CompressionKind::Gzip, Some(level))));
    cases.extend([1, 3, 6].map(|level| (CompressionKind::Zstd, Some(level))));
    for (kind, level) in cases {
        let how =
            LayerOptions { compression: Compression { kind, level }, ..options(kind, threads) };
        let dir = Dir::open(&tree).expect("tree");
        let start = Instant::now();
        let blob = write_layer(&dir, &how, &room.store).expect("layer");
        let took = start.elapsed().as_secs_f64();
        let (plain, packed) = (blob.uncompressed_size as f64, blob.descriptor.size as f64);
        let start = Instant::now();
        let name = blob.descriptor.digest.hex();
        let file = std::fs::File::open(room.path("store/blobs/sha256").join(name)).expect("blob");
        let into = room.dir(&format!("{kind:?}{level:?}"));
        unpack_layer(file, &into, &UnpackOptions::default()).expect("unpack");
        let back = start.elapsed().as_secs_f64();
        eprintln!(
            "{kind:?} {level:?}: {:.0} MB, {:.1} MB/s, ratio {:.4}, {} entries; unpack {:.1} MB/s",
            plain / 1e6,
            plain / 1e6 / took,
            packed / plain,
            blob.counts.entries,
            plain / 1e6 / back,
        );
        std::fs::remove_dir_all(room.path(&format!("{kind:?}{level:?}"))).expect("remove");
    }
    let script = "tar -C \"$0\" -cf - . | gzip -6 | wc -c";
    let start = Instant::now();
    let size = common::run(Command::new("sh").args(["-c", script]).arg(&tree));
    eprintln!("tar | gzip -6: {:.1} s, {} bytes", start.elapsed().as_secs_f64(), size.trim());
}

/// Peak resident memory of this process in KiB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").trim().parse().expect("number")
}

#[test]
#[ignore = "writes a layer of 4 GiB; run it alone"]
fn memory_is_bounded() {
    let room = Room::new();
    let from = room.dir("from");
    let big = std::fs::File::create(room.path("from/big")).expect("create");
    big.set_len(4 << 30).expect("length");
    for i in 0..3000 {
        common::write(&from, format!("small{i}").as_bytes(), &vec![7; 100_000], 0o644);
    }
    for kind in [CompressionKind::Gzip, CompressionKind::Zstd] {
        let blob = write_layer(&from, &options(kind, 8), &room.store).expect("layer");
        eprintln!("{kind:?}: {} bytes, peak {} KiB", blob.uncompressed_size, peak());
        assert!(peak() < 300 * 1024);
    }
}
