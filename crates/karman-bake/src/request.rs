//! What a caller asks of a bake file, with everything the crate may not look up itself.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// One invocation of bake.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Targets, groups or patterns (`app-*`); none is `default`.
    pub targets: Vec<String>,
    /// `--set` values as given: `TARGET.KEY[.SUB][+]=VALUE`.
    pub overrides: Vec<String>,
    /// `--var` values by name; they win over `env`.
    pub vars: BTreeMap<String, String>,
    /// The environment.
    pub env: BTreeMap<String, String>,
    /// Facts of this machine and moment.
    pub facts: Facts,
    /// Files that compose files name.
    pub files: Files,
}

type ReadFn = dyn Fn(&str) -> Result<Option<String>, String> + Send + Sync;

/// Reads files by their path relative to the working directory, for what compose files name: `.env`, `env_file`,
/// `include`, `extends`. By default there are none.
#[derive(Clone, Default)]
pub struct Files(Option<Arc<ReadFn>>);

impl Files {
    /// Files as `read` gives them: `None` for one that does not exist, else its text, or why it cannot be read.
    pub fn new(
        read: impl Fn(&str) -> Result<Option<String>, String> + Send + Sync + 'static,
    ) -> Self {
        Self(Some(Arc::new(read)))
    }

    pub(crate) fn read(&self, path: &str) -> Result<Option<String>, String> {
        self.0.as_ref().map_or(Ok(None), |read| read(path))
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Files(…)" } else { "Files(none)" })
    }
}

/// What built-in variables and functions answer.
#[derive(Debug, Clone)]
pub struct Facts {
    /// `BAKE_CMD_CONTEXT`: `cwd://`, or the remote context of the command line.
    pub cmd_context: String,
    /// `BAKE_LOCAL_PLATFORM`, such as `linux/amd64`.
    pub local_platform: String,
    /// Unix seconds for `timestamp()`; without it the function fails.
    pub now: Option<i64>,
    /// The answer of `homedir()`; without it the function fails.
    pub home: Option<String>,
    /// Seed of `uuidv4()` and `bcrypt()`; without it the functions fail.
    pub random: Option<[u8; 32]>,
    /// The URL that the bake files came from, where relative contexts are then; `None` is the working directory.
    pub place: Option<String>,
}

impl Default for Facts {
    fn default() -> Self {
        Self {
            cmd_context: "cwd://".to_owned(),
            local_platform: "linux/amd64".to_owned(),
            now: None,
            home: None,
            random: None,
            place: None,
        }
    }
}

/// The environment variable that turns environment lookup off.
const NO_ENV: &str = "BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP";

impl Request {
    /// The value `--var` or the environment gives a name.
    pub(crate) fn lookup(&self, name: &str) -> Option<&String> {
        self.vars.get(name).or_else(|| self.env(name))
    }

    /// The value of an environment variable, unless looking is turned off.
    pub(crate) fn env(&self, name: &str) -> Option<&String> {
        self.env.get(name).filter(|_| self.looks_up())
    }

    /// Whether the environment may be looked at.
    pub(crate) fn looks_up(&self) -> bool {
        !self.env.get(NO_ENV).and_then(|v| parse_bool(v)).unwrap_or(false)
    }

    /// `BAKE_…` variables.
    pub(crate) fn builtin(&self, name: &str) -> Option<&str> {
        match name {
            "BAKE_CMD_CONTEXT" => Some(&self.facts.cmd_context),
            "BAKE_LOCAL_PLATFORM" => Some(&self.facts.local_platform),
            _ => None,
        }
    }
}

/// Reads `KEY=VALUE` of `--var`.
///
/// # Errors
/// A message in buildx's words where there is no `=` or no name.
pub fn parse_var(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        None => Err(format!("invalid variable `{text}`, expected key=value")),
        Some(("", _)) => Err(format!("invalid variable `{text}`, key is empty")),
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
    }
}

/// A truth value as Go's `strconv.ParseBool` reads it.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}
