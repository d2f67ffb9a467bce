//! A solve that goes on: a target that fails leaves the others alone, and nothing of it is exported or tagged.

use std::collections::BTreeMap;

use karman_control::{Cause, SolveError, SolveRequest, SolveResponse, TargetResult};
use karman_llb::{Graph, VertexDigest};
use karman_solver::Failure;

use super::run::Build;
use super::{Scene, identify};
use crate::error::interrupted;
use crate::export::{Compressor, export_all, plan_layers};
use crate::remote::export_caches;

/// Targets that failed, by name.
type Failed = BTreeMap<String, SolveError>;

/// Solves and exports what can be done.
pub(super) fn solve(
    scene: &Scene<'_>,
    request: &SolveRequest,
    compressor: &Compressor,
) -> Result<SolveResponse, SolveError> {
    let mut failed = Failed::new();
    let build = build(scene, &request.targets, compressor, &mut failed)?;
    let built = request.targets.iter().filter(|target| !failed.contains_key(&target.name));
    let cuts = plan_layers(scene, built, request.epoch, &build)?;
    let mut made = Vec::new();
    let mut response = SolveResponse { layers: cuts.told(), ..SolveResponse::default() };
    for target in &request.targets {
        if failed.contains_key(&target.name) {
            continue;
        }
        let one = SolveRequest {
            graph: Graph::new(),
            targets: vec![target.clone()],
            epoch: request.epoch,
            keep_going: true,
            cache_from: Vec::new(),
        };
        match export_all(scene, &one, &build, compressor, &cuts) {
            Ok(exported) => {
                response.images.extend(exported.images);
                response.configs.extend(exported.configs);
                response.provenance.extend(exported.provenance);
                made.push(target);
            }
            Err(error) if error.cause == Cause::Interrupted => return Err(error),
            Err(error) => drop(failed.insert(target.name.clone(), error)),
        }
    }
    export_caches(scene, &build, &made, request.epoch, compressor)?;
    response.failed = failed;
    Ok(response)
}

/// Solves what can be.
fn build<'s>(
    scene: &'s Scene<'_>,
    targets: &[TargetResult],
    compressor: &'s Compressor,
    failed: &mut Failed,
) -> Result<Build<'s>, SolveError> {
    let roots = |t: &TargetResult| t.images.iter().filter_map(|i| i.root).collect::<Vec<_>>();
    let all = scene.graph.needed_by(targets.iter().flat_map(roots));
    let (identities, unknown) = identify::each(scene, &all);
    if scene.engine.interrupted() {
        return Err(interrupted());
    }
    let mut wanted: Vec<(&TargetResult, VertexDigest)> = Vec::new();
    for target in targets {
        let needed = scene.graph.needed_by(roots(target));
        match needed.iter().find_map(|vertex| unknown.get(vertex)) {
            Some(error) => drop(failed.insert(target.name.clone(), error.clone())),
            None => wanted.extend(roots(target).into_iter().map(|root| (target, root))),
        }
    }
    let needed = scene.graph.needed_by(wanted.iter().map(|(_, root)| *root));
    let build = Build::new(scene, &needed, &identities, Some(compressor));
    let roots: Vec<VertexDigest> = wanted.iter().map(|(_, root)| *root).collect();
    let numbers = build.numbers(&roots);
    let (threads, cancel) = (scene.engine.parallelism(), scene.engine.cancel_token());
    let part = match karman_solver::solve_what_can(&build, &numbers, threads, &cancel) {
        Ok(part) => part,
        Err(Failure::Vertex(vertex, error)) => return Err(scene.explain(needed[vertex], error)),
        Err(Failure::Cancelled) => return Err(interrupted()),
    };
    crate::why::record(scene, &build, targets);
    let told: BTreeMap<usize, SolveError> = part
        .failures
        .into_iter()
        .map(|(vertex, error)| (vertex, scene.explain(needed[vertex], error)))
        .collect();
    for ((target, _), result) in wanted.into_iter().zip(part.results) {
        if let Err(cause) = result {
            let error = told.get(&cause).cloned().unwrap_or_else(interrupted);
            failed.entry(target.name.clone()).or_insert(error);
        }
    }
    Ok(build)
}
