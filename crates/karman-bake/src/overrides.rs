//! `--set TARGET.KEY[.SUB][+]=VALUE`.

use std::collections::BTreeMap;

use karman_diag::Diagnostic;

use crate::config::Config;
use crate::entry::{CacheEntry, Entry, Output, Secret, parse_caches};
use crate::eval::suggest;
use crate::pattern::matches;
use crate::request::{Request, parse_bool};
use crate::target::Target;
use crate::value::Value;

/// Keys with a name after them.
const MAPS: [&str; 5] = ["args", "contexts", "extra-hosts", "labels", "secret"];
/// Keys that collect values.
const LISTS: [&str; 13] = [
    "annotations",
    "attest",
    "cache-from",
    "cache-to",
    "entitlements",
    "no-cache-filter",
    "output",
    "platform",
    "policy",
    "secrets",
    "ssh",
    "tags",
    "ulimits",
];
/// Keys with one value.
const SCALARS: [&str; 10] = [
    "call",
    "context",
    "dockerfile",
    "load",
    "network",
    "no-cache",
    "pull",
    "push",
    "shm-size",
    "target",
];

/// One key of one target; several values where it was given several times.
#[derive(Debug, Clone)]
struct Override {
    key: String,
    sub: String,
    values: Vec<String>,
    append: bool,
}

/// The overrides of each target.
#[derive(Debug, Default)]
pub(crate) struct Overrides(BTreeMap<String, Vec<Override>>);

fn fault<T>(message: String) -> Result<T, Diagnostic> {
    Err(Diagnostic::error(message, None))
}

impl Overrides {
    /// Reads all `--set` values; patterns are expanded to the targets they match.
    pub(crate) fn parse(config: &Config, request: &Request) -> Result<Self, Diagnostic> {
        let mut all = Self::default();
        for text in &request.overrides {
            let (left, value) = match text.split_once('=') {
                Some((left, value)) => (left, Some(value)),
                None => (text.as_str(), None),
            };
            let (path, append) = match left.strip_suffix('+') {
                Some(path) => (path, true),
                None => (left, false),
            };
            let mut parts = path.splitn(3, '.');
            let (pattern, Some(key)) = (parts.next().unwrap_or_default(), parts.next()) else {
                return fault(format!("invalid override key {path}, expected target.name"));
            };
            let sub = parts.next();
            check_key(key, sub, left)?;
            let value = match value {
                Some(value) => value.to_owned(),
                // `foo.args.X` takes X from the environment and is nothing without it.
                None if key == "args" => match request.env(sub.unwrap_or_default()) {
                    Some(value) => value.clone(),
                    None => continue,
                },
                None => {
                    return fault(format!("invalid override {text}, expected target.name=value"));
                }
            };
            for name in expand(config, pattern)? {
                all.add(name, key, sub.unwrap_or_default(), &value, append);
            }
        }
        Ok(all)
    }

    fn add(&mut self, name: &str, key: &str, sub: &str, value: &str, append: bool) {
        let list = self.0.entry(name.to_owned()).or_default();
        match list.iter_mut().find(|o| o.key == key && o.sub == sub) {
            Some(known) if LISTS.contains(&key) => {
                known.values.push(value.to_owned());
                known.append = append;
            }
            Some(known) => known.values = vec![value.to_owned()],
            None => list.push(Override {
                key: key.to_owned(),
                sub: sub.to_owned(),
                values: vec![value.to_owned()],
                append,
            }),
        }
    }

    /// Applies the overrides of `name`. What the command line names, the command line allows.
    pub(crate) fn apply(
        &self,
        name: &str,
        target: &mut Target,
        granted: &mut Granted,
    ) -> Result<(), Diagnostic> {
        let all = || self.0.get(name).into_iter().flatten();
        for o in all() {
            o.apply(target)?;
        }
        for o in all() {
            granted.add(o, target);
        }
        Ok(())
    }
}

/// What overrides name, and so allow.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Granted {
    /// Paths that may be read.
    pub read: Vec<String>,
    /// Paths that may be written.
    pub write: Vec<String>,
    /// Privileges such as `network.host`.
    pub privileges: Vec<String>,
}

impl Granted {
    fn add(&mut self, o: &Override, t: &Target) {
        let local = |caches: &[CacheEntry], key: &str| -> Vec<String> {
            let local = caches.iter().filter(|c| c.kind == "local");
            local.filter_map(|c| c.attrs.get(key).cloned()).collect()
        };
        let given = |text: &String| !text.is_empty();
        match o.key.as_str() {
            "cache-from" => self.read.extend(local(&t.cache_from, "src")),
            "cache-to" => self.write.extend(local(&t.cache_to, "dest")),
            "secret" | "secrets" => {
                self.read.extend(t.secret.iter().map(|s| s.src.clone()).filter(given));
            }
            "ssh" => self.read.extend(t.ssh.iter().flat_map(|s| s.paths.clone())),
            "output" => {
                self.write.extend(t.output.iter().map(|o| o.dest.clone()).filter(given));
                let plans = t.output.iter().filter_map(|o| o.attrs.get("layer-plan").cloned());
                self.read.extend(plans.filter(given));
            }
            "entitlements" => self.privileges.extend(o.values.iter().cloned()),
            _ => {}
        }
    }
}

fn check_key(key: &str, sub: Option<&str>, left: &str) -> Result<(), Diagnostic> {
    if MAPS.contains(&key) {
        return match sub {
            Some(_) => Ok(()),
            None => fault(format!("invalid key {left}, {key} requires name")),
        };
    }
    if LISTS.contains(&key) || SCALARS.contains(&key) {
        return Ok(());
    }
    let known = MAPS.into_iter().chain(LISTS).chain(SCALARS);
    Err(suggest(Diagnostic::error(format!("unknown key: {key}"), None), key, known))
}

fn expand<'c>(config: &'c Config, pattern: &str) -> Result<Vec<&'c str>, Diagnostic> {
    if let Some(exact) = config.target(pattern) {
        return Ok(vec![&exact.name]);
    }
    let names = config.targets.iter().map(|t| t.name.as_str());
    let found: Vec<&str> = names.clone().filter(|name| matches(pattern, name)).collect();
    if found.is_empty() {
        let message = format!("could not find any target matching '{pattern}'");
        return Err(suggest(Diagnostic::error(message, None), pattern, names));
    }
    Ok(found)
}

impl Override {
    fn apply(&self, t: &mut Target) -> Result<(), Diagnostic> {
        let value = || self.values.last().cloned().unwrap_or_default();
        let sub = || self.sub.clone();
        match self.key.as_str() {
            "context" => t.context = Some(value()),
            "dockerfile" => t.dockerfile = Some(value()),
            "target" => t.target = Some(value()),
            "call" => t.call = Some(value()),
            "network" => t.network = Some(value()),
            "shm-size" => t.shm_size = Some(value()),
            "args" => drop(t.args.insert(sub(), value())),
            "contexts" => drop(t.contexts.insert(sub(), value())),
            "labels" => drop(t.labels.insert(sub(), value())),
            "extra-hosts" => drop(t.extra_hosts.insert(sub(), value())),
            "tags" => self.texts(&mut t.tags),
            "platform" => self.texts(&mut t.platforms),
            "no-cache-filter" => self.texts(&mut t.no_cache_filter),
            "ulimits" => self.texts(&mut t.ulimits),
            "policy" => {
                if !self.append {
                    t.policy.clear();
                }
                t.policy.extend(self.values.iter().map(|text| policy(text)));
            }
            // These always append, as in buildx.
            "annotations" => t.annotations.extend(self.values.iter().cloned()),
            "entitlements" => t.entitlements.extend(self.values.iter().cloned()),
            "attest" => t.attest.extend(self.parsed()?),
            "cache-from" => self.caches(&mut t.cache_from)?,
            "cache-to" => self.caches(&mut t.cache_to)?,
            "secret" => self.secret(&mut t.secret)?,
            "secrets" => self.entries(&mut t.secret)?,
            "ssh" => self.entries(&mut t.ssh)?,
            "output" => self.entries(&mut t.output)?,
            "no-cache" => t.no_cache = Some(self.truth()?),
            "pull" => t.pull = Some(self.truth()?),
            "push" => set_push(&mut t.output, self.truth()?),
            "load" => set_load(&mut t.output, self.truth()?),
            key => return fault(format!("unknown key: {key}")),
        }
        Ok(())
    }

    fn truth(&self) -> Result<bool, Diagnostic> {
        let value = self.values.last().map_or("", String::as_str);
        match parse_bool(value) {
            Some(yes) => Ok(yes),
            None => fault(format!("invalid value {value} for boolean key {}", self.key)),
        }
    }

    fn texts(&self, list: &mut Vec<String>) {
        if !self.append {
            list.clear();
        }
        list.extend(self.values.iter().cloned());
    }

    fn parsed<E: Entry>(&self) -> Result<Vec<E>, Diagnostic> {
        let given = self.values.iter().filter(|v| !v.is_empty());
        let all = given.map(|text| {
            E::from_text(text).map_err(|p| {
                Diagnostic::error(format!("invalid value for {}: {p}", self.key), None)
            })
        });
        all.collect()
    }

    fn caches(&self, list: &mut Vec<CacheEntry>) -> Result<(), Diagnostic> {
        let mut parsed = Vec::new();
        for text in &self.values {
            let found = parse_caches(text);
            parsed.extend(found.map_err(|p| {
                Diagnostic::error(format!("invalid value for {}: {p}", self.key), None)
            })?);
        }
        if !self.append {
            list.clear();
        }
        list.extend(parsed);
        Ok(())
    }

    /// `secret.ID=env=…` or `secret.ID=src=…`: another source for a secret that is declared.
    fn secret(&self, list: &mut [Secret]) -> Result<(), Diagnostic> {
        let id = &self.sub;
        let Some(known) = list.iter_mut().find(|s| s.id == *id) else {
            let message = format!("secret {id:?} must be declared before it can be overridden");
            return fault(message);
        };
        let text = self.values.last().map_or("", String::as_str);
        let new = Secret::from_text(text)
            .map_err(|p| Diagnostic::error(format!("invalid value for secret.{id}: {p}"), None))?;
        if !new.id.is_empty() && new.id != *id {
            let message =
                format!("secret override id {:?} does not match declared secret {id:?}", new.id);
            return fault(message);
        }
        *known = Secret { id: id.clone(), ..new };
        Ok(())
    }

    fn entries<E: Entry>(&self, list: &mut Vec<E>) -> Result<(), Diagnostic> {
        let parsed = self.parsed()?;
        if !self.append {
            list.clear();
        }
        list.extend(parsed);
        Ok(())
    }
}

/// A policy entry of CSV pairs (or a bare file name) as JSON text.
fn policy(text: &str) -> String {
    let fields = crate::csv::fields(text).unwrap_or_default();
    let pairs = fields.iter().map(|f| f.split_once('=').unwrap_or(("filename", f)));
    Value::Object(pairs.map(|(k, v)| (k.to_owned(), Value::text(v))).collect()).to_json()
}

/// `--push`: image outputs push, and where nothing but `docker` is exported an image output is added.
fn set_push(outputs: &mut Vec<Output>, push: bool) {
    if !push {
        outputs.retain(|o| o.kind != "registry");
    }
    for output in outputs.iter_mut().filter(|o| o.kind == "image") {
        output.attrs.insert("push".to_owned(), push.to_string());
    }
    if push && outputs.iter().all(|o| o.kind == "docker") {
        let mut image = Output::of_kind("image");
        image.attrs.insert("push".to_owned(), "true".to_owned());
        outputs.push(image);
    }
}

/// `--load`: a `docker` output is added unless one loads already or files are exported.
fn set_load(outputs: &mut Vec<Output>, load: bool) {
    let kept = outputs.iter().any(|o| match o.kind.as_str() {
        "docker" => o.dest.is_empty(),
        "image" | "registry" | "oci" => false,
        _ => true,
    });
    if load && !kept {
        outputs.push(Output::of_kind("docker"));
    }
}
