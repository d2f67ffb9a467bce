//! One solve: sources are identified, keys computed, the solver runs, results are exported.

mod identify;
mod keep_going;
mod output;
mod run;

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use karman_control::{
    Cause, Event, EventSink, Session, SolveError, SolveRequest, SolveResponse, TargetResult,
    VertexStatus,
};
use karman_llb::{Graph, Op, VertexDigest};
use karman_solver::Failure;
use karman_sys::fs::Time;

pub(crate) use output::{ContextDir, Output};
pub(crate) use run::{Build, Traced};

use crate::engine::Engine;
use crate::error::{OrFail as _, interrupted};
use crate::exec::StepEvents;
use crate::export::{Compressor, export_all, plan_layers};
use crate::layers::file_clock;
use crate::remote::{Imports, export_caches};
use crate::why;

/// The kernel writes dirty pages within this time (`vm.dirty_expire_centisecs` is 30 s).
const SETTLED_AFTER: Duration = Duration::from_secs(60);

/// Solves and exports a request.
pub(crate) fn solve(
    engine: &Engine,
    request: &SolveRequest,
    session: &Session,
    events: &EventSink,
) -> Result<SolveResponse, SolveError> {
    let begun = Instant::now();
    settle(engine);
    let imports = Imports::new(engine, &request.cache_from, events, begun);
    let (graph, clock) = (&request.graph, file_clock());
    let scene = Scene { engine, graph, session, events, begun, clock, imports };
    let compressor = Compressor::start(engine, request);
    let mut spoiled = BTreeSet::new();
    loop {
        let solved = match request.keep_going {
            true => keep_going::solve(&scene, request, &compressor),
            false => solve_all(&scene, request, &compressor),
        };
        let bad = scene.imports.spoiled();
        let failed = match &solved {
            Ok(response) => !response.failed.is_empty(),
            Err(_) => true,
        };
        // A cache that did not keep its promise is passed over; what ran meanwhile is in our own.
        if !failed || bad == spoiled || engine.interrupted() {
            return solved
                .map_err(|error| if engine.interrupted() { interrupted() } else { error });
        }
        for name in bad.difference(&spoiled) {
            let message = format!("the cache {name} is no longer used: layers of it cannot be had");
            events(Event::Warning { vertex: None, message });
        }
        spoiled = bad;
        engine.resume();
    }
}

/// Solves everything, then exports.
fn solve_all(
    scene: &Scene<'_>,
    request: &SolveRequest,
    compressor: &Compressor,
) -> Result<SolveResponse, SolveError> {
    let images = request.targets.iter().flat_map(|t| &t.images);
    let roots: Vec<VertexDigest> = images.filter_map(|i| i.root).collect();
    let build = scene.solved(&roots, Some(compressor), &request.targets)?;
    let cuts = plan_layers(scene, request.targets.iter(), request.epoch, &build)?;
    let made = export_all(scene, request, &build, compressor, &cuts)?;
    let targets: Vec<&TargetResult> = request.targets.iter().collect();
    export_caches(scene, &build, &targets, request.epoch, compressor)?;
    Ok(SolveResponse { layers: cuts.told(), ..made })
}

/// Makes what earlier builds left safe against a power failure, beside this build. What is not
/// safe yet is forgotten after a reboot, never wrong; so a failure here is not one of the build.
fn settle(engine: &Engine) {
    let snapshots = engine.snapshots().clone();
    std::thread::spawn(move || snapshots.flush_settled(SETTLED_AFTER));
}

/// What a whole solve shares.
pub(crate) struct Scene<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) graph: &'a Graph,
    pub(crate) session: &'a Session,
    pub(crate) events: &'a EventSink,
    pub(crate) begun: Instant,
    /// When it began, by the clock of files.
    pub(crate) clock: Time,
    /// Caches of other places.
    pub(crate) imports: Imports<'a>,
}

impl<'a> Scene<'a> {
    /// Solves the roots.
    fn solved<'s>(
        &'s self,
        roots: &[VertexDigest],
        compressor: Option<&'s Compressor>,
        targets: &[TargetResult],
    ) -> Result<Build<'s>, SolveError> {
        let cancel = self.engine.cancel_token();
        let needed = self.graph.needed_by(roots.iter().copied());
        let identities = identify::all(self, &needed)?;
        let build = Build::new(self, &needed, &identities, compressor);
        let numbers = build.numbers(roots);
        let solved = karman_solver::solve(&build, &numbers, self.engine.parallelism(), &cancel);
        if !self.engine.interrupted() {
            why::record(self, &build, targets);
        }
        match solved {
            Ok(_) => Ok(build),
            Err(Failure::Vertex(vertex, error)) => Err(self.explain(needed[vertex], error)),
            Err(Failure::Cancelled) => Err(interrupted()),
        }
    }

    /// Adds to an error which vertex it is about.
    fn explain(&self, vertex: VertexDigest, mut error: SolveError) -> SolveError {
        if self.engine.cancel_token().is_cancelled() && self.engine.interrupted() {
            return interrupted();
        }
        if error.vertex.is_none() {
            error.vertex = Some(vertex);
            if let Some(meta) = self.graph.meta(&vertex) {
                error.vertex_name.clone_from(&meta.name);
                error.spans.clone_from(&meta.spans);
            }
        }
        error
    }

    /// Sends an event that a vertex began.
    pub(crate) fn started(&self, vertex: VertexDigest, name: &str) {
        let at = self.begun.elapsed();
        (self.events)(Event::Started { vertex, name: name.to_owned(), at });
    }

    /// Sends an event that a vertex ended.
    pub(crate) fn ended(&self, vertex: VertexDigest, status: VertexStatus) {
        (self.events)(Event::Ended { vertex, status, at: self.begun.elapsed() });
    }
}

/// A file wanted out of a vertex.
pub(crate) struct FileWanted<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) vertex: &'a VertexDigest,
    pub(crate) path: &'a str,
    pub(crate) limit: u64,
}

/// Solves a vertex and reads one file of it.
pub(crate) fn read_file(
    engine: &Engine,
    wanted: &FileWanted<'_>,
    session: &Session,
) -> Result<Option<Vec<u8>>, SolveError> {
    let silent: EventSink = std::sync::Arc::new(|_| {});
    let begun = Instant::now();
    let imports = Imports::new(engine, &[], &silent, begun);
    let (graph, events, clock) = (wanted.graph, &silent, file_clock());
    let scene = Scene { engine, graph, session, events, begun, clock, imports };
    let solved = scene.solved(&[*wanted.vertex], None, &[])?;
    let Some(output) = solved.output(wanted.vertex) else { return Ok(None) };
    let sink = std::sync::Arc::clone(&silent);
    output.layers(engine, &StepEvents { sink, vertex: *wanted.vertex, begun })?;
    let view = output.view(engine)?;
    let doing = format!("read `{}`", wanted.path);
    let Some(found) = view.lookup(Path::new(wanted.path), true).or_fail(Cause::Input, &doing)?
    else {
        return Ok(None);
    };
    if !found.stat.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    let file = view.open_file(&found).or_fail(Cause::Input, &doing)?;
    file.take(wanted.limit + 1).read_to_end(&mut bytes).or_fail(Cause::Input, &doing)?;
    if bytes.len() as u64 > wanted.limit {
        let message = format!("`{}` is larger than {} bytes", wanted.path, wanted.limit);
        return Err(SolveError::new(Cause::Input, message));
    }
    Ok(Some(bytes))
}

/// Whether a vertex only rearranges layers and never deserves a line of its own.
fn is_silent(op: &Op) -> bool {
    matches!(op, Op::Merge(_) | Op::Diff(_))
}

/// Locks a mutex; a panic elsewhere leaves our maps consistent.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
