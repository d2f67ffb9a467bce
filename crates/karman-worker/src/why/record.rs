//! Writing down what happened in a build.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use karman_control::{SolveError, TargetResult};
use karman_llb::{Op, SourceOp, VertexDigest};
use karman_oci::{Digest, Hasher};

use super::{
    BUCKET, Happened, Ledger, MAX_LEDGERS, Row, STATE, State, encode, facts, key_of, load,
};
use crate::error::{OrFail as _, store as store_error};
use crate::solve::{Build, Scene, Traced};

/// Files remembered of one step; of more only the directories are.
const MAX_FILES: usize = 20_000;
/// How deep directories are told apart then.
const COARSE_DEPTH: usize = 2;

/// Remembers the build of targets. What cannot be remembered cannot be explained, which is no failure of
/// the build.
pub(crate) fn record(scene: &Scene<'_>, build: &Build<'_>, targets: &[TargetResult]) {
    for target in targets {
        let roots = target.images.iter().filter_map(|i| i.root);
        let needed = scene.graph.needed_by(roots);
        let _ = one(scene, build, target, &needed);
    }
}

fn one(
    scene: &Scene<'_>,
    build: &Build<'_>,
    target: &TargetResult,
    needed: &[VertexDigest],
) -> Result<(), SolveError> {
    let store = scene.engine.store();
    let key = key_of(&target.name, &target.definition);
    let traced: Vec<Traced<'_>> = needed.iter().filter_map(|v| build.traced(v)).collect();
    let ran = traced
        .iter()
        .any(|t| t.is_cached && matches!(t.happened, Happened::Ran | Happened::Failed));
    let mut hasher = Hasher::new();
    traced.iter().for_each(|t| hasher.field(t.key.as_bytes()));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let at = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let state = State { keys: hasher.finish().to_string(), ran, at };
    let known = store.get(STATE, &key).map_err(store_error)?;
    let known: Option<State> = known.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let is_same = known.as_ref().is_some_and(|known| known.keys == state.keys);
    if is_same && !ran && known.is_some_and(|known| !known.ran) {
        return Ok(());
    }
    if !is_same || ran {
        let old = load(store, &key)?;
        let rows = rows(scene, build, &traced, old.as_ref())?;
        let ledger = Ledger {
            target: target.name.clone(),
            definition: target.definition.clone(),
            at,
            args: target.args.clone(),
            now: rows,
            before: old.map(|old| old.now),
        };
        store.put(BUCKET, &key, &encode(&ledger)?).map_err(store_error)?;
    }
    let doing = "remember a build";
    let bytes = serde_json::to_vec(&state).or_fail(karman_control::Cause::Engine, doing)?;
    store.put(STATE, &key, &bytes).map_err(store_error)?;
    forget_old(scene)
}

fn rows(
    scene: &Scene<'_>,
    build: &Build<'_>,
    traced: &[Traced<'_>],
    old: Option<&Ledger>,
) -> Result<Vec<Row>, SolveError> {
    let at: BTreeMap<VertexDigest, usize> =
        traced.iter().enumerate().map(|(at, t)| (t.digest, at)).collect();
    let known: BTreeMap<&str, &Row> = old
        .map(|old| old.now.iter().map(|row| (row.key.as_str(), row)).collect())
        .unwrap_or_default();
    let mut rows = Vec::with_capacity(traced.len());
    for t in traced {
        let key = t.key.to_string();
        let earlier = known.get(key.as_str());
        let files = match earlier.filter(|row| !row.files.is_empty()) {
            Some(row) => row.files.clone(),
            None => files(scene, build, t)?,
        };
        let result = match build.result_digest(&t.digest) {
            Some(digest) => digest.to_string(),
            None => earlier.map(|row| row.result.clone()).unwrap_or_default(),
        };
        rows.push(Row {
            name: t.name.to_owned(),
            key,
            op: t.op.to_string(),
            outcome: t.happened,
            fresh: t.passed_over,
            uncached: !t.is_cached,
            inputs: t.vertex.inputs.iter().filter_map(|input| at.get(input).copied()).collect(),
            facts: facts::facts(t.vertex, t.identity.as_ref()),
            result,
            files,
        });
    }
    Ok(rows)
}

/// The files that a step reads of local directories.
fn files(
    scene: &Scene<'_>,
    build: &Build<'_>,
    t: &Traced<'_>,
) -> Result<Vec<(String, String)>, SolveError> {
    let mut all = Vec::new();
    for (at, input) in t.vertex.inputs.iter().enumerate() {
        let Some(input) = build.traced(input) else { continue };
        let Op::Source(source @ SourceOp::Local(_)) = &input.vertex.op else { continue };
        let view = crate::sources::local_view(source, scene.session)?;
        all.extend(crate::files::listing_of(scene.engine, &t.vertex.op, at, &view)?);
    }
    Ok(if all.len() > MAX_FILES { coarse(&all) } else { all })
}

/// Directories in place of files.
fn coarse(files: &[(String, String)]) -> Vec<(String, String)> {
    let mut dirs: BTreeMap<String, Hasher> = BTreeMap::new();
    for (path, what) in files {
        let parts: Vec<&str> = path.splitn(COARSE_DEPTH + 1, '/').collect();
        let dir = parts[..parts.len().min(COARSE_DEPTH)].join("/");
        let hasher = dirs.entry(dir).or_default();
        hasher.field(path.as_bytes());
        hasher.field(what.as_bytes());
    }
    let short = |digest: Digest| format!("{}, of all files in it", digest.short());
    dirs.into_iter().map(|(dir, hasher)| (dir, short(hasher.finish()))).collect()
}

fn forget_old(scene: &Scene<'_>) -> Result<(), SolveError> {
    let store = scene.engine.store();
    let mut states = store.list(STATE, "").map_err(store_error)?;
    if states.len() <= MAX_LEDGERS {
        return Ok(());
    }
    states.sort_by_key(|row| std::cmp::Reverse(row.last_used));
    let old: Vec<Vec<u8>> = states.into_iter().skip(MAX_LEDGERS).map(|row| row.key).collect();
    store.delete_many(BUCKET, &old).map_err(store_error)?;
    store.delete_many(STATE, &old).map_err(store_error).map(drop)
}
