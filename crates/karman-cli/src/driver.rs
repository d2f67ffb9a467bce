//! One build: plan, show, solve, cancel.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use karman_build::{
    Answered, BuildFacts, Call, PlanError, Planned, TargetSpec, needs_stdin, plan, plan_what_can,
    short_warning, warnings_summary,
};
use karman_control::{
    Backend as _, CachePlace, Event, SecretSource, Session, SolveResponse, TargetResult,
};
use karman_diag::{Diagnostic, SourceMap, render};
use karman_oci::{Digest, Reference};
use karman_report::{Progress, Redactor, Reporter};
use karman_sys::signals::Cancellation;
use karman_worker::{Engine, PruneFilter, SpaceLimits};
use rustix::event::{PollFd, PollFlags, poll};

use crate::commands::audit;
use crate::failure::{Done, Failure};
use crate::flags::Allow;
use crate::setup::Context;
use crate::{destinations, out, progress};

/// The step before the backend's: Dockerfiles, contexts, base images.
const PLANNING: &str = "[internal] load build definition";
/// The largest Dockerfile or context archive taken from standard input.
const MAX_STDIN: u64 = 1 << 30;
/// A larger secret file is not looked for in logs.
const MAX_MASKED: u64 = 1 << 20;

/// A build to run.
pub(crate) struct Job {
    /// The targets.
    pub(crate) specs: Vec<TargetSpec>,
    /// How it is shown.
    pub(crate) progress: Progress,
    /// Whether images are looked up again.
    pub(crate) pull: bool,
    /// What is allowed.
    pub(crate) allow: Vec<Allow>,
    /// The cgroup below which steps run.
    pub(crate) cgroup_parent: Option<PathBuf>,
    /// Whether warnings are shown in full.
    pub(crate) debug: bool,
    /// The policy that images must pass before anything is exported.
    pub(crate) gate: Option<PathBuf>,
    /// Whether a target that fails leaves the others alone.
    pub(crate) keep_going: bool,
}

/// What a build made.
pub(crate) struct Made {
    /// What succeeded.
    pub(crate) response: SolveResponse,
    /// What failed of a build that kept going, by target.
    pub(crate) failed: Vec<(String, Failure)>,
    /// What tells the results of targets apart, images or not: a digest of the steps and their sources.
    pub(crate) results: BTreeMap<String, Digest>,
}

/// Runs a build.
pub(crate) fn build(job: Job, context: &Context) -> Done<Made> {
    destinations::check(&job.specs)?;
    // A policy that is wrong is told before anything is built.
    let gate = job.gate.as_deref().map(|policy| audit::gate(policy, context)).transpose()?;
    let engine = context.open_for(job.pull, unverified(&job.specs))?;
    if let Some(gate) = gate {
        engine.set_gate(gate);
    }
    let mut session = context.session();
    session.allow_insecure = job.allow.contains(&Allow::SecurityInsecure);
    session.allow_host_network = job.allow.contains(&Allow::NetworkHost);
    session.allow_devices = devices(&job.allow);
    session.cgroup_parent.clone_from(&job.cgroup_parent);
    let scratch =
        engine.store().temp_dir("build").map_err(|e| Failure::host("use the store", e))?;
    let facts = facts(context, &job.specs, scratch.path())?;
    let known = Redactor::new(context.env.proxy_passwords());
    let reporter = progress::start(job.progress, &context.env, known);
    let planned = watched(
        &engine,
        || reporter.cancel(),
        || {
            reporter.step(PLANNING, || match job.keep_going {
                true => plan_what_can(&engine, &job.specs, &facts, &mut session),
                false => Ok((plan(&engine, &job.specs, &facts, &mut session)?, Vec::new())),
            })
        },
    )?;
    let redactor = redactor(context, &session);
    reporter.redact(redactor.clone());
    let warnings = Warnings { shown: job.progress, expand: job.debug };
    let running = Running { engine: &engine, session: &session, reporter, redactor, warnings };
    let made = match planned {
        Ok((planned, unplanned)) => running.solve(planned, unplanned)?,
        Err(error) => return Err(running.give_up(error)),
    };
    let limits = context.file.gc.limits();
    if !limits.is_empty() {
        prune_to(limits, context)?;
    }
    Ok(made)
}

/// The registries that outputs and caches need not verify (`registry.insecure=true`).
fn unverified(specs: &[TargetSpec]) -> Vec<String> {
    let mut hosts = BTreeSet::new();
    for spec in specs {
        let open = spec.exports.iter().filter(|export| export.insecure);
        let names = open.flat_map(|export| spec.tags.iter().chain(&export.names));
        hosts.extend(names.filter_map(|name| Some(Reference::parse(name).ok()?.host)));
        let from = spec.cache_from.iter().filter(|c| c.insecure).map(|c| &c.place);
        let to = spec.cache_to.iter().filter(|c| c.insecure).map(|c| &c.place);
        hosts.extend(from.chain(to).filter_map(|place| match place {
            CachePlace::Registry(reference) => Some(reference.host.clone()),
            _ => None,
        }));
    }
    hosts.into_iter().collect()
}

/// Keeps the store as small as the configuration wants it. What this build used stays: the engine that
/// built still holds it, and this one only looks.
fn prune_to(limits: SpaceLimits, context: &Context) -> Done<()> {
    let engine = context.open(false)?;
    let filter = PruneFilter { limits, ..PruneFilter::default() };
    // The build is done; a store that stays larger than it should is not its failure.
    if let Err(error) = engine.prune(&filter) {
        out::note(&format!("warning: the store was not pruned: {}\n", error.message));
    }
    Ok(())
}

/// Asks the targets of a job instead of building them.
pub(crate) fn call(job: &Job, method: Call, context: &Context) -> Done<Vec<Answered>> {
    let engine = context.open(job.pull)?;
    let mut session = context.session();
    let scratch =
        engine.store().temp_dir("build").map_err(|e| Failure::host("use the store", e))?;
    let facts = facts(context, &job.specs, scratch.path())?;
    let known = Redactor::new(context.env.proxy_passwords());
    let reporter = progress::start(job.progress, &context.env, known);
    let answered = watched(
        &engine,
        || reporter.cancel(),
        || {
            let ask = || karman_build::call(&engine, &job.specs, method, &facts, &mut session);
            reporter.step(PLANNING, ask)
        },
    )?;
    let redactor = redactor(context, &session);
    let warnings = Warnings { shown: job.progress, expand: job.debug };
    let running = Running { engine: &engine, session: &session, reporter, redactor, warnings };
    match answered {
        Ok(answers) => {
            running.reporter.finish();
            Ok(answers)
        }
        Err(error) => Err(running.give_up(error)),
    }
}

fn devices(allow: &[Allow]) -> BTreeSet<String> {
    let names = allow.iter().filter_map(|a| match a {
        Allow::Device(name) => Some(name.clone()),
        _ => None,
    });
    names.collect()
}

fn facts(context: &Context, specs: &[TargetSpec], scratch: &Path) -> Done<BuildFacts> {
    let stdin = if needs_stdin(specs) { Some(read_stdin()?) } else { None };
    Ok(BuildFacts {
        cwd: context.env.cwd.clone(),
        stdin,
        env: context.env.texts.clone(),
        scratch: scratch.to_owned(),
    })
}

/// A build that was planned.
struct Running<'e> {
    engine: &'e Engine,
    session: &'e Session,
    reporter: Reporter,
    redactor: Redactor,
    warnings: Warnings,
}

/// How warnings are shown.
struct Warnings {
    shown: Progress,
    expand: bool,
}

impl Warnings {
    /// While the build is shown: programs read them among the other events.
    fn announce(&self, found: &[Diagnostic], sources: &SourceMap, reporter: &Reporter) {
        if self.shown == Progress::RawJson {
            let sink = reporter.sink();
            for warning in found {
                sink(Event::Warning { vertex: None, message: one_line(warning, sources) });
            }
        }
    }

    /// At the end: people read them there, those of the build checks as buildx shows them.
    fn show(&self, found: &[Diagnostic], sources: &SourceMap, redactor: &Redactor) {
        if !matches!(self.shown, Progress::Tty | Progress::Plain) {
            return;
        }
        let (checks, others): (Vec<&Diagnostic>, Vec<&Diagnostic>) =
            found.iter().partition(|warning| !warning.code.is_empty());
        others.iter().for_each(|w| out::note(&redactor.mask(&render(w, sources))));
        let checks: Vec<Diagnostic> = checks.into_iter().cloned().collect();
        out::note(&redactor.mask(&warnings_summary(&checks, sources, self.expand)));
    }
}

impl Running<'_> {
    /// Says why the build does not begin, after what is doubtful.
    fn give_up(self, error: PlanError) -> Failure {
        let Self { reporter, redactor, warnings: show, .. } = self;
        if let PlanError::Diagnostics { warnings, sources, .. } = &error {
            show.announce(warnings, sources, &reporter);
            reporter.finish();
            show.show(warnings, sources, &redactor);
        } else {
            reporter.finish();
        }
        Failure::plan(error, &redactor)
    }

    fn solve(self, planned: Planned, unplanned: Vec<(String, PlanError)>) -> Done<Made> {
        let Self { engine, session, reporter, redactor, warnings: show } = self;
        let Planned { request, sources, warnings } = planned;
        let sink = reporter.sink();
        show.announce(&warnings, &sources, &reporter);
        let results = request.targets.iter().map(|t| (t.name.clone(), result_of(t))).collect();
        let build = || {
            let solved = engine.solve(request, session, sink);
            solved.map_err(|e| Failure::build(&e, &sources, &redactor))
        };
        let result = watched(engine, || reporter.cancel(), build);
        reporter.finish();
        show.show(&warnings, &sources, &redactor);
        let mut response = result??;
        let unplanned = unplanned.into_iter();
        let mut failed: Vec<(String, Failure)> =
            unplanned.map(|(name, error)| (name, Failure::plan(error, &redactor))).collect();
        for (name, error) in std::mem::take(&mut response.failed) {
            failed.push((name, Failure::build(&error, &sources, &redactor)));
        }
        Ok(Made { response, failed, results })
    }
}

fn result_of(target: &TargetResult) -> Digest {
    let images = target.images.iter().map(|i| format!("{} {:?}\n", i.platform, i.root));
    Digest::sha256_of(images.collect::<String>().as_bytes())
}

/// Runs `body`; the first SIGINT or SIGTERM calls `on_cancel` and stops the engine.
pub(crate) fn watched<T>(
    engine: &Engine,
    on_cancel: impl Fn() + Send,
    body: impl FnOnce() -> T,
) -> Done<T> {
    let cancellation = Cancellation::install().map_err(|e| Failure::host("handle signals", e))?;
    let (over, alive) = std::io::pipe().map_err(|e| Failure::host("make a pipe", e))?;
    Ok(std::thread::scope(|scope| {
        scope.spawn(move || {
            let signalled = PollFd::from_borrowed_fd(cancellation.as_fd(), PollFlags::IN);
            let mut fds = [signalled, PollFd::new(&over, PollFlags::IN)];
            while let Err(rustix::io::Errno::INTR) = poll(&mut fds, None) {}
            if cancellation.is_cancelled() {
                on_cancel();
                engine.cancel();
            }
        });
        let result = body();
        // The thread sees the other end close, also when `body` panics.
        drop(alive);
        result
    }))
}

/// Whether SIGINT or SIGTERM came while something was [`watched`].
pub(crate) fn is_interrupted() -> bool {
    Cancellation::install().is_ok_and(|c| c.is_cancelled())
}

fn one_line(warning: &Diagnostic, sources: &SourceMap) -> String {
    if !warning.code.is_empty() {
        return short_warning(warning, sources);
    }
    let place = warning.span.and_then(|s| sources.locate(s));
    let place = place.map_or(String::new(), |(name, at)| format!(" ({name}:{})", at.line));
    format!("{}{place}", warning.message)
}

/// The values that must not be shown: secrets, and passwords of proxies.
fn redactor(context: &Context, session: &Session) -> Redactor {
    let secrets = session.secrets.values().filter_map(|secret| match secret {
        SecretSource::Value(value) => Some(value.clone()),
        SecretSource::File(path) => {
            let mut value = Vec::new();
            // A file that cannot be read cannot be shown either; the step that wants it will fail.
            std::fs::File::open(path).ok()?.take(MAX_MASKED).read_to_end(&mut value).ok()?;
            Some(value)
        }
    });
    Redactor::new(secrets.chain(context.env.proxy_passwords()))
}

fn read_stdin() -> Done<Vec<u8>> {
    let mut bytes = Vec::new();
    let stdin = std::io::stdin().lock();
    stdin
        .take(MAX_STDIN + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::host("read standard input", e))?;
    if bytes.len() as u64 > MAX_STDIN {
        return Err(Failure::usage(format!("standard input is larger than {MAX_STDIN} bytes")));
    }
    Ok(bytes)
}

/// The tags of each target, for the metadata.
pub(crate) fn tags_of(specs: &[TargetSpec]) -> BTreeMap<String, Vec<String>> {
    specs.iter().map(|s| (s.name.clone(), s.tags.clone())).collect()
}
