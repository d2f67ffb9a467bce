//! What targets borrow from the caller: secrets, ssh agents, the host's network.

use std::os::unix::fs::FileTypeExt as _;
use std::path::PathBuf;

use karman_control::{SecretSource, SshSource};
use karman_diag::Diagnostic;

use crate::error::{Problem, Step};
use crate::plan::Planner;
use crate::spec::{SecretSpec, SshSpec, TargetSpec};

/// The largest secret file (BuildKit's `MaxSecretSize`).
const MAX_SECRET: u64 = 500 * 1024;
/// The variable that names the agent's socket.
const AGENT: &str = "SSH_AUTH_SOCK";
/// The id of an agent without one.
const DEFAULT_AGENT: &str = "default";

impl Planner<'_> {
    /// Puts what a target borrows into the session.
    pub(crate) fn borrow(&mut self, spec: &TargetSpec) -> Step<()> {
        for secret in &spec.secrets {
            self.secret(secret)?;
        }
        for ssh in &spec.ssh {
            self.ssh(ssh)?;
        }
        // Not granted here: a bake file may come from somebody else.
        match spec.network.as_deref() {
            Some("host") if !self.session.allow_host_network => Err(Problem::usage_hint(
                "`network = host` is not allowed by the caller",
                "allow it with `--allow network.host`",
            )),
            _ => Ok(()),
        }
    }

    fn secret(&mut self, secret: &SecretSpec) -> Step<()> {
        let id = &secret.id;
        if id.is_empty() {
            return Err(Problem::usage_hint(
                "a secret has no `id`",
                "write `--secret id=NAME,src=FILE`",
            ));
        }
        let variable = match (&secret.env, &secret.src) {
            (Some(name), _) => Some(name),
            (None, None) if self.facts.env.contains_key(id) => Some(id),
            (None, _) => None,
        };
        let source = match variable {
            Some(name) => match self.facts.env.get(name) {
                Some(value) => SecretSource::Value(value.clone().into_bytes()),
                None => {
                    let message = format!("secret `{id}`: the variable `{name}` is not set");
                    let warning = Diagnostic::warning(message, None)
                        .with_hint("steps that require the secret will fail");
                    self.warn(vec![warning]);
                    return Ok(());
                }
            },
            None => SecretSource::File(self.secret_file(secret)?),
        };
        match self.session.secrets.insert(id.clone(), source.clone()) {
            Some(other) if other != source => Err(Problem::usage_hint(
                format!("the secret `{id}` has two different values in one build"),
                "give the secrets different ids, or build the targets one by one",
            )),
            _ => Ok(()),
        }
    }

    fn secret_file(&self, secret: &SecretSpec) -> Step<PathBuf> {
        let id = &secret.id;
        let written = secret.src.clone().unwrap_or_else(|| PathBuf::from(id));
        let path = self.facts.cwd.join(&written);
        let shown = written.display();
        let Ok(meta) = fs_err::metadata(&path) else {
            let hint = match secret.src {
                Some(_) => format!("paths are relative to `{}`", self.facts.cwd.display()),
                None => format!("set the variable `{id}`, or name a file with `src=`"),
            };
            return Err(Problem::input_hint(
                format!("secret `{id}`: there is no file `{shown}`"),
                hint,
            ));
        };
        if meta.is_dir() {
            return Err(Problem::input(format!("secret `{id}`: `{shown}` is a directory")));
        }
        if meta.len() > MAX_SECRET {
            let message = format!("secret `{id}`: `{shown}` is larger than {MAX_SECRET} bytes");
            return Err(Problem::input(message));
        }
        Ok(path)
    }

    fn ssh(&mut self, ssh: &SshSpec) -> Step<()> {
        let id = if ssh.id.is_empty() { DEFAULT_AGENT } else { &ssh.id };
        let source = match ssh.paths.as_slice() {
            [] => {
                let agent = self.facts.env.get(AGENT).filter(|v| !v.is_empty());
                let missing = || {
                    Problem::input_hint(
                        format!("ssh `{id}`: there is no agent: `{AGENT}` is not set"),
                        "start one with `eval $(ssh-agent)` and add your key with `ssh-add`",
                    )
                };
                self.agent_or_keys(id, &[PathBuf::from(agent.ok_or_else(missing)?)])?
            }
            paths => self.agent_or_keys(id, paths)?,
        };
        match self.session.ssh.insert(id.to_owned(), source.clone()) {
            Some(other) if other != source => Err(Problem::usage(format!(
                "the ssh agent `{id}` has two different sources in one build"
            ))),
            _ => Ok(()),
        }
    }

    /// What the paths of `--ssh` are: one socket of an agent, or key files.
    fn agent_or_keys(&self, id: &str, paths: &[PathBuf]) -> Step<SshSource> {
        let mut keys = Vec::new();
        for path in paths {
            let path = self.facts.cwd.join(path);
            let shown = path.display();
            let kind = fs_err::metadata(&path).map(|meta| meta.file_type());
            let kind = kind.map_err(|_| {
                Problem::input(format!("ssh `{id}`: there is no socket or key file `{shown}`"))
            })?;
            if kind.is_socket() {
                return match paths {
                    [_] => Ok(SshSource::Agent(path)),
                    _ => Err(Problem::usage_hint(
                        format!("ssh `{id}`: `{shown}` is the socket of an agent, and not alone"),
                        "give one socket, or key files only",
                    )),
                };
            }
            if !kind.is_file() {
                let message = format!("ssh `{id}`: `{shown}` is neither a socket nor a key file");
                return Err(Problem::input(message));
            }
            keys.push(path);
        }
        Ok(SshSource::Keys(keys))
    }
}
