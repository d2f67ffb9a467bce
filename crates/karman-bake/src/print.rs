//! The resolved targets as `buildx bake --print` shows them.

use std::collections::BTreeMap;

use crate::entry::Entry;
use crate::resolve::Resolved;
use crate::target::Target;
use crate::value::{Value, json_string};

/// The JSON text: groups, then targets, both sorted by name, indented by two spaces, with a final newline.
pub fn print_json(resolved: &Resolved) -> String {
    let mut out = Writer::default();
    out.open('{');
    if !resolved.groups.is_empty() {
        out.key("group");
        out.open('{');
        for (name, members) in &resolved.groups {
            out.key(name);
            out.open('{');
            out.text("description", resolved.descriptions.get(name).map(String::as_str));
            out.key("targets");
            out.open('[');
            for member in members {
                out.item();
                json_string(&mut out.text, member);
            }
            out.close(']');
            out.close('}');
        }
        out.close('}');
    }
    out.key("target");
    out.open('{');
    for (name, target) in &resolved.targets {
        out.key(name);
        print_target(&mut out, target);
    }
    out.close('}');
    out.close('}');
    out.text.push('\n');
    out.text
}

fn print_target(out: &mut Writer, t: &Target) {
    out.open('{');
    out.text("description", t.description.as_deref().filter(|d| !d.is_empty()));
    out.list("annotations", t.annotations.iter().map(|a| Value::text(escape(a))));
    out.list("attest", t.attest.iter().map(Entry::to_value));
    out.text("context", t.context.as_deref());
    out.map("contexts", &t.contexts, false);
    out.text("dockerfile", t.dockerfile.as_deref());
    out.text("dockerfile-inline", t.dockerfile_inline.as_deref().map(escape).as_deref());
    out.map("args", &t.args, true);
    out.map("labels", &t.labels, true);
    out.list("tags", t.tags.iter().map(Value::text));
    out.list("cache-from", t.cache_from.iter().map(Entry::to_value));
    out.list("cache-to", t.cache_to.iter().map(Entry::to_value));
    out.text("target", t.target.as_deref());
    out.list("secret", t.secret.iter().map(Entry::to_value));
    out.list("ssh", t.ssh.iter().map(Entry::to_value));
    out.list("platforms", t.platforms.iter().map(Value::text));
    out.list("output", t.output.iter().map(Entry::to_value));
    out.flag("pull", t.pull);
    out.flag("no-cache", t.no_cache);
    out.text("network", t.network.as_deref());
    out.list("no-cache-filter", t.no_cache_filter.iter().map(Value::text));
    out.text("shm-size", t.shm_size.as_deref());
    out.list("ulimits", t.ulimits.iter().map(Value::text));
    out.text("call", t.call.as_deref());
    out.list("entitlements", t.entitlements.iter().map(Value::text));
    out.map("extra-hosts", &t.extra_hosts, true);
    out.list("policy", t.policy.iter().map(|p| policy(p)));
    out.close('}');
}

/// A policy entry back from its JSON text.
fn policy(text: &str) -> Value {
    let json = crate::syntax::json::parse(karman_diag::FileId::default(), text);
    json.map_or_else(|_| Value::text(text), crate::syntax::json::Json::into_value)
}

/// Template markers escaped, so that the output can be read as a bake file again.
fn escape(text: &str) -> String {
    text.replace("${", "$${").replace("%{", "%%{")
}

/// Writes indented JSON.
#[derive(Default)]
struct Writer {
    text: String,
    depth: usize,
    /// Whether the innermost object or list has an entry already.
    filled: bool,
}

impl Writer {
    fn open(&mut self, bracket: char) {
        self.text.push(bracket);
        self.depth += 1;
        self.filled = false;
    }

    fn close(&mut self, bracket: char) {
        self.depth -= 1;
        if self.filled {
            self.line();
        }
        self.text.push(bracket);
        self.filled = true;
    }

    fn line(&mut self) {
        self.text.push('\n');
        self.text.push_str(&"  ".repeat(self.depth));
    }

    fn item(&mut self) {
        if self.filled {
            self.text.push(',');
        }
        self.filled = true;
        self.line();
    }

    fn key(&mut self, key: &str) {
        self.item();
        json_string(&mut self.text, key);
        self.text.push_str(": ");
    }

    fn text(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.key(key);
            json_string(&mut self.text, value);
        }
    }

    fn flag(&mut self, key: &str, value: Option<bool>) {
        if let Some(value) = value {
            self.key(key);
            self.text.push_str(if value { "true" } else { "false" });
        }
    }

    fn list(&mut self, key: &str, values: impl Iterator<Item = Value>) {
        let values: Vec<Value> = values.collect();
        if !values.is_empty() {
            self.key(key);
            self.value(&Value::List(values));
        }
    }

    fn map(&mut self, key: &str, map: &BTreeMap<String, String>, escaped: bool) {
        if map.is_empty() {
            return;
        }
        let text = |v: &String| if escaped { escape(v) } else { v.clone() };
        self.key(key);
        self.value(&Value::Object(
            map.iter().map(|(k, v)| (k.clone(), Value::text(text(v)))).collect(),
        ));
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::List(items) => {
                self.open('[');
                for item in items {
                    self.item();
                    self.value(item);
                }
                self.close(']');
            }
            Value::Object(map) => {
                self.open('{');
                for (key, value) in map {
                    self.key(key);
                    self.value(value);
                }
                self.close('}');
            }
            other => other.write_json(&mut self.text),
        }
    }
}
