//! Views and layer writers against a plain directory and against the kernel's overlayfs.

mod common;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use common::{Scratch, attrs, layer, listing, listing_of_dir, names, overlay, scratch};
use karman_snapshot::{SnapshotError, SnapshotId, View};
use karman_sys::fs::{Dir, Time};

fn shown(scratch: &Scratch, chain: &[SnapshotId]) -> Vec<String> {
    let view = scratch.snapshots.view(chain).unwrap();
    listing(&view, false).into_keys().map(|path| path.display().to_string()).collect()
}

/// The view must show what the kernel shows.
fn compare_with_kernel(test: &str, scratch: &Scratch, chain: &[SnapshotId]) {
    let mut lowers = scratch.snapshots.lowers(chain).unwrap();
    // overlayfs wants at least two layers.
    let empty = scratch.temp.path().join("empty");
    std::fs::create_dir_all(&empty).unwrap();
    lowers.push(empty);
    match overlay(&lowers) {
        Ok(mount) => {
            let view = scratch.snapshots.view(chain).unwrap();
            assert_eq!(listing(&view, true), listing_of_dir(&mount, true), "{test}");
        }
        Err(reason) => eprintln!("SKIP {test} (comparison with a real overlay): {reason}"),
    }
}

#[test]
fn a_deleted_and_recreated_directory_is_opaque() {
    let s = scratch();
    let chain = layer(&s, &[], |w| {
        w.ensure_dir(Path::new("/a/b"), attrs(0o755)).unwrap();
        w.put_file(Path::new("/a/b/old"), b"1", attrs(0o644)).unwrap();
    });
    let gone = layer(&s, &chain, |w| assert!(w.remove(Path::new("/a/b")).unwrap()));
    assert_eq!(shown(&s, &gone), ["", "a"]);
    let again = layer(&s, &gone, |w| w.ensure_dir(Path::new("/a/b/new"), attrs(0o700)).unwrap());
    assert_eq!(shown(&s, &again), ["", "a", "a/b", "a/b/new"]);
    compare_with_kernel("a_deleted_and_recreated_directory_is_opaque", &s, &again);
    // The same within one layer.
    let once = layer(&s, &chain, |w| {
        w.remove(Path::new("/a/b")).unwrap();
        w.ensure_dir(Path::new("/a/b"), attrs(0o700)).unwrap();
        w.put_file(Path::new("/a/b/x"), b"", attrs(0o644)).unwrap();
        assert!(!w.remove(Path::new("/a/b/old")).unwrap());
    });
    assert_eq!(shown(&s, &once), ["", "a", "a/b", "a/b/x"]);
    compare_with_kernel("a_deleted_and_recreated_directory_is_opaque", &s, &once);
}

#[test]
fn files_become_directories_and_back() {
    let s = scratch();
    let one = layer(&s, &[], |w| {
        w.put_file(Path::new("x"), b"file", attrs(0o644)).unwrap();
        w.ensure_dir(Path::new("y/deep"), attrs(0o755)).unwrap();
    });
    let two = layer(&s, &one, |w| {
        let error = w.ensure_dir(Path::new("x/sub"), attrs(0o755)).unwrap_err();
        assert!(matches!(error, SnapshotError::NotADirectory(_)), "{error}");
        let error = w.put_file(Path::new("y"), b"", attrs(0o644)).unwrap_err();
        assert!(matches!(error, SnapshotError::IsADirectory(_)), "{error}");
        w.remove(Path::new("x")).unwrap();
        w.ensure_dir(Path::new("x/sub"), attrs(0o755)).unwrap();
        w.remove(Path::new("y")).unwrap();
        w.put_file(Path::new("y"), b"now a file", attrs(0o600)).unwrap();
    });
    assert_eq!(shown(&s, &two), ["", "x", "x/sub", "y"]);
    compare_with_kernel("files_become_directories_and_back", &s, &two);
    let three = layer(&s, &two, |w| {
        w.remove(Path::new("y")).unwrap();
        w.ensure_dir(Path::new("y"), attrs(0o711)).unwrap();
    });
    // The directory of the first layer stays hidden by the file of the second.
    assert_eq!(shown(&s, &three), ["", "x", "x/sub", "y"]);
    compare_with_kernel("files_become_directories_and_back", &s, &three);
}

#[test]
fn merged_directories_show_the_topmost_metadata() {
    let s = scratch();
    let mut chain = Vec::new();
    for i in 0..4_u32 {
        chain = layer(&s, &chain, |w| {
            w.ensure_dir(Path::new("usr/lib"), attrs(0o755)).unwrap();
            w.put_file(Path::new(&format!("usr/lib/{i}")), b"0", attrs(0o644)).unwrap();
        });
    }
    let view = s.snapshots.view(&chain).unwrap();
    let lib = view.lookup(Path::new("/usr/lib"), false).unwrap().unwrap();
    let names: Vec<_> = view.read_dir(&lib).unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["0", "1", "2", "3"]);
    assert_eq!(lib.layer, 0);
    assert_eq!(
        lib.stat.mtime,
        Time::from_secs(1_000_000),
        "writing into a directory does not change its time"
    );
    assert_eq!(view.lookup(Path::new("usr/lib/0"), false).unwrap().unwrap().layer, 3);
    compare_with_kernel("merged_directories_show_the_topmost_metadata", &s, &chain);
}

#[test]
fn links_are_followed_inside_the_root_and_across_layers() {
    let s = scratch();
    let one = layer(&s, &[], |w| {
        w.ensure_dir(Path::new("usr/bin"), attrs(0o755)).unwrap();
        w.put_symlink(Path::new("bin"), OsStr::new("/usr/bin"), attrs(0)).unwrap();
        w.put_symlink(Path::new("up"), OsStr::new("../../../usr"), attrs(0)).unwrap();
        w.put_symlink(Path::new("usr/loop"), OsStr::new("loop"), attrs(0)).unwrap();
        w.put_symlink(Path::new("dangling"), OsStr::new("nowhere/x"), attrs(0)).unwrap();
    });
    let two = layer(&s, &one, |w| {
        // Through the link of the lower layer, into a directory that is then copied up.
        w.put_file(Path::new("bin/tool"), b"t", attrs(0o755)).unwrap();
        w.put_symlink(Path::new("usr/alias"), OsStr::new("../bin/tool"), attrs(0)).unwrap();
    });
    let view = s.snapshots.view(&two).unwrap();
    let path = |text: &str, follow| {
        view.lookup(Path::new(text), follow).unwrap().map(|found| found.path.display().to_string())
    };
    assert_eq!(path("/bin/tool", false).as_deref(), Some("usr/bin/tool"));
    assert_eq!(path("up/alias", true).as_deref(), Some("usr/bin/tool"));
    assert_eq!(path("up/alias", false).as_deref(), Some("usr/alias"));
    assert_eq!(path("/bin/../../..//usr/./bin/..", true).as_deref(), Some("usr"));
    assert_eq!(path("..", true).as_deref(), Some(""));
    assert_eq!(path("bin/tool/x", true), None);
    assert_eq!(path("dangling", true), None);
    assert_eq!(view.resolve(Path::new("dangling"), true).unwrap(), Path::new("nowhere/x"));
    assert_eq!(
        view.resolve(Path::new("bin/new/file"), true).unwrap(),
        Path::new("usr/bin/new/file")
    );
    assert!(matches!(
        view.lookup(Path::new("usr/loop"), true),
        Err(SnapshotError::TooManyLinks(_))
    ));
    assert!(view.lookup(Path::new("usr/loop"), false).unwrap().is_some());
    compare_with_kernel("links_are_followed_inside_the_root_and_across_layers", &s, &two);
}

#[test]
fn names_may_be_any_bytes() {
    let s = scratch();
    let name = OsStr::from_bytes(b"\xff\xfe name");
    let chain = layer(&s, &[], |w| w.put_file(Path::new(name), b"x", attrs(0o644)).unwrap());
    let chain = layer(&s, &chain, |w| w.put_file(Path::new("other"), b"x", attrs(0o644)).unwrap());
    let view = s.snapshots.view(&chain).unwrap();
    assert!(view.lookup(Path::new(name), false).unwrap().is_some());
    let gone = layer(&s, &chain, |w| assert!(w.remove(Path::new(name)).unwrap()));
    assert_eq!(shown(&s, &gone), ["", "other"]);
}

#[test]
fn removing_what_only_this_layer_has_leaves_no_trace() {
    let s = scratch();
    let active = s.snapshots.prepare(&[]).unwrap();
    let mut w = active.writer(&s.snapshots.view(&[]).unwrap()).unwrap();
    w.ensure_dir(Path::new("tmp/x"), attrs(0o755)).unwrap();
    w.put_file(Path::new("tmp/x/y"), b"", attrs(0o644)).unwrap();
    assert!(w.remove(Path::new("tmp")).unwrap());
    assert!(!w.remove(Path::new("tmp")).unwrap());
    assert!(matches!(w.remove(Path::new("/")), Err(SnapshotError::Root)));
    w.finish().unwrap();
    assert!(active.is_empty().unwrap());
}

#[test]
fn the_root_keeps_its_metadata() {
    let s = scratch();
    let active = s.snapshots.prepare(&[]).unwrap();
    let root = Dir::open(active.fs()).unwrap();
    root.chmod_self(0o1751).unwrap();
    root.utimens_self(Time::from_secs(77)).unwrap();
    let base = vec![active.commit(BTreeMap::new()).unwrap()];
    let next = layer(&s, &base, |w| w.put_file(Path::new("f"), b"", attrs(0o644)).unwrap());
    let view = s.snapshots.view(&next).unwrap();
    let root = view.lookup(Path::new("/"), true).unwrap().unwrap();
    assert_eq!((root.stat.permissions(), root.stat.mtime), (0o1751, Time::from_secs(77)));
    assert_eq!(root.layer, 0);
}

/// A small generator, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn path(&mut self) -> PathBuf {
        let depth = 1 + self.below(3);
        (0..depth).map(|_| ["a", "b", "c", "d"][self.below(4) as usize]).collect()
    }
}

/// Applies one random change to the layer and to a plain directory.
fn step(random: &mut Random, w: &mut karman_snapshot::LayerWriter, plain: &Path) {
    let path = random.path();
    let target = plain.join(&path);
    let meta = std::fs::symlink_metadata(&target).ok();
    let parent_is_dir =
        std::fs::symlink_metadata(target.parent().unwrap()).is_ok_and(|meta| meta.is_dir());
    let blocked = path
        .ancestors()
        .skip(1)
        .any(|part| std::fs::symlink_metadata(plain.join(part)).is_ok_and(|meta| !meta.is_dir()));
    match random.below(5) {
        0 | 1 if parent_is_dir && !meta.as_ref().is_some_and(|meta| meta.is_dir()) => {
            let content = format!("{}", random.below(1000));
            w.put_file(&path, content.as_bytes(), attrs(0o644)).unwrap();
            let _ = std::fs::remove_file(&target);
            std::fs::write(&target, content).unwrap();
        }
        2 if !blocked && meta.as_ref().is_none_or(|meta| meta.is_dir()) => {
            w.ensure_dir(&path, attrs(0o755)).unwrap();
            std::fs::create_dir_all(&target).unwrap();
        }
        3 | 4 => {
            assert_eq!(w.remove(&path).unwrap(), meta.is_some(), "{}", path.display());
            match meta {
                Some(meta) if meta.is_dir() => std::fs::remove_dir_all(&target).unwrap(),
                Some(_) => std::fs::remove_file(&target).unwrap(),
                None => {}
            }
        }
        _ => {}
    }
}

#[test]
fn random_changes_in_layers_equal_the_same_changes_in_a_directory() {
    let s = scratch();
    for seed in 1..=25 {
        let mut random = Random(seed * 0x9E37_79B9);
        let plain = s.temp.path().join(format!("plain-{seed}"));
        std::fs::create_dir(&plain).unwrap();
        let mut chain = Vec::new();
        for _ in 0..5 {
            chain = layer(&s, &chain, |w| (0..12).for_each(|_| step(&mut random, w, &plain)));
            let strip = |listing: common::Listing| -> Vec<(PathBuf, String)> {
                listing.into_iter().skip(1).collect()
            };
            let view = s.snapshots.view(&chain).unwrap();
            let plain = Dir::open(&plain).unwrap();
            assert_eq!(
                strip(listing(&view, false)),
                strip(listing_of_dir(&plain, false)),
                "seed {seed}"
            );
        }
        compare_with_kernel(
            "random_changes_in_layers_equal_the_same_changes_in_a_directory",
            &s,
            &chain,
        );
    }
}

#[test]
fn a_context_shows_marks_as_files_and_root_as_owner() {
    let temp = tempfile::tempdir().unwrap();
    let dir = Dir::open(temp.path()).unwrap();
    dir.mkdir("d", 0o750).unwrap();
    dir.create_file("d/f", 0o640).unwrap();
    let view = View::context(temp.path()).unwrap();
    let found = view.lookup(Path::new("d/f"), true).unwrap().unwrap();
    assert_eq!((found.stat.uid, found.stat.gid), (0, 0));
    assert_eq!(names(temp.path()), ["d"]);
    if dir.whiteout("w").is_ok() {
        assert!(view.lookup(Path::new("w"), true).unwrap().is_some());
    }
}
