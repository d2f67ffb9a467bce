//! Downloading, decompressing and unpacking all packages of a plan at once.
//!
//! Some threads fill the cache, others take packages in order, verify and decompress them; one thread
//! (the caller's) writes the root filesystem in that same order, so the result does not depend on timing.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use crate::cache::{Cache, CacheError};
use crate::database::{Database, conffiles};
use crate::deb::{Control, Deb, DebError};
use crate::extract::{ExtractError, Extractor};
use crate::fetch::Fetch;
use crate::plan::{Package, Plan};
use crate::slim::Filter;
use crate::tree::{Meta, Tree, TreeError};

/// Packages in memory that wait to be written.
const WINDOW: usize = 16;
/// Larger data archives are decompressed while they are written, to bound memory.
const MAX_AHEAD: usize = 16 << 20;
/// Most threads that are started.
const MAX_THREADS: usize = 16;
/// Directories that were merged into `/usr`; base-files brings the links in newer suites only.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// What [`configure_steps`](crate::configure_steps) and [`finish`](crate::finish) need to know.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Unpacked {
    /// The time, in seconds since 1970, that everything newer is set back to: the newest file of the
    /// packages, or the Release date if that is later.
    pub epoch: u64,
    /// Packages with a `preinst` script.
    pub preinst: BTreeSet<String>,
}

/// Why unpacking failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// A package cannot be had.
    #[error("package `{package}`")]
    Cache {
        /// The package.
        package: String,
        /// Why.
        #[source]
        source: CacheError,
    },
    /// A file is not a package.
    #[error("package `{package}` is damaged")]
    Deb {
        /// The package.
        package: String,
        /// Why.
        #[source]
        source: DebError,
    },
    /// The files of a package cannot be unpacked.
    #[error("failed to unpack package `{package}`")]
    Extract {
        /// The package.
        package: String,
        /// Why.
        #[source]
        source: ExtractError,
    },
    /// The root filesystem refuses.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Fills the empty directory `rootfs` with the packages of a plan and a dpkg database in which they are
/// unpacked; downloads what is missing, `threads` packages at a time.
///
/// On failure the directory is left half full and must be thrown away.
pub fn unpack(
    plan: &Plan,
    cache: &Cache,
    fetch: &dyn Fetch,
    rootfs: &Path,
    threads: usize,
) -> Result<Unpacked, UnpackError> {
    let order = unpack_order(plan);
    let queue = Queue::new(order.len());
    let preparers = thread::available_parallelism().map_or(2, usize::from).clamp(1, MAX_THREADS);
    thread::scope(|scope| {
        for _ in 0..threads.clamp(1, MAX_THREADS) {
            scope.spawn(|| download_ahead(&order, &queue, cache, fetch));
        }
        for _ in 0..preparers {
            scope.spawn(|| {
                // A panic must not leave the writer waiting.
                let guard = CloseOnDrop(&queue);
                while let Some(number) = queue.take() {
                    queue.put(number, prepare(order[number], cache, fetch));
                }
                std::mem::forget(guard);
            });
        }
        let outcome = write(plan, &order, &queue, rootfs);
        queue.close();
        outcome
    })
}

/// Fills the cache. Archives answer slowly rather than send slowly, so many requests at once pay; what
/// is decompressed at once is bounded by memory. Whoever needs a file that is on its way waits for the
/// cache's lock, and reports the error if there was one.
fn download_ahead(order: &[&Package], queue: &Queue, cache: &Cache, fetch: &dyn Fetch) {
    while let Some(number) = queue.take_download() {
        if order[number].bytes(cache, fetch).is_err() {
            return;
        }
    }
}

/// base-files first, for the links of a merged `/usr` and the modes of the directories everybody shares.
fn unpack_order(plan: &Plan) -> Vec<&Package> {
    let mut order: Vec<&Package> = plan.packages.iter().collect();
    order.sort_by_key(|package| (package.name != "base-files", package.name.as_str()));
    order
}

fn write(
    plan: &Plan,
    order: &[&Package],
    queue: &Queue,
    rootfs: &Path,
) -> Result<Unpacked, UnpackError> {
    let mut tree = Tree::open(rootfs)?;
    let date = plan.date();
    merge_usr(&mut tree, &plan.arch, date)?;
    let mut writer = Writer {
        filter: if plan.source.slim { Filter::Slim } else { Filter::Everything },
        tree,
        database: Database::default(),
        newest: date,
        plan,
    };
    for (number, package) in order.iter().enumerate() {
        let Some(prepared) = queue.wait(number) else { break };
        writer.package(package, prepared?)?;
    }
    writer.finish()
}

/// What a thread makes of a package.
struct Prepared {
    bytes: Vec<u8>,
    control: Control,
    /// The plain data archive, unless it is too large to hold.
    data: Option<Vec<u8>>,
}

fn prepare(package: &Package, cache: &Cache, fetch: &dyn Fetch) -> Result<Prepared, UnpackError> {
    let name = || package.name.clone();
    let bytes = package
        .bytes(cache, fetch)
        .map_err(|source| UnpackError::Cache { package: name(), source })?;
    let deb = Deb::parse(&bytes).map_err(|source| UnpackError::Deb { package: name(), source })?;
    let control = deb.control().map_err(|source| UnpackError::Deb { package: name(), source })?;
    let mut data = None;
    if deb.data_size() <= MAX_AHEAD {
        let mut plain = Vec::new();
        deb.data()
            .and_then(|mut reader| reader.read_to_end(&mut plain))
            .map_err(|source| UnpackError::Extract { package: name(), source: source.into() })?;
        data = Some(plain);
    }
    let bytes = if data.is_some() { Vec::new() } else { bytes };
    Ok(Prepared { bytes, control, data })
}

struct Writer<'a> {
    plan: &'a Plan,
    tree: Tree,
    filter: Filter,
    database: Database,
    newest: u64,
}

impl Writer<'_> {
    fn package(&mut self, package: &Package, prepared: Prepared) -> Result<(), UnpackError> {
        let failed = |source| UnpackError::Extract { package: package.name.clone(), source };
        let conffiles = conffiles(&prepared.control);
        let mut extractor = Extractor {
            tree: &mut self.tree,
            filter: self.filter,
            conffiles: &conffiles,
            not_after: self.plan.newest_date(),
        };
        let extracted = match &prepared.data {
            Some(data) => extractor.run(data.as_slice()).map_err(failed)?,
            None => {
                let deb = Deb::parse(&prepared.bytes)
                    .map_err(|source| UnpackError::Deb { package: package.name.clone(), source })?;
                extractor
                    .run(deb.data().map_err(|source| failed(source.into()))?)
                    .map_err(failed)?
            }
        };
        self.newest = self.newest.max(extracted.newest);
        let date = self.plan.date();
        self.database.add(
            &mut self.tree,
            package,
            &prepared.control,
            &extracted.list,
            &extracted.conffiles,
            date,
        )?;
        Ok(())
    }

    fn finish(mut self) -> Result<Unpacked, UnpackError> {
        let date = self.plan.date();
        self.database.finish(&mut self.tree, date)?;
        for dir in ["info", "updates", "triggers", "alternatives", "parts"] {
            let path = format!("var/lib/dpkg/{dir}");
            self.tree.put_dir(path.as_bytes(), &own_dir(date))?;
        }
        for (path, content, mode) in crate::settings::before_configure(self.filter) {
            self.tree.write(path, content.as_bytes(), mode, date)?;
        }
        self.tree.set_dir_times()?;
        Ok(Unpacked { epoch: self.newest, preinst: self.database.preinst })
    }
}

fn merge_usr(tree: &mut Tree, arch: &str, date: u64) -> Result<(), TreeError> {
    let meta = Meta { mode: 0o777, ..own_dir(date) };
    for dir in MERGED {
        if dir == "lib64" && !matches!(arch, "amd64" | "ppc64el" | "loong64" | "mips64el") {
            continue;
        }
        let target = format!("usr/{dir}");
        // Only made, not described: the package that has the directory decides on its mode.
        tree.make_dirs(target.as_bytes())?;
        tree.put_symlink(dir.as_bytes(), target.as_bytes(), &meta)?;
    }
    Ok(())
}

fn own_dir(mtime: u64) -> Meta {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    Meta { mode: 0o755, uid, gid, mtime }
}

/// Numbered results on their way from the workers to the writer.
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    len: usize,
}

#[derive(Default)]
struct State {
    next: usize,
    next_download: usize,
    written: usize,
    closed: bool,
    done: BTreeMap<usize, Result<Prepared, UnpackError>>,
}

struct CloseOnDrop<'a>(&'a Queue);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Queue {
    fn new(len: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), len }
    }

    /// The next number to prepare, once the writer is near enough; `None` when there is nothing to do.
    fn take(&self) -> Option<usize> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let far = |state: &mut State| {
            !state.closed && state.next < self.len && state.next >= state.written + WINDOW
        };
        let mut state = self.changed.wait_while(state, far).unwrap_or_else(PoisonError::into_inner);
        if state.closed || state.next >= self.len {
            return None;
        }
        state.next += 1;
        Some(state.next - 1)
    }

    /// The next number to download.
    fn take_download(&self) -> Option<usize> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed || state.next_download >= self.len {
            return None;
        }
        state.next_download += 1;
        Some(state.next_download - 1)
    }

    fn put(&self, number: usize, result: Result<Prepared, UnpackError>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.done.insert(number, result);
        self.changed.notify_all();
    }

    /// Waits for a result; `None` if the queue was closed without it.
    fn wait(&self, number: usize) -> Option<Result<Prepared, UnpackError>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let missing = |state: &mut State| !state.closed && !state.done.contains_key(&number);
        let mut state =
            self.changed.wait_while(state, missing).unwrap_or_else(PoisonError::into_inner);
        let result = state.done.remove(&number);
        state.written = number + 1;
        self.changed.notify_all();
        result
    }

    fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
    }
}
