//! From a request to the targets to build: groups opened, inheritance merged, overrides applied, links followed.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use karman_diag::{Diagnostic, Span};

use crate::config::Config;
use crate::entry::Output;
use crate::eval::suggest;
use crate::file::BakeFile;
use crate::func::clean;
use crate::limits::{MAX_CHAIN, MAX_ENTRIES};
use crate::overrides::{Granted, Overrides};
use crate::pattern::{is_pattern, matches};
use crate::request::Request;
use crate::target::{Target, linked_targets};

/// What is to be built.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// The groups asked for (with `default`, which always names what was asked for), each with its members.
    pub groups: BTreeMap<String, Vec<String>>,
    /// Descriptions of those groups, where they have one.
    pub descriptions: BTreeMap<String, String>,
    /// The targets asked for and those they link.
    pub targets: BTreeMap<String, Target>,
    /// All names of `targets`, linked ones before those that link them.
    pub order: Vec<String>,
    /// What overrides allow by naming it.
    pub granted: Granted,
}

/// Prefix of paths below the working directory.
const CWD: &str = "cwd://";
/// The variable of the environment that every target takes as an argument.
const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// The name used where no target is asked for.
const DEFAULT: &str = "default";

/// Evaluates the bake files and resolves what the request asks for.
///
/// # Errors
/// Every problem found: at least one [`Diagnostic`], those of the files with their place.
pub fn resolve(bake: &BakeFile, request: &Request) -> Result<Resolved, Vec<Diagnostic>> {
    let config = Config::of(bake, request)?;
    let overrides = Overrides::parse(&config, request).map_err(|d| vec![d])?;
    let resolver = Resolver {
        request,
        config: &config,
        overrides: &overrides,
        merged: RefCell::default(),
        granted: RefCell::default(),
    };
    let mut resolved = resolver.run(request).map_err(|d| vec![d])?;
    resolved.granted = resolver.granted.into_inner();
    Ok(resolved)
}

struct Resolver<'c> {
    request: &'c Request,
    config: &'c Config,
    overrides: &'c Overrides,
    /// Targets with what they inherit: a diamond of `inherits` would take exponential time without.
    merged: RefCell<BTreeMap<String, Target>>,
    granted: RefCell<Granted>,
}

type Found<T> = Result<T, Diagnostic>;

impl Resolver<'_> {
    fn run(&self, request: &Request) -> Found<Resolved> {
        let asked = self.asked(request)?;
        let mut out = Resolved::default();
        for name in &asked {
            let mut open = Opened::default();
            self.open(name, None, &mut Vec::new(), &mut open)?;
            for (target, span) in open.targets {
                if let Entry::Vacant(place) = out.targets.entry(target) {
                    let resolved = self.target(place.key(), span)?;
                    place.insert(resolved);
                }
            }
            for group in open.groups.iter().filter_map(|g| self.config.group(g)) {
                let members = group.targets.iter().map(|(n, _)| n.clone()).collect();
                out.groups.insert(group.name.clone(), members);
                if !group.description.is_empty() {
                    out.descriptions.insert(group.name.clone(), group.description.clone());
                }
            }
        }
        add_default(&mut out.groups, &asked);
        let names: Vec<String> = out.targets.keys().cloned().collect();
        for name in &names {
            self.link(name, &mut Vec::new(), &mut out)?;
        }
        Ok(out)
    }

    /// The names asked for, patterns expanded.
    fn asked(&self, request: &Request) -> Found<Vec<String>> {
        if request.targets.is_empty() {
            return Ok(vec![DEFAULT.to_owned()]);
        }
        let mut all: Vec<String> = Vec::new();
        for text in &request.targets {
            // Compose service names may hold dots, target names may not.
            let text = text.replace('.', "_");
            let found: Vec<String> = match is_pattern(&text) {
                true => {
                    self.config.names().filter(|n| matches(&text, n)).map(str::to_owned).collect()
                }
                false => vec![text.clone()],
            };
            if found.is_empty() {
                return Err(self.missing(
                    &format!("could not find any target matching {text:?}"),
                    &text,
                    None,
                ));
            }
            for name in found {
                if !all.contains(&name) {
                    all.push(name);
                }
            }
        }
        Ok(all)
    }

    fn missing(&self, message: &str, name: &str, span: Option<Span>) -> Diagnostic {
        let d = Diagnostic::error(message, span);
        if name != DEFAULT {
            return suggest(d, name, self.config.names());
        }
        let public: Vec<&str> =
            self.config.names().filter(|n| !n.starts_with('_')).take(8).collect();
        match public.is_empty() {
            true => d,
            false => d.with_hint(format!(
                "there is no `default`: name a target or define `group \"default\"`; there are {}",
                public.join(", ")
            )),
        }
    }

    /// The targets and groups behind a name.
    fn open(
        &self,
        name: &str,
        span: Option<Span>,
        chain: &mut Vec<String>,
        out: &mut Opened,
    ) -> Found<()> {
        let inside = chain.iter().position(|n| n == name);
        let group = self.config.group(name);
        let Some(group) = group.filter(|_| inside.is_none()) else {
            // A group may hold the target it shares its name with.
            if let Some(at) = inside
                && self.config.target(name).is_none()
            {
                let cycle = format!("{} -> {name}", chain[at..].join(" -> "));
                return Err(Diagnostic::error(format!("group `{name}` contains itself"), span)
                    .with_hint(format!("the groups are {cycle}")));
            }
            if !out.targets.iter().any(|(n, _)| n == name) {
                out.targets.push((name.to_owned(), span));
            }
            return Ok(());
        };
        if out.groups.iter().any(|g| g == name) {
            return Ok(());
        }
        if chain.len() >= MAX_CHAIN {
            return Err(Diagnostic::error(
                format!("groups are nested deeper than {MAX_CHAIN}"),
                span,
            ));
        }
        chain.push(name.to_owned());
        for (member, span) in &group.targets {
            self.open(member, Some(*span), chain, out)?;
        }
        chain.pop();
        out.groups.push(name.to_owned());
        Ok(())
    }

    /// A target with everything it inherits and the defaults of buildx.
    fn target(&self, name: &str, span: Option<Span>) -> Found<Target> {
        let mut target = self.merged(name, span, &mut Vec::new())?;
        let context = target.context.take().unwrap_or_else(|| ".".to_owned());
        let place = span.or(self.config.target(name).map(|d| d.span));
        for (what, text) in
            [("context", Some(&context)), ("dockerfile", target.dockerfile.as_ref())]
        {
            if text.is_some_and(|text| text == "-") {
                let message = format!("{what} from stdin not allowed in bake: target `{name}`");
                return Err(Diagnostic::error(message, place)
                    .with_hint("standard input may hold the bake file: `-f -`"));
            }
        }
        let rebase = |text: &str| {
            self.rebased(text)
                .map_err(|why| Diagnostic::error(format!("target `{name}`: {why}"), place))
        };
        let rebased = rebase(&context)?;
        // For a local build the prefix has no meaning any more.
        let own = rebased.strip_prefix(CWD).map(clean);
        target.context = Some(own.unwrap_or(rebased));
        for value in target.contexts.values_mut().filter(|_| self.request.facts.place.is_some()) {
            *value = rebase(value)?;
        }
        if let Some(epoch) = self.request.env.get(EPOCH).filter(|e| !e.is_empty()) {
            target.args.entry(EPOCH.to_owned()).or_insert_with(|| epoch.clone());
        }
        let dockerfile = target.dockerfile.take().filter(|d| !d.is_empty());
        target.dockerfile = Some(dockerfile.unwrap_or_else(|| "Dockerfile".to_owned()));
        Ok(target)
    }

    /// A context as the build takes it: a path in its shortest form, below the place of the bake files.
    fn rebased(&self, text: &str) -> Result<String, String> {
        match &self.request.facts.place {
            _ if !is_path(text) => Ok(text.to_owned()),
            None => Ok(clean(text)),
            Some(place) => below(place, &clean(text)),
        }
    }

    fn merged(&self, name: &str, span: Option<Span>, chain: &mut Vec<String>) -> Found<Target> {
        if let Some(known) = self.merged.borrow().get(name) {
            return Ok(known.clone());
        }
        let Some(definition) = self.config.target(name) else {
            return Err(self.missing(&format!("failed to find target {name}"), name, span));
        };
        if let Some(at) = chain.iter().position(|n| n == name) {
            let cycle = format!("{} -> {name}", chain[at..].join(" -> "));
            return Err(Diagnostic::error(format!("target `{name}` inherits from itself"), span)
                .with_hint(format!("the targets are {cycle}")));
        }
        if chain.len() >= MAX_CHAIN {
            return Err(Diagnostic::error(
                format!("targets inherit deeper than {MAX_CHAIN}"),
                span,
            ));
        }
        chain.push(name.to_owned());
        let mut target = Target::default();
        for (parent, span) in &definition.inherits {
            target.merge(self.merged(parent, Some(*span), chain)?);
        }
        chain.pop();
        target.merge(definition.target.clone());
        self.overrides.apply(name, &mut target, &mut self.granted.borrow_mut())?;
        target.normalize();
        // Followed already; it would double at every step of a chain of diamonds.
        target.inherits.clear();
        // What an override changed counts as set for those who inherit.
        target.set.extend(["tags", "platforms", "cache-to", "output"].into_iter().filter(|k| {
            match *k {
                "tags" => !target.tags.is_empty(),
                "platforms" => !target.platforms.is_empty(),
                "cache-to" => !target.cache_to.is_empty(),
                _ => !target.output.is_empty(),
            }
        }));
        if target.entries() > MAX_ENTRIES {
            let message = format!("target `{name}` inherits more than {MAX_ENTRIES} entries");
            return Err(Diagnostic::error(message, definition.span)
                .with_hint("a target that is inherited in several ways counts each time"));
        }
        self.merged.borrow_mut().insert(name.to_owned(), target.clone());
        Ok(target)
    }

    /// Adds the targets linked from `name`, depth first, and puts them before it in the order.
    fn link(&self, name: &str, chain: &mut Vec<String>, out: &mut Resolved) -> Found<()> {
        if out.order.iter().any(|n| n == name) {
            return Ok(());
        }
        if chain.len() >= MAX_CHAIN {
            return Err(Diagnostic::error(
                format!("linked targets are nested deeper than {MAX_CHAIN}"),
                None,
            ));
        }
        chain.push(name.to_owned());
        let links: Vec<(String, String)> = match out.targets.get(name) {
            Some(target) => {
                linked_targets(target).map(|(by, n)| (by.to_owned(), n.to_owned())).collect()
            }
            None => Vec::new(),
        };
        let span = self.config.target(name).map(|d| d.span);
        for (context, linked) in links {
            if linked == name {
                return Err(Diagnostic::error(
                    format!("target {name} cannot link to itself"),
                    span,
                ));
            }
            if let Some(at) = chain.iter().position(|n| *n == linked) {
                let cycle = format!("{} -> {linked}", chain[at..].join(" -> "));
                let message = format!("infinite loop from {name} to {linked}");
                return Err(
                    Diagnostic::error(message, span).with_hint(format!("the contexts are {cycle}"))
                );
            }
            if !out.targets.contains_key(&linked) {
                // The block shows no value that came from a variable.
                let wanted = |d: Diagnostic| {
                    d.with_hint(format!("context `{context}` of `{name}` is `target:{linked}`"))
                };
                let is_missing = self.config.target(&linked).is_none();
                let mut target = self
                    .target(&linked, span)
                    .map_err(|d| if is_missing { wanted(d) } else { d })?;
                target.output = vec![Output::of_kind("cacheonly")];
                target.linked = true;
                out.targets.insert(linked.clone(), target);
            }
            self.link(&linked, chain, out)?;
            adopt(name, &linked, span, out)?;
        }
        chain.pop();
        out.order.push(name.to_owned());
        Ok(())
    }
}

/// Whether a context is a path as it looks.
fn is_path(text: &str) -> bool {
    let remote = ["github.com/", "git@", "target:"];
    !text.contains("://") && !remote.iter().any(|prefix| text.starts_with(prefix))
}

/// A path below a remote place, as a URL.
fn below(place: &str, path: &str) -> Result<String, String> {
    if path == "." {
        return Ok(place.to_owned());
    }
    if path.starts_with("..") || path.starts_with('/') {
        return Err(format!("context `{path}` is outside of the remote bake files"));
    }
    let (url, fragment) = place.split_once('#').map_or((place, None), |(u, f)| (u, Some(f)));
    let is_git = url.ends_with(".git") || url.starts_with("git") || url.starts_with("ssh://");
    if !is_git || url.contains('?') {
        return Err(format!(
            "context `{path}`: only git repositories have directories as contexts"
        ));
    }
    let (reference, dir) =
        fragment.unwrap_or_default().split_once(':').unwrap_or((fragment.unwrap_or_default(), ""));
    let dir = if dir.is_empty() { path.to_owned() } else { clean(&format!("{dir}/{path}")) };
    Ok(format!("{url}#{reference}:{dir}"))
}

/// What a target takes over from one it links, and whether their platforms fit.
fn adopt(name: &str, linked: &str, span: Option<Span>, out: &mut Resolved) -> Found<()> {
    let Some(from) = out.targets.get(linked) else { return Ok(()) };
    let (entitlements, platforms) = (from.entitlements.clone(), from.platforms.clone());
    let Some(target) = out.targets.get_mut(name) else { return Ok(()) };
    for entitlement in entitlements {
        if !target.entitlements.contains(&entitlement) {
            target.entitlements.push(entitlement);
        }
    }
    let several = target.platforms.len() > 1 && platforms.len() > 1;
    if several && !target.platforms.iter().all(|p| platforms.contains(p)) {
        let message = format!(
            "target {linked} can't be used by {name} because its platforms [{}] are not a subset of [{}]",
            target.platforms.join(" "),
            platforms.join(" ")
        );
        return Err(Diagnostic::error(message, span));
    }
    Ok(())
}

/// Targets and groups behind one name.
#[derive(Default)]
struct Opened {
    targets: Vec<(String, Option<Span>)>,
    groups: Vec<String>,
}

/// The `default` group names what was asked for, sorted.
fn add_default(groups: &mut BTreeMap<String, Vec<String>>, asked: &[String]) {
    for name in asked {
        if name == DEFAULT && groups.contains_key(DEFAULT) {
            continue;
        }
        groups.entry(DEFAULT.to_owned()).or_default().push(name.clone());
    }
    if let Some(members) = groups.get_mut(DEFAULT) {
        members.sort();
        members.dedup();
    }
}
