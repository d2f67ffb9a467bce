//! The short forms of a compose file as their long forms, and its paths relative to the working directory, so that
//! files can be laid over each other.

use karman_diag::{Diagnostic, Span};

use super::node::{Entry, Kind, Node};
use crate::eval::fail;
use crate::func::clean;

type Done = Result<(), Diagnostic>;

/// Where relative paths of a file begin, and the home directory for `~`.
pub(super) struct Places<'a> {
    /// The directory of the file; empty for the working directory.
    pub(super) dir: &'a str,
    pub(super) home: Option<&'a str>,
}

/// Puts a whole file into its long form.
pub(super) fn file(model: &mut Node, places: &Places<'_>) -> Done {
    if let Some(services) = model.get_mut("services").filter(|s| !s.is_null()) {
        let span = services.span;
        let Kind::Map(entries) = &mut services.kind else {
            return fail("`services` must be a mapping", span);
        };
        for entry in entries {
            service(&mut entry.value, places)?;
        }
    }
    if let Some(secrets) = model.get_mut("secrets")
        && let Kind::Map(entries) = &mut secrets.kind
    {
        for entry in entries {
            path(entry.value.get_mut("file"), places);
        }
    }
    Ok(())
}

fn service(service: &mut Node, places: &Places<'_>) -> Done {
    if let Some(build) = service.get_mut("build").filter(|b| !b.is_null()) {
        match &build.kind {
            Kind::Map(_) => {}
            Kind::String(text) => {
                let (text, span) = (text.clone(), build.span);
                build.kind = Kind::Map(Vec::new());
                build.set("context", Node::text(text, span));
            }
            _ => {
                let message =
                    format!("`build` must be a path or a mapping, not {}", build.type_name());
                return fail(message, build.span);
            }
        }
        context(build.get_mut("context"), places);
        for key in ["args", "labels", "additional_contexts"] {
            pairs(build.get_mut(key), key, &['='])?;
        }
        pairs(build.get_mut("extra_hosts"), "extra_hosts", &['=', ':'])?;
        if let Some(Kind::Map(all)) = build.get_mut("additional_contexts").map(|n| &mut n.kind) {
            all.iter_mut().for_each(|e| context(Some(&mut e.value), places));
        }
        ssh(build.get_mut("ssh"), places)?;
        secrets(build.get_mut("secrets"));
    }
    pairs(service.get_mut("environment"), "environment", &['='])?;
    env_files(service.get_mut("env_file"), places);
    Ok(())
}

/// A list of `KEY=value` as a mapping; a key alone has no value.
fn pairs(node: Option<&mut Node>, what: &str, separators: &[char]) -> Done {
    let Some(node) = node else { return Ok(()) };
    let span = node.span;
    let items = match &mut node.kind {
        Kind::Map(_) | Kind::Null => return Ok(()),
        Kind::List(items) => std::mem::take(items),
        _ => return fail(format!("`{what}` must be a mapping or a list of strings"), span),
    };
    let mut entries: Vec<Entry> = Vec::new();
    for item in items {
        let Some(text) = item.to_text() else {
            return fail(
                format!("`{what}` must hold strings, not {}", item.type_name()),
                item.span,
            );
        };
        let at = separators.iter().find_map(|s| text.find(*s));
        let (name, value) = match at {
            Some(at) => (text[..at].to_owned(), Node::text(&text[at + 1..], item.span)),
            None => (text, Node::new(Kind::Null, item.span)),
        };
        match entries.iter_mut().find(|e| e.name == name) {
            Some(known) => known.value = value,
            None => entries.push(Entry { name, name_span: item.span, value }),
        }
    }
    node.kind = Kind::Map(entries);
    Ok(())
}

/// `ssh` as a list of `ID` or `ID=path`.
fn ssh(node: Option<&mut Node>, places: &Places<'_>) -> Done {
    let Some(node) = node else { return Ok(()) };
    let span = node.span;
    let found: Vec<(String, Span)> = match &node.kind {
        Kind::String(text) => vec![(text.clone(), span)],
        Kind::List(items) => {
            let text = |i: &Node| Some((i.to_text()?, i.span));
            let all: Option<Vec<_>> = items.iter().map(text).collect();
            match all {
                Some(all) => all,
                None => return fail("`ssh` must hold strings", span),
            }
        }
        Kind::Map(entries) => entries
            .iter()
            .map(|e| match e.value.to_text().filter(|t| !t.is_empty()) {
                Some(path) => (format!("{}={path}", e.name), e.value.span),
                None => (e.name.clone(), e.name_span),
            })
            .collect(),
        _ => return Ok(()),
    };
    let resolved = found.into_iter().map(|(text, span)| match text.split_once('=') {
        Some((id, path)) => Node::text(format!("{id}={}", resolve(path, places)), span),
        None => Node::text(text, span),
    });
    node.kind = Kind::List(resolved.collect());
    Ok(())
}

/// `secrets` as a list of `{source: …}`.
fn secrets(node: Option<&mut Node>) {
    let Some(Kind::List(items)) = node.map(|n| &mut n.kind) else { return };
    for item in items {
        if let Kind::String(text) = &item.kind {
            let (text, span) = (text.clone(), item.span);
            item.kind = Kind::Map(Vec::new());
            item.set("source", Node::text(text, span));
        }
    }
}

/// `env_file` as a list of `{path: …}`.
fn env_files(node: Option<&mut Node>, places: &Places<'_>) {
    let Some(node) = node else { return };
    if let Kind::String(_) = &node.kind {
        let one = node.clone();
        node.kind = Kind::List(vec![one]);
    }
    let Kind::List(items) = &mut node.kind else { return };
    for item in items {
        if let Kind::String(text) = &item.kind {
            let (text, span) = (text.clone(), item.span);
            item.kind = Kind::Map(Vec::new());
            item.set("path", Node::text(text, span));
        }
        path(item.get_mut("path"), places);
    }
}

fn path(node: Option<&mut Node>, places: &Places<'_>) {
    if let Some(Kind::String(text)) = node.map(|n| &mut n.kind) {
        *text = resolve(text, places);
    }
}

/// A context: a path, unless it is something else by its looks.
fn context(node: Option<&mut Node>, places: &Places<'_>) {
    let Some(Kind::String(text)) = node.map(|n| &mut n.kind) else { return };
    let remote = ["github.com/", "git@", "service:", "target:"];
    if !text.contains("://") && !remote.iter().any(|prefix| text.starts_with(prefix)) {
        *text = resolve(text, places);
    }
}

/// A path relative to the working directory, without `.` and `..` where they can go.
pub(super) fn resolve(path: &str, places: &Places<'_>) -> String {
    let path = match (path.strip_prefix('~'), places.home) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            format!("{home}{rest}")
        }
        _ => path.to_owned(),
    };
    if path.starts_with('/') || places.dir.is_empty() {
        return clean(&path);
    }
    clean(&format!("{}/{path}", places.dir))
}
