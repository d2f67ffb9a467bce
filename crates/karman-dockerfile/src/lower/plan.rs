//! The stage graph: which stages there are, what they read, which of them are needed.

use std::collections::BTreeSet;

use karman_diag::{Diagnostic, Span, nearest};

use super::Lowering;
use super::base::is_scratch;
use super::budget::TRIGGER;
use super::env::Env;
use super::state::{Command, State, StateId, Step};
use crate::instruction::{Instruction, InstructionKind, RawMount, Run, Stage};
use crate::parse_onbuild;

/// More stages and images named by `--from` than any Dockerfile has.
const MAX_STATES: usize = 20_000;

impl Lowering<'_> {
    pub(super) fn add_stages(&mut self) -> Step<()> {
        let dockerfile = self.dockerfile;
        for (index, stage) in dockerfile.stages.iter().enumerate() {
            self.add_stage(index, stage)?;
        }
        Ok(())
    }

    fn add_stage(&mut self, index: usize, stage: &Stage) -> Step<()> {
        let used = self.check_from(stage);
        let base = self.global_word(&stage.base)?;
        if base.is_empty() {
            let message = format!("base name ({}) should not be blank", stage.base.value);
            return Err(Diagnostic::error(message, stage.base.span));
        }
        let mut state = State::new(base, stage.span);
        state.notes.taken.use_all(used);
        if let Some(word) = &stage.platform {
            let platform = self.platform_word(&word.value, word.span, &self.globals);
            state.platform = Some(platform.map_err(|p| self.with_meant_argument(p, word))?);
        }
        state.name = stage.name.as_ref().map(|n| n.value.to_lowercase());
        state.display = state.name.clone().unwrap_or_else(|| format!("stage-{index}"));
        state.ignore_cache = self.is_cache_ignored(state.name.as_deref());
        let own = |i: &Instruction| Command {
            instruction: i.clone(),
            sources: Vec::new(),
            is_trigger: false,
        };
        state.commands = stage.instructions.iter().map(own).collect();
        if let Some(name) = &state.name {
            let platform = state.platform.as_ref();
            state.context = self.named_context(name, platform).cloned();
        }
        let is_replaced = state.context.is_some();
        let id = self.add_state(state)?;
        let state = &mut self.states[id];
        if is_replaced {
            state.base = None;
        }
        let has_base = !is_scratch(&state.base_name) && state.base.is_none();
        let layers = state.commands.iter().filter(|c| makes_layer(&c.instruction.kind)).count();
        state.steps_total = usize::from(has_base) + layers;
        Ok(())
    }

    fn is_cache_ignored(&self, name: Option<&str>) -> bool {
        let named = |filter: &String| name.is_some_and(|n| n.eq_ignore_ascii_case(filter));
        self.options.no_cache || self.options.no_cache_filter.iter().any(named)
    }

    /// Adds a state: its base is looked up among the stages before it, then its name is known.
    fn add_state(&mut self, mut state: State) -> Step<StateId> {
        let id = self.states.len();
        if id >= MAX_STATES {
            let message = format!("more than {MAX_STATES} stages and images");
            return Err(Diagnostic::error(message, state.span));
        }
        if !state.is_unregistered {
            state.base = self.names.get(&state.base_name).copied();
        }
        if let Some(name) = &state.name {
            self.names.insert(name.clone(), id);
        }
        self.states.push(state);
        Ok(id)
    }

    pub(super) fn find_target(&self) -> Step<StateId> {
        let Some(target) = self.options.target.as_deref().filter(|t| !t.is_empty()) else {
            return Ok(self.states.len() - 1);
        };
        self.names.get(&target.to_lowercase()).copied().ok_or_else(|| {
            let message = format!("target stage {target:?} could not be found");
            self.with_nearest_stage(Diagnostic::error(message, None), target)
        })
    }

    pub(super) fn with_nearest_stage(&self, problem: Diagnostic, name: &str) -> Diagnostic {
        match nearest(name, self.names.keys().map(String::as_str)) {
            Some(known) => problem.with_hint(format!("did you mean `{known}`?")),
            None => problem,
        }
    }

    /// Finds the stages that instructions read, in all stages, needed or not.
    pub(super) fn link_commands(&mut self) -> Step<()> {
        for id in 0..self.dockerfile.stages.len() {
            let mut commands = std::mem::take(&mut self.states[id].commands);
            for command in &mut commands {
                let whole = command.instruction.span;
                self.link(id, command).map_err(|problem| problem.within(whole))?;
            }
            self.states[id].commands = commands;
        }
        if let [only] = self.states.as_mut_slice() {
            only.display.clear();
        }
        Ok(())
    }

    fn link(&mut self, id: StateId, command: &mut Command) -> Step<()> {
        let instruction = &command.instruction;
        let span = instruction.span;
        command.sources = match &instruction.kind {
            InstructionKind::Copy(copy) => match &copy.from {
                Some(from) => vec![Some(self.copy_source(&from.value, from.span, span)?)],
                None => Vec::new(),
            },
            InstructionKind::Run(run) => self.mount_sources(run, span)?,
            _ => Vec::new(),
        };
        let sources: Vec<StateId> = command.sources.iter().flatten().copied().collect();
        self.states[id].deps.extend(sources.into_iter().map(|s| (s, span)));
        Ok(())
    }

    fn copy_source(&mut self, from: &str, span: Span, instruction: Span) -> Step<StateId> {
        if self.expand(from, span, &Env::default())? != from {
            let message = "variable expansion is not supported for --from, define a new stage \
                           with FROM using ARG from global scope as a workaround";
            return Err(Diagnostic::error(message, span));
        }
        let Ok(index) = from.parse::<i64>() else {
            return self.source_by_name(from, instruction);
        };
        usize::try_from(index)
            .ok()
            .filter(|index| *index < self.states.len())
            .ok_or_else(|| Diagnostic::error(format!("invalid stage index {index}"), span))
    }

    fn mount_sources(&mut self, run: &Run, span: Span) -> Step<Vec<Option<StateId>>> {
        let mut sources = Vec::with_capacity(run.mounts.len());
        for mount in &run.mounts {
            let source = match raw_option(mount, "from") {
                Some(from) if !from.is_empty() && from.contains('$') => {
                    let message = "'from' doesn't support variable expansion, define alias stage \
                                   instead";
                    return Err(Diagnostic::error(message, mount.span));
                }
                Some(from) if !from.is_empty() => Some(self.source_by_name(from, span)?),
                _ => None,
            };
            sources.push(source);
        }
        Ok(sources)
    }

    /// A stage by name, else an image or a context of that name.
    fn source_by_name(&mut self, name: &str, span: Span) -> Step<StateId> {
        if let Some(id) = self.names.get(&name.to_lowercase()) {
            return Ok(*id);
        }
        let mut state = State::new(name.to_owned(), span);
        state.is_unregistered = true;
        self.add_state(state)
    }

    /// No stage may read itself, directly or through others.
    pub(super) fn check_cycles(&self) -> Step<()> {
        let mut is_done = vec![false; self.states.len()];
        for start in 0..self.states.len() {
            // Each entry: a stage on the path and how many of its reads were followed.
            let mut path: Vec<(StateId, usize)> = vec![(start, 0)];
            while let Some((id, followed)) = path.last_mut() {
                let (id, next) = (*id, self.states[*id].deps.get(*followed).copied());
                *followed += 1;
                let Some((dep, span)) = next.filter(|_| !is_done[id]) else {
                    is_done[id] = true;
                    path.pop();
                    continue;
                };
                if path.iter().any(|(on_path, _)| *on_path == dep) {
                    let name = match self.states[start].display.as_str() {
                        "" => self.states[start].name.as_deref().unwrap_or("stage-0"),
                        display => display,
                    };
                    let message = format!("circular dependency detected on stage: {name}");
                    return Err(Diagnostic::error(message, span));
                }
                path.push((dep, 0));
            }
        }
        Ok(())
    }

    fn needed_by(&self, target: StateId) -> BTreeSet<StateId> {
        let mut needed = BTreeSet::new();
        let mut pending = vec![target];
        while let Some(id) = pending.pop() {
            if needed.insert(id) {
                let state = &self.states[id];
                pending.extend(state.base);
                pending.extend(state.deps.iter().map(|(dep, _)| *dep));
            }
        }
        needed
    }

    /// Resolves the bases of all needed stages and fires triggers, until none adds a new need.
    pub(super) fn resolve_needed(&mut self, target: StateId) -> Step<BTreeSet<StateId>> {
        loop {
            let needed = self.needed_by(target);
            for id in 0..self.states.len() {
                let state = &self.states[id];
                if state.base.is_none() && !state.is_resolved && !state.is_dispatched {
                    let is_needed = self.options.all_stages || needed.contains(&id);
                    self.resolve_base(id, is_needed)?;
                }
            }
            let mut has_new_needs = false;
            for id in &needed {
                has_new_needs |= self.fire_triggers(*id)?;
            }
            if !has_new_needs {
                return Ok(needed);
            }
        }
    }

    /// Puts the `ONBUILD` triggers of the base before a stage's own instructions; whether they
    /// read other stages.
    fn fire_triggers(&mut self, id: StateId) -> Step<bool> {
        let state = &mut self.states[id];
        if std::mem::replace(&mut state.are_triggers_fired, true) {
            return Ok(false);
        }
        let mut triggers = state.image.config.on_build.take().unwrap_or_default();
        let span = state.span;
        if let Some(base) = state.base {
            for command in &self.states[base].commands {
                if let InstructionKind::Onbuild(onbuild) = &command.instruction.kind {
                    triggers.push(onbuild.expression.clone());
                }
            }
        }
        let mut commands = Vec::with_capacity(triggers.len());
        for trigger in &triggers {
            self.budget.spend(trigger.len() + TRIGGER);
            self.budget.check(span)?;
            let instruction = parse_trigger(trigger, span)?;
            let mut command = Command { instruction, sources: Vec::new(), is_trigger: true };
            self.link(id, &mut command)?;
            commands.push(command);
        }
        let reads_stages = commands.iter().any(|c| c.sources.iter().any(Option::is_some));
        let state = &mut self.states[id];
        state.steps_total += commands.len();
        commands.append(&mut state.commands);
        state.commands = commands;
        Ok(reads_stages)
    }
}

fn parse_trigger(trigger: &str, span: Span) -> Step<Instruction> {
    parse_onbuild(trigger, span).map_err(|problems| {
        let mut problem = problems.into_iter().find(Diagnostic::is_error).unwrap_or_else(|| {
            Diagnostic::error("onbuild trigger should be a single expression", span)
        });
        problem.span = Some(span);
        problem
    })
}

/// The raw value of a mount option; the last one written counts.
pub(super) fn raw_option<'m>(mount: &'m RawMount, key: &str) -> Option<&'m str> {
    let mut found = mount.options.iter().rev().filter(|o| o.key == key);
    found.next().and_then(|o| o.value.as_deref())
}

fn makes_layer(kind: &InstructionKind) -> bool {
    use InstructionKind::{Add, Copy, Run, Workdir};
    matches!(kind, Add(_) | Copy(_) | Run(_) | Workdir(_))
}
