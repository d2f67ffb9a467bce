//! Copies: BuildKit's rules, links, hard link groups, attributes, filters.

mod common;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};

use common::{Scratch, attrs, layer, listing, scratch};
use karman_oci::Digest;
use karman_snapshot::{
    CopyOptions, CopyReport, Decision, LayerWriter, Replace, SnapshotError, SnapshotId, View, copy,
};
use karman_sys::fs::{Dir, FileKind, Owner, Time, process_owner};

struct Context {
    temp: tempfile::TempDir,
    dir: Dir,
}

impl Context {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        Self { temp, dir }
    }

    fn file(&self, path: &str, content: &[u8]) -> &Self {
        if let Some((parent, _)) = path.rsplit_once('/') {
            std::fs::create_dir_all(self.temp.path().join(parent)).unwrap();
        }
        self.dir.create_file(path, 0o644).unwrap().write_all(content).unwrap();
        self.dir.chmod(path, 0o644).unwrap();
        self.dir.utimens(path, Time { sec: 1_234, nsec: 567_890 }).unwrap();
        self
    }

    fn view(&self) -> View {
        View::context(self.temp.path()).unwrap()
    }
}

/// Files of a context belong to root; only root can make such files.
fn mine() -> CopyOptions<'static> {
    CopyOptions { owner: Some(process_owner()), ..CopyOptions::default() }
}

/// Created parents belong to root unless the copy names an owner.
fn is_root(test: &str) -> bool {
    let root = process_owner() == Owner::default();
    if !root {
        eprintln!("SKIP {test}: needs root (of a user namespace is enough)");
    }
    root
}

fn run(
    w: &mut LayerWriter,
    view: &View,
    src: &str,
    dst: &str,
    options: &CopyOptions<'_>,
) -> CopyReport {
    copy(view, Path::new(src), w, Path::new(dst), options).unwrap()
}

fn paths(s: &Scratch, chain: &[SnapshotId]) -> Vec<String> {
    let view = s.snapshots.view(chain).unwrap();
    listing(&view, false).into_keys().skip(1).map(|path| path.display().to_string()).collect()
}

fn stat(s: &Scratch, chain: &[SnapshotId], path: &str) -> karman_sys::fs::Stat {
    s.snapshots.view(chain).unwrap().lookup(Path::new(path), false).unwrap().unwrap().stat
}

#[test]
fn where_a_source_goes() {
    let context = Context::new();
    context.file("f", b"1").file("d/x", b"2").file("d/sub/y", b"3");
    let view = context.view();
    let contents = CopyOptions { dir_contents: true, ..mine() };
    let cases: &[(&str, &str, &CopyOptions<'_>, &[&str])] = &[
        ("/f", "/new", &mine(), &["new"]),
        ("f", "dir/", &mine(), &["dir", "dir/f"]),
        ("f", "a/b/c", &mine(), &["a", "a/b", "a/b/c"]),
        ("f", "/", &mine(), &["f"]),
        ("d", "/new", &contents, &["new", "new/sub", "new/sub/y", "new/x"]),
        ("d", "/new/", &contents, &["new", "new/sub", "new/sub/y", "new/x"]),
        ("d", "/", &contents, &["sub", "sub/y", "x"]),
        ("d", "/", &mine(), &["d", "d/sub", "d/sub/y", "d/x"]),
        ("d", "/new", &mine(), &["new", "new/sub", "new/sub/y", "new/x"]),
        ("/", "/all", &contents, &["all", "all/d", "all/d/sub", "all/d/sub/y", "all/d/x", "all/f"]),
    ];
    for (src, dst, options, expected) in cases {
        let s = scratch();
        let chain = layer(&s, &[], |w| drop(run(w, &view, src, dst, options)));
        assert_eq!(paths(&s, &chain), *expected, "{src} -> {dst}");
    }
}

#[test]
fn a_context_file_is_copied_faithfully_and_digested() {
    let context = Context::new();
    let large: Vec<u8> = (0..300_000_u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let edge = vec![7; 65_536];
    context.file("small", b"hello").file("large", &large).file("edge", &edge).file("empty", b"");
    context.dir.chmod("small", 0o4751).unwrap();
    context.dir.symlink("small", "link").unwrap();
    let xattrs = context.dir.set_xattr("small", "user.test", b"v").is_ok();
    let s = scratch();
    let mut report = CopyReport::default();
    let options = CopyOptions { dir_contents: true, digests: true, ..mine() };
    let chain = layer(&s, &[], |w| report = run(w, &context.view(), "/", "/dst/", &options));
    assert_eq!((report.files, report.linked, report.others), (4, 0, 1));
    assert_eq!(report.bytes, 5 + 300_000 + 65_536);
    let digests: BTreeMap<_, _> =
        report.digests.iter().map(|file| (file.path.clone(), file.digest.content)).collect();
    for (name, content) in
        [("small", &b"hello"[..]), ("large", &large), ("edge", &edge), ("empty", b"")]
    {
        assert_eq!(digests[Path::new(name)], Digest::sha256_of(content), "{name}");
    }
    let copied = stat(&s, &chain, "dst/small");
    assert_eq!((copied.permissions(), copied.size), (0o4751, 5));
    assert_eq!(copied.mtime, Time { sec: 1_234, nsec: 567_890 });
    assert_eq!((copied.uid, copied.gid), (process_owner().uid, process_owner().gid));
    if xattrs {
        let fs = Dir::open(&s.snapshots.lowers(&chain).unwrap()[0]).unwrap();
        assert_eq!(fs.get_xattr("dst/small", "user.test").unwrap().as_deref(), Some(&b"v"[..]));
        assert!(report.digests.iter().any(|file| file.digest.xattrs.is_some()));
    }
    let lines = listing(&s.snapshots.view(&chain).unwrap(), false);
    assert!(lines[Path::new("dst/link")].ends_with(" small"));
    assert!(lines[Path::new("dst/large")].len() > 300_000 / 2);
}

#[test]
fn stage_files_are_linked_unless_something_changes() {
    if !is_root("stage_files_are_linked_unless_something_changes") {
        return;
    }
    let s = scratch();
    let stage = layer(&s, &[], |w| {
        w.ensure_dir(Path::new("app/lib"), attrs(0o755)).unwrap();
        w.put_file(Path::new("app/lib/a"), b"a", attrs(0o644)).unwrap();
        w.put_file(Path::new("app/b"), b"b", attrs(0o755)).unwrap();
        w.put_symlink(Path::new("app/l"), OsStr::new("b"), attrs(0)).unwrap();
    });
    let source = s.snapshots.view(&stage).unwrap();
    let copied = |options: &CopyOptions<'_>| {
        let mut report = CopyReport::default();
        let chain = layer(&s, &[], |w| report = run(w, &source, "/app", "/opt/app", options));
        let same = stat(&s, &chain, "opt/app/b").ino == stat(&s, &stage, "app/b").ino;
        assert_eq!(stat(&s, &chain, "opt/app/b").mtime, Time::from_secs(1_000_000));
        (report.files, report.linked, same)
    };
    assert_eq!(copied(&CopyOptions::default()), (2, 2, true));
    assert_eq!(copied(&mine()), (2, 2, true), "the same owner changes nothing");
    assert_eq!(copied(&CopyOptions { link: false, ..mine() }), (2, 0, false));
    let group = |mode: u32, _: bool| mode | 0o100;
    assert_eq!(copied(&CopyOptions { mode: Some(&group), ..mine() }), (2, 1, true));
}

#[test]
fn one_inode_gets_two_names_only_if_it_had_them() {
    if !is_root("one_inode_gets_two_names_only_if_it_had_them") {
        return;
    }
    let s = scratch();
    let stage = layer(&s, &[], |w| {
        w.put_file(Path::new("one"), b"x", attrs(0o644)).unwrap();
        w.put_link(Path::new("one"), Path::new("two")).unwrap();
    });
    let source = s.snapshots.view(&stage).unwrap();
    let contents = CopyOptions { dir_contents: true, ..CopyOptions::default() };
    let change = |mode: u32, _: bool| mode | 0o111;
    let chain = layer(&s, &[], |w| {
        run(w, &source, "/", "/linked/", &contents);
        run(w, &source, "/one", "/again", &CopyOptions::default());
        run(w, &source, "/", "/changed/", &CopyOptions { mode: Some(&change), ..contents });
    });
    let ino = |path: &str| stat(&s, &chain, path).ino;
    assert_eq!(ino("linked/one"), ino("linked/two"));
    assert_ne!(ino("again"), ino("linked/one"), "a second copy is a second file");
    assert_eq!(ino("changed/one"), ino("changed/two"), "a group stays a group when it is copied");
    assert_ne!(ino("changed/one"), ino("linked/one"));
    assert_eq!(stat(&s, &chain, "changed/two").permissions(), 0o755);
}

#[test]
fn hard_links_of_a_context_stay_hard_links() {
    let context = Context::new();
    context.file("a", b"x").file("d/z", b"y");
    context.dir.link("a", &context.dir, "d/b").unwrap();
    let s = scratch();
    let options = CopyOptions { dir_contents: true, digests: true, ..mine() };
    let mut report = CopyReport::default();
    let chain = layer(&s, &[], |w| report = run(w, &context.view(), "/", "/", &options));
    assert_eq!(stat(&s, &chain, "a").ino, stat(&s, &chain, "d/b").ino);
    assert_ne!(
        stat(&s, &chain, "a").ino,
        context.dir.stat("a").unwrap().ino,
        "a context is never linked"
    );
    assert_eq!((report.files, stat(&s, &chain, "a").nlink), (3, 2));
}

#[test]
fn existing_directories_keep_or_get_metadata_as_in_buildkit() {
    if !is_root("existing_directories_keep_or_get_metadata_as_in_buildkit") {
        return;
    }
    let s = scratch();
    let stage = layer(&s, &[], |w| {
        w.ensure_dir(Path::new("src/sub"), attrs(0o711)).unwrap();
        w.put_file(Path::new("src/sub/f"), b"", attrs(0o644)).unwrap();
    });
    let old = karman_snapshot::Attrs { mtime: Time::from_secs(9), ..attrs(0o750) };
    let base = layer(&s, &[], |w| {
        w.ensure_dir(Path::new("dst/sub"), old).unwrap();
        w.ensure_dir(Path::new("other"), old).unwrap();
        w.put_file(Path::new("dst/sub/kept"), b"", attrs(0o644)).unwrap();
    });
    let options = CopyOptions { dir_contents: true, ..CopyOptions::default() };
    let source = s.snapshots.view(&stage).unwrap();
    let chain = layer(&s, &base, |w| drop(run(w, &source, "src", "dst", &options)));
    let facts = |path: &str| {
        let stat = stat(&s, &chain, path);
        (stat.permissions(), stat.mtime.sec)
    };
    assert_eq!(
        facts("dst"),
        (0o750, 1_000_000),
        "the destination keeps its mode and gets the source's time"
    );
    assert_eq!(facts("dst/sub"), (0o711, 1_000_000), "a directory inside is overwritten");
    assert_eq!(facts("other"), (0o750, 9));
    assert_eq!(paths(&s, &chain), ["dst", "dst/sub", "dst/sub/f", "dst/sub/kept", "other"]);
    // A new destination for contents is made like a parent.
    let new = layer(&s, &[], |w| drop(run(w, &source, "src", "new", &options)));
    assert_eq!(stat(&s, &new, "new").permissions(), 0o755);
    let whole = layer(&s, &[], |w| drop(run(w, &source, "src", "new", &CopyOptions::default())));
    assert_eq!(stat(&s, &whole, "new").permissions(), 0o711);
}

#[test]
fn types_in_the_way() {
    let s = scratch();
    let base = layer(&s, &[], |w| {
        w.ensure_dir(Path::new("isdir/x"), attrs(0o755)).unwrap();
        w.put_file(Path::new("isfile"), b"old", attrs(0o644)).unwrap();
        w.put_symlink(Path::new("tofile"), OsStr::new("isfile"), attrs(0)).unwrap();
        w.put_symlink(Path::new("todir"), OsStr::new("/isdir"), attrs(0)).unwrap();
        w.ensure_dir(Path::new("nest"), attrs(0o755)).unwrap();
        w.put_symlink(Path::new("nest/sub"), OsStr::new("/isdir"), attrs(0)).unwrap();
    });
    let context = Context::new();
    context.file("f", b"new").file("d/sub/y", b"").file("n/isdir", b"");
    let view = context.view();
    let below = s.snapshots.view(&base).unwrap();
    let attempt = |src: &str, dst: &str, options: &CopyOptions<'_>| {
        let active = s.snapshots.prepare(&base).unwrap();
        let mut w = active.writer(&below).unwrap();
        copy(&view, Path::new(src), &mut w, Path::new(dst), options)?;
        w.finish()?;
        Ok::<_, SnapshotError>(vec![base[0].clone(), active.commit(BTreeMap::new())?])
    };
    let contents = CopyOptions { dir_contents: true, ..mine() };
    assert!(matches!(attempt("d", "isfile", &contents), Err(SnapshotError::NotADirectory(_))));
    assert!(matches!(attempt("n", "/", &contents), Err(SnapshotError::IsADirectory(_))));
    // A link inside the destination is no directory, the destination itself may be one.
    assert!(matches!(attempt("d", "nest", &contents), Err(SnapshotError::NotADirectory(_))));
    let chain = attempt("d", "todir", &contents).unwrap();
    assert!(paths(&s, &chain).contains(&"isdir/sub/y".to_owned()));
    let chain = attempt("f", "todir", &mine()).unwrap();
    assert!(paths(&s, &chain).contains(&"isdir/f".to_owned()));
    let chain = attempt("f", "tofile", &mine()).unwrap();
    assert_eq!(stat(&s, &chain, "isfile").size, 3);
    assert_eq!(stat(&s, &chain, "tofile").kind(), FileKind::Symlink);
    // With replacement everything goes.
    let replace = CopyOptions { replace: Replace::Anything, ..contents };
    let chain = attempt("d", "nest", &replace).unwrap();
    assert_eq!(stat(&s, &chain, "nest/sub").kind(), FileKind::Dir);
    let chain = attempt("n", "/", &replace).unwrap();
    assert_eq!(stat(&s, &chain, "isdir").kind(), FileKind::File);
    assert!(!paths(&s, &chain).contains(&"isdir/x".to_owned()));
    let chain = attempt("d", "isfile", &replace).unwrap();
    assert!(paths(&s, &chain).contains(&"isfile/sub/y".to_owned()));
}

#[test]
fn errors_name_what_is_missing() {
    let s = scratch();
    let context = Context::new();
    context.file("f", b"");
    let active = s.snapshots.prepare(&[]).unwrap();
    let mut w = active.writer(&s.snapshots.view(&[]).unwrap()).unwrap();
    let missing =
        copy(&context.view(), Path::new("/gone"), &mut w, Path::new("/"), &mine()).unwrap_err();
    assert_eq!(missing.to_string(), "`/gone` not found");
    let strict = CopyOptions { create_dest_path: false, ..mine() };
    let error =
        copy(&context.view(), Path::new("f"), &mut w, Path::new("/a/b"), &strict).unwrap_err();
    assert!(matches!(error, SnapshotError::NoParent(_)), "{error}");
}

#[test]
fn filters_choose_and_parents_follow() {
    let context = Context::new();
    context
        .file("a/b/keep.py", b"")
        .file("a/b/drop.txt", b"")
        .file("empty/drop.txt", b"")
        .file("node/x.py", b"");
    let s = scratch();
    let filter =
        |path: &Path, is_dir: bool| match (path.extension().and_then(OsStr::to_str), is_dir) {
            _ if path == Path::new("node") => Decision::Drop,
            (_, true) => Decision::DropButDescend,
            (Some("py"), false) => Decision::Keep,
            _ => Decision::Drop,
        };
    let options = CopyOptions { dir_contents: true, filter: Some(&filter), ..mine() };
    let chain = layer(&s, &[], |w| drop(run(w, &context.view(), "/", "/", &options)));
    assert_eq!(paths(&s, &chain), ["a", "a/b", "a/b/keep.py"]);
    // The filter of a view hides from everything.
    let hidden = context.view().with_filter(std::sync::Arc::new(|path: &Path, _: bool| {
        if path == Path::new("a") { Decision::Drop } else { Decision::Keep }
    }));
    assert!(hidden.lookup(Path::new("a/b/keep.py"), true).unwrap().is_none());
    let options = CopyOptions { dir_contents: true, ..mine() };
    let chain = layer(&s, &[], |w| drop(run(w, &hidden, "/", "/", &options)));
    assert_eq!(paths(&s, &chain), ["empty", "empty/drop.txt", "node", "node/x.py"]);
}

#[test]
fn owners_times_and_special_files() {
    let context = Context::new();
    context.file("d/f", b"");
    if context.dir.chown("d/f", Owner { uid: 5, gid: 6 }).is_err() {
        eprintln!("SKIP owners_times_and_special_files: needs root with more than one id");
        return;
    }
    context.dir.mknod("d/pipe", FileKind::Fifo, 0o640, 0).unwrap();
    context.dir.mknod("d/null", FileKind::Char, 0o666, 0x103).unwrap();
    let s = scratch();
    let options = CopyOptions {
        dir_contents: true,
        owner: Some(Owner { uid: 1000, gid: 1001 }),
        mtime: Some(Time::from_secs(42)),
        ..CopyOptions::default()
    };
    let chain = layer(&s, &[], |w| drop(run(w, &context.view(), "d", "/p/q", &options)));
    for path in ["p", "p/q", "p/q/f", "p/q/pipe", "p/q/null"] {
        let stat = stat(&s, &chain, path);
        assert_eq!((stat.uid, stat.gid, stat.mtime), (1000, 1001, Time::from_secs(42)), "{path}");
    }
    assert_eq!(stat(&s, &chain, "p/q/null").rdev, 0x103);
    assert_eq!(stat(&s, &chain, "p/q/pipe").permissions(), 0o640);
    // Without an owner the files of a context are root's.
    let chain =
        layer(&s, &[], |w| drop(run(w, &context.view(), "d", "/", &CopyOptions::default())));
    assert_eq!(stat(&s, &chain, "d/f").uid, 0);
    // A stage keeps its owners, also through a set-group-id directory.
    let stage = layer(&s, &[], |w| {
        let owner = Owner { uid: 7, gid: 8 };
        w.ensure_dir(Path::new("g"), karman_snapshot::Attrs { owner, ..attrs(0o2775) }).unwrap();
    });
    let chain = layer(&s, &stage, |w| {
        w.ensure_dir(Path::new("g"), attrs(0o755)).unwrap();
        run(w, &context.view(), "d/f", "/g/", &CopyOptions::default());
    });
    assert_eq!((stat(&s, &chain, "g").permissions(), stat(&s, &chain, "g").gid), (0o2775, 8));
    assert_eq!(stat(&s, &chain, "g/f").gid, 0);
    context.dir.whiteout("d/w").unwrap();
    let active = s.snapshots.prepare(&[]).unwrap();
    let mut w = active.writer(&s.snapshots.view(&[]).unwrap()).unwrap();
    let error =
        copy(&context.view(), Path::new("d"), &mut w, Path::new("/"), &CopyOptions::default());
    assert!(matches!(error, Err(SnapshotError::WhiteoutDevice(_))));
}

#[test]
fn the_same_copy_gives_the_same_layer() {
    let context = Context::new();
    for i in 0..300 {
        context.file(&format!("d{}/f{i}", i % 7), &[0; 100]);
    }
    let s = scratch();
    let options = CopyOptions { dir_contents: true, ..mine() };
    let make = || {
        let chain = layer(&s, &[], |w| drop(run(w, &context.view(), "/", "/x/y", &options)));
        listing(&s.snapshots.view(&chain).unwrap(), true)
    };
    let (one, two): (BTreeMap<PathBuf, String>, _) = (make(), make());
    assert_eq!(one, two);
}
