//! Where the build checks look on while a file is lowered.
//!
//! What is asked here is asked at BuildKit's moments: `FROM` with the global arguments, the words
//! of an instruction when they are expanded, the rest when the instruction is done.

use std::collections::{BTreeMap, BTreeSet};

use karman_diag::{Diagnostic, Span};

use super::Lowering;
use super::options::ContextInput;
use super::outline::Taken;
use super::state::{Command, StateId};
use crate::check::fleet::{Script, layers::Held, packages::BuildPackages, pins};
use crate::check::{from, ignored, rules, secrets, stages, variables};
use crate::instruction::{
    CommandLine, Files, Instruction, InstructionKind as Kind, Pair, Run, SourceWord, Stage, Word,
};

/// What the checks remember of a stage.
#[derive(Debug, Clone, Default)]
pub(super) struct Notes {
    /// The last instruction of each kind that may stand only once.
    once: BTreeMap<&'static str, Span>,
    /// Whether this file has set a working directory, here or in a stage below.
    is_workdir_set: bool,
    held: Held,
    packages: BuildPackages,
    /// For the outline.
    pub(super) taken: Taken,
}

impl Notes {
    /// What a stage that is built on this one takes over.
    pub(super) fn inherited(&self, own: &Notes) -> Self {
        Self {
            once: BTreeMap::new(),
            is_workdir_set: self.is_workdir_set,
            held: self.held.clone(),
            packages: self.packages.clone(),
            taken: own.taken.clone(),
        }
    }
}

impl Lowering<'_> {
    /// Rules about the file as a whole.
    pub(super) fn check_file(&self) {
        self.checks.add_syntax(self.dockerfile);
        stages::check_names(self.dockerfile, &self.checks);
        stages::check_casing(self.dockerfile, &self.checks);
    }

    /// Bases must be names when no build argument is given, too. `self.globals` holds the
    /// arguments of the platforms only.
    pub(super) fn check_defaults(&self) {
        let mut env = self.globals.clone();
        for instruction in &self.dockerfile.global_args {
            let Kind::Arg(pairs) = &instruction.kind else { continue };
            for pair in pairs {
                let Some(default) = &pair.value else { continue };
                // What does not expand is an error soon.
                let Ok(value) = self.expand(&default.value, default.span, &env) else { return };
                env.set(&pair.name.value, &value);
            }
        }
        for stage in &self.dockerfile.stages {
            let Ok(base) = self.expand(&stage.base.value, stage.base.span, &env) else { return };
            from::check_default(stage, &base, &self.checks);
        }
    }

    /// The words of a `FROM`, and which arguments they use.
    pub(super) fn check_from(&self, stage: &Stage) -> BTreeSet<String> {
        let known =
            || self.globals.names().chain(self.declared.iter().map(String::as_str)).collect();
        let mut used = BTreeSet::new();
        if let Ok(base) = self.expanded(&stage.base.value, stage.base.span, &self.globals) {
            from::check_args(&base.unmatched, known, stage.span, &self.checks);
            used.extend(base.matched);
        }
        let Some(word) = &stage.platform else { return used };
        if let Ok(platform) = self.expanded(&word.value, word.span, &self.globals) {
            from::check_args(&platform.unmatched, known, stage.span, &self.checks);
            let target = self.globals.get("TARGETPLATFORM");
            from::check_platform(stage, &word.value, &platform, target, &self.checks);
            used.extend(platform.matched);
        }
        used
    }

    /// An error about a word of `FROM`, with what was meant by an argument that is not set.
    pub(super) fn with_meant_argument(&self, problem: Diagnostic, word: &Word) -> Diagnostic {
        let Ok(expanded) = self.expanded(&word.value, word.span, &self.globals) else {
            return problem;
        };
        let suggest = |name: &String| {
            variables::suggest(name, self.globals.names(), &self.checks).map(str::to_owned)
        };
        match expanded.unmatched.iter().find_map(suggest) {
            Some(meant) => problem.with_hint(format!("did you mean `{meant}`?")),
            None => problem,
        }
    }

    /// Variables of a word that are not set.
    pub(super) fn check_unset(&self, id: StateId, unset: &BTreeSet<String>) {
        let state = &self.states[id];
        let is_declared = |name: &str| state.build_args.iter().any(|(n, _)| n == name);
        variables::check_unset(unset, is_declared, state.env.names(), &self.checks);
    }

    /// A `WORKDIR`, expanded.
    pub(super) fn check_workdir(&mut self, id: StateId, path: &str) {
        let notes = &mut self.states[id].notes;
        if !std::mem::replace(&mut notes.is_workdir_set, true) && !path.starts_with('/') {
            let message = format!(
                "Relative workdir {path:?} can have unexpected results if the base image changes"
            );
            self.checks.found_here(&rules::WORKDIR_RELATIVE_PATH, message);
        }
    }

    /// A source of `ADD` or `COPY` that is read from the main context.
    pub(super) fn check_ignored(&self, instruction: &Instruction, path: &str) {
        let is_add = match &instruction.kind {
            Kind::Add(_) => true,
            Kind::Copy(copy) if copy.from.is_none() => false,
            _ => return,
        };
        if let ContextInput::Local { exclude, .. } = &self.options.main_context {
            ignored::check_source(path, exclude, is_add, &self.checks);
        }
    }

    /// An instruction that is lowered.
    pub(super) fn check_command(&mut self, id: StateId, command: &Command) {
        let instruction = &command.instruction;
        match &instruction.kind {
            Kind::Env(pairs) => {
                self.check_legacy(instruction, pairs);
                for pair in pairs {
                    let env = &self.states[id].env;
                    let name = self.expand(&pair.name.value, pair.name.span, env);
                    let name = name.unwrap_or_else(|_| pair.name.value.clone());
                    secrets::check_name("ENV", &name, &self.checks);
                }
            }
            Kind::Label(pairs) => self.check_legacy(instruction, pairs),
            Kind::Arg(pairs) => {
                for pair in pairs {
                    secrets::check_name("ARG", &pair.name.value, &self.checks);
                }
                self.take_args(id, pairs, instruction.span);
            }
            Kind::Cmd(line) => self.check_start(id, instruction, "CMD", line),
            Kind::Entrypoint(line) => self.check_start(id, instruction, "ENTRYPOINT", line),
            Kind::Healthcheck(_) => self.check_once(id, instruction, "HEALTHCHECK"),
            Kind::Run(run) => self.check_run(id, run, instruction.span),
            Kind::Add(add) => self.note_copies(id, &add.files),
            Kind::Copy(copy) => self.note_copies(id, &copy.files),
            _ => {}
        }
    }

    fn check_legacy(&self, instruction: &Instruction, pairs: &[Pair]) {
        let keyword = stages::keyword(&instruction.text);
        for _ in pairs.iter().filter(|pair| pair.legacy) {
            let message = format!(
                "\"{keyword} key=value\" should be used instead of legacy \"{keyword} key value\" format"
            );
            self.checks.found_here(&rules::LEGACY_KEY_VALUE_FORMAT, message);
        }
    }

    fn check_start(
        &mut self,
        id: StateId,
        instruction: &Instruction,
        kind: &'static str,
        line: &CommandLine,
    ) {
        self.check_once(id, instruction, kind);
        let shell = self.states[id].image.config.shell.as_deref().unwrap_or_default();
        if matches!(line, CommandLine::Shell(_)) && shell.is_empty() {
            let keyword = stages::keyword(&instruction.text);
            let message = format!(
                "JSON arguments recommended for {keyword} to prevent unintended behavior related to OS signals"
            );
            self.checks.found_here(&rules::JSON_ARGS_RECOMMENDED, message);
        }
    }

    /// Only the last one counts; the one before is blamed.
    fn check_once(&mut self, id: StateId, instruction: &Instruction, kind: &'static str) {
        let before = self.states[id].notes.once.insert(kind, instruction.span);
        if let Some(span) = before {
            let keyword = stages::keyword(&instruction.text);
            let message = format!(
                "Multiple {keyword} instructions should not be used in the same stage because only the last one will be used"
            );
            self.checks.found(&rules::MULTIPLE_INSTRUCTIONS_DISALLOWED, span, message);
        }
    }

    fn check_run(&mut self, id: StateId, run: &Run, span: Span) {
        let script = Script::of(run);
        pins::check_clone(&script, &self.checks);
        let state = &mut self.states[id];
        let cwd = state.cwd().to_owned();
        state.notes.held.run(run, &script, &cwd, &self.checks);
        state.notes.packages.note(&script, span);
    }

    fn note_copies(&mut self, id: StateId, files: &Files) {
        let state = &mut self.states[id];
        // Where a variable leads is not worth a second expansion.
        if files.dest.value.contains('$') {
            return;
        }
        let dest = state.destination(&files.dest.value);
        for source in &files.sources {
            let name = match source {
                SourceWord::Path(word) => &word.value,
                SourceWord::Heredoc(heredoc) => &heredoc.name,
            };
            state.notes.held.copied(name, &dest);
        }
    }

    /// What the target holds in the end.
    pub(super) fn check_final(&self, target: StateId) {
        self.states[target].notes.packages.check(&self.checks);
    }
}
