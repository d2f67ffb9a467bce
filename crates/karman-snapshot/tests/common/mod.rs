//! Shared helpers: scratch stores, plain models of trees, listings to compare.
#![expect(dead_code, reason = "not every test file uses every helper")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use karman_content::Store;
use karman_snapshot::{Attrs, SnapshotId};
use karman_snapshot::{Result, Snapshots, View, Visit, WalkDir, WalkEntry};
use karman_sys::fs::{Dir, FileKind, Owner, Stat, Time, process_owner};

pub(crate) struct Scratch {
    pub(crate) temp: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) snapshots: Snapshots,
}

pub(crate) fn scratch() -> Scratch {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(&temp.path().join("store")).unwrap();
    let snapshots = Snapshots::new(&store).unwrap();
    Scratch { temp, store, snapshots }
}

pub(crate) fn attrs(mode: u32) -> Attrs {
    Attrs { mode, owner: process_owner(), mtime: Time::from_secs(1_000_000) }
}

pub(crate) fn root_attrs() -> Attrs {
    Attrs { mode: 0o755, owner: Owner::default(), mtime: Time::from_secs(5) }
}

/// Commits a layer made by `make` on top of `chain`, and returns the longer chain.
pub(crate) fn layer(
    scratch: &Scratch,
    chain: &[SnapshotId],
    make: impl FnOnce(&mut karman_snapshot::LayerWriter),
) -> Vec<SnapshotId> {
    let active = scratch.snapshots.prepare(chain).unwrap();
    let mut writer = active.writer(&scratch.snapshots.view(chain).unwrap()).unwrap();
    make(&mut writer);
    writer.finish().unwrap();
    let mut chain = chain.to_vec();
    chain.push(active.commit(BTreeMap::new()).unwrap());
    chain
}

/// One line per path: type, mode, owner, mtime of non-directories or directories, and content or link text.
pub(crate) type Listing = BTreeMap<PathBuf, String>;

struct Lister<'a> {
    view: &'a View,
    times: bool,
    out: Listing,
}

impl Visit for Lister<'_> {
    fn enter(&mut self, dir: &WalkDir<'_>) -> Result<()> {
        let stat = dir.stat()?;
        self.out.insert(dir.rel.to_owned(), line(&stat, b"", self.times));
        Ok(())
    }

    fn entry(&mut self, entry: &WalkEntry<'_>) -> Result<()> {
        let found = self.view.lookup(entry.path, false)?.expect("what is walked can be looked up");
        assert_eq!(found.stat, entry.stat()?);
        let content = match entry.kind {
            FileKind::File => {
                let mut bytes = Vec::new();
                self.view.open_file(&found)?.read_to_end(&mut bytes).unwrap();
                bytes
            }
            FileKind::Symlink => self.view.read_link(&found)?.into_encoded_bytes(),
            _ => Vec::new(),
        };
        self.out.insert(entry.rel.to_owned(), line(&found.stat, &content, self.times));
        Ok(())
    }
}

fn line(stat: &Stat, content: &[u8], times: bool) -> String {
    let mtime = if times { stat.mtime.as_nanos() } else { 0 };
    let content = String::from_utf8_lossy(content);
    format!(
        "{:?} {:o} {}:{} {mtime} {content}",
        stat.kind(),
        stat.permissions(),
        stat.uid,
        stat.gid
    )
}

/// What a view shows.
pub(crate) fn listing(view: &View, times: bool) -> Listing {
    let mut lister = Lister { view, times, out: Listing::new() };
    let root = view.root();
    view.walk(Path::new(""), &root, None, &mut lister).unwrap();
    lister.out
}

/// What a real directory holds.
pub(crate) fn listing_of_dir(dir: &Dir, times: bool) -> Listing {
    let mut out = Listing::new();
    out.insert(PathBuf::new(), line(&dir.stat_self().unwrap(), b"", times));
    list_into(dir, Path::new(""), times, &mut out);
    out
}

fn list_into(dir: &Dir, path: &Path, times: bool, out: &mut Listing) {
    for entry in dir.read_dir().unwrap() {
        let path = path.join(&entry.name);
        let stat = dir.stat(&entry.name).unwrap();
        let mut content = Vec::new();
        match stat.kind() {
            FileKind::File => {
                dir.open_file(&entry.name).unwrap().read_to_end(&mut content).unwrap();
            }
            FileKind::Symlink => content = dir.read_link(&entry.name).unwrap().into_encoded_bytes(),
            _ => {}
        }
        out.insert(path.clone(), line(&stat, &content, times));
        if stat.is_dir() {
            list_into(&dir.open_dir(&entry.name).unwrap(), &path, times, out);
        }
    }
}

/// A detached overlay mount of these layers (topmost first), or why there is none.
pub(crate) fn overlay(lowers: &[PathBuf]) -> std::result::Result<Dir, String> {
    use rustix::mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
        fsconfig_set_string, fsmount, fsopen,
    };
    let why = |step: &'static str| move |errno: rustix::io::Errno| format!("{step}: {errno}");
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(why("fsopen"))?;
    for lower in lowers {
        fsconfig_set_string(&fs, "lowerdir+", lower.as_path()).map_err(why("lowerdir+"))?;
    }
    fsconfig_set_flag(&fs, "userxattr").map_err(why("userxattr"))?;
    fsconfig_create(&fs).map_err(why("create"))?;
    let flags = MountAttrFlags::empty();
    let mount: OwnedFd =
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, flags).map_err(why("fsmount"))?;
    // A mount is handed out as a path descriptor; reading needs a real one.
    Dir::from(mount).reopen().map_err(|error| error.to_string())
}

pub(crate) fn names(dir: &Path) -> Vec<OsString> {
    let mut names: Vec<_> =
        Dir::open(dir).unwrap().read_dir().unwrap().into_iter().map(|e| e.name).collect();
    names.sort();
    names
}
