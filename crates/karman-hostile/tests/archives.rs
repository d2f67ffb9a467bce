//! Archives made to cost much; those that climb out are in `karman-exporter`'s suite `hostile`.

use std::io::Read;
use std::time::Duration;

use karman_exporter::tarball::{Header, Kind, Meta, TarWriter};
use karman_exporter::unpack::{
    DirSink, Limits, Ownership, UnpackOptions, extract_archive, is_archive, unpack_layer,
};
use karman_sys::fs::Dir;
use karman_testing::{Bounds, bounded};

const BOUNDS: Bounds = Bounds { memory: 512 << 20, time: Duration::from_secs(90) };
const SMALL: Limits = Limits { bytes: 64 << 20, entries: 10_000, ratio: 100 };

/// Both ways of unpacking; the error of each, empty where there is none.
fn unpacked(input: impl Read + Send + Clone, limits: Limits) -> [String; 2] {
    let room = tempfile::tempdir().expect("a directory");
    let open = |name: &str| {
        std::fs::create_dir(room.path().join(name)).expect("a directory");
        Dir::open(room.path().join(name)).expect("a directory")
    };
    let how = UnpackOptions { limits, ownership: Ownership::Process, ..UnpackOptions::default() };
    let layer = unpack_layer(input.clone(), &open("layer"), &how).map(drop);
    let into = open("plain");
    let mut sink = DirSink::new(&into, Ownership::Process);
    let plain = extract_archive(input, &mut sink, limits).map(drop).and(sink.finish().map(drop));
    [layer, plain].map(|done| {
        let mut text = String::new();
        let mut cause: Option<&dyn std::error::Error> = None;
        let done = done.err();
        if let Some(error) = &done {
            text = error.to_string();
            cause = std::error::Error::source(error);
        }
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    })
}

#[track_caller]
fn refused(input: impl Read + Send + Clone, why: &str) {
    for error in unpacked(input, SMALL) {
        assert!(error.contains(why), "`{why}` is not in: {error}");
    }
}

/// `n` zero bytes, in no memory.
fn zeros(n: u64) -> impl Read + Send + Clone {
    Endless { left: n, header: Vec::new() }
}

/// A header, then zeros.
#[derive(Clone)]
struct Endless {
    header: Vec<u8>,
    left: u64,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if !self.header.is_empty() {
            let n = buffer.len().min(self.header.len());
            buffer[..n].copy_from_slice(&self.header[..n]);
            self.header.drain(..n);
            return Ok(n);
        }
        let n = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        buffer[..n].fill(0);
        self.left -= n as u64;
        Ok(n)
    }
}

/// A header of one entry with its type and size as given.
fn header(kind: u8, size: &[u8; 12]) -> Vec<u8> {
    let meta = Meta { mode: 0o644, ..Meta::default() };
    let mut block = Header { path: b"f", kind: Kind::File(0), meta: &meta }.encode();
    block.truncate(512);
    block[156] = kind;
    block[124..136].copy_from_slice(size);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[test]
fn sizes_that_lie() {
    bounded("sizes_that_lie", BOUNDS, || {
        let eight_gib = b"77777777777\0";
        let sixteen_eib = b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff";
        let most = b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff";
        for size in [eight_gib, sixteen_eib, most] {
            for kind in *b"0x1gLKS25" {
                let errors = unpacked(Endless { header: header(kind, size), left: 4 << 20 }, SMALL);
                if !matches!(kind, b'1' | b'2' | b'5') {
                    assert!(errors.iter().all(|e| !e.is_empty()), "{kind} {size:?}");
                }
            }
        }
    });
}

#[test]
fn records_of_a_gigabyte() {
    bounded("records_of_a_gigabyte", BOUNDS, || {
        for kind in *b"xgLK" {
            let endless = Endless { header: header(kind, b"10000000000\0"), left: 64 << 20 };
            let limits = Limits { bytes: 4 << 30, ..SMALL };
            assert!(unpacked(endless, limits).iter().all(|e| !e.is_empty()), "{kind}");
        }
    });
}

#[test]
fn more_bytes_than_are_allowed() {
    bounded("more_bytes_than_are_allowed", BOUNDS, || {
        refused(Endless { header: header(b'0', b"10000000000\0"), left: 256 << 20 }, "bytes");
        // Zeros are the end of an archive; what follows is read on, since it counts for the digest.
        let [layer, plain] = unpacked(zeros(256 << 20), SMALL);
        assert!(layer.contains("bytes"), "{layer}");
        // For `ADD` the archive is over, and what follows it is nobody's.
        assert_eq!(plain, "");
    });
}

fn compressed(with: &str, plain: impl Read) -> Vec<u8> {
    let mut plain = plain;
    let out = Vec::new();
    match with {
        "gzip" => {
            let mut to = flate2::write::GzEncoder::new(out, flate2::Compression::new(6));
            std::io::copy(&mut plain, &mut to).expect("gzip");
            to.finish().expect("gzip")
        }
        "bzip2" => {
            let mut to = bzip2::write::BzEncoder::new(out, bzip2::Compression::new(1));
            std::io::copy(&mut plain, &mut to).expect("bzip2");
            to.finish().expect("bzip2")
        }
        "xz" => {
            let mut to = liblzma::write::XzEncoder::new(out, 1);
            std::io::copy(&mut plain, &mut to).expect("xz");
            to.finish().expect("xz")
        }
        _ => {
            let mut to = zstd::Encoder::new(out, 1).expect("zstd");
            std::io::copy(&mut plain, &mut to).expect("zstd");
            to.finish().expect("zstd")
        }
    }
}

#[test]
fn bombs_of_every_compression() {
    bounded("bombs_of_every_compression", BOUNDS, || {
        for with in ["gzip", "bzip2", "xz", "zstd"] {
            let file = Endless { header: header(b'0', b"01000000000\0"), left: 129 << 20 };
            let bomb = compressed(with, file);
            assert!(bomb.len() < 1 << 20, "{with}: {} bytes", bomb.len());
            assert!(is_archive(&bomb[..]));
            refused(&bomb[..], "bytes");
            // Twice packed is no archive at all.
            assert!(!is_archive(&compressed(with, &bomb[..])[..]), "{with}");
        }
    });
}

#[test]
fn windows_and_dictionaries_of_gigabytes() {
    bounded("windows_and_dictionaries_of_gigabytes", BOUNDS, || {
        // RFC 8878 §3.1.1.1.2: exponent 31 of the window descriptor asks for 3.75 TiB.
        let zstd = [&b"\x28\xb5\x2f\xfd\x00\xff"[..], &[1, 0, 0]].concat();
        refused(&zstd[..], "");
        assert!(!is_archive(&zstd[..]));
        // An xz block header that asks for a dictionary of 4 GiB - 1 (xz format §5.3.1).
        let mut xz = compressed("xz", zeros(1 << 10));
        let at = xz.windows(3).position(|w| w[0] == 0x21 && w[1] == 1).expect("the LZMA2 filter");
        xz[at + 2] = 40;
        let block = at - 2;
        let length = (usize::from(xz[block]) + 1) * 4;
        let sum = flate2::Crc::new();
        let mut sum = sum;
        sum.update(&xz[block..block + length - 4]);
        xz[block + length - 4..block + length].copy_from_slice(&sum.sum().to_le_bytes());
        let errors = unpacked(&xz[..], SMALL);
        assert!(errors.iter().all(|e| !e.is_empty()), "{errors:?}");
        assert!(!is_archive(&xz[..]));
    });
}

#[test]
fn entries_without_end() {
    bounded("entries_without_end", BOUNDS, || {
        let mut tar = TarWriter::new(Vec::new());
        let meta = Meta { mode: 0o644, ..Meta::default() };
        for _ in 0..12_000 {
            let head = Header { path: b"same", kind: Kind::File(0), meta: &meta };
            tar.append_bytes(&head, b"").expect("append");
        }
        refused(&tar.finish().expect("finish")[..], "entries");
    });
}

#[test]
fn names_of_every_kind() {
    bounded("names_of_every_kind", BOUNDS, || {
        let deep = b"d/".repeat(1_000_000);
        let long = vec![b'n'; 900_000];
        let names: [&[u8]; 6] = [&deep, &long, b"a\0b", b"..", b"/", b"a/\0/../b"];
        for name in names {
            let mut tar = TarWriter::new(Vec::new());
            let meta = Meta { mode: 0o644, ..Meta::default() };
            for kind in [Kind::File(0), Kind::Dir, Kind::Symlink(name), Kind::HardLink(name)] {
                let head = Header { path: name, kind, meta: &meta };
                tar.append_bytes(&head, b"").expect("append");
            }
            // Whatever comes of it, it comes soon; what is written is inside.
            unpacked(&tar.finish().expect("finish")[..], SMALL);
        }
    });
}

#[test]
fn attributes_without_end() {
    bounded("attributes_without_end", BOUNDS, || {
        let attribute = |i: usize| (format!("user.a{i}"), vec![b'x'; 100]);
        let xattrs = (0..5_000).map(attribute).map(|(k, v)| (k.into(), v)).collect();
        let meta = Meta { mode: 0o644, xattrs, ..Meta::default() };
        let mut tar = TarWriter::new(Vec::new());
        let head = Header { path: b"f", kind: Kind::File(0), meta: &meta };
        tar.append_bytes(&head, b"").expect("append");
        unpacked(&tar.finish().expect("finish")[..], SMALL);
    });
}
