//! What an op says, as labels and values that people know.

use karman_llb::{ExecOp, FileAction, FileOp, MountKind, Op, SourceOp, Vertex};
use karman_oci::Digest;
use serde::Serialize;

/// The label of a command.
pub(super) const COMMAND: &str = "command";
/// Before the name of a variable.
pub(super) const VARIABLE: &str = "variable ";
/// The label of what a source is pinned to.
pub(super) const IDENTITY: &str = "identity";

/// The facts of a vertex, in the order in which they are compared.
pub(super) fn facts(vertex: &Vertex, identity: Option<&Digest>) -> Vec<(String, String)> {
    let mut all = vec![("platform".to_owned(), vertex.platform.to_string())];
    match &vertex.op {
        Op::Exec(exec) => exec_facts(exec, &mut all),
        Op::File(file) => file_facts(file, &mut all),
        Op::Source(source) => source_facts(source, identity, &mut all),
        Op::Merge(merge) => all.push(("inputs".to_owned(), text(&merge.inputs))),
        Op::Diff(diff) => all.push(("inputs".to_owned(), text(diff))),
    }
    all
}

fn exec_facts(exec: &ExecOp, all: &mut Vec<(String, String)>) {
    let command = match exec.args.as_slice() {
        [shell, flag, command] if shell == "/bin/sh" && flag == "-c" => command.clone(),
        args => args.join(" "),
    };
    all.push((COMMAND.to_owned(), command));
    for line in &exec.env {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        all.push((format!("{VARIABLE}{name}"), value.to_owned()));
    }
    let mut say = |label: &str, value: String| all.push((label.to_owned(), value));
    say("working directory", exec.cwd.clone());
    say("user", exec.user.clone());
    say("host name", exec.hostname.clone());
    for mount in &exec.mounts {
        // Which input is mounted is compared as an input.
        let kind = match &mount.kind {
            MountKind::Bind { source, .. } => format!("bind {source}"),
            other => text(other),
        };
        let readonly = if mount.readonly { " readonly" } else { "" };
        say(&format!("mount {}", mount.target), format!("{kind}{readonly}"));
    }
    say("secrets", text(&exec.secret_env));
    say("network", text(&exec.network));
    say("security", text(&exec.security));
    say("hosts", text(&exec.extra_hosts));
    say("limits", text(&exec.ulimits));
    say("size of /dev/shm", exec.shm_size.to_string());
    say("devices", text(&exec.devices));
}

fn file_facts(file: &FileOp, all: &mut Vec<(String, String)>) {
    for (at, action) in file.actions.iter().enumerate() {
        let number = if file.actions.len() > 1 { format!(" {}", at + 1) } else { String::new() };
        let mut say = |label: &str, value: String| all.push((format!("{label}{number}"), value));
        match action {
            FileAction::Copy(copy) => {
                say("source", copy.src.clone());
                say("destination", copy.dest.clone());
                say("owner", text(&copy.owner));
                say("mode", copy.mode.clone().unwrap_or_default());
                say("include", copy.include.join(", "));
                say("exclude", copy.exclude.join(", "));
                say("options", text(copy));
            }
            FileAction::Mkfile(file) => {
                say("path", file.path.clone());
                say("text", String::from_utf8_lossy(&file.data.0).into_owned());
                say("options", text(file));
            }
            other => say("action", text(other)),
        }
    }
}

fn source_facts(source: &SourceOp, identity: Option<&Digest>, all: &mut Vec<(String, String)>) {
    let mut say = |label: &str, value: String| all.push((label.to_owned(), value));
    match source {
        SourceOp::Image(image) => {
            say("image", image.reference.clone());
            say("digest", image.manifest.map(|d| d.to_string()).unwrap_or_default());
        }
        SourceOp::OciLayout(layout) => {
            say("digest", layout.manifest.map(|d| d.to_string()).unwrap_or_default());
        }
        SourceOp::Local(local) => say("ignored patterns", local.exclude.join(", ")),
        SourceOp::Git(git) => {
            say("repository", karman_llb::shown_remote(&git.url));
            say("reference", git.reference.clone());
        }
        SourceOp::Http(http) => say("address", karman_llb::shown_remote(&http.url)),
        SourceOp::Debootstrap(source) => say("source", source.source.clone()),
    }
    if let (Some(identity), false) = (identity, matches!(source, SourceOp::Local(_))) {
        say(IDENTITY, identity.to_string());
    }
}

/// Something that has no better words.
fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|e| unreachable!("ops are plain data: {e}"))
}
