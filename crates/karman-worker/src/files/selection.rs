//! What an op reads of its inputs, as digests for the content key.

use std::path::{Path, PathBuf};

use karman_control::{Cause, SolveError};
use karman_llb::{Copy, ExecOp, FileAction, MountKind, Op};
use karman_oci::{Digest, Hasher};
use karman_snapshot::digest::{Selection, tree_digest, tree_listing};
use karman_snapshot::{Decision, SnapshotError, View, ViewCache};
use karman_sys::fs::Time;

use super::clean;
use super::copying::{PathRules, resolve_wildcards};
use crate::engine::Engine;
use crate::error::OrFail as _;

/// The digest of everything that `op` reads of its input number `index`, which `view` shows.
pub(crate) fn content_of(
    engine: &Engine,
    op: &Op,
    index: usize,
    view: &View,
) -> Result<Digest, SolveError> {
    digested(engine, op, index, view).map(|(digest, _)| digest)
}

/// The digest of what `op` has read of a directory of the caller from `since` on; `None` where some of it was changed
/// since, as then nobody knows which content was read.
pub(crate) fn content_since(
    engine: &Engine,
    op: &Op,
    index: usize,
    view: &View,
    since: Time,
) -> Result<Option<Digest>, SolveError> {
    let (digest, cache) = digested(engine, op, index, view)?;
    Ok(Some(digest).filter(|_| cache.unchanged_since(since)))
}

fn digested(
    engine: &Engine,
    op: &Op,
    index: usize,
    view: &View,
) -> Result<(Digest, ViewCache), SolveError> {
    let doing = "hash an input";
    let mut cache = ViewCache::load(engine.store(), view).or_fail(Cause::Store, doing)?;
    let mut hasher = Hasher::new();
    match op {
        Op::Exec(exec) => exec_reads(exec, index, view, &mut cache, &mut hasher)?,
        Op::File(file) => {
            if file.base == Some(index) {
                whole(view, "/", &mut cache, &mut hasher)?;
            }
            for action in &file.actions {
                if let FileAction::Copy(copy) = action
                    && copy.from == Some(index)
                {
                    copied(copy, view, &mut cache, &mut hasher)?;
                }
            }
        }
        Op::Source(_) | Op::Merge(_) | Op::Diff(_) => whole(view, "/", &mut cache, &mut hasher)?,
    }
    cache.save().or_fail(Cause::Store, doing)?;
    Ok((hasher.finish(), cache))
}

fn exec_reads(
    exec: &ExecOp,
    index: usize,
    view: &View,
    cache: &mut ViewCache,
    hasher: &mut Hasher,
) -> Result<(), SolveError> {
    if exec.root == Some(index) {
        whole(view, "/", cache, hasher)?;
    }
    for mount in &exec.mounts {
        match &mount.kind {
            MountKind::Bind { input, source } if *input == Some(index) => {
                whole(view, source, cache, hasher)?;
            }
            // What a cache mount begins with is not what a step may rely on, but BuildKit reads it.
            MountKind::Cache { input, source, .. } if *input == Some(index) => {
                whole(view, source, cache, hasher)?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn whole(
    view: &View,
    path: &str,
    cache: &mut ViewCache,
    hasher: &mut Hasher,
) -> Result<(), SolveError> {
    add(view, Path::new(path), &Selection { follow: true, filter: None }, cache, hasher)
}

fn copied(
    copy: &Copy,
    view: &View,
    cache: &mut ViewCache,
    hasher: &mut Hasher,
) -> Result<(), SolveError> {
    let rules = PathRules::new(&copy.include, &copy.exclude)?;
    let decide = |path: &Path, is_dir: bool| -> Decision { rules.decide(path, is_dir) };
    for path in sources_of(copy, view)? {
        hasher.field(path.as_os_str().as_encoded_bytes());
        let filter = rules.is_some().then_some(&decide as karman_snapshot::PathFilter<'_>);
        add(view, &path, &Selection { follow: copy.follow_symlinks, filter }, cache, hasher)?;
    }
    Ok(())
}

/// The files that `op` reads of its input number `index`, for people.
pub(crate) fn listing_of(
    engine: &Engine,
    op: &Op,
    index: usize,
    view: &View,
) -> Result<Vec<(String, String)>, SolveError> {
    let doing = "list an input";
    let mut cache = ViewCache::load(engine.store(), view).or_fail(Cause::Store, doing)?;
    let mut all = Vec::new();
    let mut list = |path: &Path, selection: &Selection<'_>| match tree_listing(
        view, path, selection, &mut cache,
    ) {
        Ok(files) => {
            let name = |rel: &Path| path.join(rel).to_string_lossy().trim_matches('/').to_owned();
            all.extend(files.into_iter().map(|(rel, what)| (name(&rel), what)));
            Ok(())
        }
        Err(SnapshotError::NotFound(_)) => Ok(()),
        Err(e) => Err(e).or_fail(Cause::Input, doing),
    };
    match op {
        Op::Exec(exec) => {
            for mount in &exec.mounts {
                if let MountKind::Bind { input, source } = &mount.kind
                    && *input == Some(index)
                {
                    list(Path::new(source), &Selection { follow: true, filter: None })?;
                }
            }
        }
        Op::File(file) => {
            let copies = file.actions.iter().filter_map(|action| match action {
                FileAction::Copy(copy) if copy.from == Some(index) => Some(copy),
                _ => None,
            });
            for copy in copies {
                let rules = PathRules::new(&copy.include, &copy.exclude)?;
                let decide = |path: &Path, is_dir: bool| rules.decide(path, is_dir);
                let filter = rules.is_some().then_some(&decide as karman_snapshot::PathFilter<'_>);
                let selection = Selection { follow: copy.follow_symlinks, filter };
                for path in sources_of(copy, view)? {
                    list(&path, &selection)?;
                }
            }
        }
        Op::Source(_) | Op::Merge(_) | Op::Diff(_) => {}
    }
    Ok(all)
}

/// The paths that a copy reads.
fn sources_of(copy: &Copy, view: &View) -> Result<Vec<PathBuf>, SolveError> {
    match copy.allow_wildcard {
        true => resolve_wildcards(view, &copy.src, copy.follow_symlinks),
        false => Ok(vec![clean(&copy.src)]),
    }
}

/// A path that does not exist has a digest too: the run will say what is missing.
fn add(
    view: &View,
    path: &Path,
    selection: &Selection<'_>,
    cache: &mut ViewCache,
    hasher: &mut Hasher,
) -> Result<(), SolveError> {
    if let (false, Some(parent)) = (view.is_immutable(), path.parent()) {
        // What was removed is seen by its directory only.
        let found = view.lookup(parent, true).or_fail(Cause::Input, "hash an input")?;
        found.iter().for_each(|found| cache.look(&found.stat));
    }
    match tree_digest(view, path, selection, cache) {
        Ok(digest) => hasher.field(digest.as_bytes()),
        Err(SnapshotError::NotFound(_)) => hasher.field(b"missing"),
        Err(e) => return Err(e).or_fail(Cause::Input, "hash an input"),
    }
    Ok(())
}
