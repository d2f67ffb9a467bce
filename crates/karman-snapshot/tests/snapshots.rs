//! Committing, crashing, collecting; digests and their cache.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use common::{attrs, layer, names, scratch};
use karman_content::Store;
use karman_oci::Digest;
use karman_snapshot::digest::{Selection, stat_identity, tree_digest};
use karman_snapshot::{
    Checked, CopyOptions, Decision, SnapshotError, SnapshotId, Snapshots, View, ViewCache, copy,
};
use karman_sys::fs::{Dir, Time, process_owner};

#[test]
fn a_snapshot_exists_when_committed_and_not_before() {
    let s = scratch();
    let active = s.snapshots.prepare(&[]).unwrap();
    std::fs::write(active.fs().join("f"), b"x").unwrap();
    // What a mount leaves in its work directory.
    std::fs::create_dir(active.work().join("work")).unwrap();
    Dir::open(active.work()).unwrap().chmod("work", 0).unwrap();
    assert!(s.snapshots.list().unwrap().is_empty());
    assert!(names(&s.store.snapshots_dir()).is_empty());
    let labels = BTreeMap::from([("op".to_owned(), "run".to_owned())]);
    let id = active.commit(labels.clone()).unwrap();
    assert_eq!(SnapshotId::parse(id.as_str()), Some(id.clone()));
    let info = s.snapshots.info(&id).unwrap().unwrap();
    assert_eq!((&info.labels, info.empty), (&labels, false));
    assert!(s.snapshots.exists(&id).unwrap());
    assert_eq!(names(&s.store.snapshots_dir().join(id.as_str())), ["fs"]);
    assert!(names(&s.store.tmp_dir()).is_empty());
    assert!(s.snapshots.usage(&id).unwrap() >= 4096);
    assert_eq!(s.snapshots.usage(&id).unwrap(), s.store.list("snapshot", "").unwrap()[0].size);
    s.snapshots.remove(&id).unwrap();
    assert!(matches!(s.snapshots.lowers(&[id]), Err(SnapshotError::NoSnapshot(_))));
}

#[test]
fn a_dropped_layer_leaves_nothing() {
    let s = scratch();
    let active = s.snapshots.prepare(&[]).unwrap();
    std::fs::create_dir_all(active.fs().join("a/b/c")).unwrap();
    drop(active);
    assert!(names(&s.store.tmp_dir()).is_empty());
    assert!(s.snapshots.list().unwrap().is_empty());
    assert!(SnapshotId::parse("../../etc").is_none());
}

#[test]
fn snapshots_of_a_crashed_machine_are_not_trusted() {
    let s = scratch();
    let lost = layer(&s, &[], |w| w.put_file(Path::new("f"), b"", attrs(0o644)).unwrap());
    let kept = layer(&s, &[], |_| {});
    assert!(s.snapshots.info(&kept[0]).unwrap().unwrap().empty);
    let row = &s.store.list("snapshot", lost[0].as_str()).unwrap()[0];
    let text = String::from_utf8(row.value.clone()).unwrap();
    let boot = text.split('"').nth(3).unwrap().to_owned();
    s.store
        .put("snapshot", lost[0].as_str(), text.replace(&boot, "another boot").as_bytes())
        .unwrap();
    assert!(!s.snapshots.exists(&lost[0]).unwrap());
    assert_eq!(s.snapshots.list().unwrap().len(), 1);
    s.snapshots.flush().unwrap();
    let row = &s.store.list("snapshot", kept[0].as_str()).unwrap()[0];
    let text = String::from_utf8(row.value.clone()).unwrap();
    s.store
        .put("snapshot", kept[0].as_str(), text.replace(&boot, "another boot").as_bytes())
        .unwrap();
    assert!(s.snapshots.exists(&kept[0]).unwrap(), "synced ones survive");
    let report = s.snapshots.gc(|_| true).unwrap();
    assert_eq!(report.removed, 1);
    assert_eq!(names(&s.store.snapshots_dir()), [kept[0].as_str()]);
}

#[test]
fn collection_respects_chains_and_leases() {
    let s = scratch();
    let ids: Vec<_> = (0..3).map(|_| layer(&s, &[], |_| {}).remove(0)).collect();
    let lease = s.store.lease().unwrap();
    lease.add("snapshot", ids[0].as_str()).unwrap();
    let young = layer(&s, &[], |_| {}).remove(0);
    let report = s.snapshots.gc(|info| info.id == ids[1]).unwrap();
    assert_eq!((report.removed, report.leased), (1, 2));
    assert!(!s.snapshots.exists(&ids[2]).unwrap());
    for id in [&ids[0], &ids[1], &young] {
        assert!(s.snapshots.exists(id).unwrap());
    }
    drop(lease);
    assert_eq!(s.snapshots.gc(|_| false).unwrap().removed, 3);
}

#[test]
fn a_second_process_sees_the_snapshots() {
    let s = scratch();
    let chain = layer(&s, &[], |w| w.put_file(Path::new("f"), b"", attrs(0o644)).unwrap());
    let other = Snapshots::new(&Store::open(s.store.root()).unwrap()).unwrap();
    assert!(other.view(&chain).unwrap().lookup(Path::new("f"), true).unwrap().is_some());
}

fn digest(store: &Store, view: &View, path: &str, selection: &Selection<'_>) -> Digest {
    let mut cache = ViewCache::load(store, view).unwrap();
    let digest = tree_digest(view, Path::new(path), selection, &mut cache).unwrap();
    cache.save().unwrap();
    digest
}

#[test]
fn digests_see_what_matters_and_nothing_else() {
    let s = scratch();
    let temp = tempfile::tempdir().unwrap();
    let dir = Dir::open(temp.path()).unwrap();
    std::fs::create_dir(temp.path().join("d")).unwrap();
    std::fs::write(temp.path().join("d/f"), b"one").unwrap();
    std::fs::write(temp.path().join("d/g"), b"two").unwrap();
    dir.symlink("f", "d/l").unwrap();
    let view = View::context(temp.path()).unwrap();
    let all = Selection::default();
    let now = || digest(&s.store, &view, "d", &all);
    let first = now();
    dir.utimens("d/f", Time::from_secs(3)).unwrap();
    assert_eq!(now(), first, "times do not matter");
    let mut seen = vec![first];
    let mut changed = |what: &str| {
        let digest = now();
        assert!(!seen.contains(&digest), "{what}");
        seen.push(digest);
    };
    dir.chmod("d/f", 0o755).unwrap();
    changed("mode");
    std::fs::write(temp.path().join("d/f"), b"oNe").unwrap();
    changed("content");
    dir.rename("d/g", &dir, "d/h").unwrap();
    changed("name");
    dir.unlink("d/l").unwrap();
    dir.symlink("h", "d/l").unwrap();
    changed("link text");
    dir.mkdir("d/empty", 0o755).unwrap();
    changed("directory");
    if dir.set_xattr("d/f", "user.x", b"1").is_ok() {
        changed("attribute of a file");
        dir.set_xattr("d/empty", "user.x", b"1").unwrap();
        changed("attribute of a directory");
        let before = now();
        dir.set_xattr("d/f", "user.overlay.origin", b"1").unwrap();
        assert_eq!(now(), before, "overlayfs's own attributes do not matter");
    }
    let filter =
        |path: &Path, _: bool| if path == Path::new("h") { Decision::Drop } else { Decision::Keep };
    assert_ne!(digest(&s.store, &view, "d", &Selection { filter: Some(&filter), ..all }), now());
    let followed = Selection { follow: true, ..all };
    assert_eq!(digest(&s.store, &view, "d/l", &followed), digest(&s.store, &view, "d/h", &all));
    assert_ne!(digest(&s.store, &view, "d/l", &all), digest(&s.store, &view, "d/h", &all));
}

#[test]
fn a_stage_and_a_context_with_equal_files_have_equal_digests() {
    let s = scratch();
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(temp.path().join("d/e")).unwrap();
    std::fs::write(temp.path().join("d/e/f"), b"content").unwrap();
    let context = View::context(temp.path()).unwrap();
    let options = CopyOptions { owner: Some(process_owner()), ..CopyOptions::default() };
    let chain = layer(&s, &[], |w| {
        copy(&context, Path::new("d"), w, Path::new("/x"), &options).unwrap();
    });
    let stage = s.snapshots.view(&chain).unwrap();
    let all = Selection::default();
    if process_owner().uid == 0 {
        assert_eq!(digest(&s.store, &context, "d", &all), digest(&s.store, &stage, "x", &all));
    } else {
        eprintln!(
            "SKIP a_stage_and_a_context_with_equal_files_have_equal_digests (owners): needs root"
        );
    }
    // A link made from a snapshot's file changes its ctime, and its digest is known all the same.
    let cached = digest(&s.store, &stage, "x", &all);
    let _linked = layer(&s, &[], |w| {
        copy(&stage, Path::new("x"), w, Path::new("/y"), &CopyOptions::default()).unwrap();
    });
    let mut cache = ViewCache::load(&s.store, &stage).unwrap();
    let file = stage.lookup(Path::new("x/e/f"), true).unwrap().unwrap();
    assert!(cache.get(file.layer, &file.stat).is_some());
    assert_eq!(digest(&s.store, &stage, "x", &all), cached);
}

#[test]
fn a_context_file_changed_behind_the_cache_is_noticed() {
    let s = scratch();
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("f");
    std::fs::write(&path, b"old").unwrap();
    let view = View::context(temp.path()).unwrap();
    let all = Selection::default();
    let first = digest(&s.store, &view, "/", &all);
    let identity = stat_identity(&view, Path::new("/"), &all).unwrap();
    let mut cache = ViewCache::load(&s.store, &view).unwrap();
    let file = || view.lookup(Path::new("f"), true).unwrap().unwrap();
    assert!(cache.get(0, &file().stat).is_none(), "a file this young is not remembered");
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(digest(&s.store, &view, "/", &all), first);
    cache = ViewCache::load(&s.store, &view).unwrap();
    assert!(cache.get(0, &file().stat).is_some());
    // Same size, same mtime: the ctime tells.
    let mtime = file().stat.mtime;
    std::fs::write(&path, b"new").unwrap();
    Dir::open(temp.path()).unwrap().utimens("f", mtime).unwrap();
    assert!(cache.get(0, &file().stat).is_none());
    assert_ne!(digest(&s.store, &view, "/", &all), first);
    assert_ne!(stat_identity(&view, Path::new("/"), &all).unwrap(), identity);
}

/// Prints what the benchmarks of the whole depend on: `cargo test --release -- --ignored --nocapture speed`.
#[test]
#[ignore = "takes time; prints measurements"]
fn speed() {
    let s = scratch();
    let temp = tempfile::tempdir().unwrap();
    for dir in 0..500 {
        let dir = temp.path().join(format!("d{dir}"));
        std::fs::create_dir(&dir).unwrap();
        (0..200).for_each(|file| {
            std::fs::write(dir.join(format!("file-{file}.py")), [b'x'; 1500]).unwrap()
        });
    }
    std::thread::sleep(Duration::from_millis(1100));
    let view = View::context(temp.path()).unwrap();
    let timed = |what: &str, run: &mut dyn FnMut()| {
        let start = Instant::now();
        run();
        eprintln!("{what}: {:.3} s", start.elapsed().as_secs_f64());
    };
    let all = Selection::default();
    timed("digest of 100000 files, cold", &mut || {
        digest(&s.store, &view, "/", &all);
    });
    timed("digest of 100000 files, unchanged", &mut || {
        digest(&s.store, &view, "/", &all);
    });
    timed("stat identity of 100000 files", &mut || {
        stat_identity(&view, Path::new("/"), &all).unwrap();
    });
    let mut stage = Vec::new();
    timed("copy of 100000 files from a context, hashed", &mut || {
        stage = layer(&s, &[], |w| {
            let options =
                CopyOptions { dir_contents: true, digests: true, ..CopyOptions::default() };
            copy(&view, Path::new("/"), w, Path::new("/x"), &options).unwrap();
        });
    });
    let source = s.snapshots.view(&stage).unwrap();
    timed("copy of 100000 files between snapshots", &mut || {
        let _chain = layer(&s, &[], |w| {
            copy(&source, Path::new("/x"), w, Path::new("/y"), &CopyOptions::default()).unwrap();
        });
    });
    timed("removal of 100000 files", &mut || s.snapshots.remove(&stage[0]).unwrap());
}

#[test]
fn a_seal_notices_whatever_changes() {
    let s = scratch();
    let make = || {
        let active = s.snapshots.prepare(&[]).unwrap();
        std::fs::create_dir(active.fs().join("d")).unwrap();
        std::fs::write(active.fs().join("d/f"), vec![7; 100_000]).unwrap();
        std::os::unix::fs::symlink("f", active.fs().join("d/l")).unwrap();
        active.commit_sealed(BTreeMap::new()).unwrap()
    };
    let changes: [&dyn Fn(&Path); 6] = [
        &|fs| {
            let time = std::fs::metadata(fs.join("d/f")).unwrap().modified().unwrap();
            let mut bytes = std::fs::read(fs.join("d/f")).unwrap();
            bytes[50_000] ^= 1;
            std::fs::write(fs.join("d/f"), bytes).unwrap();
            std::fs::File::options()
                .write(true)
                .open(fs.join("d/f"))
                .unwrap()
                .set_modified(time)
                .unwrap();
        },
        &|fs| {
            std::fs::File::open(fs.join("d"))
                .unwrap()
                .set_modified(std::time::SystemTime::UNIX_EPOCH)
                .unwrap()
        },
        &|fs| std::fs::remove_file(fs.join("d/f")).unwrap(),
        &|fs| std::fs::rename(fs.join("d/f"), fs.join("d/g")).unwrap(),
        &|fs| {
            std::fs::remove_file(fs.join("d/l")).unwrap();
            std::os::unix::fs::symlink("g", fs.join("d/l")).unwrap();
        },
        &|fs| Dir::open(fs).unwrap().chmod("d", 0o711).unwrap(),
    ];
    for (number, change) in changes.iter().enumerate() {
        let id = make();
        assert_eq!(s.snapshots.check(&id).unwrap(), Checked::Sound);
        change(&s.store.snapshots_dir().join(id.as_str()).join("fs"));
        assert_eq!(s.snapshots.check(&id).unwrap(), Checked::Changed, "change {number}");
    }
    let id = make();
    std::fs::remove_dir_all(s.store.snapshots_dir().join(id.as_str())).unwrap();
    assert_eq!(s.snapshots.check(&id).unwrap(), Checked::Missing);
    s.snapshots.remove(&id).unwrap();
    assert_eq!(s.snapshots.check(&id).unwrap(), Checked::Sound, "it is no snapshot any more");
}

#[test]
fn a_snapshot_without_a_seal_gets_one() {
    let s = scratch();
    let chain = layer(&s, &[], |w| w.put_file(Path::new("f"), b"", attrs(0o644)).unwrap());
    let Checked::Unsealed(seal) = s.snapshots.check(&chain[0]).unwrap() else { panic!("sealed") };
    s.snapshots.put_seal(&chain[0], seal).unwrap();
    assert_eq!(s.snapshots.check(&chain[0]).unwrap(), Checked::Sound);
    // A link made from a file changes its ctime alone.
    let fs = s.store.snapshots_dir().join(chain[0].as_str()).join("fs");
    std::fs::hard_link(fs.join("f"), s.temp.path().join("link")).unwrap();
    s.snapshots.flush().unwrap();
    assert_eq!(s.snapshots.check(&chain[0]).unwrap(), Checked::Sound);
}
