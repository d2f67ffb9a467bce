//! What the tests share: a store, listings of trees, archives made by hand.
#![expect(dead_code, reason = "each test binary uses a part")]

use std::collections::HashMap;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Stdio};

use karman_control::{Compression, CompressionKind};
use karman_exporter::TimePolicy;
use karman_exporter::blobs::BlobDir;
use karman_exporter::layer::{LayerBlob, LayerOptions, write_layer};
use karman_exporter::tarball::{Header, Kind, Meta, TarWriter};
use karman_oci::Digest;
use karman_sys::fs::{Dir, FileKind, Time, process_owner};

/// A temporary directory with a store and room for trees.
pub(crate) struct Room {
    pub(crate) temp: tempfile::TempDir,
    pub(crate) store: BlobDir,
}

impl Room {
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().expect("temporary directory");
        std::fs::create_dir(temp.path().join("store")).expect("store");
        let store = BlobDir::open(&temp.path().join("store")).expect("store");
        Self { temp, store }
    }

    pub(crate) fn dir(&self, name: &str) -> Dir {
        let path = self.temp.path().join(name);
        std::fs::create_dir_all(&path).expect("directory");
        Dir::open(&path).expect("open")
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.temp.path().join(name)
    }

    pub(crate) fn layer(&self, dir: &Dir, options: &LayerOptions<'_>) -> LayerBlob {
        write_layer(dir, options, &self.store).expect("layer")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> Vec<u8> {
        std::fs::read(self.path("store/blobs/sha256").join(digest.hex())).expect("blob")
    }
}

pub(crate) fn options(kind: CompressionKind, threads: usize) -> LayerOptions<'static> {
    let compression = Compression { kind, level: None };
    LayerOptions { compression, times: TimePolicy::KEEP, oci_media_types: true, threads }
}

pub(crate) fn is_root() -> bool {
    process_owner().uid == 0
}

/// Whether a program is there; prints a SKIP line if not.
pub(crate) fn have(test: &str, program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        eprintln!("SKIP {test}: no `{program}`");
    }
    found
}

pub(crate) fn write(dir: &Dir, name: &[u8], data: &[u8], mode: u32) {
    let name = std::ffi::OsStr::from_bytes(name);
    let mut file = dir.create_file(name, 0o600).expect("create");
    file.write_all(data).expect("write");
    dir.chmod(name, mode).expect("chmod");
    dir.utimens(name, Time::from_secs(1_000_000_000)).expect("times");
}

/// Everything about a tree that a round trip must keep, one line for each name.
pub(crate) fn listing(dir: &Dir) -> Vec<String> {
    let mut out = Vec::new();
    let stat = dir.stat_self().expect("stat");
    out.push(format!("/ {:?}", dir.get_xattr(".", "user.overlay.opaque").expect("xattr")));
    let _ = stat;
    list(dir, "", &mut out, &mut HashMap::new());
    out.sort();
    out
}

fn list(dir: &Dir, prefix: &str, out: &mut Vec<String>, links: &mut HashMap<u64, String>) {
    let mut entries = dir.read_dir().expect("read");
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    for entry in entries {
        let path = format!("{prefix}/{}", entry.name.as_bytes().escape_ascii());
        let stat = dir.stat(&entry.name).expect("stat");
        let extra = match stat.kind() {
            FileKind::File => {
                let mut data = Vec::new();
                let mut file = dir.open_file(&entry.name).expect("open");
                std::io::Read::read_to_end(&mut file, &mut data).expect("read");
                let first = links.entry(stat.ino).or_insert_with(|| path.clone());
                format!("{} first={first}", Digest::sha256_of(&data).short())
            }
            FileKind::Symlink => format!("{:?}", dir.read_link(&entry.name).expect("link")),
            _ => format!("dev={}", stat.rdev),
        };
        let xattrs = dir.xattrs(&entry.name).expect("xattrs");
        let (mtime, mode) = (stat.mtime.sec, stat.mode);
        let time = if stat.is_whiteout() { 0 } else { mtime };
        let mode = if stat.is_whiteout() { 0 } else { mode };
        out.push(format!("{path} {mode:o} {}:{} {time} {extra} {xattrs:?}", stat.uid, stat.gid));
        if stat.is_dir() {
            list(&dir.open_dir(&entry.name).expect("open"), &path, out, links);
        }
    }
}

/// A tree with one of everything.
pub(crate) fn rich_tree(dir: &Dir) {
    write(dir, b"plain", b"plain\n", 0o644);
    write(dir, b"empty", b"", 0o600);
    write(dir, b"setuid", b"#!", 0o6755);
    write(dir, &[b'o', 0xff, b'\n', b' '], b"odd", 0o644);
    write(dir, "grüße".as_bytes(), b"utf8", 0o644);
    write(dir, &[b'l'; 200], b"long", 0o644);
    write(dir, b"big", &vec![7; 3 << 20], 0o644);
    let mut deep = dir.ensure_dir("deep", 0o755).expect("dir");
    for _ in 0..30 {
        deep = deep.ensure_dir("a-rather-long-directory-name", 0o755).expect("dir");
    }
    write(&deep, b"leaf", b"leaf", 0o644);
    dir.link("plain", &deep, "hard").expect("link");
    let sub = dir.ensure_dir("sub", 0o755).expect("dir");
    dir.chmod("sub", 0o1777).expect("chmod");
    sub.symlink("../plain", "sym").expect("symlink");
    sub.symlink("x".repeat(150), "longsym").expect("symlink");
    sub.mknod("fifo", FileKind::Fifo, 0o640, 0).expect("fifo");
    sub.whiteout("gone").expect("whiteout");
    write(&sub, b"old", b"o", 0o644);
    sub.utimens("old", Time::from_secs(-5)).expect("times");
    write(&sub, b"far", b"f", 0o644);
    sub.utimens("far", Time::from_secs(8_589_934_700)).expect("times");
    sub.set_xattr("old", "user.note", b"a=b\n\0c").expect("xattr");
    let opaque = dir.ensure_dir("opaque", 0o755).expect("dir");
    opaque.set_xattr(".", "user.overlay.opaque", b"y").expect("xattr");
    opaque.set_xattr(".", "user.kept", b"1").expect("xattr");
    write(&opaque, b"x", b"x", 0o444);
    if is_root() {
        sub.chown("old", karman_sys::fs::Owner { uid: 3_000_000, gid: 7 }).expect("chown");
        sub.mknod("null", FileKind::Char, 0o666, 0x103).expect("device");
        let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        dir.set_xattr("setuid", "security.capability", &capability).expect("capability");
        dir.chmod("setuid", 0o6755).expect("chmod");
    }
    for name in ["deep", "sub", "opaque"] {
        dir.utimens(name, Time::from_secs(1_111_111_111)).expect("times");
    }
}

/// An archive of entries given as (path, kind, data).
pub(crate) fn archive(entries: &[(&[u8], Kind<'_>, &[u8])]) -> Vec<u8> {
    let mut tar = TarWriter::new(Vec::new());
    for (path, kind, data) in entries {
        let mode = if *kind == Kind::Dir { 0o755 } else { 0o644 };
        let meta = Meta { mode, mtime: 1, ..Meta::default() };
        let kind = if let Kind::File(_) = kind { Kind::File(data.len() as u64) } else { *kind };
        tar.append_bytes(&Header { path, kind, meta: &meta }, data).expect("append");
    }
    tar.finish().expect("finish")
}

/// Runs a program and returns its output; fails the test when the program fails.
pub(crate) fn run(command: &mut Command) -> String {
    let out = command.output().expect("run");
    assert!(out.status.success(), "{command:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8_lossy(&out.stdout).into_owned()
}

pub(crate) fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
