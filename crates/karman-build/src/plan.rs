//! All targets: in the order in which they link each other, with every problem collected.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::rc::Rc;

use karman_control::provenance::Asked;
use karman_control::{Backend, CacheImport, ImageResult, Session, SolveRequest, TargetResult};
use karman_diag::{Diagnostic, SourceMap, nearest};
use karman_llb::Graph;

use crate::dockerfile::{Origin, Parsed};
use crate::error::{PlanError, Problem, gather};
use crate::resolver::Images;
use crate::spec::{BuildFacts, Planned, TargetSpec};
use crate::stdin::StdinContext;

/// Longest chain of targets that link each other, as in bake.
const MAX_CHAIN: usize = 128;
/// How a context names another target.
const TARGET_SCHEME: &str = "target:";

/// Plans the targets as one request over one graph. What they borrow goes into `session`, which
/// must be the one the request is solved with.
///
/// Targets may come in any order; the request keeps it.
///
/// # Errors
/// Everything that is wrong with the targets and their files, as far as it can be found without
/// running them; or why the backend could not resolve a base or fetch a context.
pub fn plan(
    backend: &dyn Backend,
    targets: &[TargetSpec],
    facts: &BuildFacts,
    session: &mut Session,
) -> Result<Planned, PlanError> {
    let (planner, results, problems) = plan_all(backend, targets, facts, session)?;
    if !problems.is_empty() {
        return Err(planner.failed(problems));
    }
    Ok(planner.planned(results))
}

/// The same, but problems of a target leave the others alone: they are returned by target, and the request is for
/// the others. It goes on in turn.
///
/// # Errors
/// Where the targets do not make sense together, or the backend was interrupted.
pub fn plan_what_can(
    backend: &dyn Backend,
    targets: &[TargetSpec],
    facts: &BuildFacts,
    session: &mut Session,
) -> Result<(Planned, Vec<(String, PlanError)>), PlanError> {
    let (planner, results, problems) = plan_all(backend, targets, facts, session)?;
    if problems.iter().any(|(_, problem)| problem.is_final()) {
        return Err(planner.failed(problems));
    }
    let mut failed: Vec<(String, PlanError)> = Vec::new();
    for (name, problem) in problems {
        let sources = planner.sources.clone();
        failed.push((name.clone(), gather(vec![(name, problem)], sources, false)));
    }
    for (index, spec) in targets.iter().enumerate() {
        if !results.contains_key(&index) && failed.iter().all(|(name, _)| *name != spec.name) {
            let message = format!("a target that `{}` links failed", spec.name);
            failed.push((spec.name.clone(), PlanError::Usage { message, hint: None }));
        }
    }
    let mut planned = planner.planned(results);
    planned.request.keep_going = true;
    Ok((planned, failed))
}

/// Results by the index of the target, and problems by its name.
type Tried<'a> = (Planner<'a>, BTreeMap<usize, TargetResult>, Vec<(String, Problem)>);

fn plan_all<'a>(
    backend: &'a dyn Backend,
    targets: &[TargetSpec],
    facts: &'a BuildFacts,
    session: &'a mut Session,
) -> Result<Tried<'a>, PlanError> {
    let order = order(targets)?;
    let mut planner = Planner::new(backend, facts, session, targets.len() > 1);
    let mut results: BTreeMap<usize, TargetResult> = BTreeMap::new();
    let mut problems = Vec::new();
    for index in order {
        let spec = &targets[index];
        match planner.target(spec) {
            Ok(result) => drop(results.insert(index, result)),
            Err(Problem::Known) => {}
            Err(problem) => {
                let is_final = problem.is_final();
                if is_final {
                    problems.clear();
                }
                problems.push((spec.name.clone(), problem));
                if is_final {
                    break;
                }
            }
        }
    }
    Ok((planner, results, problems))
}

/// The state of one plan.
pub(crate) struct Planner<'a> {
    pub(crate) backend: &'a dyn Backend,
    pub(crate) facts: &'a BuildFacts,
    pub(crate) session: &'a mut Session,
    pub(crate) graph: Graph,
    pub(crate) sources: SourceMap,
    pub(crate) warnings: Vec<Diagnostic>,
    pub(crate) images: Images,
    pub(crate) dockerfiles: BTreeMap<Origin, Rc<Parsed>>,
    /// Ignore files by path; `None` where there is none.
    pub(crate) ignore_files: BTreeMap<PathBuf, Option<Vec<String>>>,
    pub(crate) stdin: Option<StdinContext>,
    /// The images of targets that are planned.
    pub(crate) done: BTreeMap<String, Vec<ImageResult>>,
    /// How these were asked for.
    pub(crate) asked: BTreeMap<String, Asked>,
    pub(crate) epoch: Option<i64>,
    /// Whether progress names carry the target's name.
    pub(crate) is_prefixed: bool,
    /// The caches that any target reads: all targets are one graph.
    pub(crate) cache_from: Vec<CacheImport>,
}

impl<'a> Planner<'a> {
    pub(crate) fn new(
        backend: &'a dyn Backend,
        facts: &'a BuildFacts,
        session: &'a mut Session,
        is_prefixed: bool,
    ) -> Self {
        Self {
            backend,
            facts,
            session,
            graph: Graph::new(),
            sources: SourceMap::new(),
            warnings: Vec::new(),
            images: Images::default(),
            dockerfiles: BTreeMap::new(),
            ignore_files: BTreeMap::new(),
            stdin: None,
            done: BTreeMap::new(),
            asked: BTreeMap::new(),
            epoch: None,
            is_prefixed,
            cache_from: Vec::new(),
        }
    }

    fn planned(self, results: BTreeMap<usize, TargetResult>) -> Planned {
        let request = SolveRequest {
            graph: self.graph,
            targets: results.into_values().collect(),
            epoch: self.epoch,
            keep_going: false,
            cache_from: self.cache_from,
        };
        Planned { request, sources: self.sources, warnings: self.warnings }
    }

    /// The problems as one error, with what is doubtful besides.
    pub(crate) fn failed(self, problems: Vec<(String, Problem)>) -> PlanError {
        let mut error = gather(problems, self.sources, self.is_prefixed);
        if let PlanError::Diagnostics { warnings, .. } = &mut error {
            *warnings = self.warnings;
        }
        error
    }

    /// Keeps warnings, each once: a Dockerfile may be lowered for many targets.
    pub(crate) fn warn(&mut self, warnings: Vec<Diagnostic>) {
        for warning in warnings {
            if !self.warnings.contains(&warning) {
                self.warnings.push(warning);
            }
        }
    }
}

/// Indexes of the targets, linked ones before those that link them.
pub(crate) fn order(targets: &[TargetSpec]) -> Result<Vec<usize>, PlanError> {
    let mut by_name = BTreeMap::new();
    for (index, spec) in targets.iter().enumerate() {
        if by_name.insert(spec.name.as_str(), index).is_some() {
            let message = format!("there are two targets named `{}`", spec.name);
            return Err(PlanError::Usage { message, hint: None });
        }
    }
    let mut search =
        Search { targets, by_name, done: BTreeSet::new(), path: Vec::new(), order: Vec::new() };
    for index in 0..targets.len() {
        search.visit(index)?;
    }
    Ok(search.order)
}

/// A depth-first search along links.
struct Search<'a> {
    targets: &'a [TargetSpec],
    by_name: BTreeMap<&'a str, usize>,
    done: BTreeSet<usize>,
    path: Vec<usize>,
    order: Vec<usize>,
}

impl Search<'_> {
    fn visit(&mut self, index: usize) -> Result<(), PlanError> {
        if self.done.contains(&index) {
            return Ok(());
        }
        if let Some(at) = self.path.iter().position(|p| *p == index) {
            let circle = self.path[at..].iter().chain([&index]);
            let names: Vec<&str> = circle.map(|i| self.targets[*i].name.as_str()).collect();
            return Err(PlanError::usage(
                format!("targets link each other in a circle: {}", names.join(" -> ")),
                "a target can only use what is built before it",
            ));
        }
        if self.path.len() >= MAX_CHAIN {
            let message = format!("more than {MAX_CHAIN} targets link each other in a chain");
            return Err(PlanError::Usage { message, hint: None });
        }
        self.path.push(index);
        let spec = &self.targets[index];
        let sources = spec.contexts.values().chain([&spec.context]);
        for linked in sources.filter_map(|s| s.strip_prefix(TARGET_SCHEME)) {
            let next = self.find(spec, linked)?;
            self.visit(next)?;
        }
        self.path.pop();
        self.done.insert(index);
        self.order.push(index);
        Ok(())
    }

    fn find(&self, spec: &TargetSpec, linked: &str) -> Result<usize, PlanError> {
        self.by_name.get(linked).copied().ok_or_else(|| PlanError::Usage {
            message: format!("target `{}` links `{linked}`, which is not a target", spec.name),
            hint: nearest(linked, self.by_name.keys().copied())
                .map(|near| format!("did you mean `{near}`?")),
        })
    }
}
