//! The `git` program: what it may read of the caller, and what it borrows of the session.

use std::path::Path;

use karman_control::{Cause, SecretSource, Session, SolveError};
use karman_llb::{GitSource, shown_remote};
use karman_sys::program::{Output, Program};

use crate::agent::AgentSocket;
use crate::engine::Engine;
use crate::exec::borrowed::read_limited;

/// The largest token or header.
const MAX_TOKEN: u64 = 64 * 1024;
/// The SSH agent that git uses, as in BuildKit.
const AGENT: &str = "default";

/// Git without the caller's and the system's configuration, hooks, prompts and local transports
/// of submodules.
pub(super) fn program(engine: &Engine, dir: &Path) -> Program {
    let config = engine.config();
    let mut run = Program::new("git")
        .env_all(&config.commands.env)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_SSH_COMMAND", ssh_command(engine))
        .env("LC_ALL", "C")
        .dir(dir)
        .args(["-c", "core.hooksPath=/dev/null", "-c", "protocol.ext.allow=never"])
        .args(["-c", "protocol.file.allow=user"]);
    if let Some(bundle) = &config.ca_bundle {
        run = run.env("GIT_SSL_CAINFO", bundle);
    }
    run
}

/// What git borrows of the session to talk to a remote.
pub(super) struct Remote<'a> {
    engine: &'a Engine,
    session: &'a Session,
    url: &'a str,
    agent: Option<AgentSocket>,
}

impl<'a> Remote<'a> {
    /// Opens the session's agent where the remote is not reached by HTTP.
    pub(super) fn new(
        engine: &'a Engine,
        git: &'a GitSource,
        session: &'a Session,
    ) -> Result<Self, SolveError> {
        let source = session.ssh.get(AGENT).filter(|_| http_scope(&git.url).is_none());
        let agent = source.map(|source| AgentSocket::open(engine, AGENT, source)).transpose()?;
        Ok(Self { engine, session, url: &git.url, agent })
    }

    /// Git with the session's token for its host, and its SSH agent.
    pub(super) fn program(&self, dir: &Path) -> Program {
        let mut run = program(self.engine, dir);
        if let Some(agent) = &self.agent {
            run = run.env("SSH_AUTH_SOCK", agent.path());
        }
        with_token(run, self.url, self.session)
    }
}

fn with_token(mut run: Program, url: &str, session: &Session) -> Program {
    if let Some((scope, host)) = http_scope(url)
        && let Some(header) = header(session, host)
    {
        // In the environment and not in the arguments, which other users of the host can read;
        // for this host only, so that submodules elsewhere do not get it.
        run = run
            .env("GIT_CONFIG_COUNT", "1")
            .env("GIT_CONFIG_KEY_0", format!("http.{scope}/.extraHeader"))
            .env("GIT_CONFIG_VALUE_0", format!("Authorization: {header}"));
    }
    run
}

/// A host that was never seen is believed once, as BuildKit believes its key scan. Inside a user
/// namespace ssh would look for its files in root's home and not in the caller's.
fn ssh_command(engine: &Engine) -> String {
    let base = "ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=accept-new";
    let env = &engine.config().commands.env;
    let home = env.iter().find(|(name, _)| name == "HOME").and_then(|(_, home)| home.to_str());
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '-' | '.');
    match home.filter(|home| home.starts_with('/') && home.chars().all(fine)) {
        Some(home) => format!("{base} -o UserKnownHostsFile={home}/.ssh/known_hosts"),
        None => base.to_owned(),
    }
}

/// `scheme://host` and the host of an HTTP remote, without credentials.
fn http_scope(url: &str) -> Option<(String, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    if !matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") {
        return None;
    }
    let authority = rest.split('/').next().unwrap_or(rest);
    let host = authority.rsplit('@').next().unwrap_or(authority);
    Some((format!("{scheme}://{host}"), host))
}

/// `GIT_AUTH_HEADER` and `GIT_AUTH_TOKEN` secrets as BuildKit reads them: those for the host
/// (`GIT_AUTH_TOKEN.github.com`) before the general ones, a header before a token.
fn header(session: &Session, host: &str) -> Option<String> {
    let read = |id: &str| {
        let text = match session.secrets.get(id)? {
            SecretSource::Value(bytes) => String::from_utf8(bytes.clone()).ok()?,
            SecretSource::File(path) => {
                String::from_utf8(read_limited(path, MAX_TOKEN).ok()?).ok()?
            }
        };
        Some(text.trim().to_owned())
    };
    let of_token = |token: String| {
        let pair = format!("x-access-token:{token}");
        format!("basic {}", base64(pair.as_bytes()))
    };
    [format!(".{host}"), String::new()].into_iter().find_map(|suffix| {
        read(&format!("GIT_AUTH_HEADER{suffix}"))
            .or_else(|| read(&format!("GIT_AUTH_TOKEN{suffix}")).map(of_token))
    })
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Runs git; a failure tells git's last line, without credentials.
pub(super) fn checked_run(run: Program, git: &GitSource) -> Result<Output, SolveError> {
    let output = run.output().map_err(|e| {
        SolveError::new(Cause::Host, format!("failed to run `git`: {e}"))
            .with_hint("install git to build from git repositories")
    })?;
    if output.success {
        return Ok(output);
    }
    let text = String::from_utf8_lossy(&output.stderr).replace(&git.url, &shown_remote(&git.url));
    let last = text.lines().rfind(|l| !l.trim().is_empty()).unwrap_or("no message").to_owned();
    let message = format!("git failed for `{}`: {last}", shown_remote(&git.url));
    let mut error = SolveError::new(Cause::Fetch, message);
    error.log_tail = text.lines().map(str::to_owned).collect();
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(secrets: &[(&str, &str)]) -> Session {
        let mut session = Session::default();
        for (id, value) in secrets {
            let value = SecretSource::Value(value.as_bytes().to_vec());
            session.secrets.insert((*id).to_owned(), value);
        }
        session
    }

    #[test]
    fn the_token_of_the_host_comes_first() {
        let all = session(&[("GIT_AUTH_TOKEN", "general"), ("GIT_AUTH_TOKEN.h", "own\n")]);
        let own = format!("basic {}", base64(b"x-access-token:own"));
        assert_eq!(header(&all, "h"), Some(own));
        let general = format!("basic {}", base64(b"x-access-token:general"));
        assert_eq!(header(&all, "other"), Some(general));
        let both = session(&[("GIT_AUTH_TOKEN", "t"), ("GIT_AUTH_HEADER", "Bearer x")]);
        assert_eq!(header(&both, "h").as_deref(), Some("Bearer x"));
        assert_eq!(header(&Session::default(), "h"), None);
    }

    #[test]
    fn a_token_is_for_http_and_its_host() {
        let scope = |url| http_scope(url).map(|(scope, host)| format!("{scope} {host}"));
        assert_eq!(scope("https://u@h:8/a.git").as_deref(), Some("https://h:8 h:8"));
        assert_eq!(scope("ssh://git@h/a"), None);
        assert_eq!(scope("git@h:a"), None);
    }
}
