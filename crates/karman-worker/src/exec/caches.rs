//! The cache mounts of a step: which directory each one is, locked as its sharing mode wants.

use std::collections::BTreeMap;
use std::path::PathBuf;

use karman_content::{LockMode, NamedLock};
use karman_control::{Cause, SolveError};
use karman_llb::{CacheSharing, ExecOp, MountKind};
use karman_oci::Digest;
use karman_sys::fs::Owner;

use super::ExecInputs;
use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::store as store_error;
use crate::files::CacheSeed;

/// Directories that concurrent users of one private cache mount may take.
const MAX_PRIVATE: usize = 64;
/// What a cache mount is where nothing is said: such a one is known by its id alone.
const PLAIN: (u32, u32, u32) = (0o755, 0, 0);
/// Hex digits that tell cache mounts of one id apart.
const SUFFIX_DIGITS: usize = 12;

/// The directories of the cache mounts of one step, by name, and their locks.
#[derive(Default)]
pub(super) struct Caches {
    places: BTreeMap<String, PathBuf>,
    _locks: Vec<NamedLock>,
}

impl Caches {
    /// Finds, locks and fills the directories of all cache mounts of `op`. Locks are taken in the
    /// order of their names, so that two steps never wait for each other; a step that mounts one
    /// cache twice holds one lock.
    pub(super) fn hold(
        engine: &Engine,
        op: &ExecOp,
        inputs: &ExecInputs<'_>,
    ) -> Result<Self, SolveError> {
        let mut wanted: BTreeMap<String, (CacheSharing, CacheSeed)> = BTreeMap::new();
        for kind in op.mounts.iter().map(|mount| &mount.kind) {
            let Some((name, sharing, seed)) = wanted_of(kind, inputs) else { continue };
            let entry = wanted.entry(name).or_insert((sharing, seed));
            if entry.0 == CacheSharing::Shared {
                entry.0 = sharing;
            }
        }
        let mut held = Self::default();
        for (name, (sharing, seed)) in wanted {
            let place = held.lock(engine, &name, sharing)?;
            let path = engine.store().cache_mount(&place).map_err(store_error)?;
            let data = crate::files::seed_cache_mount(engine, &path, &seed)?;
            held.places.insert(name, data);
        }
        Ok(held)
    }

    /// The directory of a cache mount that [`Caches::hold`] has seen.
    pub(super) fn directory(&self, kind: &MountKind, inputs: &ExecInputs<'_>) -> Option<PathBuf> {
        let (name, _, _) = wanted_of(kind, inputs)?;
        self.places.get(&name).cloned()
    }

    fn lock(
        &mut self,
        engine: &Engine,
        name: &str,
        sharing: CacheSharing,
    ) -> Result<String, SolveError> {
        let mode = match sharing {
            CacheSharing::Shared => LockMode::Shared,
            CacheSharing::Locked => LockMode::Exclusive,
            CacheSharing::Private => return self.lock_private(engine, name),
        };
        let lock = engine.store().lock(&lock_name(name), mode).map_err(store_error)?;
        self._locks.push(lock);
        Ok(name.to_owned())
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

/// The name, sharing and beginning of a cache mount; `None` for mounts of other kinds.
fn wanted_of(
    kind: &MountKind,
    inputs: &ExecInputs<'_>,
) -> Option<(String, CacheSharing, CacheSeed)> {
    let MountKind::Cache { id, sharing, input, source, mode, uid, gid } = kind else {
        return None;
    };
    let chain = input.and_then(|i| inputs.views.get(i)).cloned().unwrap_or_default();
    let attrs = (*mode, *uid, *gid);
    let seed = CacheSeed {
        source: source.clone(),
        mode: *mode,
        owner: Owner { uid: *uid, gid: *gid },
        chain,
    };
    Some((name_of(id, &seed.chain, source, attrs), *sharing, seed))
}

/// As in BuildKit, caches of one id that begin differently are different caches.
fn name_of(id: &str, chain: &Chain, source: &str, attrs: (u32, u32, u32)) -> String {
    if chain.is_empty() && attrs == PLAIN {
        return id.to_owned();
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
        let plain = name_of("/c", &none, "/", PLAIN);
        assert_eq!(plain, "/c");
        let owned = name_of("/c", &none, "/", (0o755, 1000, 0));
        assert!(owned.starts_with("/c@"), "{owned}");
        assert_ne!(owned, name_of("/c", &none, "/", (0o700, 1000, 0)));
    }
}
