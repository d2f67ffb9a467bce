//! Cache mounts as things that people list and move: to an OCI layout, an archive or a registry, and back.
//!
//! What is moved is one manifest whose config ([`MEDIA_TYPE`]) lists the mounts and whose layers hold
//! their files, one layer each. Times are kept: programs look at those of their caches.

use std::path::{Path, PathBuf};
use std::time::Duration;

use karman_content::{LockMode, NamedLock};
use karman_control::{Cause, Compression, CompressionKind, SolveError};
use karman_exporter::TimePolicy;
use karman_exporter::export::{
    ArchiveKind, LayoutEntry, Named, add_to_layout, reading, sweep_layout, write_archive,
    write_file,
};
use karman_exporter::layer::{LayerOptions, write_layer};
use karman_exporter::layout::Layout;
use karman_exporter::unpack::{Limits, Ownership, UnpackOptions, unpack_layer};
use karman_oci::{Descriptor, Digest, Manifest, Reference, media_type};
use karman_sys::fs::{Dir, Owner};
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::error::{OrFail as _, store as store_error};
use crate::exec::{CacheMountInfo, lock_name};
use crate::files::MOUNT_DATA;
use crate::sources::{fetch, fetch_document, registry_error};
use crate::transfer::push_cache;

/// The media type of the config.
const MEDIA_TYPE: &str = "application/vnd.karman.cache-mounts.v1+json";
/// The version of the config.
const VERSION: u32 = 1;
/// The name in a layout.
const TAG: &str = "cache-mounts";
/// How often a mount that a step uses is looked at again.
const LOCK_POLL: Duration = Duration::from_millis(50);
/// The most mounts of one manifest.
const MAX_MOUNTS: usize = 10_000;

/// A cache mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMount {
    /// What tells it from all others.
    pub place: String,
    /// The `id` of the mounts that use it, or their target.
    pub id: String,
    /// The root filesystems that share it; empty where all do.
    pub scope: String,
    /// The sharing mode of the last step that used it.
    pub sharing: String,
    /// Bytes on disk.
    pub size: u64,
    /// When a step used it last, nanoseconds since 1970.
    pub last_used: i64,
}

/// Where cache mounts are moved to or from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountsPlace {
    /// An OCI layout as one file.
    Archive(PathBuf),
    /// An OCI layout directory.
    Directory(PathBuf),
    /// A tag of a registry.
    Registry(Reference),
}

/// What became of a cache mount that was to be moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedMount {
    /// What tells it from all others.
    pub place: String,
    /// Bytes of its compressed files.
    pub size: u64,
    /// Whether it was left alone because there is one already.
    pub kept: bool,
}

/// The config of a manifest of cache mounts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Listing {
    version: u32,
    mounts: Vec<Listed>,
}

/// One cache mount in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Listed {
    place: String,
    id: String,
    scope: String,
    sharing: String,
    layer: Digest,
    diff_id: Digest,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Engine {
    /// All cache mounts, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn cache_mounts(&self) -> Result<Vec<CacheMount>, SolveError> {
        let rows = self.store().list(CacheMountInfo::BUCKET, "").map_err(store_error)?;
        let mut mounts = Vec::new();
        for row in rows {
            let place = String::from_utf8_lossy(&row.key).into_owned();
            let Some(dir) = self.mount_dir(&place) else { continue };
            let Ok(dir) = Dir::open(&dir) else { continue };
            let info: CacheMountInfo =
                serde_json::from_slice(&row.value).or_fail(Cause::Store, "read a record")?;
            let size = crate::usage::tree_size(&dir, 0).or_fail(Cause::Store, "measure a mount")?;
            let CacheMountInfo { id, scope, sharing } = info;
            let last_used = row.last_used;
            mounts.push(CacheMount { place, id, scope, sharing, size, last_used });
        }
        Ok(mounts)
    }

    /// Writes the cache mounts of these ids (all without any) to a place. A mount that a step writes to
    /// exclusively is waited for.
    ///
    /// # Errors
    /// When there is none of an id, or the place cannot be written.
    pub fn export_cache_mounts(
        &self,
        ids: &[String],
        to: &MountsPlace,
    ) -> Result<Vec<MovedMount>, SolveError> {
        self.keep_uses()?;
        let all = self.cache_mounts()?;
        if let Some(id) = ids.iter().find(|id| all.iter().all(|m| !is_called(&m.id, &m.place, id)))
        {
            return Err(SolveError::new(Cause::NotFound, format!("no cache mount `{id}`"))
                .with_hint("`karman cache mounts` shows what is there"));
        }
        let is_wanted =
            |m: &&CacheMount| ids.is_empty() || ids.iter().any(|id| is_called(&m.id, &m.place, id));
        let (mut listed, mut layers, mut moved) = (Vec::new(), Vec::new(), Vec::new());
        for mount in all.iter().filter(is_wanted) {
            let (one, layer) = self.pack(mount)?;
            moved.push(MovedMount { place: one.place.clone(), size: layer.size, kept: false });
            listed.push(one);
            layers.push(layer);
        }
        let listing = Listing { version: VERSION, mounts: listed };
        let config = self.document(MEDIA_TYPE, &listing)?;
        let mut blobs: Vec<Descriptor> = vec![config.clone()];
        blobs.extend(layers.iter().cloned());
        let manifest = Manifest::oci(config, layers);
        let top = self.document(media_type::OCI_MANIFEST, &manifest)?;
        self.write_mounts(to, &blobs, &top)?;
        Ok(moved)
    }

    /// Takes the cache mounts of these ids (all without any) from a place. One that is here already is left
    /// alone, unless `replace`.
    ///
    /// # Errors
    /// When the place cannot be read or holds no cache mounts, or a mount does not verify.
    pub fn import_cache_mounts(
        &self,
        ids: &[String],
        from: &MountsPlace,
        replace: bool,
    ) -> Result<Vec<MovedMount>, SolveError> {
        self.keep_uses()?;
        let source = Source::open(self, from)?;
        let manifest: Manifest = serde_json::from_slice(&source.top()?)
            .or_fail(Cause::Fetch, "read the manifest of the cache mounts")?;
        if manifest.config.media_type != MEDIA_TYPE {
            return Err(SolveError::new(Cause::Fetch, "it holds no cache mounts"));
        }
        let listing: Listing = serde_json::from_slice(&source.document(&manifest.config)?)
            .or_fail(Cause::Fetch, "read the list of cache mounts")?;
        if listing.version > VERSION || listing.mounts.len() > MAX_MOUNTS {
            let message = format!("cache mounts of version {} are not known", listing.version);
            return Err(SolveError::new(Cause::Fetch, message).with_hint("use a newer karman"));
        }
        let is_there = |id: &String| listing.mounts.iter().any(|m| is_called(&m.id, &m.place, id));
        if let Some(id) = ids.iter().find(|id| !is_there(id)) {
            let there: Vec<String> = listing.mounts.iter().map(|m| format!("`{}`", m.id)).collect();
            return Err(SolveError::new(Cause::NotFound, format!("no cache mount `{id}`"))
                .with_hint(format!("there are {}", there.join(", "))));
        }
        let mut moved = Vec::new();
        for mount in &listing.mounts {
            if !ids.is_empty() && !ids.iter().any(|id| is_called(&mount.id, &mount.place, id)) {
                continue;
            }
            let Some(layer) = manifest.layers.iter().find(|l| l.digest == mount.layer) else {
                let message = format!("the files of cache mount `{}` are missing", mount.place);
                return Err(SolveError::new(Cause::Fetch, message));
            };
            let kept = !self.adopt(mount, layer, &source, replace)?;
            moved.push(MovedMount { place: mount.place.clone(), size: layer.size, kept });
        }
        Ok(moved)
    }

    /// The directory of the files of a cache mount, if it exists.
    fn mount_dir(&self, place: &str) -> Option<PathBuf> {
        let name = Digest::sha256_of(place.as_bytes()).hex();
        let dir = self.store().root().join("mounts").join(name).join(MOUNT_DATA);
        dir.is_dir().then_some(dir)
    }

    /// A cache mount as a layer.
    fn pack(&self, mount: &CacheMount) -> Result<(Listed, Descriptor), SolveError> {
        let doing = format!("export the cache mount `{}`", mount.place);
        let _lock = self.lock_mount(&mount.place, LockMode::Shared)?;
        let gone = || SolveError::new(Cause::NotFound, format!("`{}` is gone", mount.place));
        let path = self.mount_dir(&mount.place).ok_or_else(gone)?;
        let dir = Dir::open(&path).or_fail(Cause::Store, &doing)?;
        let stat = dir.stat_self().or_fail(Cause::Store, &doing)?;
        let compression = Compression { kind: CompressionKind::Zstd, level: None };
        let options = LayerOptions {
            compression,
            times: TimePolicy::KEEP,
            oci_media_types: true,
            threads: self.cores(),
        };
        let made = write_layer(&dir, &options, self.store()).or_fail(Cause::Engine, &doing)?;
        let listed = Listed {
            place: mount.place.clone(),
            id: mount.id.clone(),
            scope: mount.scope.clone(),
            sharing: mount.sharing.clone(),
            layer: made.descriptor.digest,
            diff_id: made.diff_id,
            mode: stat.permissions(),
            uid: stat.uid,
            gid: stat.gid,
        };
        Ok((listed, made.descriptor))
    }

    fn document(&self, kind: &str, value: &impl Serialize) -> Result<Descriptor, SolveError> {
        let bytes = serde_json::to_vec(value).or_fail(Cause::Engine, "write a document")?;
        let digest = self.store().put_blob(&bytes).map_err(store_error)?;
        Ok(Descriptor::new(kind, digest, bytes.len() as u64))
    }

    fn write_mounts(
        &self,
        to: &MountsPlace,
        blobs: &[Descriptor],
        top: &Descriptor,
    ) -> Result<(), SolveError> {
        let (store, doing) = (self.store(), "write the cache mounts");
        match to {
            MountsPlace::Archive(path) => {
                let images = [Named { top, names: &[] }];
                let write = |out: &mut dyn std::io::Write| {
                    write_archive(store, &images, ArchiveKind::Oci, out)
                };
                write_file(path, write).or_fail(Cause::Engine, doing)
            }
            MountsPlace::Directory(path) => {
                let mut blobs: Vec<Digest> = blobs.iter().map(|b| b.digest).collect();
                blobs.push(top.digest);
                let entry = LayoutEntry { top, tag: TAG, blobs: &blobs };
                add_to_layout(store, &entry, path).or_fail(Cause::Engine, doing)?;
                sweep_layout(path).or_fail(Cause::Engine, "remove older cache mounts").map(drop)
            }
            MountsPlace::Registry(reference) => push_cache(self, reference, blobs, top, &|_, _| ()),
        }
    }

    /// Makes a cache mount of a layer; says whether it did.
    fn adopt(
        &self,
        mount: &Listed,
        layer: &Descriptor,
        source: &Source<'_>,
        replace: bool,
    ) -> Result<bool, SolveError> {
        let doing = format!("import the cache mount `{}`", mount.place);
        let _lock = self.lock_mount(&mount.place, LockMode::Exclusive)?;
        let is_there = self.mount_dir(&mount.place).is_some();
        if is_there && !replace {
            return Ok(false);
        }
        source.fetch(layer)?;
        let place = self.store().cache_mount(&mount.place).map_err(store_error)?;
        let dir = Dir::open(&place).or_fail(Cause::Store, &doing)?;
        let fresh = self.store().temp_name("cache-mount");
        dir.mkdir(&fresh, 0o700).or_fail(Cause::Store, &doing)?;
        let into = dir.open_dir(&fresh).or_fail(Cause::Store, &doing)?;
        let made = self.unpack_mount(mount, layer, &into, &doing);
        if made.is_err() {
            // The first error is the one that matters.
            let _ = karman_sys::fs::remove_tree(&dir, &fresh);
        }
        made?;
        if is_there {
            let old = self.store().temp_name("old-cache-mount");
            dir.rename(MOUNT_DATA, &dir, &old).or_fail(Cause::Store, &doing)?;
            dir.rename(&fresh, &dir, MOUNT_DATA).or_fail(Cause::Store, &doing)?;
            karman_sys::fs::remove_tree(&dir, &old).or_fail(Cause::Store, &doing)?;
        } else {
            dir.rename(&fresh, &dir, MOUNT_DATA).or_fail(Cause::Store, &doing)?;
        }
        let info = CacheMountInfo {
            id: mount.id.clone(),
            scope: mount.scope.clone(),
            sharing: mount.sharing.clone(),
        };
        let info = serde_json::to_vec(&info).or_fail(Cause::Engine, "write a record")?;
        self.store().put(CacheMountInfo::BUCKET, &mount.place, &info).map_err(store_error)?;
        Ok(true)
    }

    fn unpack_mount(
        &self,
        mount: &Listed,
        layer: &Descriptor,
        into: &Dir,
        doing: &str,
    ) -> Result<(), SolveError> {
        let options = UnpackOptions {
            expected: Some(mount.diff_id),
            lower: None,
            limits: Limits::default(),
            ownership: Ownership::Exact,
        };
        let blob = self.store().open_blob(&layer.digest).map_err(store_error)?;
        unpack_layer(blob, into, &options).or_fail(Cause::Fetch, doing)?;
        let owner = Owner { uid: mount.uid, gid: mount.gid };
        into.chown_self(owner).or_fail(Cause::Store, doing)?;
        into.chmod_self(mount.mode & 0o7777).or_fail(Cause::Store, doing)
    }

    fn lock_mount(&self, place: &str, mode: LockMode) -> Result<NamedLock, SolveError> {
        loop {
            let lock = self.store().try_lock(&lock_name(place), mode).map_err(store_error)?;
            if let Some(lock) = lock {
                return Ok(lock);
            }
            if self.interrupted() {
                return Err(SolveError::new(Cause::Interrupted, "interrupted"));
            }
            std::thread::sleep(LOCK_POLL);
        }
    }
}

/// Whether somebody who says `name` means this mount.
fn is_called(id: &str, place: &str, name: &str) -> bool {
    id == name || place == name
}

/// A place that cache mounts are taken from.
struct Source<'e> {
    engine: &'e Engine,
    from: Opened<'e>,
    /// An export to the same directory removes what is read here.
    _reading: Option<std::fs::File>,
}

enum Opened<'e> {
    Layout(Box<Layout>, Box<Descriptor>),
    Registry(&'e Reference, Vec<u8>),
}

impl<'e> Source<'e> {
    fn open(engine: &'e Engine, from: &'e MountsPlace) -> Result<Self, SolveError> {
        let layout = |path: &Path, tag: Option<&str>| {
            let doing = format!("open the cache mounts `{}`", path.display());
            let layout = Layout::open(path).or_fail(Cause::Fetch, &doing)?;
            let top = layout.resolve(tag).or_fail(Cause::Fetch, &doing)?;
            Ok(Opened::Layout(Box::new(layout), Box::new(top)))
        };
        let reading = match from {
            MountsPlace::Directory(path) => reading(path),
            _ => None,
        };
        let from = match from {
            MountsPlace::Archive(path) => layout(path, None)?,
            MountsPlace::Directory(path) => layout(path, Some(TAG))?,
            MountsPlace::Registry(reference) => {
                let top = engine.registry().resolve(reference).map_err(|e| registry_error(&e))?;
                Opened::Registry(reference, top.bytes)
            }
        };
        Ok(Self { engine, from, _reading: reading })
    }

    fn top(&self) -> Result<Vec<u8>, SolveError> {
        match &self.from {
            Opened::Layout(layout, top) => {
                layout.document(&top.digest).or_fail(Cause::Fetch, "read the cache mounts")
            }
            Opened::Registry(_, bytes) => Ok(bytes.clone()),
        }
    }

    fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, SolveError> {
        match &self.from {
            Opened::Layout(layout, _) => {
                layout.document(&descriptor.digest).or_fail(Cause::Fetch, "read the cache mounts")
            }
            Opened::Registry(reference, _) => fetch_document(self.engine, reference, descriptor),
        }
    }

    /// Brings a blob into the store, verified.
    fn fetch(&self, descriptor: &Descriptor) -> Result<(), SolveError> {
        match &self.from {
            Opened::Layout(layout, _) => layout
                .import_blob(&descriptor.digest, self.engine.store())
                .or_fail(Cause::Fetch, "read the cache mounts"),
            Opened::Registry(reference, _) => fetch(self.engine, reference, descriptor),
        }
    }
}
