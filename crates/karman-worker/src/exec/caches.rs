//! The cache mounts of a step: which directory each one is, locked as its sharing mode wants.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use karman_content::{LockMode, NamedLock};
use karman_control::{Cause, SolveError, Stream};
use karman_llb::{CacheScope, CacheSharing, ExecOp, Mount, MountKind};
use karman_oci::Digest;
use karman_sys::fs::Owner;
use serde::{Deserialize, Serialize};

use super::scope::scope_of;
use super::{ExecInputs, Waiting};
use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::{OrFail as _, store as store_error};
use crate::files::CacheSeed;

/// Directories that concurrent users of one private cache mount may take.
const MAX_PRIVATE: usize = 64;
/// How often a step that waits for a cache mount looks again, and whether the build was cancelled.
const LOCK_POLL: Duration = Duration::from_millis(50);
/// What a cache mount is where nothing is said: such a one is known by its id alone.
const PLAIN: (u32, u32, u32) = (0o755, 0, 0);
/// Hex digits that tell cache mounts of one id apart.
const SUFFIX_DIGITS: usize = 12;

/// The directories of the cache mounts of one step, by their targets, and their locks.
#[derive(Default)]
pub(super) struct Caches {
    places: BTreeMap<String, PathBuf>,
    _locks: Vec<NamedLock>,
}

/// A cache mount of a step.
struct Wanted {
    info: CacheMountInfo,
    sharing: CacheSharing,
    seed: CacheSeed,
    targets: Vec<String>,
}

/// What the name of a cache mount's directory is made of. Bucket `mount-info`: that name → this (JSON).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CacheMountInfo {
    /// Its `id`, else the target.
    pub(crate) id: String,
    /// The root filesystems that share it; empty where all do.
    pub(crate) scope: String,
    /// The sharing mode of the last step that used it.
    pub(crate) sharing: String,
}

impl CacheMountInfo {
    /// The bucket of such records.
    pub(crate) const BUCKET: &str = "mount-info";
}

impl Caches {
    /// Finds, locks and fills the directories of all cache mounts of `op`. Locks are taken in the
    /// order of their names, so that two steps never wait for each other; a step that mounts one
    /// cache twice holds one lock.
    pub(super) fn hold(
        engine: &Engine,
        op: &ExecOp,
        inputs: &ExecInputs<'_>,
        waiting: &Waiting<'_>,
    ) -> Result<Self, SolveError> {
        let mut scope = None;
        let mut wanted: BTreeMap<String, Wanted> = BTreeMap::new();
        for mount in &op.mounts {
            let Some((name, one)) = wanted_of(engine, op, mount, inputs, &mut scope)? else {
                continue;
            };
            let entry = wanted.entry(name).or_insert(one);
            if entry.sharing == CacheSharing::Shared {
                entry.sharing = sharing_of(&mount.kind);
            }
            entry.targets.push(mount.target.clone());
        }
        let mut held = Self::default();
        for (name, one) in wanted {
            let place = held.lock(engine, &name, &one, waiting)?;
            let path = engine.store().cache_mount(&place).map_err(store_error)?;
            let data = crate::files::seed_cache_mount(engine, &path, &one.seed)?;
            let info = serde_json::to_vec(&one.info).or_fail(Cause::Engine, "write a record")?;
            engine.store().put(CacheMountInfo::BUCKET, &place, &info).map_err(store_error)?;
            held.places.extend(one.targets.into_iter().map(|target| (target, data.clone())));
        }
        Ok(held)
    }

    /// The directory of the cache mount at a target that [`Caches::hold`] has seen.
    pub(super) fn directory(&self, target: &str) -> Option<PathBuf> {
        self.places.get(target).cloned()
    }

    fn lock(
        &mut self,
        engine: &Engine,
        name: &str,
        wanted: &Wanted,
        waiting: &Waiting<'_>,
    ) -> Result<String, SolveError> {
        let mode = match wanted.sharing {
            CacheSharing::Shared => LockMode::Shared,
            CacheSharing::Locked => LockMode::Exclusive,
            CacheSharing::Private => return self.lock_private(engine, name),
        };
        let mut told = false;
        loop {
            let lock = engine.store().try_lock(&lock_name(name), mode).map_err(store_error)?;
            if let Some(lock) = lock {
                self._locks.push(lock);
                return Ok(name.to_owned());
            }
            if waiting.cancel.is_cancelled() {
                return Err(SolveError::new(Cause::Interrupted, "cancelled"));
            }
            if !std::mem::replace(&mut told, true) {
                let text = format!("waiting for the cache mount `{}`\n", wanted.info.id);
                waiting.events.log(Stream::Stderr, text.as_bytes());
            }
            std::thread::sleep(LOCK_POLL);
        }
    }

    /// The first directory of this name that nobody else uses.
    fn lock_private(&mut self, engine: &Engine, name: &str) -> Result<String, SolveError> {
        for n in 0..MAX_PRIVATE {
            let place = if n == 0 { name.to_owned() } else { format!("{name}#{n}") };
            let lock = engine.store().try_lock(&lock_name(&place), LockMode::Exclusive);
            if let Some(lock) = lock.map_err(store_error)? {
                self._locks.push(lock);
                return Ok(place);
            }
        }
        let message = format!("more than {MAX_PRIVATE} users of the private cache mount `{name}`");
        Err(SolveError::new(Cause::Engine, message))
    }
}

/// The name of a cache mount's directory and what belongs to it; `None` for mounts of other kinds.
fn wanted_of(
    engine: &Engine,
    op: &ExecOp,
    mount: &Mount,
    inputs: &ExecInputs<'_>,
    known_scope: &mut Option<String>,
) -> Result<Option<(String, Wanted)>, SolveError> {
    let MountKind::Cache { id, sharing, input, source, mode, uid, gid, scope } = &mount.kind else {
        return Ok(None);
    };
    let chain = input.and_then(|i| inputs.views.get(i)).cloned().unwrap_or_default();
    let attrs = (*mode, *uid, *gid);
    let scope = match (scope, &known_scope) {
        (CacheScope::Id, _) => String::new(),
        (CacheScope::Abi, Some(known)) => known.clone(),
        (CacheScope::Abi, None) => {
            let root = engine.snapshots().view(&inputs.root);
            let root = root.or_fail(Cause::Store, "open the root filesystem")?;
            known_scope.insert(scope_of(inputs.platform, op, &root)?).clone()
        }
    };
    let name = name_of(id, &scope, &chain, source, attrs);
    let seed = CacheSeed {
        source: source.clone(),
        mode: *mode,
        owner: Owner { uid: *uid, gid: *gid },
        chain,
    };
    let shown = match sharing {
        CacheSharing::Shared => "shared",
        CacheSharing::Private => "private",
        CacheSharing::Locked => "locked",
    };
    let info = CacheMountInfo { id: id.clone(), scope, sharing: shown.to_owned() };
    Ok(Some((name, Wanted { info, sharing: *sharing, seed, targets: Vec::new() })))
}

fn sharing_of(kind: &MountKind) -> CacheSharing {
    match kind {
        MountKind::Cache { sharing, .. } => *sharing,
        _ => CacheSharing::Shared,
    }
}

/// As in BuildKit, caches of one id that begin differently are different caches.
fn name_of(id: &str, scope: &str, chain: &Chain, source: &str, attrs: (u32, u32, u32)) -> String {
    let id = match scope {
        "" => id.to_owned(),
        scope => format!("{id}@{scope}"),
    };
    if chain.is_empty() && attrs == PLAIN {
        return id;
    }
    let beginning = if chain.is_empty() {
        format!("{attrs:?}")
    } else {
        let layers: Vec<String> = chain.iter().map(ToString::to_string).collect();
        format!("{source} {}", layers.join(" "))
    };
    let digest = Digest::sha256_of(beginning.as_bytes());
    format!("{id}@{}", &digest.hex()[..SUFFIX_DIGITS])
}

/// The lock that steps hold while they use a cache mount.
pub(crate) fn lock_name(name: &str) -> String {
    format!("cache-mount-{}", Digest::sha256_of(name.as_bytes()).hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_that_begin_differently_have_different_names() {
        let none = Chain::new();
        let plain = name_of("/c", "", &none, "/", PLAIN);
        assert_eq!(plain, "/c");
        let owned = name_of("/c", "", &none, "/", (0o755, 1000, 0));
        assert!(owned.starts_with("/c@"), "{owned}");
        assert_ne!(owned, name_of("/c", "", &none, "/", (0o700, 1000, 0)));
        let scoped = name_of("/c", "linux/amd64 debian-13", &none, "/", PLAIN);
        assert_eq!(scoped, "/c@linux/amd64 debian-13");
    }
}
