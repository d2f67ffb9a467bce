//! Evaluated attributes to targets and groups.

use std::collections::BTreeMap;

use karman_diag::{Diagnostic, Span};

use crate::entry::{Attest, CacheEntry, Entry, Output, Secret, Ssh};
use crate::eval::{Eval, Locals, fail};
use crate::file::unexpected;
use crate::scope::Scope;
use crate::syntax::ast::{Attr, Block, Kind};
use crate::target::Target;
use crate::value::Value;

const TARGET: [&str; 30] = [
    "annotations",
    "args",
    "attest",
    "cache-from",
    "cache-to",
    "call",
    "context",
    "contexts",
    "description",
    "dockerfile",
    "dockerfile-inline",
    "entitlements",
    "extra-hosts",
    "inherits",
    "labels",
    "matrix",
    "name",
    "network",
    "no-cache",
    "no-cache-filter",
    "output",
    "platforms",
    "policy",
    "pull",
    "secret",
    "shm-size",
    "ssh",
    "tags",
    "target",
    "ulimits",
];
const GROUP: [&str; 2] = ["description", "targets"];

/// The attributes a block of that kind may have.
pub(crate) fn attributes(kind: &str) -> &'static [&'static str] {
    match kind {
        "target" => &TARGET,
        "group" => &GROUP,
        _ => &[],
    }
}

/// Refuses attributes nobody knows.
pub(crate) fn check_attributes(block: &Block) -> Result<(), Diagnostic> {
    let known = attributes(&block.kind);
    for attr in &block.body.attrs {
        let name = attr.name.as_str();
        if block.kind == "group" && matches!(name, "matrix" | "name") {
            return fail(format!("{name} is not supported for groups"), attr.name_span);
        }
        if !known.contains(&name) {
            return Err(unexpected(attr, known));
        }
    }
    Ok(())
}

/// A name in a list, with its place.
pub(crate) type Named = (String, Span);

/// The strings of a list, each with its place where the list is written out.
pub(crate) fn names(scope: &Scope<'_>, attr: &Attr, locals: &Locals<'_>) -> Eval<Vec<Named>> {
    let value = scope.eval(&attr.value, locals)?;
    let texts = texts(value, attr)?;
    let spans: Vec<Span> = match &attr.value.kind {
        Kind::Array(items) if items.len() == texts.len() => items.iter().map(|e| e.span).collect(),
        _ => vec![attr.value.span; texts.len()],
    };
    Ok(texts.into_iter().zip(spans).collect())
}

/// A target block with the values of one matrix combination, and the places of what it inherits.
pub(crate) fn target(
    scope: &Scope<'_>,
    block: &Block,
    vars: &[(String, Value)],
) -> Eval<(Target, Vec<Named>)> {
    let locals = Locals::new(vars);
    let mut target = Target::default();
    let mut inherits = Vec::new();
    for attr in &block.body.attrs {
        if matches!(attr.name.as_str(), "matrix" | "name") {
            continue;
        }
        if attr.name == "inherits" {
            inherits = names(scope, attr, &locals)?;
            target.inherits = inherits.iter().map(|(n, _)| n.clone()).collect();
            continue;
        }
        let value = scope.eval(&attr.value, &locals)?;
        if value != Value::Null {
            assign(&mut target, attr, value)?;
        }
    }
    Ok((target, inherits))
}

fn assign(t: &mut Target, attr: &Attr, value: Value) -> Eval<()> {
    match attr.name.as_str() {
        "description" => t.description = Some(text(value, attr)?),
        "context" => t.context = Some(text(value, attr)?),
        "dockerfile" => t.dockerfile = Some(text(value, attr)?),
        "dockerfile-inline" => t.dockerfile_inline = Some(text(value, attr)?),
        "target" => t.target = Some(text(value, attr)?),
        "network" => t.network = Some(text(value, attr)?),
        "shm-size" => t.shm_size = Some(text(value, attr)?),
        "call" => t.call = Some(text(value, attr)?),
        "pull" => t.pull = Some(truth(&value, attr)?),
        "no-cache" => t.no_cache = Some(truth(&value, attr)?),
        "args" => t.args = map(value, attr)?,
        "contexts" => t.contexts = map(value, attr)?,
        "labels" => t.labels = map(value, attr)?,
        "extra-hosts" => t.extra_hosts = map(value, attr)?,
        "annotations" => t.annotations = texts(value, attr)?,
        "tags" => t.tags = texts(value, attr)?,
        "platforms" => t.platforms = texts(value, attr)?,
        "no-cache-filter" => t.no_cache_filter = texts(value, attr)?,
        "ulimits" => t.ulimits = texts(value, attr)?,
        "entitlements" => t.entitlements = texts(value, attr)?,
        "attest" => t.attest = entries(value, attr)?,
        "cache-from" => t.cache_from = entries(value, attr)?,
        "cache-to" => t.cache_to = entries(value, attr)?,
        "secret" => t.secret = entries(value, attr)?,
        "ssh" => t.ssh = entries(value, attr)?,
        "output" => t.output = entries(value, attr)?,
        "policy" => t.policy = list(value, attr)?.iter().map(Value::to_json).collect(),
        _ => return Err(unexpected(attr, &TARGET)),
    }
    if let Some(name) = TARGET.iter().find(|n| **n == attr.name) {
        t.set.insert(name);
    }
    Ok(())
}

fn wrong<T>(attr: &Attr, wanted: &str, found: &Value) -> Eval<T> {
    let message = format!(
        "unsuitable value for `{}`: {wanted} required, not {}",
        attr.name,
        found.type_name()
    );
    let d = Diagnostic::error(message, attr.value.span);
    Err(match (wanted.starts_with("list"), found) {
        (true, Value::String(text)) => d.with_hint(format!("write `{} = [{text:?}]`", attr.name)),
        (true, Value::Object(_)) => d.with_hint(format!("write `{} = [{{ … }}]`", attr.name)),
        _ => d,
    })
}

fn text(value: Value, attr: &Attr) -> Eval<String> {
    match value.to_text() {
        Some(text) => Ok(text),
        None => wrong(attr, "string", &value),
    }
}

/// A truth value; `1` and `0` too, as the reference of bake has them.
fn truth(value: &Value, attr: &Attr) -> Eval<bool> {
    let number = match value {
        Value::Number(n) => match n.as_int() {
            Some(0) => Some(false),
            Some(1) => Some(true),
            _ => None,
        },
        _ => None,
    };
    match value.to_bool().or(number) {
        Some(yes) => Ok(yes),
        None => wrong(attr, "bool", value),
    }
}

fn list(value: Value, attr: &Attr) -> Eval<Vec<Value>> {
    match value {
        Value::List(items) => Ok(items),
        other => wrong(attr, "list", &other),
    }
}

/// A list of strings; null elements are left out.
pub(crate) fn texts(value: Value, attr: &Attr) -> Eval<Vec<String>> {
    let Value::List(items) = value else { return wrong(attr, "list of strings", &value) };
    let mut out = Vec::with_capacity(items.len());
    for item in items {
        match item.to_text() {
            Some(text) => out.push(text),
            None if item == Value::Null => {}
            None => return wrong(attr, "a string as element", &item),
        }
    }
    Ok(out)
}

/// A map of strings; null values are left out, as if they were not written.
fn map(value: Value, attr: &Attr) -> Eval<BTreeMap<String, String>> {
    let Value::Object(map) = value else { return wrong(attr, "map of strings", &value) };
    let mut out = BTreeMap::new();
    for (key, value) in map {
        match value.to_text() {
            Some(text) => drop(out.insert(key, text)),
            None if value == Value::Null => {}
            None => return wrong(attr, &format!("a string as `{key}`"), &value),
        }
    }
    Ok(out)
}

/// What a reference such as `target.app.output` sees: entries written as text are objects there.
pub(crate) fn seen(value: Value, attr: &Attr) -> Eval<Value> {
    fn objects<E: Entry>(value: Value, attr: &Attr) -> Eval<Value> {
        Ok(Value::List(entries::<E>(value, attr)?.iter().map(Entry::to_value).collect()))
    }
    match (attr.name.as_str(), &value) {
        (_, Value::Null) => Ok(value),
        ("attest", _) => objects::<Attest>(value, attr),
        ("cache-from" | "cache-to", _) => objects::<CacheEntry>(value, attr),
        ("output", _) => objects::<Output>(value, attr),
        ("secret", _) => objects::<Secret>(value, attr),
        ("ssh", _) => objects::<Ssh>(value, attr),
        _ => Ok(value),
    }
}

fn entries<E: Entry>(value: Value, attr: &Attr) -> Eval<Vec<E>> {
    let Value::List(items) = value else {
        return wrong(attr, "list of strings or objects", &value);
    };
    let spans: Vec<Span> = match &attr.value.kind {
        Kind::Array(exprs) if exprs.len() == items.len() => exprs.iter().map(|e| e.span).collect(),
        _ => vec![attr.value.span; items.len()],
    };
    let mut out = Vec::with_capacity(items.len());
    for (item, span) in items.into_iter().zip(spans) {
        // Empty strings and null let a condition leave an entry out.
        if item == Value::Null || item == Value::text("") {
            continue;
        }
        let entry = E::from_value(item);
        out.push(
            entry.map_err(|p| Diagnostic::error(format!("invalid `{}`: {p}", attr.name), span))?,
        );
    }
    Ok(out)
}
