//! Typed instructions to the build graph and the image config, for one target platform.
//!
//! The order is BuildKit's (`dockerfile2llb`): all stages are planned with the global arguments,
//! references between them are linked (in every stage, so that a wrong one is an error wherever
//! it stands), bases that the target needs are resolved, `ONBUILD` triggers are put before the
//! instructions of their stage, and then the needed stages are lowered in the order of the file.
//! A stage therefore cannot read a later one.
//!
//! | file | content |
//! |---|---|
//! | `options` | what comes in and goes out |
//! | `budget` | what lowering may cost |
//! | `args` | global arguments, platform arguments, the epoch |
//! | `plan` | stages, links, cycles, triggers |
//! | `base` | base images, named contexts, the main context |
//! | `dispatch` | one instruction; those that only change the config |
//! | `run`, `mounts`, `mount_fields` | `RUN` |
//! | `copy`, `file_words`, `git_ref` | `ADD`, `COPY` |
//! | `expose`, `signal` | words of `EXPOSE` and `STOPSIGNAL` |
//! | `state`, `env` | what is known of a stage; its variables in order |
//! | `names`, `gofmt` | what people read: progress names, texts of the history |
//! | `checks` | what the build checks see of it |
//! | `outline` | what a target takes: arguments, secrets, agents |

mod args;
mod base;
mod budget;
mod checks;
mod copy;
mod dispatch;
mod env;
mod expose;
mod file_words;
mod git_ref;
mod gofmt;
mod mount_fields;
mod mounts;
mod names;
mod options;
mod outline;
mod plan;
mod run;
mod signal;
mod state;

use std::collections::{BTreeMap, BTreeSet};

use karman_diag::{Diagnostic, Span};
use karman_llb::{Graph, VertexDigest};

use crate::check::Checks;
use crate::expand::{Expanded, Expander};
use crate::instruction::{Dockerfile, Word};
use budget::Budget;
use env::Env;
pub use git_ref::{GitRef, GitRefError, parse_git_ref};
pub use mount_fields::go_bool;
pub use options::{
    ContextInput, LayerStep, Lowered, NamedContext, Options, ResolveError, ResolvedBase, Resolver,
};
pub use outline::{Outline, OutlineArg, OutlineMount};
use state::{State, StateId, Step};

/// Lowers the target stage and what it needs into `graph`.
///
/// # Errors
/// What is wrong with the Dockerfile beyond its syntax, in BuildKit's words: the last diagnostic.
/// Those before it are the warnings that were found until then.
pub fn lower(
    dockerfile: &Dockerfile,
    options: &Options,
    resolver: &dyn Resolver,
    graph: &mut Graph,
) -> Result<Lowered, Vec<Diagnostic>> {
    let checks = Checks::new(dockerfile, &options.build_args).map_err(|d| vec![d])?;
    let mut lowering = Lowering {
        checks,
        dockerfile,
        options,
        resolver,
        graph,
        globals: Env::default(),
        epoch: options.epoch,
        states: Vec::new(),
        names: BTreeMap::new(),
        main: None,
        bases: Vec::new(),
        declared: BTreeSet::new(),
        budget: Budget::default(),
    };
    lowering.run().map_err(|problem| {
        let (mut found, _) = lowering.checks.take();
        found.push(problem);
        found
    })
}

/// The lowering at work.
struct Lowering<'a> {
    checks: Checks,
    dockerfile: &'a Dockerfile,
    options: &'a Options,
    resolver: &'a dyn Resolver,
    graph: &'a mut Graph,
    /// Platform arguments and the `ARG`s before the first `FROM`.
    globals: Env,
    epoch: Option<i64>,
    states: Vec<State>,
    /// Stages by name in lower case.
    names: BTreeMap<String, StateId>,
    /// The main context once it is in the graph.
    main: Option<Option<VertexDigest>>,
    bases: Vec<String>,
    declared: BTreeSet<String>,
    budget: Budget,
}

impl Lowering<'_> {
    fn run(&mut self) -> Step<Lowered> {
        if self.dockerfile.stages.is_empty() {
            return Err(Diagnostic::error("dockerfile contains no stages to build", None));
        }
        self.check_file();
        self.read_globals()?;
        self.add_stages()?;
        let target = self.find_target()?;
        self.link_commands()?;
        self.check_cycles()?;
        let needed = self.resolve_needed(target)?;
        for id in 0..self.states.len() {
            let is_wanted = self.options.all_stages || needed.contains(&id);
            if is_wanted && !self.states[id].is_dispatched {
                self.lower_stage(id)?;
            }
        }
        self.check_final(target);
        match self.checks.violation() {
            Some(problem) => Err(problem),
            None => Ok(self.finish(target)),
        }
    }

    fn finish(&mut self, target: StateId) -> Lowered {
        let options = self.options;
        let state = &self.states[target];
        let mut config = state.image.clone();
        if !options.labels.is_empty() {
            config.config.labels.get_or_insert_default().extend(options.labels.clone());
        }
        let wanted = &options.target_platform;
        if !options.implicit_platform {
            let same = config.os == wanted.os && config.architecture == wanted.architecture;
            config.os.clone_from(&wanted.os);
            config.architecture.clone_from(&wanted.architecture);
            if wanted.variant.is_some() || !same {
                config.variant.clone_from(&wanted.variant);
            }
            if wanted.os_version.is_some() || !same {
                config.os_version.clone_from(&wanted.os_version);
            }
        }
        let platform = config.platform();
        config.os.clone_from(&platform.os);
        config.architecture.clone_from(&platform.architecture);
        config.variant.clone_from(&platform.variant);
        config.created = self.epoch.map(karman_oci::rfc3339);
        let (root, layers) = (state.root, state.layers.clone());
        let (warnings, advice) = self.checks.take();
        let outline = self.outline(target);
        let unused_args =
            options.build_args.keys().filter(|name| self.is_unused(name)).cloned().collect();
        Lowered {
            root,
            layers,
            platform,
            config,
            epoch: self.epoch,
            bases: std::mem::take(&mut self.bases),
            proxy: args::proxy(&options.build_args),
            unused_args,
            declared_args: std::mem::take(&mut self.declared),
            warnings,
            advice,
            outline,
        }
    }

    fn is_unused(&self, name: &str) -> bool {
        !self.declared.contains(name)
            && !args::is_predefined(name)
            && self.globals.get(name).is_none()
    }

    /// Expands a word with the global arguments.
    fn global_word(&self, word: &Word) -> Step<String> {
        self.expand(&word.value, word.span, &self.globals)
    }

    /// Expands a word with the variables of a stage.
    fn stage_word(&self, id: StateId, word: &Word) -> Step<String> {
        self.stage_text(id, &word.value, word.span)
    }

    /// The same; variables that are not set are noticed.
    fn stage_text(&self, id: StateId, raw: &str, span: Span) -> Step<String> {
        let expanded = self.expanded(raw, span, &self.states[id].env)?;
        self.check_unset(id, &expanded.unmatched);
        Ok(expanded.text)
    }

    fn expand(&self, raw: &str, span: Span, env: &Env) -> Step<String> {
        Ok(self.expanded(raw, span, env)?.text)
    }

    fn expanded(&self, raw: &str, span: Span, env: &Env) -> Step<Expanded> {
        let lookup = |name: &str| env.get(name).map(|value| self.budget.copy(value));
        let expander = Expander::new(self.dockerfile.directives.escape, &lookup);
        let expanded = expander.process_word(raw);
        let expanded = expanded.map_err(|e| Diagnostic::error(e.to_string(), span))?;
        self.budget.check(span)?;
        Ok(expanded)
    }
}
