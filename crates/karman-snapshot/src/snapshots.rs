//! Committed snapshots and the ones being made.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use karman_content::{GcReport, Put, Row, Store, TempDir};
use karman_oci::Digest;
use karman_sys::fs::{Dir, FileKind, Owner, Time, fd_set_xattr, fd_xattrs, remove_tree};
use serde::{Deserialize, Serialize};

use crate::attrs::image_xattrs;
use crate::error::{On, Result, SnapshotError};
use crate::seal::seal;
use crate::view::{Layer, View};
use crate::writer::LayerWriter;

const BUCKET: &str = "snapshot";

/// The kind under which snapshots are leased.
const KIND: &str = "snapshot";

/// A directory without a row is kept this long: its owner may be about to index it.
const UNINDEXED_FOR_SECS: i64 = 3600;

/// Mode of the root directory when no layer below gives one.
const ROOT_MODE: u32 = 0o755;

/// Names a snapshot: 32 random hexadecimal digits, never used again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SnapshotId(String);

impl SnapshotId {
    /// Reads an id: 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 32 && text.bytes().all(hex)).then(|| Self(text.to_owned()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the index knows of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its name.
    pub id: SnapshotId,
    /// When it was committed, in nanoseconds since 1970.
    pub created: i64,
    /// When it was last used, in nanoseconds since 1970.
    pub last_used: i64,
    /// Whether the layer changes nothing.
    pub empty: bool,
    /// What the committer wrote down.
    pub labels: BTreeMap<String, String>,
}

/// The value of a row.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// The boot in which it was committed.
    boot: String,
    /// Whether it has been synced to disk since.
    synced: bool,
    empty: bool,
    usage: Option<u64>,
    /// What was in it when it was sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seal: Option<Digest>,
    labels: BTreeMap<String, String>,
}

/// How a snapshot was found to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// As it was when it was sealed.
    Sound,
    /// It has no seal to compare with; this would be its seal.
    Unsealed(Digest),
    /// It is not what it was.
    Changed,
    /// Its directory is not there.
    Missing,
}

/// The snapshots of a store.
#[derive(Debug, Clone)]
pub struct Snapshots {
    store: Store,
    path: PathBuf,
    dir: Arc<Dir>,
    boot: Arc<str>,
}

impl Snapshots {
    /// The snapshots of a store.
    pub fn new(store: &Store) -> Result<Self> {
        let path = store.snapshots_dir();
        let dir = Dir::open(&path).on(&path)?;
        // Without a boot id every boot looks the same, and snapshots of a crashed machine are trusted.
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Ok(Self { store: store.clone(), path, dir: Arc::new(dir), boot: boot.trim().into() })
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Starts a layer on top of `chain` (bottom first): an empty upper directory and a fresh work directory.
    ///
    /// The root directory of the layer is a copy of the root directory below, since overlayfs shows the topmost one.
    pub fn prepare(&self, chain: &[SnapshotId]) -> Result<Active> {
        let temp = self.store.temp_dir("snapshot")?;
        let dir = Dir::open(temp.path()).on(temp.path())?;
        dir.mkdir("work", 0o700).on(temp.path())?;
        dir.mkdir("fs", 0o700).on(temp.path())?;
        let root = dir.open_dir("fs").on(temp.path())?;
        match chain.last() {
            Some(below) => copy_root(&self.open(below)?, &root).on(temp.path())?,
            None => {
                root.chmod_self(ROOT_MODE).on(temp.path())?;
                root.utimens_self(Time::default()).on(temp.path())?;
            }
        }
        Ok(Active {
            fs: temp.path().join("fs"),
            work: temp.path().join("work"),
            temp,
            snapshots: self.clone(),
        })
    }

    /// The upper directories of a chain for mounting, topmost first. Counts as a use.
    ///
    /// A layer that occurs twice is given once, where it is topmost: there it hides its other self, and
    /// overlayfs refuses the same directory twice.
    ///
    /// # Errors
    /// [`SnapshotError::NoSnapshot`] for one that is missing.
    pub fn lowers(&self, chain: &[SnapshotId]) -> Result<Vec<PathBuf>> {
        let mut seen = HashSet::new();
        let topmost = chain.iter().rev().filter(|id| seen.insert(*id));
        topmost.map(|id| self.existing(id).map(|()| self.fs_path(id))).collect()
    }

    /// What a chain (bottom first) shows when it is merged. Counts as a use.
    pub fn view(&self, chain: &[SnapshotId]) -> Result<View> {
        let layers = chain.iter().rev().map(|id| {
            self.existing(id)?;
            Layer::open(&self.fs_path(id), Some(id.clone()))
        });
        Ok(View::from_layers(layers.collect::<Result<_>>()?))
    }

    /// Whether a snapshot is there, complete.
    pub fn exists(&self, id: &SnapshotId) -> Result<bool> {
        match self.existing(id) {
            Ok(()) => Ok(true),
            Err(SnapshotError::NoSnapshot(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What the index knows of a snapshot.
    pub fn info(&self, id: &SnapshotId) -> Result<Option<SnapshotInfo>> {
        Ok(self.rows(id.as_str())?.into_iter().next().map(|(info, _)| info))
    }

    /// All snapshots, by id.
    pub fn list(&self) -> Result<Vec<SnapshotInfo>> {
        Ok(self.rows("")?.into_iter().map(|(info, _)| info).collect())
    }

    /// Bytes on disk, each inode once; computed at the first question. Inodes shared with other snapshots count in each.
    pub fn usage(&self, id: &SnapshotId) -> Result<u64> {
        let Some((_, mut record)) = self.rows(id.as_str())?.into_iter().next() else {
            return Err(SnapshotError::NoSnapshot(id.clone()));
        };
        if let Some(usage) = record.usage {
            return Ok(usage);
        }
        let usage = disk_usage(&self.open(id)?, &mut HashSet::new()).on(self.fs_path(id))?;
        record.usage = Some(usage);
        self.store.put_many(&[put(id, &record, usage)?])?;
        Ok(usage)
    }

    /// Compares a snapshot with its seal, by reading everything in it. One that another process removes meanwhile is
    /// sound: nothing is wrong with the store.
    ///
    /// # Errors
    /// When the index or the directory cannot be read.
    pub fn check(&self, id: &SnapshotId) -> Result<Checked> {
        let found = self.dir.open_dir(id.as_str()).and_then(|dir| dir.open_dir("fs"));
        let checked = match found.and_then(|dir| seal(&dir)) {
            Ok(found) => match self.rows(id.as_str())?.into_iter().next() {
                None => return Ok(Checked::Sound),
                Some((_, record)) => match record.seal {
                    None => Checked::Unsealed(found),
                    Some(seal) if seal == found => return Ok(Checked::Sound),
                    Some(_) => Checked::Changed,
                },
            },
            Err(error) if error.is_not_found() => Checked::Missing,
            Err(error) => return Err(error).on(self.fs_path(id)),
        };
        let gone = self.rows(id.as_str())?.is_empty();
        Ok(if gone { Checked::Sound } else { checked })
    }

    /// Remembers what is in a snapshot.
    ///
    /// # Errors
    /// When the index cannot be written.
    pub fn put_seal(&self, id: &SnapshotId, seal: Digest) -> Result<()> {
        let Some((_, mut record)) = self.rows(id.as_str())?.into_iter().next() else {
            return Ok(());
        };
        record.seal = Some(seal);
        let usage = record.usage.unwrap_or(0);
        Ok(self.store.put_many(&[put(id, &record, usage)?])?)
    }

    /// Removes a snapshot; one that is not there is no error. The caller makes sure that nobody uses it.
    pub fn remove(&self, id: &SnapshotId) -> Result<()> {
        self.store.delete(BUCKET, id.as_str())?;
        remove_tree(&self.dir, id.as_str()).on(&self.path)
    }

    /// Makes all snapshots committed so far survive a power failure (`syncfs`, which may take a second).
    ///
    /// Without it they are lost when the machine goes down, never half there: see [`Snapshots::exists`].
    pub fn flush(&self) -> Result<()> {
        let mut unsynced = self.rows("")?;
        unsynced.retain(|(_, record)| !record.synced);
        if unsynced.is_empty() {
            return Ok(());
        }
        self.dir.sync_filesystem().on(&self.path)?;
        let mut rows = Vec::with_capacity(unsynced.len());
        for (info, mut record) in unsynced {
            record.synced = true;
            rows.push(put(&info.id, &record, record.usage.unwrap_or(0))?);
        }
        self.store.put_many(&rows)?;
        Ok(())
    }

    /// Flushes when something was committed more than `age` ago and is not safe yet. By then the kernel has
    /// written most of it by itself, so that this costs little where [`Snapshots::flush`] after a build costs seconds.
    ///
    /// # Errors
    /// As [`Snapshots::flush`].
    pub fn flush_settled(&self, age: std::time::Duration) -> Result<()> {
        let age = i64::try_from(age.as_nanos()).unwrap_or(i64::MAX);
        let before = Time::now().as_nanos().saturating_sub(age);
        let settled =
            self.rows("")?.iter().any(|(info, record)| !record.synced && info.created < before);
        if settled { self.flush() } else { Ok(()) }
    }

    /// Removes the snapshots for which `live` says no and no lease says yes (kind `snapshot`), and what crashes left.
    pub fn gc(&self, mut live: impl FnMut(&SnapshotInfo) -> bool) -> Result<GcReport> {
        let mut report = GcReport::default();
        let mut doomed: Vec<String> = Vec::new();
        let guard = self.store.gc_guard()?;
        let mut known = HashSet::new();
        for row in self.store.list(BUCKET, "")? {
            let Some(id) = row_id(&row) else { continue };
            known.insert(id.to_string());
            let current = self.info_of(&row).ok().filter(|(_, record)| self.trusted(record));
            if let Some((info, _)) = current {
                if live(&info) {
                    continue;
                }
                if guard.leases.protects(KIND, id.as_str(), row.created) {
                    report.leased += 1;
                    continue;
                }
            }
            report.bytes += row.size;
            doomed.push(id.to_string());
        }
        let keys: Vec<_> = doomed.iter().map(|id| id.clone().into_bytes()).collect();
        self.store.delete_many(BUCKET, &keys)?;
        drop(guard);
        doomed.extend(self.unindexed(&known)?);
        for id in &doomed {
            remove_tree(&self.dir, id).on(&self.path)?;
            report.removed += 1;
        }
        Ok(report)
    }

    fn unindexed(&self, known: &HashSet<String>) -> Result<Vec<String>> {
        let old = Time::now().sec - UNINDEXED_FOR_SECS;
        let mut out = Vec::new();
        for entry in self.dir.read_dir().on(&self.path)? {
            let Some(name) = entry.name.to_str().filter(|name| !known.contains(*name)) else {
                continue;
            };
            if self.dir.try_stat(name).on(&self.path)?.is_some_and(|stat| stat.ctime.sec < old) {
                out.push(name.to_owned());
            }
        }
        Ok(out)
    }

    fn existing(&self, id: &SnapshotId) -> Result<()> {
        let missing = || SnapshotError::NoSnapshot(id.clone());
        // First protected, then looked up: what is found stays.
        self.store.keep(KIND, id.as_str())?;
        let value = self.store.get(BUCKET, id.as_str())?.ok_or_else(missing)?;
        let record = decode(id.as_str(), &value)?;
        let there = self.dir.exists(id.as_str()).on(&self.path)?;
        if there && self.trusted(&record) { Ok(()) } else { Err(missing()) }
    }

    fn trusted(&self, record: &Record) -> bool {
        record.synced || *record.boot == *self.boot
    }

    fn rows(&self, prefix: &str) -> Result<Vec<(SnapshotInfo, Record)>> {
        let rows = self.store.list(BUCKET, prefix)?;
        let rows = rows.iter().map(|row| self.info_of(row));
        rows.filter(|row| row.as_ref().map_or(true, |(_, record)| self.trusted(record))).collect()
    }

    fn info_of(&self, row: &Row) -> Result<(SnapshotInfo, Record)> {
        let text = String::from_utf8_lossy(&row.key);
        let record = decode(&text, &row.value)?;
        let info = SnapshotInfo {
            id: SnapshotId(text.into_owned()),
            created: row.created,
            last_used: row.last_used,
            empty: record.empty,
            labels: record.labels.clone(),
        };
        Ok((info, record))
    }

    fn fs_path(&self, id: &SnapshotId) -> PathBuf {
        self.path.join(id.as_str()).join("fs")
    }

    fn open(&self, id: &SnapshotId) -> Result<Dir> {
        self.existing(id)?;
        let path = self.fs_path(id);
        Dir::open(&path).on(&path)
    }
}

/// A layer being made. Dropping it removes it.
#[derive(Debug)]
pub struct Active {
    fs: PathBuf,
    work: PathBuf,
    temp: TempDir,
    snapshots: Snapshots,
}

impl Active {
    /// The upper directory.
    #[must_use]
    pub fn fs(&self) -> &Path {
        &self.fs
    }

    /// The work directory for one overlay mount.
    #[must_use]
    pub fn work(&self) -> &Path {
        &self.work
    }

    /// A writer into the layer, on top of `lower`.
    pub fn writer(&self, lower: &View) -> Result<LayerWriter> {
        LayerWriter::new(&self.fs, lower)
    }

    /// Whether the layer changes nothing so far.
    pub fn is_empty(&self) -> Result<bool> {
        Dir::open(&self.fs).and_then(|dir| dir.is_empty()).on(&self.fs)
    }

    /// Makes it a snapshot: the directory gets its final name, then the index its row.
    pub fn commit(self, labels: BTreeMap<String, String>) -> Result<SnapshotId> {
        self.finish(labels, None)
    }

    /// The same with a seal, for layers that are not made again from the same steps: everything in it is read once
    /// more, while it is still in memory.
    pub fn commit_sealed(self, labels: BTreeMap<String, String>) -> Result<SnapshotId> {
        let seal = Dir::open(&self.fs).and_then(|dir| seal(&dir)).on(&self.fs)?;
        self.finish(labels, Some(seal))
    }

    fn finish(self, labels: BTreeMap<String, String>, seal: Option<Digest>) -> Result<SnapshotId> {
        let dir = Dir::open(self.temp.path()).on(self.temp.path())?;
        remove_tree(&dir, "work").on(&self.work)?;
        let empty = self.is_empty()?;
        let id = SnapshotId(self.snapshots.store.random_id()?);
        self.temp.persist(&self.snapshots.dir, id.as_str())?;
        let boot = self.snapshots.boot.to_string();
        let record = Record { boot, synced: false, empty, usage: None, seal, labels };
        self.snapshots.store.put_many(&[put(&id, &record, 0)?])?;
        Ok(id)
    }
}

fn put(id: &SnapshotId, record: &Record, size: u64) -> Result<Put> {
    let value = serde_json::to_vec(record)
        .map_err(|source| SnapshotError::Record { id: id.to_string(), source })?;
    Ok(Put { bucket: BUCKET, key: id.as_str().into(), value, size: Some(size) })
}

fn decode(id: &str, value: &[u8]) -> Result<Record> {
    serde_json::from_slice(value)
        .map_err(|source| SnapshotError::Record { id: id.to_owned(), source })
}

fn row_id(row: &Row) -> Option<SnapshotId> {
    std::str::from_utf8(&row.key).ok().and_then(SnapshotId::parse)
}

fn copy_root(from: &Dir, to: &Dir) -> karman_sys::fs::Result<()> {
    let stat = from.stat_self()?;
    for (key, value) in image_xattrs(fd_xattrs(from)?) {
        fd_set_xattr(to, key, &value)?;
    }
    to.chown_self(Owner { uid: stat.uid, gid: stat.gid })?;
    to.chmod_self(stat.permissions())?;
    to.utimens_self(stat.mtime)
}

fn disk_usage(dir: &Dir, seen: &mut HashSet<u64>) -> karman_sys::fs::Result<u64> {
    let mut total = dir.stat_self()?.blocks * 512;
    for entry in dir.read_dir()? {
        if entry.kind == FileKind::Dir {
            total += disk_usage(&dir.open_dir(&entry.name)?, seen)?;
        } else if seen.insert(entry.ino) {
            total += dir.stat(&entry.name)?.blocks * 512;
        }
    }
    Ok(total)
}
