//! What the store holds, and pruning it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use karman_content::LockMode;
use karman_control::{Cause, SolveError};
use karman_oci::{Descriptor, Digest, Manifest};
use karman_snapshot::SnapshotId;
use karman_sys::fs::Dir;

use crate::engine::Engine;
use crate::error::{OrFail as _, store as store_error};
use crate::exec::{CacheMountInfo, lock_name};
use crate::images::{attestations_of, manifests_of, read_document};
use crate::layers::by_diff_id;
use crate::sources::LAYER_ORIGIN;

/// Bucket: id of a cache mount → the name of its directory.
const MOUNTS: &str = "mount";
/// Directories are not walked deeper than this for their size.
const MAX_DEPTH: usize = 400;

/// One thing that takes space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// `layer`, `blob`, `cache-mount`, `packages` or `advisories`.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
    /// What people call it: the `id` of a cache mount.
    pub name: Option<String>,
    /// Bytes on disk; files shared by links are counted in each layer.
    pub size: u64,
    /// When it was made, nanoseconds since 1970.
    pub created: i64,
    /// When it was last used, nanoseconds since 1970.
    pub last_used: i64,
    /// Whether an image of the local store needs it.
    pub in_use: bool,
}

/// What may be pruned.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PruneFilter {
    /// Cache mounts and fetched packages too.
    pub all: bool,
    /// Only things that these let through.
    pub rows: RowFilter,
    /// Least recently used things go until these hold; without any of them everything may go.
    pub limits: SpaceLimits,
}

/// Which things are meant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RowFilter {
    /// Only what was not used for this long.
    pub unused_for: Option<Duration>,
    /// Only these kinds; all where it is empty.
    pub kinds: Vec<String>,
    /// Only ids that begin with one of these, and names that are one of these; all where it is empty.
    pub ids: Vec<String>,
}

/// How much space the store may take, in bytes, as BuildKit's policies say it. Zero is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SpaceLimits {
    /// What is always left to the store.
    pub reserved: u64,
    /// What the store is pruned to.
    pub max_used: u64,
    /// What is to be free on the file system.
    pub min_free: u64,
}

impl SpaceLimits {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// How many of `used` bytes may stay where `free` bytes are free.
    fn kept(&self, used: u64, free: u64) -> u64 {
        let mut kept = self.max_used;
        if let Some(excess) = self.min_free.checked_sub(free).filter(|excess| *excess > 0) {
            let left = used.saturating_sub(excess);
            kept = if kept == 0 { left } else { kept.min(left) };
        } else if kept == 0 && self.min_free > 0 {
            // Enough is free already.
            kept = used;
        }
        kept.max(self.reserved)
    }
}

impl RowFilter {
    /// Whether a thing is meant.
    #[must_use]
    pub fn lets(&self, row: &UsageRow) -> bool {
        let bare = row.id.strip_prefix("sha256:").unwrap_or(&row.id);
        let is_called = |id: &String| {
            bare.starts_with(id.strip_prefix("sha256:").unwrap_or(id))
                || row.name.as_ref() == Some(id)
        };
        let is_old = self.unused_for.is_none_or(|age| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
            let limit =
                i128::try_from(now).unwrap_or(0) - i128::try_from(age.as_nanos()).unwrap_or(0);
            i128::from(row.last_used) < limit
        });
        is_old
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| kind == row.kind))
            && (self.ids.is_empty() || self.ids.iter().any(is_called))
    }
}

/// What a prune did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pruned {
    /// Things removed.
    pub removed: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl PruneFilter {
    /// Whether cache mounts and packages are meant too.
    fn takes_directories(&self) -> bool {
        let is_directory = |kind: &str| matches!(kind, "cache-mount" | "packages" | "advisories");
        self.all || self.rows.kinds.iter().any(|kind| is_directory(kind))
    }
}

/// Everything that named images need.
#[derive(Default)]
struct Live {
    blobs: BTreeSet<Digest>,
    layers: BTreeSet<SnapshotId>,
}

impl Engine {
    /// Everything that takes space, largest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn usage(&self) -> Result<Vec<UsageRow>, SolveError> {
        let live = self.live()?;
        let doing = "measure the store";
        let mut rows = Vec::new();
        for info in self.snapshots().list().or_fail(Cause::Store, doing)? {
            rows.push(UsageRow {
                kind: "layer",
                size: self.snapshots().usage(&info.id).or_fail(Cause::Store, doing)?,
                created: info.created,
                last_used: info.last_used,
                in_use: live.layers.contains(&info.id),
                id: info.id.to_string(),
                name: None,
            });
        }
        for blob in self.store().blobs().map_err(store_error)? {
            rows.push(UsageRow {
                kind: "blob",
                id: blob.digest.to_string(),
                name: None,
                size: blob.size,
                created: blob.created,
                last_used: blob.last_used,
                in_use: live.blobs.contains(&blob.digest),
            });
        }
        for (kind, name) in
            [("cache-mount", "mounts"), ("packages", "packages"), ("advisories", "advisories")]
        {
            rows.extend(self.directory_rows(kind, name)?);
        }
        rows.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
        Ok(rows)
    }

    /// Directories of the store that are measured by walking them.
    fn directory_rows(&self, kind: &'static str, name: &str) -> Result<Vec<UsageRow>, SolveError> {
        let doing = "measure the store";
        let path = self.store().root().join(name);
        let Ok(dir) = Dir::open(&path) else { return Ok(Vec::new()) };
        let row = |id: String, at: &Path| -> Result<UsageRow, SolveError> {
            let opened = Dir::open(at).or_fail(Cause::Store, doing)?;
            let stat = opened.stat_self().or_fail(Cause::Store, doing)?;
            let size = tree_size(&opened, 0).or_fail(Cause::Store, doing)?;
            let time = stat.mtime.as_nanos();
            let (created, last_used) = (time, time);
            Ok(UsageRow { kind, id, name: None, size, created, last_used, in_use: false })
        };
        if kind == name {
            return Ok(vec![row(name.to_owned(), &path)?]);
        }
        let mut rows = Vec::new();
        let uses = self.uses_of_mounts()?;
        for entry in dir.read_dir().or_fail(Cause::Store, doing)? {
            let id = entry.name.to_string_lossy().into_owned();
            let mut row = row(id, &path.join(&entry.name))?;
            if let Some((name, last_used)) = uses.get(&row.id) {
                row.name = Some(name.clone());
                row.last_used = row.last_used.max(*last_used);
            }
            rows.push(row);
        }
        Ok(rows)
    }

    /// The ids of cache mounts by their directories, and when they were used last: a step that only reads, or writes
    /// deep below, leaves no trace in the directory.
    fn uses_of_mounts(&self) -> Result<BTreeMap<String, (String, i64)>, SolveError> {
        let list = |bucket| self.store().list(bucket, "").map_err(store_error);
        let infos: BTreeMap<Vec<u8>, (Option<CacheMountInfo>, i64)> = list(CacheMountInfo::BUCKET)?
            .into_iter()
            .map(|row| (row.key, (serde_json::from_slice(&row.value).ok(), row.last_used)))
            .collect();
        let mut uses = BTreeMap::new();
        for row in list(MOUNTS)? {
            let (info, used) =
                infos.get(&row.key).map_or((None, 0), |(i, used)| (i.as_ref(), *used));
            let place = || String::from_utf8_lossy(&row.key).into_owned();
            let name = info.map_or_else(place, |info| info.id.clone());
            let directory = String::from_utf8_lossy(&row.value).into_owned();
            uses.insert(directory, (name, used.max(row.last_used)));
        }
        Ok(uses)
    }

    /// Removes what nothing needs: build cache that no named image uses, by the filter's rules.
    /// Safe while other processes build: what they use is leased.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub fn prune(&self, filter: &PruneFilter) -> Result<Pruned, SolveError> {
        let doomed = self.doomed(filter)?;
        let wanted = |id: &str| doomed.contains(id);
        // The names are read when the collection has read the leases, not before: of a build that
        // ends meanwhile, either the lease is seen or the name.
        let mut named = None;
        let layers = self
            .snapshots()
            .gc(|info| match named.get_or_insert_with(|| self.live()) {
                Ok(live) => live.layers.contains(&info.id) || !wanted(info.id.as_str()),
                Err(_) => true,
            })
            .or_fail(Cause::Store, "prune layers")?;
        named.take().transpose()?;
        let blobs = self
            .store()
            .gc_blobs(|blob| match named.get_or_insert_with(|| self.live_with_origins()) {
                Ok(live) => live.blobs.contains(&blob.digest) || !wanted(&blob.digest.to_string()),
                Err(_) => true,
            })
            .map_err(store_error)?;
        named.transpose()?;
        let mut pruned =
            Pruned { removed: layers.removed + blobs.removed, bytes: layers.bytes + blobs.bytes };
        if filter.takes_directories() {
            self.prune_mounts(&wanted, &mut pruned)?;
            for name in ["packages", "advisories"] {
                for row in self.directory_rows(name, name)? {
                    if wanted(&row.id) {
                        self.remove_directory("", &row, &mut pruned)?;
                    }
                }
            }
        }
        self.forget_what_is_gone()?;
        self.store().sweep_tmp().map_err(store_error)?;
        Ok(pruned)
    }

    /// Removes what was written down about layers and manifests that are gone. Of those that a build
    /// makes meanwhile the rows come last, so that none is taken for gone.
    fn forget_what_is_gone(&self) -> Result<(), SolveError> {
        let store = self.store();
        let mut gone = Vec::new();
        for row in store.list(crate::made_by::BUCKET, "").map_err(store_error)? {
            let id = std::str::from_utf8(&row.key).ok().and_then(SnapshotId::parse);
            let is_there = |id| self.snapshots().exists(&id).unwrap_or(true);
            if !id.is_some_and(is_there) {
                gone.push(row.key);
            }
        }
        store.delete_many(crate::made_by::BUCKET, &gone).map_err(store_error)?;
        for bucket in [crate::inventory::BUCKET, crate::export::PROVENANCE] {
            let mut gone = Vec::new();
            for row in store.list(bucket, "").map_err(store_error)? {
                let manifest = row.key.clone().try_into().ok().map(Digest::from_bytes);
                let is_there = |digest| store.contains(&digest).unwrap_or(true);
                if !manifest.is_some_and(is_there) {
                    gone.push(row.key);
                }
            }
            store.delete_many(bucket, &gone).map_err(store_error)?;
        }
        Ok(())
    }

    /// Removes cache mounts, those that a step uses right now excepted.
    fn prune_mounts(
        &self,
        wanted: &dyn Fn(&str) -> bool,
        pruned: &mut Pruned,
    ) -> Result<(), SolveError> {
        let store = self.store();
        let known = store.list(MOUNTS, "").map_err(store_error)?;
        for row in self.directory_rows("cache-mount", "mounts")? {
            if !wanted(&row.id) {
                continue;
            }
            let id = known.iter().find(|k| k.value == row.id.as_bytes());
            let Some(id) = id.and_then(|k| std::str::from_utf8(&k.key).ok()) else {
                self.remove_directory("mounts", &row, pruned)?;
                continue;
            };
            let lock = store.try_lock(&lock_name(id), LockMode::Exclusive).map_err(store_error)?;
            if lock.is_some() {
                store.remove_cache_mount(id).map_err(store_error)?;
                store.delete(CacheMountInfo::BUCKET, id).map_err(store_error)?;
                pruned.removed += 1;
                pruned.bytes += row.size;
            }
        }
        Ok(())
    }

    fn remove_directory(
        &self,
        parent: &str,
        row: &UsageRow,
        pruned: &mut Pruned,
    ) -> Result<(), SolveError> {
        let path = self.store().root().join(parent);
        let dir = Dir::open(&path).or_fail(Cause::Store, "prune")?;
        // A new name first: a directory that is half removed must not be found by a build.
        let gone = self.store().temp_name("pruned");
        dir.rename(&row.id, &dir, &gone).or_fail(Cause::Store, "prune")?;
        karman_sys::fs::remove_tree(&dir, &gone).or_fail(Cause::Store, "prune")?;
        pruned.removed += 1;
        pruned.bytes += row.size;
        Ok(())
    }

    /// The ids of what the filter lets go, before anything in use is spared.
    fn doomed(&self, filter: &PruneFilter) -> Result<BTreeSet<String>, SolveError> {
        let mut rows = self.usage()?;
        let mut left: u64 = rows.iter().map(|r| r.size).sum();
        let root = self.store().root();
        let disk = rustix::fs::statvfs(root).or_fail(Cause::Store, "measure the file system")?;
        let limits = filter.limits;
        let kept = limits.kept(left, disk.f_bavail.saturating_mul(disk.f_frsize));
        let directories = filter.takes_directories();
        rows.retain(|r| !r.in_use && (directories || matches!(r.kind, "layer" | "blob")));
        rows.retain(|r| filter.rows.lets(r));
        // What a build holds stays, and must not count as room that was made.
        let leases = self.store().live_leases().map_err(store_error)?;
        rows.retain(|r| !leases.protects(lease_kind(r.kind), &r.id, r.created));
        let pairs = self.pairs()?;
        // What belongs together was last used when either was.
        let used: BTreeMap<String, i64> =
            rows.iter().map(|r| (r.id.clone(), r.last_used)).collect();
        rows.sort_by_cached_key(|r| {
            let other = pairs.get(&r.id).and_then(|id| used.get(id));
            other.map_or(r.last_used, |time| r.last_used.max(*time))
        });
        let sizes: BTreeMap<String, u64> = rows.iter().map(|r| (r.id.clone(), r.size)).collect();
        let mut doomed = BTreeSet::new();
        for row in &rows {
            if !limits.is_empty() && left <= kept {
                break;
            }
            for id in std::iter::once(&row.id).chain(pairs.get(&row.id)) {
                if let Some(size) = sizes.get(id)
                    && doomed.insert(id.clone())
                {
                    left = left.saturating_sub(*size);
                }
            }
        }
        Ok(doomed)
    }

    /// Layers that came with an image and the blobs they came in, each by the other: neither is of use
    /// alone. A layer whose blob is gone would be shipped in other bytes.
    fn pairs(&self) -> Result<BTreeMap<String, String>, SolveError> {
        let mut pairs = BTreeMap::new();
        for (layer, blob) in self.origins()? {
            pairs.insert(layer.to_string(), blob.to_string());
            pairs.insert(blob.to_string(), layer.to_string());
        }
        Ok(pairs)
    }

    /// The layers in the store that came with an image, and the blobs they came in.
    pub(crate) fn origins(&self) -> Result<Vec<(SnapshotId, Digest)>, SolveError> {
        let store = self.store();
        let mut origins = Vec::new();
        for row in store.list(LAYER_ORIGIN, "").map_err(store_error)? {
            let Ok(origin) = serde_json::from_slice::<Descriptor>(&row.value) else { continue };
            let Ok(diff_id) = <[u8; 32]>::try_from(row.key) else { continue };
            let diff_id = Digest::from_bytes(diff_id);
            if let Some(id) = by_diff_id(store, self.snapshots(), &diff_id)? {
                origins.push((id, origin.digest));
            }
        }
        Ok(origins)
    }

    /// What named images need, and the blobs of layers that stay.
    fn live_with_origins(&self) -> Result<Live, SolveError> {
        let mut live = self.live()?;
        live.blobs.extend(self.origins()?.into_iter().map(|(_, blob)| blob));
        Ok(live)
    }

    fn live(&self) -> Result<Live, SolveError> {
        let mut live = Live::default();
        let store = self.store();
        for image in self.images()? {
            live.blobs.insert(image.descriptor.digest);
            for descriptor in attestations_of(store, &image.descriptor)? {
                let manifest: Manifest = read_document(store, &descriptor.digest)?;
                let parts = manifest.layers.iter().chain([&manifest.config, &descriptor]);
                live.blobs.extend(parts.map(|part| part.digest));
            }
            for descriptor in manifests_of(store, &image.descriptor)? {
                live.blobs.insert(descriptor.digest);
                live.blobs.extend(crate::inventory::stored_blob(store, &descriptor.digest)?);
                let manifest: Manifest = read_document(store, &descriptor.digest)?;
                live.blobs.insert(manifest.config.digest);
                live.blobs.extend(manifest.layers.iter().map(|l| l.digest));
                let config: karman_oci::ImageConfig =
                    read_document(store, &manifest.config.digest)?;
                let steps = crate::layering::steps_of(self, &descriptor.digest)?;
                live.layers.extend(steps.into_iter().flat_map(|steps| steps.chain));
                for diff_id in &config.rootfs.diff_ids {
                    live.layers.extend(by_diff_id(store, self.snapshots(), diff_id)?);
                }
            }
        }
        Ok(live)
    }
}

/// The kind under which leases name what a row of the usage shows.
fn lease_kind(kind: &str) -> &str {
    if kind == "layer" { "snapshot" } else { kind }
}

/// Bytes of all files below a directory. Links are not followed.
pub(crate) fn tree_size(dir: &Dir, depth: usize) -> karman_sys::fs::Result<u64> {
    let mut size = 0;
    for entry in dir.read_dir()? {
        let stat = dir.stat(&entry.name)?;
        size += stat.blocks * 512;
        if stat.is_dir() && depth < MAX_DEPTH {
            size += tree_size(&dir.open_dir(&entry.name)?, depth + 1)?;
        }
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_say_how_much_stays() {
        let limits = |reserved, max_used, min_free| SpaceLimits { reserved, max_used, min_free };
        assert_eq!(limits(0, 50, 0).kept(100, 0), 50);
        assert_eq!(limits(70, 50, 0).kept(100, 0), 70, "what is reserved wins");
        assert_eq!(limits(0, 0, 30).kept(100, 10), 80, "twenty more must be free");
        assert_eq!(limits(0, 60, 30).kept(100, 10), 60);
        assert_eq!(limits(90, 60, 30).kept(100, 10), 90);
        assert_eq!(limits(0, 0, 30).kept(100, 40), 100, "enough is free");
        assert_eq!(limits(30, 0, 0).kept(100, 0), 30);
        assert_eq!(limits(0, 0, 500).kept(100, 10), 0);
    }

    #[test]
    fn rows_are_chosen_by_kind_id_and_age() {
        let row = UsageRow {
            kind: "blob",
            id: "sha256:00ff".to_owned(),
            name: Some("apt".to_owned()),
            size: 1,
            created: 0,
            last_used: 0,
            in_use: false,
        };
        let lets = |kinds: &[&str], ids: &[&str], unused_for| {
            let own = |texts: &[&str]| texts.iter().map(|t| (*t).to_owned()).collect();
            RowFilter { unused_for, kinds: own(kinds), ids: own(ids) }.lets(&row)
        };
        assert!(lets(&[], &[], None) && lets(&["blob"], &["00"], Some(Duration::from_secs(1))));
        assert!(lets(&["layer", "blob"], &["sha256:00ff"], None));
        assert!(!lets(&["layer"], &[], None) && !lets(&[], &["ff"], None));
        assert!(lets(&[], &["apt"], None) && !lets(&[], &["ap"], None), "names are whole");
        let century = Duration::from_secs(100 * 365 * 24 * 3600);
        assert!(!lets(&[], &[], Some(century)), "used within this time");
    }
}
