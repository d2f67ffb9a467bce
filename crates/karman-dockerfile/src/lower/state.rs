//! What is known of a stage while it is planned and lowered.

use karman_diag::{Diagnostic, Span};
use karman_llb::VertexDigest;
use karman_oci::{ContainerConfig, History, ImageConfig, Platform, rfc3339};

use super::budget::OVERHEAD;
use super::checks::Notes;
use super::env::{Env, set_line};
use super::options::{LayerStep, NamedContext};
use crate::instruction::Instruction;

/// `comment` of BuildKit's history entries.
const HISTORY_COMMENT: &str = "buildkit.dockerfile.v0";

/// `PATH` of images that set none (`util/system` of BuildKit).
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The result of one step; an error ends the lowering.
pub(super) type Step<T> = Result<T, Diagnostic>;

/// Index of a [`State`].
pub(super) type StateId = usize;

/// An instruction of a stage with the stages it reads.
#[derive(Debug, Clone)]
pub(super) struct Command {
    pub(super) instruction: Instruction,
    /// `COPY --from` has one; `RUN` has one for each mount, `None` for the main context.
    pub(super) sources: Vec<Option<StateId>>,
    pub(super) is_trigger: bool,
}

/// A stage, or an image that only `--from` names.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// The base with variables expanded.
    pub(super) base_name: String,
    pub(super) name: Option<String>,
    pub(super) span: Span,
    /// The stage it is built on.
    pub(super) base: Option<StateId>,
    /// What replaces it.
    pub(super) context: Option<NamedContext>,
    pub(super) commands: Vec<Command>,
    /// Stages it reads, with the place that says so.
    pub(super) deps: Vec<(StateId, Span)>,
    pub(super) is_unregistered: bool,
    /// Its name in progress texts.
    pub(super) display: String,
    pub(super) steps_total: usize,
    pub(super) steps_done: usize,
    pub(super) ignore_cache: bool,
    pub(super) is_resolved: bool,
    pub(super) is_dispatched: bool,
    pub(super) are_triggers_fired: bool,
    /// Whether the instruction at work is an `ONBUILD` trigger.
    pub(super) is_in_trigger: bool,
    pub(super) platform: Option<Platform>,
    pub(super) root: Option<VertexDigest>,
    pub(super) image: ImageConfig,
    pub(super) env: Env,
    pub(super) build_args: Vec<(String, Option<String>)>,
    pub(super) layers: Vec<LayerStep>,
    /// Whether this stage has a `CMD` of its own.
    pub(super) is_cmd_set: bool,
    /// What the build checks remember.
    pub(super) notes: Notes,
}

impl State {
    pub(super) fn new(base_name: String, span: Span) -> Self {
        Self {
            base_name,
            name: None,
            span,
            base: None,
            context: None,
            commands: Vec::new(),
            deps: Vec::new(),
            is_unregistered: false,
            display: String::new(),
            steps_total: 0,
            steps_done: 0,
            ignore_cache: false,
            is_resolved: false,
            is_dispatched: false,
            are_triggers_fired: false,
            is_in_trigger: false,
            platform: None,
            root: None,
            image: ImageConfig::default(),
            env: Env::default(),
            build_args: Vec::new(),
            layers: Vec::new(),
            is_cmd_set: false,
            notes: Notes::default(),
        }
    }

    /// Takes over what a stage inherits. Triggers of the base do not carry over.
    pub(super) fn inherit(&mut self, base: &State) {
        self.root = base.root;
        self.platform.clone_from(&base.platform);
        self.image = base.image.clone();
        self.image.config.on_build = None;
        self.env = base.env.clone();
        self.layers.clone_from(&base.layers);
        self.build_args.clone_from(&base.build_args);
        self.notes = base.notes.inherited(&self.notes);
    }

    /// What inheriting from it copies, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let texts = |list: &Option<Vec<String>>| -> usize {
            list.iter().flatten().map(|text| text.len() + 24).sum()
        };
        let config = &self.image.config;
        let labels = config.labels.iter().flatten().map(|(k, v)| k.len() + v.len() + 48);
        let history =
            self.image.history.iter().map(|h| h.created_by.as_ref().map_or(0, String::len));
        let args = self.build_args.iter().map(|(n, v)| n.len() + v.as_ref().map_or(0, String::len));
        self.env.bytes()
            + texts(&config.env)
            + labels.sum::<usize>()
            + history.map(|text| text + OVERHEAD).sum::<usize>()
            + args.map(|text| text + 48).sum::<usize>()
    }

    /// Makes the environment ready for the first instruction.
    pub(super) fn begin(&mut self) {
        let has_path = |l: &String| l.split_once('=').map_or(l.as_str(), |(n, _)| n) == "PATH";
        let windows = self.platform.as_ref().is_some_and(|p| p.os == "windows");
        let env = self.image.config.env.get_or_insert_default();
        if !windows && !env.iter().any(has_path) {
            set_line(env, "PATH", DEFAULT_PATH);
        }
        self.env.set_all(env);
        if !self.image.config.working_dir.is_empty() {
            let directory = self.image.config.working_dir.clone();
            self.image.config.working_dir = self.workdir(&directory);
        }
    }

    /// The working directory of commands, absolute and cleaned.
    pub(super) fn cwd(&self) -> String {
        karman_pattern::clean(&format!("/{}", self.image.config.working_dir))
    }

    /// Where a `WORKDIR` leads from here. An absolute path stays as it is written, as in BuildKit:
    /// the config of the image shows it, with its trailing slash.
    pub(super) fn workdir(&self, path: &str) -> String {
        match path {
            "" if self.image.config.working_dir.starts_with('/') => {
                self.image.config.working_dir.clone()
            }
            path if path.starts_with('/') => path.to_owned(),
            path => karman_pattern::clean(&self.join(path)),
        }
    }

    /// A destination of `ADD` or `COPY`, absolute; a trailing slash is kept.
    pub(super) fn destination(&self, path: &str) -> String {
        let cleaned = karman_pattern::clean(&self.join(path));
        let is_directory = matches!(path, "" | ".") || path.ends_with('/') || path.ends_with("/.");
        if is_directory && cleaned != "/" { cleaned + "/" } else { cleaned }
    }

    /// A path below the working directory, absolute and cleaned.
    pub(super) fn cwd_join(&self, path: &str) -> String {
        karman_pattern::clean(&self.join(path))
    }

    fn join(&self, path: &str) -> String {
        if path.starts_with('/') { path.to_owned() } else { format!("/{}/{path}", self.cwd()) }
    }

    /// Adds a history entry for an instruction that changed the config only.
    pub(super) fn note(&mut self, text: String, epoch: Option<i64>) {
        self.push_history(text, epoch, true);
    }

    /// Adds a history entry and its layer.
    pub(super) fn layer(&mut self, text: String, epoch: Option<i64>, vertex: VertexDigest) {
        self.root = Some(vertex);
        self.layers.push(LayerStep { history: self.image.history.len(), vertex });
        self.push_history(text, epoch, false);
    }

    fn push_history(&mut self, text: String, epoch: Option<i64>, empty_layer: bool) {
        self.image.history.push(History {
            created: epoch.map(rfc3339),
            created_by: Some(text),
            author: None,
            comment: Some(HISTORY_COMMENT.to_owned()),
            empty_layer,
        });
    }

    /// The `|N ARG=value …` part of a `RUN`'s history text, with a blank at its end.
    pub(super) fn args_prefix(&self) -> String {
        let mut pairs: Vec<(&str, String)> = Vec::new();
        for (name, value) in &self.build_args {
            let value = self.env.get(name).or(value.as_deref()).unwrap_or_default();
            let text = format!("{name}={value}");
            match pairs.iter_mut().find(|(n, _)| n == name) {
                Some((_, old)) => *old = text,
                None => pairs.push((name, text)),
            }
        }
        if pairs.is_empty() {
            return String::new();
        }
        let texts: Vec<String> = pairs.into_iter().map(|(_, text)| text).collect();
        format!("|{} {} ", texts.len(), texts.join(" "))
    }

    /// A command line of the shell form as arguments.
    pub(super) fn with_shell(&self, line: &str) -> Vec<String> {
        let mut args = match &self.image.config.shell {
            Some(shell) if !shell.is_empty() => shell.clone(),
            _ if self.image.os == "windows" => vec!["cmd".to_owned(), "/S".into(), "/C".into()],
            _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
        };
        args.push(line.to_owned());
        args
    }
}

/// The config that `FROM scratch` begins with.
pub(super) fn empty_image(platform: &Platform) -> ImageConfig {
    let config = ContainerConfig {
        working_dir: "/".to_owned(),
        env: (platform.os != "windows").then(|| vec![format!("PATH={DEFAULT_PATH}")]),
        ..ContainerConfig::default()
    };
    ImageConfig { config, ..ImageConfig::scratch(platform) }
}
