//! What a target takes from its caller: build arguments, secrets, ssh agents.
//!
//! BuildKit's `outline`: of the target, the stages it is built on and the stages it reads, each
//! name once, in the order of the file.

use std::collections::{BTreeMap, BTreeSet};

use karman_diag::Span;
use karman_llb::MountKind;

use super::Lowering;
use super::mounts::Mounts;
use super::state::StateId;
use crate::instruction::{ArgPair, InstructionKind};

/// What a target takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outline {
    /// The name of the stage.
    pub name: Option<String>,
    /// The comment above the stage, where it begins with its name.
    pub description: Option<String>,
    /// Build arguments.
    pub args: Vec<OutlineArg>,
    /// Secrets of `RUN --mount=type=secret`.
    pub secrets: Vec<OutlineMount>,
    /// Agents of `RUN --mount=type=ssh`.
    pub ssh: Vec<OutlineMount>,
}

/// A build argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineArg {
    /// Its name.
    pub name: String,
    /// The comment above, where it begins with the name.
    pub description: Option<String>,
    /// The value it has in this build.
    pub value: String,
    /// The instruction that declares it.
    pub span: Span,
}

/// A secret or an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineMount {
    /// Its id.
    pub name: String,
    /// Whether the step fails without it.
    pub required: bool,
    /// The instruction that wants it.
    pub span: Span,
}

/// What one stage takes.
#[derive(Debug, Clone, Default)]
pub(super) struct Taken {
    args: BTreeMap<String, OutlineArg>,
    used: BTreeSet<String>,
    secrets: BTreeMap<String, OutlineMount>,
    ssh: BTreeMap<String, OutlineMount>,
}

impl Taken {
    /// Arguments that `FROM` uses.
    pub(super) fn use_all(&mut self, names: BTreeSet<String>) {
        self.used.extend(names);
    }
}

/// A global argument and the ones that its default needs.
struct Global {
    arg: OutlineArg,
    needs: BTreeSet<String>,
}

impl Lowering<'_> {
    /// Notes the arguments of an `ARG` that was just lowered.
    pub(super) fn take_args(&mut self, id: StateId, pairs: &[ArgPair], span: Span) {
        let state = &mut self.states[id];
        let first = state.build_args.len().saturating_sub(pairs.len());
        for (pair, (name, value)) in pairs.iter().zip(&state.build_args[first..]) {
            state.notes.taken.used.insert(name.clone());
            let is_given = self.options.build_args.contains_key(name);
            let is_global = pair.value.is_none() && !is_given && self.globals.get(name).is_some();
            if !is_global {
                let arg = OutlineArg {
                    name: name.clone(),
                    description: pair.description.clone(),
                    value: value.clone().unwrap_or_default(),
                    span,
                };
                state.notes.taken.args.insert(name.clone(), arg);
            }
        }
    }

    /// Notes the secrets and agents of a `RUN`.
    pub(super) fn take_mounts(&mut self, id: StateId, mounts: &Mounts, span: Span) {
        let taken = &mut self.states[id].notes.taken;
        let note = |list: &mut BTreeMap<String, OutlineMount>, id: &String, optional: bool| {
            let mount = OutlineMount { name: id.clone(), required: !optional, span };
            list.entry(id.clone()).or_insert(mount);
        };
        for mount in &mounts.list {
            match &mount.kind {
                MountKind::Secret { id, optional, .. } => note(&mut taken.secrets, id, *optional),
                MountKind::Ssh { id, optional, .. } => note(&mut taken.ssh, id, *optional),
                _ => {}
            }
        }
        for secret in &mounts.secret_env {
            note(&mut taken.secrets, &secret.id, secret.optional);
        }
    }

    /// What the target takes.
    pub(super) fn outline(&self, target: StateId) -> Outline {
        let globals = self.global_takings();
        let mut args: BTreeMap<&str, &OutlineArg> = BTreeMap::new();
        let mut secrets: BTreeMap<&str, &OutlineMount> = BTreeMap::new();
        let mut ssh: BTreeMap<&str, &OutlineMount> = BTreeMap::new();
        let mut pending = vec![target];
        let mut seen = BTreeSet::new();
        while let Some(id) = pending.pop() {
            if !seen.insert(id) {
                continue;
            }
            let state = &self.states[id];
            let taken = &state.notes.taken;
            for name in with_needs(&taken.used, &globals) {
                let own = taken.args.get(name);
                if let Some(arg) = own.or_else(|| globals.get(name).map(|global| &global.arg)) {
                    args.entry(name).or_insert(arg);
                }
            }
            add_all(&mut secrets, &taken.secrets);
            add_all(&mut ssh, &taken.ssh);
            pending.extend(state.deps.iter().rev().map(|(dep, _)| *dep));
            pending.extend(state.base);
        }
        let stage = self.dockerfile.stages.get(target);
        let mut args: Vec<OutlineArg> = args.into_values().cloned().collect();
        args.sort_by_key(|arg| arg.span);
        Outline {
            name: stage.and_then(|s| s.name.as_ref()).map(|n| n.value.clone()),
            description: stage.and_then(|s| s.description.clone()),
            args,
            secrets: by_place(secrets),
            ssh: by_place(ssh),
        }
    }

    fn global_takings(&self) -> BTreeMap<String, Global> {
        let mut all: BTreeMap<String, Global> = BTreeMap::new();
        for instruction in &self.dockerfile.global_args {
            let InstructionKind::Arg(pairs) = &instruction.kind else { continue };
            for pair in pairs {
                let name = &pair.name.value;
                let default = pair.value.as_ref().filter(|_| {
                    // A default that is not used needs nothing.
                    !self.options.build_args.contains_key(name)
                });
                let expanded = default.map(|w| self.expanded(&w.value, w.span, &self.globals));
                let mut needs = match expanded {
                    Some(Ok(expanded)) => expanded.matched,
                    _ => BTreeSet::new(),
                };
                if needs.remove(name)
                    && let Some(before) = all.remove(name)
                {
                    needs.extend(before.needs);
                }
                let arg = OutlineArg {
                    name: name.clone(),
                    description: pair.description.clone(),
                    value: self.globals.get(name).unwrap_or_default().to_owned(),
                    span: instruction.span,
                };
                all.insert(name.clone(), Global { arg, needs });
            }
        }
        all
    }
}

/// The names, and those that the defaults of global arguments need.
fn with_needs<'n>(
    used: &'n BTreeSet<String>,
    globals: &'n BTreeMap<String, Global>,
) -> BTreeSet<&'n str> {
    let mut all = BTreeSet::new();
    let mut pending: Vec<&str> = used.iter().map(String::as_str).collect();
    while let Some(name) = pending.pop() {
        if all.insert(name) {
            let needs = globals.get(name).into_iter().flat_map(|global| &global.needs);
            pending.extend(needs.map(String::as_str));
        }
    }
    all
}

fn by_place(mounts: BTreeMap<&str, &OutlineMount>) -> Vec<OutlineMount> {
    let mut all: Vec<OutlineMount> = mounts.into_values().cloned().collect();
    all.sort_by_key(|mount| mount.span);
    all
}

fn add_all<'t>(
    all: &mut BTreeMap<&'t str, &'t OutlineMount>,
    own: &'t BTreeMap<String, OutlineMount>,
) {
    for (name, mount) in own {
        all.entry(name).or_insert(mount);
    }
}
