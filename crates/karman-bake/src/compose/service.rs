//! A service with a `build` section as a target, after buildx.

use std::collections::BTreeMap;

use karman_diag::{Diagnostic, Span};

use super::node::{Kind, Node};
use super::size;
use crate::entry::{Attest, CacheEntry, Entry as _, Secret, Ssh, parse_caches};
use crate::eval::{Eval, fail, suggest};
use crate::request::parse_bool;
use crate::target::Target;

/// What a `build` section may hold.
const BUILD: [&str; 25] = [
    "additional_contexts",
    "args",
    "cache_from",
    "cache_to",
    "context",
    "dockerfile",
    "dockerfile_inline",
    "entitlements",
    "extra_hosts",
    "isolation",
    "labels",
    "network",
    "no_cache",
    "no_cache_filter",
    "platforms",
    "privileged",
    "provenance",
    "pull",
    "sbom",
    "secrets",
    "shm_size",
    "ssh",
    "tags",
    "target",
    "ulimits",
];
/// What a builder like ours cannot heed.
const IDLE: [&str; 2] = ["isolation", "privileged"];

/// What a service is decoded with.
pub(super) struct Surroundings<'a> {
    /// The top-level `secrets`.
    pub(super) secrets: Option<&'a Node>,
    /// The environment of the service.
    pub(super) environment: BTreeMap<String, String>,
    /// The environment of the caller, with `.env`.
    pub(super) env: &'a BTreeMap<String, String>,
    pub(super) warnings: &'a mut Vec<Diagnostic>,
}

/// The target of a service; `None` for one that is not built.
pub(super) fn target(service: &Node, around: &mut Surroundings<'_>) -> Eval<Option<Target>> {
    let Some(build) = service.get("build") else { return Ok(None) };
    check(build, around.warnings)?;
    let mut t = Target {
        context: Some(text(build, "context")?.unwrap_or_else(|| ".".to_owned())),
        dockerfile: text(build, "dockerfile")?,
        dockerfile_inline: text(build, "dockerfile_inline")?,
        target: text(build, "target")?,
        network: text(build, "network")?,
        args: args(build, around)?,
        labels: map(build, "labels")?,
        contexts: contexts(build, "additional_contexts")?,
        extra_hosts: hosts(build)?,
        tags: texts(build, "tags")?,
        platforms: texts(build, "platforms")?,
        no_cache_filter: texts(build, "no_cache_filter")?,
        entitlements: texts(build, "entitlements")?,
        cache_from: caches(build, "cache_from")?,
        cache_to: caches(build, "cache_to")?,
        ssh: entries(build, "ssh")?,
        secret: secrets(build, around.secrets)?,
        attest: attests(build)?,
        ulimits: ulimits(build)?,
        shm_size: shm_size(build)?,
        no_cache: flag(build, "no_cache")?.filter(|yes| *yes),
        pull: flag(build, "pull")?.filter(|yes| *yes),
        ..Target::default()
    };
    for list in [&mut t.dockerfile, &mut t.dockerfile_inline, &mut t.target, &mut t.network] {
        *list = list.take().filter(|text| !text.is_empty());
    }
    sort_ssh(&mut t.ssh);
    if let Some(extension) = build.get("x-bake") {
        super::extension::apply(extension, &mut t, around.warnings)?;
    }
    if t.tags.is_empty() {
        t.tags.extend(text(service, "image")?.filter(|image| !image.is_empty()));
    }
    let set = [
        ("tags", t.tags.is_empty()),
        ("platforms", t.platforms.is_empty()),
        ("cache-to", t.cache_to.is_empty()),
        ("output", t.output.is_empty()),
    ];
    t.set.extend(set.iter().filter(|(_, empty)| !empty).map(|(name, _)| *name));
    Ok(Some(t))
}

fn check(build: &Node, warnings: &mut Vec<Diagnostic>) -> Eval<()> {
    for entry in build.entries() {
        let name = entry.name.as_str();
        if IDLE.contains(&name) {
            let message = format!("`{name}` of a build has no effect");
            warnings.push(Diagnostic::warning(message, entry.name_span));
        }
        if !BUILD.contains(&name) && !name.starts_with("x-") {
            let message = format!("a `build` has no attribute `{name}`");
            return Err(suggest(Diagnostic::error(message, entry.name_span), name, BUILD));
        }
    }
    Ok(())
}

fn wrong<T>(what: &str, wanted: &str, node: &Node) -> Eval<T> {
    fail(format!("`{what}` must be {wanted}, not {}", node.type_name()), node.span)
}

/// A text.
pub(super) fn text(node: &Node, key: &str) -> Eval<Option<String>> {
    let Some(value) = node.get(key) else { return Ok(None) };
    match value.to_text() {
        Some(text) => Ok(Some(text)),
        None => wrong(key, "a string", value),
    }
}

/// A truth value; strings are read.
pub(super) fn flag(node: &Node, key: &str) -> Eval<Option<bool>> {
    let Some(value) = node.get(key) else { return Ok(None) };
    match value.to_text().and_then(|t| parse_bool(&t)) {
        Some(yes) => Ok(Some(yes)),
        None => wrong(key, "a bool", value),
    }
}

fn texts(node: &Node, key: &str) -> Eval<Vec<String>> {
    let mut all: Vec<String> = Vec::new();
    for (text, _) in placed_texts(node, key)? {
        if !all.contains(&text) {
            all.push(text);
        }
    }
    Ok(all)
}

fn placed_texts(node: &Node, key: &str) -> Eval<Vec<(String, Span)>> {
    let Some(value) = node.get(key) else { return Ok(Vec::new()) };
    let Kind::List(items) = &value.kind else { return wrong(key, "a list of strings", value) };
    let each = items.iter().map(|item| match item.to_text() {
        Some(text) => Ok((text, item.span)),
        None => wrong(key, "a list of strings", item),
    });
    each.collect()
}

fn map(node: &Node, key: &str) -> Eval<BTreeMap<String, String>> {
    let Some(value) = node.get(key) else { return Ok(BTreeMap::new()) };
    let Kind::Map(entries) = &value.kind else { return wrong(key, "a mapping", value) };
    let mut out = BTreeMap::new();
    for entry in entries {
        match entry.value.to_text() {
            Some(text) => drop(out.insert(entry.name.clone(), text)),
            None if entry.value.is_null() => drop(out.insert(entry.name.clone(), String::new())),
            None => return wrong(&entry.name, "a string", &entry.value),
        }
    }
    Ok(out)
}

/// Arguments; those without a value are looked for in the environment of the service, then in the caller's.
fn args(build: &Node, around: &Surroundings<'_>) -> Eval<BTreeMap<String, String>> {
    let Some(value) = build.get("args") else { return Ok(BTreeMap::new()) };
    let Kind::Map(entries) = &value.kind else { return wrong("args", "a mapping", value) };
    let mut out = BTreeMap::new();
    for entry in entries {
        let text = match entry.value.to_text() {
            None if !entry.value.is_null() => return wrong(&entry.name, "a string", &entry.value),
            None => {
                let own = around.environment.get(&entry.name);
                own.or_else(|| around.env.get(&entry.name)).cloned()
            }
            text => text,
        };
        out.extend(text.map(|text| (entry.name.clone(), text)));
    }
    Ok(out)
}

/// Named contexts; `service:NAME` is another target.
pub(super) fn contexts(node: &Node, key: &str) -> Eval<BTreeMap<String, String>> {
    let mut all = map(node, key)?;
    for value in all.values_mut() {
        let name = value.strip_prefix("service:").or_else(|| value.strip_prefix("target:"));
        if let Some(name) = name {
            *value = format!("target:{}", name.replace('.', "_"));
        }
    }
    Ok(all)
}

/// Lines of `/etc/hosts`; several addresses of a name are joined by commas.
fn hosts(build: &Node) -> Eval<BTreeMap<String, String>> {
    let Some(value) = build.get("extra_hosts") else { return Ok(BTreeMap::new()) };
    let mut out = BTreeMap::new();
    for entry in value.entries() {
        let addresses: Option<Vec<String>> = match &entry.value.kind {
            Kind::List(items) => items.iter().map(Node::to_text).collect(),
            _ => entry.value.to_text().map(|text| vec![text]),
        };
        let Some(addresses) = addresses else {
            return wrong(&entry.name, "an address or a list of them", &entry.value);
        };
        out.insert(entry.name.clone(), addresses.join(","));
    }
    Ok(out)
}

fn caches(build: &Node, key: &str) -> Eval<Vec<CacheEntry>> {
    let mut out = Vec::new();
    for (text, span) in placed_texts(build, key)? {
        let parsed = parse_caches(&text);
        out.extend(parsed.map_err(|p| Diagnostic::error(format!("invalid `{key}`: {p}"), span))?);
    }
    Ok(out)
}

fn entries<E: crate::entry::Entry>(build: &Node, key: &str) -> Eval<Vec<E>> {
    let mut out = Vec::new();
    for (text, span) in placed_texts(build, key)? {
        let entry = E::from_text(&text);
        out.push(entry.map_err(|p| Diagnostic::error(format!("invalid `{key}`: {p}"), span))?);
    }
    Ok(out)
}

/// The secrets of a build: each names one of the top level.
fn secrets(build: &Node, known: Option<&Node>) -> Eval<Vec<Secret>> {
    let Some(value) = build.get("secrets") else { return Ok(Vec::new()) };
    let Kind::List(items) = &value.kind else { return wrong("secrets", "a list", value) };
    let mut out = Vec::new();
    for item in items {
        let Some(id) = text(item, "source")? else {
            return fail("a secret needs `source`", item.span);
        };
        let names = known.map(Node::entries).unwrap_or_default();
        let Some(found) = names.iter().find(|e| e.name == id) else {
            let d = Diagnostic::error(format!("there is no secret `{id}`"), item.span);
            let d = suggest(d, &id, names.iter().map(|e| e.name.as_str()));
            return Err(d.with_hint("secrets are declared under `secrets:` of the file"));
        };
        if flag(&found.value, "external")? == Some(true) {
            return fail(format!("unsupported external secret `{id}`"), item.span);
        }
        let src = text(&found.value, "file")?.unwrap_or_default();
        let env = text(&found.value, "environment")?.unwrap_or_default();
        out.push(Secret { id, src, env });
    }
    Ok(out)
}

fn attests(build: &Node) -> Eval<Vec<Attest>> {
    let mut out = Vec::new();
    for kind in ["sbom", "provenance"] {
        let Some(given) = text(build, kind)?.filter(|t| !t.is_empty()) else { continue };
        let spec = match parse_bool(&given) {
            Some(yes) => format!("type={kind},disabled={}", !yes),
            None => format!("type={kind},{given}"),
        };
        let span = build.get(kind).map(|n| n.span);
        out.push(
            Attest::from_text(&spec)
                .map_err(|p| Diagnostic::error(format!("invalid `{kind}`: {p}"), span))?,
        );
    }
    Ok(out)
}

/// `name=soft:hard` of each limit.
fn ulimits(build: &Node) -> Eval<Vec<String>> {
    let Some(value) = build.get("ulimits") else { return Ok(Vec::new()) };
    let Kind::Map(entries) = &value.kind else { return wrong("ulimits", "a mapping", value) };
    let number = |node: &Node, what: &str| match node.to_text().and_then(|t| t.parse::<i64>().ok())
    {
        Some(n) => Ok(n),
        None => wrong(what, "a whole number", node),
    };
    let mut out = Vec::new();
    for entry in entries {
        let (soft, hard) = match &entry.value.kind {
            Kind::Map(_) => {
                let of = |key: &str| entry.value.get(key).map_or(Ok(0), |node| number(node, key));
                (of("soft")?, of("hard")?)
            }
            _ => {
                let both = number(&entry.value, &entry.name)?;
                (both, both)
            }
        };
        out.push(format!("{}={soft}:{hard}", entry.name));
    }
    out.sort();
    Ok(out)
}

fn shm_size(build: &Node) -> Eval<Option<String>> {
    let Some(given) = text(build, "shm_size")? else { return Ok(None) };
    match size::parse(&given) {
        Some(0) => Ok(None),
        Some(bytes) => Ok(Some(size::show(bytes))),
        None => {
            let span = build.get("shm_size").map(|n| n.span);
            Err(Diagnostic::error(format!("`{given}` is not a size"), span)
                .with_hint("as in `128m`"))
        }
    }
}

/// Sorted as buildx sorts keys that come from several places.
pub(super) fn sort_ssh(keys: &mut [Ssh]) {
    keys.sort_by(|a, b| (&a.id, &a.paths).cmp(&(&b.id, &b.paths)));
}
