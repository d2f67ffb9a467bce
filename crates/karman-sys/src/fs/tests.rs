//! Tests of the fd-relative file operations.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use super::{
    Copier, Dir, Durability, FileKind, Owner, Time, atomic_write, fd_xattrs, is_stray_pipe,
    process_owner, remove_tree, stat_fd,
};

fn scratch() -> (tempfile::TempDir, Dir) {
    let temp = tempfile::tempdir().unwrap();
    let dir = Dir::open(temp.path()).unwrap();
    (temp, dir)
}

#[test]
fn names_need_not_be_utf8() {
    let (_temp, dir) = scratch();
    let name = OsStr::from_bytes(b"caf\xe9\n");
    dir.create_file(name, 0o644).unwrap();
    let entries = dir.read_dir().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].name, name);
    assert_eq!(entries[0].kind, FileKind::File);
    assert_eq!(entries[0].ino, dir.stat(name).unwrap().ino);
}

#[test]
fn a_large_directory_is_read_completely_and_twice() {
    let (_temp, mut dir) = scratch();
    for i in 0..3000 {
        dir.create_file(format!("file-with-a-longer-name-{i}"), 0o600).unwrap();
    }
    assert_eq!(dir.entries().unwrap().len(), 3000);
    assert_eq!(dir.entries().unwrap().len(), 0);
    dir.rewind().unwrap();
    assert_eq!(dir.entries().unwrap().len(), 3000);
    assert_eq!(dir.read_dir().unwrap().len(), 3000);
}

#[test]
fn resolution_stays_inside() {
    let (_temp, dir) = scratch();
    dir.mkdir("root", 0o755).unwrap();
    let root = dir.open_dir("root").unwrap();
    dir.create_file("secret", 0o600).unwrap();
    root.create_file("inside", 0o600).unwrap().write_all(b"x").unwrap();
    root.symlink("/inside", "absolute").unwrap();
    root.symlink("../../secret", "out").unwrap();
    assert_eq!(stat_fd(root.open_in_root("absolute").unwrap()).unwrap().size, 1);
    assert!(root.open_in_root("out").unwrap_err().is_not_found());
    assert!(root.open_beneath("absolute").is_err());
    assert!(root.open_beneath("../secret").is_err());
    assert!(root.open_beneath("inside").is_ok());
    assert!(root.open_file("absolute").is_err());
}

#[test]
fn metadata_of_files_and_links() {
    let (_temp, dir) = scratch();
    dir.create_file("file", 0o600).unwrap();
    dir.symlink("file", "link").unwrap();
    let time = Time { sec: 1_000_000_000, nsec: 123_456_789 };
    for name in ["file", "link"] {
        dir.chmod(name, 0o4755).unwrap();
        dir.chown(name, process_owner()).unwrap();
        dir.utimens(name, time).unwrap();
        assert_eq!(dir.stat(name).unwrap().mtime, time);
    }
    assert!(dir.stat("link").unwrap().is_symlink());
    dir.chmod("file", 0o4755).unwrap();
    assert_eq!(dir.stat("file").unwrap().permissions(), 0o4755);
    assert_eq!(dir.read_link("link").unwrap(), "file");
    assert!(dir.try_stat("nothing").unwrap().is_none());
    assert!(dir.open_dir("file").unwrap_err().is_not_found());
}

#[test]
fn chown_of_a_link_does_not_touch_its_target() {
    if process_owner().uid != 0 {
        eprintln!("SKIP chown_of_a_link_does_not_touch_its_target: needs root");
        return;
    }
    let (_temp, dir) = scratch();
    dir.create_file("file", 0o600).unwrap();
    dir.symlink("file", "link").unwrap();
    dir.chown("link", Owner { uid: 7, gid: 8 }).unwrap();
    assert_eq!(dir.stat("file").unwrap().uid, 0);
    let link = dir.stat("link").unwrap();
    assert_eq!((link.uid, link.gid), (7, 8));
}

#[test]
fn attributes_by_name_and_by_descriptor() {
    let (_temp, dir) = scratch();
    let file = dir.create_file("file", 0o600).unwrap();
    dir.mkdir("sub", 0o755).unwrap();
    if dir.set_xattr("file", "user.one", b"1").is_err() {
        eprintln!(
            "SKIP attributes_by_name_and_by_descriptor: no user attributes on this file system"
        );
        return;
    }
    dir.set_xattr("file", "user.big", &[7; 2000]).unwrap();
    dir.set_xattr("sub", "user.overlay.opaque", b"y").unwrap();
    let all = dir.xattrs("file").unwrap();
    assert_eq!(all, fd_xattrs(&file).unwrap());
    let user: Vec<_> = all.iter().filter(|(key, _)| key.as_bytes().starts_with(b"user.")).collect();
    assert_eq!(user.len(), 2);
    assert_eq!(user[0], &("user.big".into(), vec![7; 2000]));
    let sub = dir.open_dir("sub").unwrap();
    assert_eq!(sub.get_xattr_self("user.overlay.opaque").unwrap().as_deref(), Some(&b"y"[..]));
    assert_eq!(dir.get_xattr("sub", "user.none").unwrap(), None);
    dir.remove_xattr("file", "user.big").unwrap();
    dir.remove_xattr("file", "user.big").unwrap();
    assert_eq!(dir.get_xattr("file", "user.big").unwrap(), None);
}

#[test]
fn whiteouts_links_and_pipes() {
    let (_temp, dir) = scratch();
    if let Err(error) = dir.whiteout("gone") {
        eprintln!("SKIP whiteouts_links_and_pipes: {error}");
        return;
    }
    assert!(dir.stat("gone").unwrap().is_whiteout());
    dir.create_file("a", 0o600).unwrap();
    dir.link("a", &dir, "b").unwrap();
    assert_eq!(dir.stat("a").unwrap().ino, dir.stat("b").unwrap().ino);
    assert_eq!(dir.stat("a").unwrap().nlink, 2);
    assert!(dir.link("a", &dir, "b").unwrap_err().is_exists());
    dir.mknod("pipe", FileKind::Fifo, 0o600, 0).unwrap();
    assert_eq!(dir.stat("pipe").unwrap().kind(), FileKind::Fifo);
    // Opening a pipe by accident must not wait for a writer.
    drop(dir.open_file("pipe").unwrap());
}

#[test]
fn contents_of_every_size_are_copied() {
    let (_temp, dir) = scratch();
    let copier = Copier::new();
    for size in [0_usize, 1, 65_536, 65_537, 3_000_000] {
        let data: Vec<u8> = (0..size).map(|i| u8::try_from(i % 251).unwrap()).collect();
        dir.create_file("from", 0o600).unwrap().write_all(&data).unwrap();
        let mut from = dir.open_file("from").unwrap();
        let mut to = dir.create_file("to", 0o600).unwrap();
        assert_eq!(copier.copy(&mut from, &mut to, size as u64).unwrap(), size as u64);
        let mut copied = Vec::new();
        std::io::Read::read_to_end(&mut dir.open_file("to").unwrap(), &mut copied).unwrap();
        assert!(copied == data, "{size}");
        dir.unlink("from").unwrap();
        dir.unlink("to").unwrap();
    }
}

#[test]
fn a_tree_is_removed_whatever_is_in_it() {
    let (_temp, dir) = scratch();
    dir.create_file("keep", 0o600).unwrap();
    dir.mkdir("tree", 0o755).unwrap();
    let tree = dir.open_dir("tree").unwrap();
    tree.symlink("../keep", "link").unwrap();
    tree.symlink("..", "up").unwrap();
    tree.mkdir("work", 0o755).unwrap();
    let work = tree.open_dir("work").unwrap();
    work.mkdir("work", 0o700).unwrap();
    work.open_dir("work").unwrap().create_file("f", 0o600).unwrap();
    work.chmod("work", 0).unwrap();
    work.chmod_self(0o500).unwrap();
    // Deeper than any path may be long and than descriptors may be open.
    let mut deep = tree.reopen().unwrap();
    for _ in 0..3000 {
        deep = deep.ensure_dir("d", 0o755).unwrap();
        deep.create_file("f", 0o600).unwrap();
    }
    remove_tree(&dir, "tree").unwrap();
    remove_tree(&dir, "tree").unwrap();
    let names: Vec<_> = dir.read_dir().unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["keep"]);
    assert!(remove_tree(&dir, "../x").is_err());
    assert!(remove_tree(&dir, "..").is_err());
}

#[test]
fn a_write_replaces_or_does_nothing() {
    let (_temp, dir) = scratch();
    atomic_write(&dir, "file", b"one", 0o600, Durability::Process).unwrap();
    atomic_write(&dir, "file", b"two", 0o600, Durability::Machine).unwrap();
    assert_eq!(dir.stat("file").unwrap().size, 3);
    dir.mkdir("sub", 0o755).unwrap();
    assert!(atomic_write(&dir, "sub", b"x", 0o600, Durability::Process).is_err());
    assert_eq!(dir.read_dir().unwrap().len(), 2, "no temporary file is left");
}

#[test]
fn a_pipe_in_a_directory_is_stray_and_one_of_a_shell_is_not() {
    let (temp, dir) = scratch();
    dir.create_file("file", 0o644).unwrap();
    dir.mknod("pipe", FileKind::Fifo, 0o644, 0).unwrap();
    dir.symlink("pipe", "link").unwrap();
    assert!(is_stray_pipe(&temp.path().join("pipe")));
    assert!(is_stray_pipe(&temp.path().join("link")));
    assert!(!is_stray_pipe(&temp.path().join("file")));
    assert!(!is_stray_pipe(&temp.path().join("missing")));
    let (reader, _writer) = std::io::pipe().unwrap();
    let name = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    assert!(!is_stray_pipe(std::path::Path::new(&name)));
}
