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
//! | `args` | global arguments, platform arguments, the epoch |
//! | `plan` | stages, links, cycles, triggers |
//! | `base` | base images, named contexts, the main context |
//! | `dispatch` | one instruction; those that only change the config |
//! | `run`, `mounts` | `RUN` |
//! | `copy`, `file_words`, `git_ref` | `ADD`, `COPY` |

mod args;
mod base;
mod copy;
mod dispatch;
mod env;
mod expose;
mod file_words;
mod git_ref;
mod gofmt;
mod mounts;
mod names;
mod options;
mod plan;
mod run;
mod signal;
mod state;
mod time;

use std::collections::{BTreeMap, BTreeSet};

use karman_diag::{Diagnostic, Span};
use karman_llb::{Graph, VertexDigest};

use crate::expand::Expander;
use crate::instruction::{Dockerfile, Word};
use env::Env;
pub use git_ref::{GitRef, GitRefError, parse_git_ref};
pub use options::{
    ContextInput, LayerStep, Lowered, NamedContext, Options, ResolveError, ResolvedBase, Resolver,
};
use state::{State, StateId, Step};

/// Lowers the target stage and what it needs into `graph`.
///
/// # Errors
/// Everything that is wrong with the Dockerfile beyond its syntax, in BuildKit's words.
pub fn lower(
    dockerfile: &Dockerfile,
    options: &Options,
    resolver: &dyn Resolver,
    graph: &mut Graph,
) -> Result<Lowered, Vec<Diagnostic>> {
    let mut lowering = Lowering {
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
        warnings: Vec::new(),
    };
    lowering.run().map_err(|d| vec![d])
}

/// The lowering at work.
struct Lowering<'a> {
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
    warnings: Vec<Diagnostic>,
}

impl Lowering<'_> {
    fn run(&mut self) -> Step<Lowered> {
        if self.dockerfile.stages.is_empty() {
            return Err(Diagnostic::error("dockerfile contains no stages to build", None));
        }
        self.read_globals()?;
        self.add_stages()?;
        let target = self.find_target()?;
        self.link_commands()?;
        self.check_cycles()?;
        let needed = self.resolve_needed(target)?;
        for id in 0..self.states.len() {
            if needed.contains(&id) && !self.states[id].is_dispatched {
                self.lower_stage(id)?;
            }
        }
        Ok(self.finish(target))
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
        config.created = self.epoch.map(time::rfc3339);
        let (root, layers) = (state.root, state.layers.clone());
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
            warnings: std::mem::take(&mut self.warnings),
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
        self.expand(&word.value, word.span, &self.states[id].env)
    }

    fn expand(&self, raw: &str, span: Span, env: &Env) -> Step<String> {
        let lookup = |name: &str| env.get(name).map(str::to_owned);
        let expander = Expander::new(self.dockerfile.directives.escape, &lookup);
        let expanded = expander.process_word(raw);
        expanded.map(|e| e.text).map_err(|e| Diagnostic::error(e.to_string(), span))
    }
}
