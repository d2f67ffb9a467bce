//! `RUN`.

use karman_diag::{Diagnostic, Span, nearest};
use karman_llb::{
    Data, Device, ExecOp, FileAction, FileOp, Mkfile, Mount, MountKind, Network, Op, Security,
    Vertex, VertexDigest, VertexMeta,
};

use super::Lowering;
use super::mount_fields::go_bool;
use super::mounts::Mounts;
use super::names::Shown;
use super::state::{Command, StateId, Step};
use crate::instruction::{CommandLine, Heredoc, Run, Word};
use crate::parser::{csv_fields, is_heredoc};

/// Where a heredoc with a `#!` line is put.
const SCRIPT_DIR: &str = "/dev/pipes";

/// Permission bits of such a script.
const SCRIPT_MODE: u32 = 0o755;

/// A command ready to run.
struct Script {
    args: Vec<String>,
    /// A heredoc with a `#!` line: its vertex.
    file: Option<VertexDigest>,
    /// What is shown of a heredoc's body.
    summary: Option<String>,
}

impl Lowering<'_> {
    pub(super) fn lower_run(&mut self, id: StateId, command: &Command, run: &Run) -> Step<()> {
        let span = command.instruction.span;
        let script = self.script(id, run, span)?;
        if script.args.is_empty() {
            return Err(Diagnostic::error("arguments are required", span)
                .with_hint("`RUN []` has nothing to run"));
        }
        let mut mounts = self.lower_mounts(id, run, &command.sources)?;
        self.take_mounts(id, &mounts, span);
        if let Some(file) = script.file {
            let input = mounts.input(file);
            let kind = MountKind::Bind { input: Some(input), source: "/".to_owned() };
            mounts.add(Mount { target: SCRIPT_DIR.to_owned(), kind, readonly: true });
        }
        self.spend_on_run(id, &script);
        let name = self.run_name(id, command, &script, &mounts);
        let op = self.exec_op(id, run, &script, &mut mounts)?;
        let vertex =
            Vertex { op: Op::Exec(op), inputs: mounts.inputs, platform: self.stage_platform(id) };
        let state = &self.states[id];
        let text = format!("RUN {}{} # buildkit", state.args_prefix(), script.args.join(" "));
        let ignore_cache = state.ignore_cache;
        let meta = VertexMeta { name, spans: vec![span], ignore_cache, internal: false };
        let digest = self.graph.add(vertex, meta);
        self.states[id].layer(text, self.epoch, digest);
        Ok(())
    }

    /// Every command carries its environment; its history names the arguments.
    fn spend_on_run(&self, id: StateId, script: &Script) {
        let state = &self.states[id];
        let args: usize = script.args.iter().map(String::len).sum();
        // Arguments of the build are told apart by looking at each of those before.
        let variables = state.build_args.len().saturating_mul(state.env.len().max(1));
        self.budget.spend(state.env.bytes() + args + variables / 16);
    }

    fn exec_op(
        &self,
        id: StateId,
        run: &Run,
        script: &Script,
        mounts: &mut Mounts,
    ) -> Step<ExecOp> {
        let options = self.options;
        let state = &self.states[id];
        let mut env = state.env.lines();
        if let Some(socket) = mounts.ssh_socket.take()
            && state.env.get("SSH_AUTH_SOCK").is_none()
        {
            env.push(format!("SSH_AUTH_SOCK={socket}"));
        }
        let mut devices = options.devices.clone();
        for word in &run.devices {
            devices.push(device(word)?);
        }
        Ok(ExecOp {
            root: state.root.map(|_| 0),
            args: script.args.clone(),
            env,
            cwd: state.cwd(),
            user: state.image.config.user.clone(),
            hostname: options.hostname.clone(),
            mounts: std::mem::take(&mut mounts.list),
            secret_env: std::mem::take(&mut mounts.secret_env),
            network: network(run.network.as_ref(), options.network)?,
            security: security(run.security.as_ref())?,
            extra_hosts: options.extra_hosts.clone(),
            ulimits: options.ulimits.clone(),
            shm_size: options.shm_size,
            devices,
        })
    }

    fn run_name(
        &mut self,
        id: StateId,
        command: &Command,
        script: &Script,
        mounts: &Mounts,
    ) -> String {
        let mut text = command.instruction.text.clone();
        if let Some(summary) = &script.summary {
            text.push_str(&format!(" ({summary})"));
        }
        let state = &self.states[id];
        let secrets: Vec<String> = mounts.secret_env.iter().map(|s| s.name.clone()).collect();
        let shown = self.shown(&text, &state.env, Shown::Command, &secrets);
        let platform = state.platform.clone();
        self.step_name(id, &shown, platform.as_ref())
    }

    /// What is run: heredocs are scripts, or are given back to the shell.
    fn script(&mut self, id: StateId, run: &Run, span: Span) -> Step<Script> {
        let plain = |args| Script { args, file: None, summary: None };
        let line = match &run.command {
            CommandLine::Exec(words) => return Ok(plain(words.clone())),
            CommandLine::Shell(line) => line,
        };
        let Some(first) = run.heredocs.first() else {
            return Ok(plain(self.states[id].with_shell(line)));
        };
        if !is_heredoc(line) {
            let mut text = line.clone();
            for heredoc in &run.heredocs {
                text.push('\n');
                text.push_str(&heredoc.body.value);
                text.push_str(&heredoc.name);
            }
            return Ok(plain(self.states[id].with_shell(&text)));
        }
        let body = first.text();
        let summary = Some(summarize(&first.body.value));
        if self.states[id].image.os == "windows" || !body.starts_with("#!") {
            return Ok(Script { args: self.states[id].with_shell(&body), file: None, summary });
        }
        let file = self.inline_document(id, first, body, SCRIPT_MODE, span);
        let path = format!("{SCRIPT_DIR}/{}", first.name);
        Ok(Script { args: self.states[id].with_shell(&path), file: Some(file), summary })
    }

    /// A scratch filesystem that holds one heredoc.
    pub(super) fn inline_document(
        &mut self,
        id: StateId,
        heredoc: &Heredoc,
        body: String,
        mode: u32,
        span: Span,
    ) -> VertexDigest {
        let file = Mkfile {
            path: karman_pattern::clean(&format!("/{}", heredoc.name)),
            mode,
            data: Data(body.into_bytes()),
            owner: None,
            created: self.epoch,
        };
        let op = FileOp { base: None, actions: vec![FileAction::Mkfile(file)] };
        let platform = self.stage_platform(id);
        let name = "[internal] preparing inline document".to_owned();
        let meta = VertexMeta { name, spans: vec![span], internal: true, ..VertexMeta::default() };
        self.graph.add(Vertex { op: Op::File(op), inputs: Vec::new(), platform }, meta)
    }
}

fn summarize(body: &str) -> String {
    let mut lines = body.trim().lines();
    let first = lines.next().unwrap_or_default();
    if lines.next().is_some() { format!("{first}...") } else { first.to_owned() }
}

fn network(word: Option<&Word>, default: Network) -> Step<Network> {
    let Some(word) = word else { return Ok(default) };
    match word.value.as_str() {
        "" | "default" => Ok(default),
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        other => Err(Diagnostic::error(format!("network {other:?} is not valid"), word.span)
            .with_hint("use `default`, `none` or `host`")),
    }
}

fn security(word: Option<&Word>) -> Step<Security> {
    let Some(word) = word else { return Ok(Security::Sandbox) };
    match word.value.as_str() {
        "" | "sandbox" => Ok(Security::Sandbox),
        "insecure" => Ok(Security::Insecure),
        other => Err(Diagnostic::error(format!("security {other:?} is not valid"), word.span)
            .with_hint("use `sandbox` or `insecure`")),
    }
}

/// `--device` in BuildKit's words (`instructions/commands_rundevice.go`): comma-separated
/// `NAME`, `name=NAME`, `required`, `required=BOOL`. Variables are not expanded.
fn device(word: &Word) -> Step<Device> {
    let problem = |message: String| Diagnostic::error(message, word.span);
    let fields = csv_fields(&word.value)
        .map_err(|error| problem(format!("failed to parse csv devices: {error}")))?;
    let mut device = Device { name: String::new(), required: false };
    for field in fields {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        match (key.as_str(), value) {
            ("required", None) => device.required = true,
            ("required", Some(value)) => {
                let bad = || problem(format!("invalid value for required: {value}"));
                device.required = go_bool(value).ok_or_else(bad)?;
            }
            ("name", Some(_)) if !device.name.is_empty() => {
                return Err(problem(format!("device name already set to {}", device.name)));
            }
            ("name", Some(value)) => value.clone_into(&mut device.name),
            // A CDI name is `vendor/class=device`, so it has an `=` too.
            _ if device.name.is_empty() => device.name = field,
            (_, None) => {
                return Err(problem(format!("invalid field '{field}' must be a key=value pair")));
            }
            (key, Some(_)) => {
                let found = problem(format!("unexpected key '{key}' in '{field}'"));
                let near = nearest(key, ["name", "required"]);
                return Err(match near {
                    Some(word) => found.with_hint(format!("did you mean `{word}`?")),
                    None => found,
                });
            }
        }
    }
    Ok(device)
}
