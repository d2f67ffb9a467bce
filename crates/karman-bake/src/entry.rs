//! Structured attribute values: outputs, caches, secrets, ssh keys and attestations, each as CSV text or as object.

use std::collections::BTreeMap;
use std::fmt;

use crate::csv;
use crate::request::parse_bool;
use crate::value::Value;

type Attrs = BTreeMap<String, String>;

/// Why a text or an object is not such an entry, a lower-case fragment.
pub(crate) type Problem = String;

/// One kind of entry; `merge_key` tells which earlier entry a later one replaces.
pub(crate) trait Entry: Sized + PartialEq + Clone {
    fn from_text(text: &str) -> Result<Self, Problem>;
    fn from_attrs(attrs: Attrs) -> Result<Self, Problem>;
    fn to_value(&self) -> Value;

    fn merge_key(&self) -> Option<&str> {
        None
    }

    /// An entry of an evaluated list.
    fn from_value(value: Value) -> Result<Self, Problem> {
        match value {
            Value::String(text) => Self::from_text(&text),
            Value::Object(map) => {
                let mut attrs = Attrs::new();
                for (key, value) in map {
                    match value {
                        Value::Null => {}
                        value => match value.to_text() {
                            Some(text) => drop(attrs.insert(key, text)),
                            None => {
                                return Err(format!(
                                    "`{key}` must be a string, not {}",
                                    value.type_name()
                                ));
                            }
                        },
                    }
                }
                Self::from_attrs(attrs)
            }
            other => Err(format!("a string or an object is expected, not {}", other.type_name())),
        }
    }
}

/// Without duplicates; where entries have keys, the last of each key at the place of the first.
pub(crate) fn normalize<E: Entry>(entries: Vec<E>) -> Vec<E> {
    let mut out: Vec<E> = Vec::new();
    for entry in entries {
        let same = out.iter().position(|e| match (e.merge_key(), entry.merge_key()) {
            (Some(a), Some(b)) => a == b,
            _ => *e == entry,
        });
        match same {
            Some(at) => out[at] = entry,
            None => out.push(entry),
        }
    }
    out
}

fn object(attrs: &Attrs, more: &[(&str, &str)]) -> Value {
    let mut map: BTreeMap<String, Value> =
        attrs.iter().map(|(k, v)| (k.clone(), Value::text(v))).collect();
    map.extend(
        more.iter().filter(|(_, v)| !v.is_empty()).map(|(k, v)| ((*k).to_owned(), Value::text(*v))),
    );
    Value::Object(map)
}

fn pairs<'a>(attrs: &'a Attrs, first: &[(&'a str, &'a str)]) -> String {
    let first = first.iter().copied().filter(|(_, v)| !v.is_empty());
    csv::join(first.chain(attrs.iter().map(|(k, v)| (k.as_str(), v.as_str()))))
}

/// `key=value` fields with lower-case keys.
fn read_pairs(fields: Vec<String>) -> Result<Attrs, Problem> {
    let mut attrs = Attrs::new();
    for field in fields {
        match field.split_once('=') {
            Some((key, value)) => attrs.insert(key.trim().to_lowercase(), value.to_owned()),
            None => return Err(format!("invalid value {field}")),
        };
    }
    Ok(attrs)
}

/// `cache-from` and `cache-to`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheEntry {
    /// `registry`, `local`, `inline`, `gha`, `s3`, …
    pub kind: String,
    /// Everything else, such as `ref` or `dest`.
    pub attrs: BTreeMap<String, String>,
}

impl Entry for CacheEntry {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let fields = csv::fields(text)?;
        if let [one] = fields.as_slice()
            && !one.contains('=')
        {
            let attrs = Attrs::from([("ref".to_owned(), one.clone())]);
            return Ok(Self { kind: "registry".to_owned(), attrs });
        }
        Self::from_attrs(read_pairs(fields)?).map_err(|_| format!("type required for {text:?}"))
    }

    fn from_attrs(mut attrs: Attrs) -> Result<Self, Problem> {
        match attrs.remove("type") {
            Some(kind) if !kind.is_empty() => Ok(Self { kind, attrs }),
            _ => Err("type required".to_owned()),
        }
    }

    fn to_value(&self) -> Value {
        object(&self.attrs, &[("type", &self.kind)])
    }
}

impl fmt::Display for CacheEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind.as_str(), self.attrs.get("ref")) {
            ("registry", Some(reference)) if self.attrs.len() == 1 => f.write_str(reference),
            _ => f.write_str(&pairs(&self.attrs, &[("type", &self.kind)])),
        }
    }
}

/// Cache entries of a text of a command line or a compose file, where references may stand side by side: `a,b`.
///
/// # Errors
/// When a field cannot be read or the type is missing.
pub fn parse_caches(text: &str) -> Result<Vec<CacheEntry>, Problem> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    if text.contains('=') {
        return CacheEntry::from_text(text).map(|entry| vec![entry]);
    }
    csv::fields(text)?.iter().map(|field| CacheEntry::from_text(field)).collect()
}

/// `output`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// `image`, `docker`, `oci`, `local`, `tar`, `registry`, `cacheonly`.
    pub kind: String,
    /// Where it goes; empty where the exporter has its own place.
    pub dest: String,
    /// Everything else.
    pub attrs: BTreeMap<String, String>,
}

impl Output {
    /// An output without attributes.
    pub(crate) fn of_kind(kind: &str) -> Self {
        Self { kind: kind.to_owned(), dest: String::new(), attrs: Attrs::new() }
    }
}

impl Entry for Output {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let fields = csv::fields(text)?;
        if let [one] = fields.as_slice()
            && one == text
            && !text.starts_with("type=")
        {
            // A bare path is a local directory, `-` a tar stream.
            let kind = if text == "-" { "tar" } else { "local" };
            return Ok(Self { dest: text.to_owned(), ..Self::of_kind(kind) });
        }
        Self::from_attrs(read_pairs(fields)?)
    }

    fn from_attrs(mut attrs: Attrs) -> Result<Self, Problem> {
        let dest = attrs.remove("dest").unwrap_or_default();
        match attrs.remove("type") {
            Some(kind) if !kind.is_empty() => Ok(Self { kind, dest, attrs }),
            _ => Err("type is required for output".to_owned()),
        }
    }

    fn to_value(&self) -> Value {
        object(&self.attrs, &[("type", &self.kind), ("dest", &self.dest)])
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&pairs(&self.attrs, &[("type", &self.kind), ("dest", &self.dest)]))
    }
}

/// `secret`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// The name `RUN --mount=type=secret` uses.
    pub id: String,
    /// A file; empty where there is none.
    pub src: String,
    /// An environment variable; empty where there is none.
    pub env: String,
}

impl Entry for Secret {
    fn from_text(text: &str) -> Result<Self, Problem> {
        Self::from_attrs(read_pairs(csv::fields(text)?).map_err(|p| {
            format!("{} must be a key=value pair", p.replace("invalid value", "invalid field"))
        })?)
    }

    fn from_attrs(mut attrs: Attrs) -> Result<Self, Problem> {
        let kind = attrs.remove("type").unwrap_or_default();
        if !matches!(kind.as_str(), "" | "file" | "env") {
            return Err(format!("unsupported secret type {kind:?}"));
        }
        let mut take = |key: &str| attrs.remove(key).unwrap_or_default();
        let (id, src, source, mut env) = (take("id"), take("src"), take("source"), take("env"));
        let mut src = if src.is_empty() { source } else { src };
        if let Some(key) = attrs.keys().next() {
            return Err(format!("unexpected key `{key}` of a secret"));
        }
        if kind == "env" && env.is_empty() {
            env = std::mem::take(&mut src);
        }
        Ok(Self { id, src, env })
    }

    fn to_value(&self) -> Value {
        object(&Attrs::new(), &[("id", &self.id), ("src", &self.src), ("env", &self.env)])
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = [("id", self.id.as_str()), ("src", &self.src), ("env", &self.env)];
        f.write_str(&csv::join(all.into_iter().filter(|(_, v)| !v.is_empty())))
    }
}

/// `ssh`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    /// The name `RUN --mount=type=ssh` uses.
    pub id: String,
    /// Keys or an agent socket; none is the agent of the caller.
    pub paths: Vec<String>,
}

impl Entry for Ssh {
    fn from_text(text: &str) -> Result<Self, Problem> {
        let (id, paths) = text.split_once('=').unwrap_or((text, ""));
        let paths = paths.split(',').filter(|p| !p.is_empty()).map(str::to_owned).collect();
        Ok(Self { id: id.to_owned(), paths })
    }

    fn from_attrs(mut attrs: Attrs) -> Result<Self, Problem> {
        let id = attrs.remove("id").unwrap_or_default();
        match attrs.keys().next() {
            Some(key) => Err(format!("unexpected key `{key}` of an ssh entry")),
            None => Ok(Self { id, paths: Vec::new() }),
        }
    }

    fn from_value(value: Value) -> Result<Self, Problem> {
        match value {
            Value::String(text) => Self::from_text(&text),
            Value::Object(mut map) => {
                let paths = match map.remove("paths") {
                    Some(Value::List(items)) => items.iter().map(Value::to_text).collect(),
                    None | Some(Value::Null) => Some(Vec::new()),
                    Some(_) => None,
                };
                let paths = paths.ok_or("`paths` must be a list of strings")?;
                let attrs = map.into_iter().map(|(k, v)| (k, v.to_text().unwrap_or_default()));
                Ok(Self { paths, ..Self::from_attrs(attrs.collect())? })
            }
            other => Err(format!("a string or an object is expected, not {}", other.type_name())),
        }
    }

    fn to_value(&self) -> Value {
        let Value::Object(mut map) = object(&Attrs::new(), &[("id", &self.id)]) else {
            return Value::Null;
        };
        if !self.paths.is_empty() {
            let paths = self.paths.iter().map(Value::text).collect();
            map.insert("paths".to_owned(), Value::List(paths));
        }
        Value::Object(map)
    }
}

impl fmt::Display for Ssh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.paths.is_empty() {
            true => f.write_str(&self.id),
            false => write!(f, "{}={}", self.id, self.paths.join(",")),
        }
    }
}

/// `attest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attest {
    /// `provenance` or `sbom`.
    pub kind: String,
    /// Whether it is turned off.
    pub disabled: bool,
    /// Everything else, such as `mode` or `generator`.
    pub attrs: BTreeMap<String, String>,
}

impl Attest {
    /// Reads `type=provenance,mode=max`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::from_text(text)
    }
}

impl Entry for Attest {
    fn from_text(text: &str) -> Result<Self, Problem> {
        Self::from_attrs(read_pairs(csv::fields(text)?)?)
    }

    fn from_attrs(mut attrs: Attrs) -> Result<Self, Problem> {
        let disabled = match attrs.remove("disabled") {
            None => false,
            Some(text) => parse_bool(&text).ok_or(format!("invalid value disabled={text}"))?,
        };
        match attrs.remove("type") {
            Some(kind) if !kind.is_empty() => Ok(Self { kind, disabled, attrs }),
            _ => Err("attestation type not specified".to_owned()),
        }
    }

    fn merge_key(&self) -> Option<&str> {
        Some(&self.kind)
    }

    fn to_value(&self) -> Value {
        let value = object(&self.attrs, &[("type", &self.kind)]);
        match value {
            Value::Object(mut map) if self.disabled => {
                map.insert("disabled".to_owned(), Value::Bool(true));
                Value::Object(map)
            }
            value => value,
        }
    }
}

impl fmt::Display for Attest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disabled = if self.disabled { "true" } else { "" };
        f.write_str(&pairs(&self.attrs, &[("type", &self.kind), ("disabled", disabled)]))
    }
}
