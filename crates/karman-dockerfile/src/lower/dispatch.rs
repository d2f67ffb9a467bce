//! One instruction after the other; here are those that change nothing but the config.

use karman_diag::{Diagnostic, Span};
use karman_llb::{FileAction, FileOp, Mkdir, Op, Vertex, VertexDigest, VertexMeta};
use karman_oci::{HealthConfig, Platform};
use serde_json::{Map, Value};

use super::Lowering;
use super::budget::{OVERHEAD, PORT, check_variables};
use super::env::set_line;
use super::expose::ports;
use super::file_words::owner;
use super::gofmt::{duration, plain_list, quoted_list};
use super::names::Shown;
use super::signal::{is_signal, nearest_signal};
use super::state::{Command, StateId, Step};
use crate::check::ports::check_port;
use crate::instruction::{
    CommandLine, Healthcheck, Instruction, InstructionKind as Kind, Pair, Word,
};

/// Permission bits of a directory that `WORKDIR` makes.
const WORKDIR_MODE: u32 = 0o755;

impl Lowering<'_> {
    /// Lowers a stage; those before it are lowered.
    pub(super) fn lower_stage(&mut self, id: StateId) -> Step<()> {
        if let Some(base) = self.states[id].base {
            // A base is always an earlier stage.
            let (earlier, rest) = self.states.split_at_mut(id);
            self.budget.spend(earlier[base].bytes());
            rest[0].inherit(&earlier[base]);
        }
        let target = &self.options.target_platform;
        let state = &mut self.states[id];
        // A base image is somebody else's.
        check_variables(state.image.config.env.as_ref().map_or(0, Vec::len), state.span)?;
        state.is_dispatched = true;
        state.platform.get_or_insert_with(|| target.clone());
        state.begin();
        let commands = std::mem::take(&mut state.commands);
        for command in &commands {
            let span = command.instruction.span;
            self.states[id].is_in_trigger = command.is_trigger;
            self.checks.enter(span);
            let before = self.states[id].image.history.len();
            self.lower_command(id, command).map_err(|problem| problem.within(span))?;
            self.check_command(id, command);
            let made = self.states[id].image.history.iter().skip(before);
            let text = made.filter_map(|h| h.created_by.as_ref()).map(String::len).sum::<usize>();
            self.budget.spend(text + OVERHEAD);
            self.budget.check(span)?;
            check_variables(self.states[id].env.len(), span)?;
        }
        self.states[id].commands = commands;
        Ok(())
    }

    fn lower_command(&mut self, id: StateId, command: &Command) -> Step<()> {
        let instruction = &command.instruction;
        let epoch = self.epoch;
        match &instruction.kind {
            Kind::Add(add) => self.lower_add(id, instruction, add),
            Kind::Copy(copy) => self.lower_copy(id, command, copy),
            Kind::Run(run) => self.lower_run(id, command, run),
            Kind::Arg(pairs) => self.lower_arg(id, pairs, instruction.span),
            Kind::Env(pairs) => self.lower_env(id, pairs, instruction.span),
            Kind::Label(pairs) => self.lower_label(id, pairs),
            Kind::Workdir(path) => self.lower_workdir(id, instruction, path),
            Kind::User(user) => self.lower_user(id, user),
            Kind::Volume(paths) => self.lower_volume(id, paths),
            Kind::Expose(words) => self.lower_expose(id, words),
            Kind::Stopsignal(signal) => self.lower_stopsignal(id, signal),
            Kind::Cmd(line) => {
                self.lower_cmd(id, line);
                Ok(())
            }
            Kind::Entrypoint(line) => {
                self.lower_entrypoint(id, line);
                Ok(())
            }
            Kind::Healthcheck(check) => {
                self.lower_healthcheck(id, check);
                Ok(())
            }
            Kind::Maintainer(name) => {
                let state = &mut self.states[id];
                state.image.author = Some(name.value.clone());
                state.note(format!("MAINTAINER {}", name.value), epoch);
                Ok(())
            }
            Kind::Onbuild(onbuild) => {
                let triggers = self.states[id].image.config.on_build.get_or_insert_default();
                triggers.push(onbuild.expression.clone());
                Ok(())
            }
            Kind::Shell(shell) => {
                let state = &mut self.states[id];
                state.image.config.shell = Some(shell.clone());
                state.note(format!("SHELL {}", plain_list(shell)), epoch);
                Ok(())
            }
        }
    }

    /// All names and values are expanded with the variables from before the instruction.
    fn expand_pairs(&self, id: StateId, pairs: &[Pair]) -> Step<Vec<(String, String)>> {
        let expand = |p: &Pair| Ok((self.stage_word(id, &p.name)?, self.stage_word(id, &p.value)?));
        pairs.iter().map(expand).collect()
    }

    fn lower_env(&mut self, id: StateId, pairs: &[Pair], span: Span) -> Step<()> {
        let pairs = self.expand_pairs(id, pairs)?;
        let state = &mut self.states[id];
        let mut text = "ENV".to_owned();
        for (name, value) in &pairs {
            // Variables are found by looking at each of them.
            self.budget.spend(state.env.len());
            self.budget.check(span)?;
            check_variables(state.env.len(), span)?;
            state.env.set(name, value);
            set_line(state.image.config.env.get_or_insert_default(), name, value);
            text.push_str(&format!(" {name}={value}"));
        }
        state.note(text, self.epoch);
        Ok(())
    }

    fn lower_label(&mut self, id: StateId, pairs: &[Pair]) -> Step<()> {
        let pairs = self.expand_pairs(id, pairs)?;
        let state = &mut self.states[id];
        let mut text = "LABEL".to_owned();
        for (name, value) in pairs {
            text.push_str(&format!(" {name}={value}"));
            state.image.config.labels.get_or_insert_default().insert(name, value);
        }
        state.note(text, self.epoch);
        Ok(())
    }

    fn lower_workdir(&mut self, id: StateId, instruction: &Instruction, path: &Word) -> Step<()> {
        let path = self.stage_word(id, path)?;
        self.check_workdir(id, &path);
        let state = &mut self.states[id];
        let directory = state.workdir(&path);
        state.image.config.working_dir.clone_from(&directory);
        let text = format!("WORKDIR {directory}");
        if directory == "/" {
            state.note(text, self.epoch);
            return Ok(());
        }
        let user = state.image.config.user.clone();
        let mkdir = Mkdir {
            path: self.states[id].cwd(),
            mode: WORKDIR_MODE,
            parents: true,
            owner: (!user.is_empty()).then(|| owner(&user)),
            created: self.epoch,
        };
        let name = self.file_step_name(id, instruction);
        let vertex =
            self.file_over_root(id, vec![FileAction::Mkdir(mkdir)], name, instruction.span);
        self.states[id].layer(text, self.epoch, vertex);
        Ok(())
    }

    /// The progress name of an instruction that changes files without running anything.
    pub(super) fn file_step_name(&mut self, id: StateId, instruction: &Instruction) -> String {
        let state = &self.states[id];
        let shown = self.shown(&instruction.text, &state.env, Shown::Resolved, &[]);
        let platform = state.platform.clone();
        self.step_name(id, &shown, platform.as_ref())
    }

    fn file_over_root(
        &mut self,
        id: StateId,
        actions: Vec<FileAction>,
        name: String,
        span: Span,
    ) -> VertexDigest {
        let inputs: Vec<VertexDigest> = self.states[id].root.into_iter().collect();
        let base = (!inputs.is_empty()).then_some(0);
        let platform = self.stage_platform(id);
        let vertex = Vertex { op: Op::File(FileOp { base, actions }), inputs, platform };
        self.graph.add(vertex, VertexMeta { name, spans: vec![span], ..VertexMeta::default() })
    }

    pub(super) fn stage_platform(&self, id: StateId) -> Platform {
        self.states[id].platform.clone().unwrap_or_else(|| self.options.target_platform.clone())
    }

    fn lower_user(&mut self, id: StateId, user: &Word) -> Step<()> {
        let user = self.stage_word(id, user)?;
        let state = &mut self.states[id];
        state.note(format!("USER {user}"), self.epoch);
        state.image.config.user = user;
        Ok(())
    }

    fn lower_volume(&mut self, id: StateId, paths: &[Word]) -> Step<()> {
        let expanded: Step<Vec<String>> = paths.iter().map(|p| self.stage_word(id, p)).collect();
        let paths = expanded?;
        if paths.iter().any(String::is_empty) {
            return Err(Diagnostic::error("VOLUME specified can not be an empty string", None));
        }
        let state = &mut self.states[id];
        let volumes = state.image.config.volumes.get_or_insert_default();
        volumes.extend(paths.iter().map(|p| (p.clone(), Value::Object(Map::new()))));
        state.note(format!("VOLUME {}", plain_list(&paths)), self.epoch);
        Ok(())
    }

    fn lower_expose(&mut self, id: StateId, words: &[Word]) -> Step<()> {
        let mut all = Vec::new();
        for word in words {
            for expanded in self.stage_words(id, word)? {
                let found = ports(&expanded);
                check_port(&expanded, &self.checks);
                all.extend(found.map_err(|e| Diagnostic::error(e.to_string(), word.span))?);
                self.budget.spend(all.len() * PORT);
                self.budget.check(word.span)?;
            }
        }
        let state = &mut self.states[id];
        let exposed = state.image.config.exposed_ports.get_or_insert_default();
        exposed.extend(all.iter().map(|p| (p.clone(), Value::Object(Map::new()))));
        state.note(format!("EXPOSE {}", plain_list(&all)), self.epoch);
        Ok(())
    }

    fn stage_words(&self, id: StateId, word: &Word) -> Step<Vec<String>> {
        let env = &self.states[id].env;
        let lookup = |name: &str| env.get(name).map(|value| self.budget.copy(value));
        let expander = crate::expand::Expander::new(self.dockerfile.directives.escape, &lookup);
        let expanded = expander.process_words(&word.value);
        let words = expanded.map_err(|e| Diagnostic::error(e.to_string(), word.span))?.words;
        self.budget.check(word.span)?;
        Ok(words)
    }

    fn lower_stopsignal(&mut self, id: StateId, word: &Word) -> Step<()> {
        let signal = self.stage_word(id, word)?;
        if !is_signal(&signal) {
            let problem = Diagnostic::error(format!("invalid signal: {signal}"), word.span);
            return Err(match nearest_signal(&signal) {
                Some(near) => problem.with_hint(format!("did you mean `{near}`?")),
                None => problem,
            });
        }
        let state = &mut self.states[id];
        state.note(format!("STOPSIGNAL {signal}"), self.epoch);
        state.image.config.stop_signal = signal;
        Ok(())
    }

    fn command_args(&self, id: StateId, line: &CommandLine) -> Vec<String> {
        match line {
            CommandLine::Exec(words) => words.clone(),
            CommandLine::Shell(text) => self.states[id].with_shell(text),
        }
    }

    fn lower_cmd(&mut self, id: StateId, line: &CommandLine) {
        let args = self.command_args(id, line);
        let state = &mut self.states[id];
        state.note(format!("CMD {}", quoted_list(&args)), self.epoch);
        state.image.config.cmd = Some(args);
        // Deprecated, yet what Docker and BuildKit write for every `CMD`.
        state.image.config.args_escaped = true;
        state.is_cmd_set = true;
    }

    fn lower_entrypoint(&mut self, id: StateId, line: &CommandLine) {
        let args = self.command_args(id, line);
        let state = &mut self.states[id];
        state.note(format!("ENTRYPOINT {}", quoted_list(&args)), self.epoch);
        state.image.config.entrypoint = Some(args);
        if !state.is_cmd_set {
            state.image.config.cmd = None;
        }
    }

    fn lower_healthcheck(&mut self, id: StateId, check: &Healthcheck) {
        let test = match &check.command {
            None => vec!["NONE".to_owned()],
            Some(CommandLine::Shell(line)) => vec!["CMD-SHELL".to_owned(), line.clone()],
            Some(CommandLine::Exec(words)) => {
                std::iter::once("CMD".to_owned()).chain(words.iter().cloned()).collect()
            }
        };
        let health = HealthConfig {
            test,
            interval: check.interval.unwrap_or_default(),
            timeout: check.timeout.unwrap_or_default(),
            start_period: check.start_period.unwrap_or_default(),
            start_interval: check.start_interval.unwrap_or_default(),
            retries: check.retries.unwrap_or_default(),
        };
        let text = format!(
            "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
            plain_list(&health.test),
            duration(health.interval),
            duration(health.timeout),
            duration(health.start_period),
            duration(health.start_interval),
            health.retries,
        );
        let state = &mut self.states[id];
        state.image.config.healthcheck = Some(health);
        state.note(text, self.epoch);
    }
}
