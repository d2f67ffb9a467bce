//! What is asked of targets instead of building them: `--check`, `--call=outline` and their like.

use karman_control::{Backend, Session, SolveError};
use karman_diag::{Diagnostic, ExitCode, SourceFile, render};
use karman_dockerfile::call::{self as answers, Answer, CheckReport, ErrorKind};
use karman_dockerfile::check::of_syntax;

use crate::context::Place;
use crate::dockerfile::Loaded;
use crate::error::{PlanError, Problem, Step};
use crate::lowering::platforms;
use crate::plan::{Planner, order};
use crate::spec::{BuildFacts, TargetSpec};

/// A question about a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// What is doubtful.
    Check,
    /// What it takes: arguments, secrets, agents.
    Outline,
    /// The stages there are.
    Targets,
    /// The questions there are.
    Describe,
}

impl Call {
    /// The questions by the names that buildx gives them.
    pub const ALL: [(&'static str, Self); 5] = [
        ("check", Self::Check),
        ("lint", Self::Check),
        ("outline", Self::Outline),
        ("targets", Self::Targets),
        ("subrequests.describe", Self::Describe),
    ];

    /// The first of its names.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, call)| *call == self).map_or("", |(name, _)| name)
    }
}

/// The answer of one target.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The target.
    pub target: String,
    /// For people.
    pub text: String,
    /// For programs; a JSON text.
    pub json: String,
    /// The status code that goes with it: 1 where a check found something.
    pub code: u8,
    /// Why the target cannot be built, where a check saw that: rendered, with the exit code.
    pub error: Option<(String, ExitCode)>,
}

/// Asks all targets, in an order in which those that others link come first; the answers keep the
/// order of the targets.
///
/// # Errors
/// What keeps a question from being asked: a Dockerfile that is not found, a context that cannot
/// be fetched; and for anything but a check, whatever is wrong with the Dockerfile.
pub fn call(
    backend: &dyn Backend,
    targets: &[TargetSpec],
    method: Call,
    facts: &BuildFacts,
    session: &mut Session,
) -> Result<Vec<Answered>, PlanError> {
    let order = order(targets)?;
    let mut planner = Planner::new(backend, facts, session, targets.len() > 1);
    let mut answers: Vec<Option<Answered>> = targets.iter().map(|_| None).collect();
    let mut problems = Vec::new();
    for index in order {
        let spec = &targets[index];
        match planner.answer(spec, method) {
            Ok(answer) => answers[index] = Some(answer),
            Err(problem) => {
                let is_final = problem.is_final();
                problems.push((spec.name.clone(), problem));
                if is_final {
                    break;
                }
            }
        }
    }
    if problems.is_empty() {
        return Ok(answers.into_iter().flatten().collect());
    }
    Err(planner.failed(problems))
}

impl Planner<'_> {
    fn answer(&mut self, spec: &TargetSpec, method: Call) -> Step<Answered> {
        let plain = |Answer { text, json }| {
            Ok(Answered { target: spec.name.clone(), text, json, code: 0, error: None })
        };
        if method == Call::Describe {
            return plain(answers::describe());
        }
        self.borrow(spec)?;
        let place = self.main_place(spec)?;
        let dockerfile = self.dockerfile(spec, &place)?;
        let file = self.text_of(&dockerfile);
        match method {
            Call::Targets => plain(answers::targets(dockerfile.tree()?, &file)),
            Call::Outline => {
                let outline = self.lower_all(spec, &place, &dockerfile, false).0?.outline;
                plain(answers::outline(&outline, &file))
            }
            Call::Check | Call::Describe => self.check(spec, &place, &dockerfile, &file),
        }
    }

    fn text_of(&self, dockerfile: &Loaded) -> SourceFile {
        let found = self.sources.get(dockerfile.file()).cloned();
        found.unwrap_or_else(|| SourceFile::new("Dockerfile", ""))
    }

    fn check(
        &mut self,
        spec: &TargetSpec,
        place: &Place,
        dockerfile: &Loaded,
        file: &SourceFile,
    ) -> Step<Answered> {
        let mut report = CheckReport::default();
        let mut exit = ExitCode::Input;
        if let Some(error) = dockerfile.errors().first() {
            if let Some(tree) = dockerfile.partial_tree() {
                report.warnings = of_syntax(tree, &self.build_args(spec)).unwrap_or_default();
            }
            report.error = Some(error.clone());
            report.kind = ErrorKind::Syntax;
        } else {
            let (lowered, warnings) = self.lower_all(spec, place, dockerfile, true);
            report.warnings = warnings;
            match lowered {
                Ok(lowered) => report.advice = lowered.advice,
                Err(problem) => {
                    if matches!(problem, Problem::Violated(_)) {
                        report.kind = ErrorKind::Violation;
                    }
                    let (error, code) = of_problem(problem)?;
                    (report.error, exit) = (Some(error), code);
                }
            }
        }
        let Answer { text, json } = report.answer(file);
        let error = report.error.as_ref().map(|error| (render(error, &self.sources), exit));
        Ok(Answered { target: spec.name.clone(), text, json, code: report.code(), error })
    }

    /// Lowers for the first platform, which answers; and for all where another target may link
    /// this one.
    fn lower_all(
        &mut self,
        spec: &TargetSpec,
        place: &Place,
        dockerfile: &Loaded,
        is_check: bool,
    ) -> (Step<karman_dockerfile::lower::Lowered>, Vec<Diagnostic>) {
        let mut first = None;
        let mut images = Vec::new();
        for platform in platforms(spec) {
            let mut options = match self.options(spec, platform) {
                Ok(options) => options,
                Err(problem) => return (Err(problem), Vec::new()),
            };
            options.all_stages = is_check && spec.stage.is_none();
            let (lowered, warnings) = self.lower(spec, place, dockerfile, options);
            match lowered {
                Ok(lowered) => {
                    images.push(self.finish(spec, lowered.clone()));
                    first.get_or_insert((Ok(lowered), warnings));
                }
                Err(problem) => return first.unwrap_or((Err(problem), warnings)),
            }
            if !self.is_prefixed {
                break;
            }
        }
        self.done.insert(spec.name.clone(), images);
        first.unwrap_or((Err(Problem::Known), Vec::new()))
    }
}

/// What is wrong with a Dockerfile, as a part of its report; other problems keep the question from
/// being answered.
fn of_problem(problem: Problem) -> Step<(Diagnostic, ExitCode)> {
    let (found, exit) = match problem {
        Problem::Found(found) => (found, ExitCode::Input),
        Problem::Violated(found) => (found, ExitCode::Failure),
        Problem::Unresolved(found, cause) => (found, SolveError::new(cause, "").exit_code()),
        Problem::Known => {
            let message = "a target that it uses cannot be built";
            (vec![Diagnostic::error(message, None)], ExitCode::Input)
        }
        other => return Err(other),
    };
    match found.into_iter().next() {
        Some(first) => Ok((first, exit)),
        None => Err(Problem::Known),
    }
}
