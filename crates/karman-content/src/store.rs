//! Opening a store, its directories and its temporary names.

use std::io::Read;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use karman_oci::Digest;
use karman_sys::fs::{Dir, Durability, FsError, Time, atomic_write, remove_tree};

use crate::error::{Result, StoreError};
use crate::index::Index;
use crate::lease::Uses;
use crate::process::{Liveness, ProcessLock, random_hex, sweep_locks};

/// The version of the layout this program writes, and the newest it reads.
pub const STORE_VERSION: u32 = 1;

const VERSION_FILE: &str = "version";

/// More than any version file can sensibly hold.
const VERSION_FILE_MAX: u64 = 64;

/// An open store. Cloning is cheap; clones and other processes may use the same store at the same time.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) root: PathBuf,
    pub(crate) blobs: Dir,
    pub(crate) tmp: Dir,
    pub(crate) locks: Dir,
    pub(crate) process: ProcessLock,
    pub(crate) index: Index,
    pub(crate) uses: Uses,
    counter: AtomicU64,
}

impl Store {
    /// Opens the store at `root`, creating it (mode 0700) if it does not exist.
    ///
    /// # Errors
    /// [`StoreError::Newer`] for a store of a newer version, which is left untouched.
    pub fn open(root: &Path) -> Result<Self> {
        let files = |source| StoreError::Files { dir: root.to_owned(), source };
        create_root(root).map_err(files)?;
        let dir = Dir::open(root).map_err(files)?;
        check_version(root, &dir)?;
        let open = |name: &str| dir.ensure_dir(name, 0o700).map_err(files);
        let blobs = open("blobs")?.ensure_dir("sha256", 0o700).map_err(files)?;
        let (tmp, locks) = (open("tmp")?, open("locks")?);
        // Layers begin in there, and a layer may have a hundred thousand files.
        tmp.spread_subdirectories().map_err(files)?;
        open("snapshots")?;
        open("mounts")?;
        let process = ProcessLock::acquire(&locks).map_err(files)?;
        let index = Index::open(&root.join("index.db"), root)?;
        let counter = AtomicU64::new(0);
        let uses = Uses::default();
        let inner =
            Inner { root: root.to_owned(), blobs, tmp, locks, process, index, uses, counter };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The directory of the store.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    /// Where karman-snapshot keeps its directories.
    #[must_use]
    pub fn snapshots_dir(&self) -> PathBuf {
        self.inner.root.join("snapshots")
    }

    /// Where work in progress lives, on the same file system as everything else here.
    #[must_use]
    pub fn tmp_dir(&self) -> PathBuf {
        self.inner.root.join("tmp")
    }

    /// The directory of the cache mount `id`, created (mode 0755) when it is new. Listed in the bucket `mount`.
    pub fn cache_mount(&self, id: &str) -> Result<PathBuf> {
        let name = Digest::sha256_of(id.as_bytes()).hex();
        let path = self.inner.root.join("mounts");
        let mounts = Dir::open(&path).map_err(|error| self.files(error))?;
        if !mounts.exists(&name).map_err(|error| self.files(error))? {
            mounts.ensure_dir(&name, 0o755).map_err(|error| self.files(error))?;
            self.put("mount", id, name.as_bytes())?;
        }
        Ok(path.join(name))
    }

    /// Removes the cache mount `id` and its content.
    pub fn remove_cache_mount(&self, id: &str) -> Result<()> {
        let name = Digest::sha256_of(id.as_bytes()).hex();
        let mounts =
            Dir::open(self.inner.root.join("mounts")).map_err(|error| self.files(error))?;
        self.delete("mount", id)?;
        remove_tree(&mounts, name).map_err(|error| self.files(error))
    }

    /// A new empty directory below `tmp/`, removed with everything in it when the value is dropped.
    pub fn temp_dir(&self, label: &str) -> Result<TempDir> {
        let name = self.temp_name(label);
        self.inner.tmp.mkdir(&name, 0o700).map_err(|error| self.files(error))?;
        Ok(TempDir { path: self.tmp_dir().join(&name), name, store: self.clone(), kept: false })
    }

    /// A name for `tmp/` that nobody else uses and that [`Store::sweep_tmp`] knows the owner of.
    #[must_use]
    pub fn temp_name(&self, label: &str) -> String {
        let count = self.inner.counter.fetch_add(1, Ordering::Relaxed);
        format!("{}-{count}-{label}", self.inner.process.token())
    }

    /// Removes what dead processes left in `tmp/` and `locks/`; returns how many temporary names went.
    pub fn sweep_tmp(&self) -> Result<usize> {
        let files = |error| self.files(error);
        let mut liveness = Liveness::new(&self.inner.locks);
        let mut removed = 0;
        for entry in self.inner.tmp.read_dir().map_err(files)? {
            if !liveness.owns(&entry.name).map_err(files)? {
                remove_tree(&self.inner.tmp, &entry.name).map_err(files)?;
                removed += 1;
            }
        }
        sweep_locks(&self.inner.locks).map_err(files)?;
        Ok(removed)
    }

    /// 128 random bits as hexadecimal digits, for names that are never used twice.
    pub fn random_id(&self) -> Result<String> {
        random_hex(16).map_err(|error| self.files(error))
    }

    pub(crate) fn files(&self, source: FsError) -> StoreError {
        StoreError::Files { dir: self.inner.root.clone(), source }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.index.flush_touches_quietly();
        self.uses.release(&self.locks);
        self.process.release(&self.locks);
    }
}

/// A directory below `tmp/`.
#[derive(Debug)]
pub struct TempDir {
    path: PathBuf,
    name: String,
    store: Store,
    kept: bool,
}

impl TempDir {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Moves it to `name` in `to`, which must be on the file system of the store; an existing name is an error.
    pub fn persist(mut self, to: &Dir, name: &str) -> Result<()> {
        self.store
            .inner
            .tmp
            .rename_new(&self.name, to, name)
            .map_err(|error| self.store.files(error))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed now is removed by the sweep after this process has ended.
            let _ = remove_tree(&self.store.inner.tmp, &self.name);
        }
    }
}

/// Nanoseconds since 1970.
pub(crate) fn now() -> i64 {
    Time::now().as_nanos()
}

fn create_root(root: &Path) -> std::result::Result<(), FsError> {
    let mut builder = std::fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(0o700)
        .create(root)
        .map_err(|error| FsError::io("create directory", root, error))
}

fn check_version(root: &Path, dir: &Dir) -> Result<()> {
    let files = |source| StoreError::Files { dir: root.to_owned(), source };
    let file = match dir.open_file(VERSION_FILE) {
        Err(error) if error.is_not_found() => {
            let text = format!("{STORE_VERSION}\n");
            return atomic_write(dir, VERSION_FILE, text.as_bytes(), 0o600, Durability::Process)
                .map_err(files);
        }
        file => file.map_err(files)?,
    };
    let mut text = String::new();
    file.take(VERSION_FILE_MAX)
        .read_to_string(&mut text)
        .map_err(|error| files(FsError::io("read", VERSION_FILE, error)))?;
    let text = text.trim().to_owned();
    match text.parse() {
        Ok(found) if found > STORE_VERSION => {
            Err(StoreError::Newer { root: root.to_owned(), found, known: STORE_VERSION })
        }
        Ok(_) => Ok(()),
        Err(_) => Err(StoreError::NotAStore { root: root.to_owned(), text }),
    }
}
