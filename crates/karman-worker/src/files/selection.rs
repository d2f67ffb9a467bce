//! What an op reads of its inputs, as digests for the content key.

use std::path::Path;

use karman_control::{Cause, SolveError};
use karman_llb::{Copy, ExecOp, FileAction, MountKind, Op};
use karman_oci::{Digest, Hasher};
use karman_snapshot::digest::{Selection, tree_digest};
use karman_snapshot::{Decision, SnapshotError, View, ViewCache};

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
    Ok(hasher.finish())
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
    let matches = if copy.allow_wildcard {
        resolve_wildcards(view, &copy.src, copy.follow_symlinks)?
    } else {
        vec![clean(&copy.src)]
    };
    for path in matches {
        hasher.field(path.as_os_str().as_encoded_bytes());
        let filter = rules.is_some().then_some(&decide as karman_snapshot::PathFilter<'_>);
        add(view, &path, &Selection { follow: copy.follow_symlinks, filter }, cache, hasher)?;
    }
    Ok(())
}

/// A path that does not exist has a digest too: the run will say what is missing.
fn add(
    view: &View,
    path: &Path,
    selection: &Selection<'_>,
    cache: &mut ViewCache,
    hasher: &mut Hasher,
) -> Result<(), SolveError> {
    match tree_digest(view, path, selection, cache) {
        Ok(digest) => hasher.field(digest.as_bytes()),
        Err(SnapshotError::NotFound(_)) => hasher.field(b"missing"),
        Err(e) => return Err(e).or_fail(Cause::Input, "hash an input"),
    }
    Ok(())
}
