//! A target and how two of them merge, after buildx.

use std::collections::{BTreeMap, BTreeSet};

use crate::entry::{Attest, CacheEntry, Entry, Output, Secret, Ssh, normalize};

/// A build as the bake files describe it. Attributes nobody set are `None` or empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Target {
    /// What people should know about it.
    pub description: Option<String>,
    /// Targets it takes attributes from; empty once resolved.
    pub inherits: Vec<String>,
    /// `[TYPE[PLATFORM]:]KEY=VALUE`.
    pub annotations: Vec<String>,
    /// Attestations, one of each kind.
    pub attest: Vec<Attest>,
    /// The main context: a path, URL, …; `.` once resolved.
    pub context: Option<String>,
    /// Named contexts; `target:NAME` links another target.
    pub contexts: BTreeMap<String, String>,
    /// Path of the Dockerfile in the context; `Dockerfile` once resolved.
    pub dockerfile: Option<String>,
    /// The text of a Dockerfile; wins over `dockerfile`.
    pub dockerfile_inline: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Image labels.
    pub labels: BTreeMap<String, String>,
    /// Image names.
    pub tags: Vec<String>,
    /// Caches to read.
    pub cache_from: Vec<CacheEntry>,
    /// Caches to write.
    pub cache_to: Vec<CacheEntry>,
    /// The stage to build.
    pub target: Option<String>,
    /// Secrets.
    pub secret: Vec<Secret>,
    /// SSH agents and keys.
    pub ssh: Vec<Ssh>,
    /// Platforms such as `linux/amd64`.
    pub platforms: Vec<String>,
    /// What becomes of the result.
    pub output: Vec<Output>,
    /// Whether base images are always pulled.
    pub pull: Option<bool>,
    /// Whether the cache is not used.
    pub no_cache: Option<bool>,
    /// Network of `RUN`: `default`, `host`, `none`.
    pub network: Option<String>,
    /// Stages the cache is not used for.
    pub no_cache_filter: Vec<String>,
    /// Size of `/dev/shm`, such as `128m`.
    pub shm_size: Option<String>,
    /// `NAME=SOFT[:HARD]`.
    pub ulimits: Vec<String>,
    /// The frontend method instead of a build, such as `check`.
    pub call: Option<String>,
    /// Privileges such as `network.host`.
    pub entitlements: Vec<String>,
    /// Additional lines of `/etc/hosts`.
    pub extra_hosts: BTreeMap<String, String>,
    /// Policy entries, each as a JSON text.
    pub policy: Vec<String>,
    /// Only built because another target links it.
    pub linked: bool,
    /// Lists that are set, even to nothing: they replace what is inherited.
    pub(crate) set: BTreeSet<&'static str>,
}

/// Prefix of a context that is another target.
const TARGET_SCHEME: &str = "target:";

/// The targets a target links: context name and target name, in context order.
pub fn linked_targets(target: &Target) -> impl Iterator<Item = (&str, &str)> {
    target
        .contexts
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.strip_prefix(TARGET_SCHEME)?)))
}

fn replace<T>(to: &mut Option<T>, from: Option<T>) {
    if from.is_some() {
        *to = from;
    }
}

impl Target {
    /// Lays `other` over it: scalars, tags, platforms, outputs and cache exports replace, maps merge by key and
    /// the other lists append.
    pub(crate) fn merge(&mut self, other: Target) {
        let set = other.set;
        replace(&mut self.description, other.description.filter(|d| !d.is_empty()));
        replace(&mut self.context, other.context);
        replace(&mut self.dockerfile, other.dockerfile);
        replace(&mut self.dockerfile_inline, other.dockerfile_inline);
        replace(&mut self.target, other.target);
        replace(&mut self.call, other.call);
        replace(&mut self.pull, other.pull);
        replace(&mut self.no_cache, other.no_cache);
        replace(&mut self.network, other.network);
        replace(&mut self.shm_size, other.shm_size);
        self.args.extend(other.args);
        self.contexts.extend(other.contexts);
        self.labels.extend(other.labels);
        self.extra_hosts.extend(other.extra_hosts);
        if set.contains("tags") {
            self.tags = other.tags;
        }
        if set.contains("platforms") {
            self.platforms = other.platforms;
        }
        if set.contains("cache-to") {
            self.cache_to = other.cache_to;
        }
        if set.contains("output") {
            self.output = other.output;
        }
        self.annotations.extend(other.annotations);
        self.attest.extend(other.attest);
        self.policy.extend(other.policy);
        self.secret.extend(other.secret);
        self.ssh.extend(other.ssh);
        self.cache_from.extend(other.cache_from);
        self.no_cache_filter.extend(other.no_cache_filter);
        self.ulimits.extend(other.ulimits);
        self.entitlements.extend(other.entitlements);
        self.inherits.extend(other.inherits);
        self.set.extend(set);
    }

    /// How many entries its lists and maps have.
    pub(crate) fn entries(&self) -> usize {
        let maps = [&self.args.len(), &self.contexts.len(), &self.labels.len()];
        let lists = [
            self.extra_hosts.len(),
            self.annotations.len(),
            self.attest.len(),
            self.policy.len(),
            self.secret.len(),
            self.ssh.len(),
            self.cache_from.len(),
            self.no_cache_filter.len(),
            self.ulimits.len(),
            self.entitlements.len(),
        ];
        maps.into_iter().chain(&lists).sum()
    }

    /// Drops duplicates and what stands for nothing; asks for what `network` needs.
    pub(crate) fn normalize(&mut self) {
        for list in [
            &mut self.annotations,
            &mut self.tags,
            &mut self.platforms,
            &mut self.no_cache_filter,
            &mut self.ulimits,
            // Doubled at every step of a chain of diamonds otherwise.
            &mut self.policy,
        ] {
            unique(list);
        }
        if self.network.as_deref() == Some("host") {
            self.entitlements.push("network.host".to_owned());
        }
        unique(&mut self.entitlements);
        tidy(&mut self.attest);
        tidy(&mut self.secret);
        tidy(&mut self.ssh);
        tidy(&mut self.cache_from);
        tidy(&mut self.cache_to);
        tidy(&mut self.output);
        self.contexts.retain(|_, v| !v.is_empty());
    }
}

fn tidy<E: Entry>(entries: &mut Vec<E>) {
    *entries = normalize(std::mem::take(entries));
}

fn unique(list: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    list.retain(|item| !item.is_empty() && seen.insert(item.clone()));
}
