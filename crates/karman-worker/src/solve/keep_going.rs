//! A solve that goes on: a target that fails leaves the others alone, and nothing of it is exported or tagged.

use std::collections::BTreeMap;

use karman_control::{Cause, SolveError, SolveRequest, SolveResponse, TargetResult};
use karman_llb::{Graph, VertexDigest};
use karman_solver::Failure;

use super::run::Build;
use super::{Output, Scene, identify};
use crate::export::{Compressor, export_all, plan_layers};

/// Targets that failed, by name.
type Failed = BTreeMap<String, SolveError>;

/// Solves and exports what can be.
pub(super) fn solve(
    scene: &Scene<'_>,
    request: &SolveRequest,
    compressor: &Compressor,
) -> Result<SolveResponse, SolveError> {
    let mut failed = Failed::new();
    let outputs = outputs(scene, &request.targets, compressor, &mut failed)?;
    let built = request.targets.iter().filter(|target| !failed.contains_key(&target.name));
    let cuts = plan_layers(scene, built, request.epoch, &outputs)?;
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
        };
        match export_all(scene, &one, &outputs, compressor, &cuts) {
            Ok(made) => {
                response.images.extend(made.images);
                response.configs.extend(made.configs);
                response.provenance.extend(made.provenance);
            }
            Err(error) if error.cause == Cause::Interrupted => return Err(error),
            Err(error) => drop(failed.insert(target.name.clone(), error)),
        }
    }
    response.failed = failed;
    Ok(response)
}

/// The results of all targets that have them.
fn outputs(
    scene: &Scene<'_>,
    targets: &[TargetResult],
    compressor: &Compressor,
    failed: &mut Failed,
) -> Result<BTreeMap<VertexDigest, Output>, SolveError> {
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
    let numbers: Vec<usize> =
        wanted.iter().filter_map(|(_, root)| needed.iter().position(|n| n == root)).collect();
    let (threads, cancel) = (scene.engine.parallelism(), scene.engine.cancel_token());
    let part = match karman_solver::solve_what_can(&build, &numbers, threads, &cancel) {
        Ok(part) => part,
        Err(Failure::Vertex(vertex, error)) => return Err(scene.explain(needed[vertex], error)),
        Err(Failure::Cancelled) => return Err(interrupted()),
    };
    let told: BTreeMap<usize, SolveError> = part
        .failures
        .into_iter()
        .map(|(vertex, error)| (vertex, scene.explain(needed[vertex], error)))
        .collect();
    let mut outputs = BTreeMap::new();
    for ((target, root), result) in wanted.into_iter().zip(part.results) {
        match result {
            Ok(output) => drop(outputs.insert(root, output)),
            Err(cause) => {
                let error = told.get(&cause).cloned().unwrap_or_else(interrupted);
                failed.entry(target.name.clone()).or_insert(error);
            }
        }
    }
    Ok(outputs)
}

fn interrupted() -> SolveError {
    SolveError::new(Cause::Interrupted, "the build was interrupted")
}
