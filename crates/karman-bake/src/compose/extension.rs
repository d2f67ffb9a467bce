//! `x-bake` of a `build` section: attributes of bake that compose does not have.
//!
//! Reference: <https://docs.docker.com/build/bake/compose-file/#extension-field-with-x-bake>.

use karman_diag::{Diagnostic, Span};

use super::node::{Kind, Node};
use super::service::{contexts, flag, sort_ssh};
use crate::entry::{Entry, normalize, parse_caches};
use crate::eval::{Eval, fail, suggest};
use crate::target::Target;

const KNOWN: [&str; 11] = [
    "cache-from",
    "cache-to",
    "contexts",
    "no-cache",
    "no-cache-filter",
    "output",
    "platforms",
    "pull",
    "secret",
    "ssh",
    "tags",
];

/// Lays the extension over a target.
pub(super) fn apply(extension: &Node, t: &mut Target, warnings: &mut Vec<Diagnostic>) -> Eval<()> {
    let Kind::Map(fields) = &extension.kind else {
        return fail(
            format!("`x-bake` must be a mapping, not {}", extension.type_name()),
            extension.span,
        );
    };
    for field in fields {
        if !KNOWN.contains(&field.name.as_str()) {
            // buildx takes no notice of them.
            let message = format!("`x-bake` has no attribute `{}`: it has no effect", field.name);
            let d = Diagnostic::warning(message, field.name_span);
            warnings.push(suggest(d, &field.name, KNOWN));
        }
    }
    add_texts(&mut t.tags, strings(extension, "tags")?);
    add_texts(&mut t.platforms, strings(extension, "platforms")?);
    add_texts(&mut t.no_cache_filter, strings(extension, "no-cache-filter")?);
    for (key, list) in [("cache-from", &mut t.cache_from), ("cache-to", &mut t.cache_to)] {
        for (text, span) in strings(extension, key)? {
            let parsed = parse_caches(&text);
            list.extend(parsed.map_err(|p| invalid(key, &p, span))?);
        }
        *list = normalize(std::mem::take(list));
    }
    add_entries(&mut t.secret, extension, "secret")?;
    add_entries(&mut t.ssh, extension, "ssh")?;
    sort_ssh(&mut t.ssh);
    add_entries(&mut t.output, extension, "output")?;
    t.pull = flag(extension, "pull")?.or(t.pull);
    t.no_cache = flag(extension, "no-cache")?.or(t.no_cache);
    for (name, source) in contexts(extension, "contexts")? {
        t.contexts.entry(name).or_insert(source);
    }
    Ok(())
}

fn invalid(key: &str, problem: &str, span: Span) -> Diagnostic {
    Diagnostic::error(format!("invalid `{key}`: {problem}"), span)
}

fn add_texts(list: &mut Vec<String>, more: Vec<(String, Span)>) {
    for (text, _) in more {
        if !list.contains(&text) {
            list.push(text);
        }
    }
}

fn add_entries<E: Entry>(list: &mut Vec<E>, extension: &Node, key: &str) -> Eval<()> {
    for (text, span) in strings(extension, key)?.into_iter().filter(|(text, _)| !text.is_empty()) {
        list.push(E::from_text(&text).map_err(|p| invalid(key, &p, span))?);
    }
    *list = normalize(std::mem::take(list));
    Ok(())
}

/// A list of strings, or one string with the elements between spaces.
fn strings(extension: &Node, key: &str) -> Eval<Vec<(String, Span)>> {
    let Some(value) = extension.get(key) else { return Ok(Vec::new()) };
    match &value.kind {
        Kind::List(items) => {
            let each = items.iter().map(|item| match item.to_text() {
                Some(text) => Ok((text, item.span)),
                None => wrong(key, item),
            });
            each.collect()
        }
        _ => match value.to_text() {
            Some(text) => {
                Ok(text.split_whitespace().map(|word| (word.to_owned(), value.span)).collect())
            }
            None => wrong(key, value),
        },
    }
}

fn wrong<T>(key: &str, node: &Node) -> Eval<T> {
    fail(format!("`{key}` must be a list of strings, not {}", node.type_name()), node.span)
}
