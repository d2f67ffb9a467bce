//! One target for all its platforms.

use std::collections::{BTreeMap, BTreeSet};

use karman_control::{
    CacheExport, CachePlace, Export, ImageResult, Layering, OutputKind, PackageLayers, TargetResult,
};
use karman_diag::Diagnostic;
use karman_dockerfile::check::{VIOLATION, of_syntax};
use karman_dockerfile::lower::{Lowered, Options, go_bool, lower};
use karman_llb::{ExtraHost, Network};
use karman_oci::{Platform, Reference};

use crate::context::Place;
use crate::dockerfile::Loaded;
use crate::error::{Problem, Step};
use crate::plan::Planner;
use crate::resolver::Bases;
use crate::spec::TargetSpec;

/// The build argument and variable that date the build.
const EPOCH: &str = "SOURCE_DATE_EPOCH";
/// The build argument that asks for an index although there is one platform only.
const MULTI_PLATFORM: &str = "BUILDKIT_MULTI_PLATFORM";
/// The build argument that asks for a cache inside the image.
const INLINE_CACHE: &str = "BUILDKIT_INLINE_CACHE";
/// The build argument that names the host of steps.
const HOSTNAME: &str = "BUILDKIT_SANDBOX_HOSTNAME";
/// The address that stands for the host.
const HOST_GATEWAY: &str = "host-gateway";

/// The first platform of a target.
pub(crate) fn first_platform(spec: &TargetSpec) -> Platform {
    spec.platforms.first().cloned().unwrap_or_else(Platform::host)
}

/// All platforms of a target.
pub(crate) fn platforms(spec: &TargetSpec) -> Vec<Platform> {
    match spec.platforms.as_slice() {
        [] => vec![Platform::host()],
        some => some.to_vec(),
    }
}

impl Planner<'_> {
    /// Plans one target; its images are known to targets that link it from then on.
    pub(crate) fn target(&mut self, spec: &TargetSpec) -> Step<TargetResult> {
        let known = self.graph.len();
        self.borrow(spec)?;
        let mut result = TargetResult {
            name: spec.name.clone(),
            images: Vec::new(),
            tags: tags(spec)?,
            exports: spec.exports.iter().map(|e| self.placed(e)).collect(),
            annotations: spec.annotations.clone(),
            is_index: is_index(spec, &self.build_args(spec))?,
            attest: spec.attest.clone(),
            asked: None,
            definition: self.defined_at(spec),
            args: self.build_args(spec).into_keys().collect(),
            cache_to: self.cache_to(spec),
        };
        self.reads_caches(spec);
        check_exports(&result)?;
        let place = self.main_place(spec)?;
        let dockerfile = self.dockerfile(spec, &place)?;
        if let (Err(problem), Some(tree)) = (dockerfile.tree(), dockerfile.partial_tree()) {
            self.warn(of_syntax(tree, &self.build_args(spec)).unwrap_or_default());
            return Err(problem);
        }
        let mut unused = BTreeSet::new();
        for (at, platform) in platforms(spec).into_iter().enumerate() {
            let options = self.options(spec, platform)?;
            let (lowered, warnings) = self.lower(spec, &place, &dockerfile, options);
            // They would be the same for the other platforms.
            if at == 0 {
                self.warn(warnings);
            }
            let lowered = lowered?;
            unused.extend(lowered.unused_args.iter().cloned());
            result.images.push(self.finish(spec, lowered));
        }
        self.warn_unused(spec, &unused);
        if self.is_prefixed {
            crate::names::prefix(&mut self.graph, known, &spec.name);
        }
        let asked = self.asked(spec, &place, &dockerfile)?;
        self.asked.insert(spec.name.clone(), asked.clone());
        result.asked = Some(asked);
        self.done.insert(spec.name.clone(), result.images.clone());
        Ok(result)
    }

    /// Lowers for one platform; with the warnings that were found, also where it fails.
    pub(crate) fn lower(
        &mut self,
        spec: &TargetSpec,
        place: &Place,
        dockerfile: &Loaded,
        mut options: Options,
    ) -> (Step<Lowered>, Vec<Diagnostic>) {
        let tree = match self.fill(spec, place, dockerfile, &mut options) {
            Ok(()) => dockerfile.tree(),
            Err(problem) => Err(problem),
        };
        let tree = match tree {
            Ok(tree) => tree,
            Err(problem) => return (Err(problem), Vec::new()),
        };
        let bases = Bases::new(self.backend, self.session, &self.images);
        match lower(tree, &options, &bases, &mut self.graph) {
            Ok(mut lowered) => {
                let warnings = std::mem::take(&mut lowered.warnings);
                (Ok(lowered), warnings)
            }
            Err(mut found) => {
                let mut last: Vec<Diagnostic> = found.pop().into_iter().collect();
                let problem = match bases.failure() {
                    Some((cause, hints)) => {
                        let hinted = |d| hints.iter().cloned().fold(d, Diagnostic::with_hint);
                        Problem::Unresolved(last.into_iter().map(hinted).collect(), cause)
                    }
                    None if last.iter().any(|d| d.code == VIOLATION) => {
                        // The code is not for people.
                        last.iter_mut().for_each(|d| d.code.clear());
                        Problem::Violated(last)
                    }
                    None => Problem::Found(last),
                };
                (Err(problem), found)
            }
        }
    }

    /// Adds the contexts.
    fn fill(
        &mut self,
        spec: &TargetSpec,
        place: &Place,
        dockerfile: &Loaded,
        options: &mut Options,
    ) -> Step<()> {
        let platform = options.target_platform.clone();
        options.main_context = self.main_input(spec, place, dockerfile, &platform)?;
        for name in spec.contexts.keys() {
            let own = context_platform(name)?;
            let context = self.named(spec, name, own.as_ref().unwrap_or(&platform))?;
            options.contexts.insert(name.clone(), context);
        }
        Ok(())
    }

    pub(crate) fn options(&self, spec: &TargetSpec, platform: Platform) -> Step<Options> {
        let mut options = Options::new(platform);
        options.build_platform = Platform::host();
        options.implicit_platform = spec.platforms.is_empty();
        options.multi_platform = is_index(spec, &self.build_args(spec))?;
        options.target.clone_from(&spec.stage);
        options.build_args = self.build_args(spec);
        options.hostname = options.build_args.get(HOSTNAME).cloned().unwrap_or_default();
        options.labels.clone_from(&spec.labels);
        options.no_cache = spec.no_cache;
        options.no_cache_filter.clone_from(&spec.no_cache_filter);
        options.network = network(spec)?;
        options.extra_hosts = extra_hosts(spec)?;
        options.shm_size = spec.shm_size;
        options.ulimits.clone_from(&spec.ulimits);
        Ok(options)
    }

    /// Arguments with their values; one without a value anywhere is not given at all.
    pub(crate) fn build_args(&self, spec: &TargetSpec) -> BTreeMap<String, String> {
        let value = |name: &String, given: &Option<String>| {
            given.clone().or_else(|| self.facts.env.get(name).cloned())
        };
        let args = spec.build_args.iter();
        let mut args: BTreeMap<String, String> =
            args.filter_map(|(name, given)| Some((name.clone(), value(name, given)?))).collect();
        // As buildx does it, so that an `ARG` of that name sees the value too.
        if let Some(epoch) = self.facts.env.get(EPOCH).filter(|v| !v.is_empty()) {
            args.entry(EPOCH.to_owned()).or_insert_with(|| epoch.clone());
        }
        args
    }

    /// Where the target's cache goes. The build argument is older than `type=inline` and read as that,
    /// as buildx does.
    fn cache_to(&self, spec: &TargetSpec) -> Vec<CacheExport> {
        let mut all: Vec<CacheExport> =
            spec.cache_to.iter().map(|c| c.clone().below(&self.facts.cwd)).collect();
        let args = self.build_args(spec);
        let is_asked = args.get(INLINE_CACHE).and_then(|text| go_bool(text)) == Some(true);
        let has_inline = all.iter().any(|cache| cache.place == CachePlace::Inline);
        if is_asked && !has_inline && !spec.exports.is_empty() {
            all.extend(CacheExport::new("inline", &BTreeMap::new()));
        }
        all
    }

    pub(crate) fn finish(&mut self, spec: &TargetSpec, lowered: Lowered) -> ImageResult {
        self.date(spec, lowered.epoch);
        for (name, value) in lowered.proxy {
            // Both cases, else the caller's own variable of the other case would win in a step.
            self.session.proxies.variables.insert(name.to_uppercase(), value.clone());
            self.session.proxies.variables.insert(name, value);
        }
        let mut config = lowered.config;
        config.rootfs.diff_ids.clear();
        ImageResult { platform: lowered.platform, root: lowered.root, config }
    }

    /// The epoch of the whole request is the first one found.
    fn date(&mut self, spec: &TargetSpec, epoch: Option<i64>) {
        match (self.epoch, epoch) {
            (None, Some(_)) => self.epoch = epoch,
            (Some(first), Some(other)) if first != other => {
                let message = format!(
                    "target `{}` asks for {EPOCH} {other}, but the build is dated {first}",
                    spec.name
                );
                let warning = Diagnostic::warning(message, None)
                    .with_hint("build the targets one by one to date them differently");
                self.warn(vec![warning]);
            }
            _ => {}
        }
    }

    fn warn_unused(&mut self, spec: &TargetSpec, unused: &BTreeSet<String>) {
        // An argument taken from the environment was not asked to be used.
        let given = unused.iter().filter(|name| spec.build_args.contains_key(*name));
        let names: Vec<String> = given.map(|name| format!("`{name}`")).collect();
        if names.is_empty() {
            return;
        }
        let list = names.join(", ");
        let message = match self.is_prefixed {
            true => format!("target `{}`: build arguments were not consumed: {list}", spec.name),
            false => format!("build arguments were not consumed: {list}"),
        };
        self.warn(vec![Diagnostic::warning(message, None)]);
    }

    /// Where a target is defined.
    fn defined_at(&self, spec: &TargetSpec) -> String {
        let context = match self.facts.cwd.join(&spec.context) {
            path if path.is_dir() => path.display().to_string(),
            _ => karman_llb::shown_remote(&spec.context),
        };
        let file = spec.dockerfile.as_deref().unwrap_or_default();
        let stage = spec.stage.as_deref().unwrap_or_default();
        [context.as_str(), file, stage].join(" ").trim_end().to_owned()
    }

    fn reads_caches(&mut self, spec: &TargetSpec) {
        for cache in spec.cache_from.iter().map(|c| c.clone().below(&self.facts.cwd)) {
            if !self.cache_from.contains(&cache) {
                self.cache_from.push(cache);
            }
        }
    }

    fn placed(&self, export: &Export) -> Export {
        let dest = export.dest.as_ref().map(|dest| self.facts.cwd.join(dest));
        let mut layering = export.layering.clone();
        if let Layering::Packages(PackageLayers { plan: Some(plan), .. }) = &mut layering {
            *plan = self.facts.cwd.join(&*plan);
        }
        Export { dest, layering, ..export.clone() }
    }
}

/// The platform a context is for, where its name ends in `::` and one. The name itself is that of
/// an image.
fn context_platform(name: &str) -> Step<Option<Platform>> {
    let (image, suffix) = match name.split_once("::") {
        Some((image, suffix)) => (image, Some(suffix)),
        None => (name, None),
    };
    if let Err(error) = Reference::parse(image) {
        return Err(Problem::usage_hint(
            format!("invalid context name {name}: {error}"),
            "a context is named like a stage or an image, in lower case",
        ));
    }
    let parse = |text: &str| {
        Platform::parse(text).map_err(|e| Problem::usage(format!("context `{name}`: {e}")))
    };
    suffix.map(parse).transpose()
}

/// Whether the result is an index: with several platforms, or where it is asked for.
fn is_index(spec: &TargetSpec, args: &BTreeMap<String, String>) -> Step<bool> {
    let has_several = spec.platforms.len() > 1;
    let Some(text) = args.get(MULTI_PLATFORM).filter(|v| !v.is_empty()) else {
        return Ok(has_several);
    };
    match go_bool(text) {
        None => Err(Problem::usage(format!("invalid boolean value for multi-platform: {text}"))),
        Some(false) if has_several => Err(Problem::usage_hint(
            "conflicting config: returning multiple target platforms is not allowed",
            format!("leave `{MULTI_PLATFORM}` out, or name one platform"),
        )),
        Some(wanted) => Ok(wanted),
    }
}

/// Refuses outputs that cannot hold what is built, before it is built.
fn check_exports(result: &TargetResult) -> Step<()> {
    let of_export = result.exports.iter().flat_map(|e| &e.annotations);
    let mut annotations = result.annotations.iter().chain(of_export);
    let is_index = result.is_index || !result.attest.is_empty();
    if !is_index && annotations.any(|a| a.scope.is_of_index()) {
        return Err(Problem::usage_hint(
            "index annotations not supported for single platform export",
            format!(
                "there is an index with several platforms, with attestations, or with `{MULTI_PLATFORM}=1`"
            ),
        ));
    }
    if is_index && result.exports.iter().any(|e| e.kind == OutputKind::Docker) {
        return Err(Problem::usage(
            "docker exporter does not support exporting manifest lists, use the oci exporter \
             instead",
        ));
    }
    let is_inline = result.cache_to.iter().any(|cache| cache.place == CachePlace::Inline);
    if is_inline && result.exports.iter().any(|e| e.layering != Layering::Steps) {
        return Err(Problem::usage_hint(
            "an inline cache needs the layers of the steps, which `layering=packages` does not keep",
            "write the cache beside the image: `--cache-to type=registry,ref=REPOSITORY:cache`",
        ));
    }
    Ok(())
}

fn tags(spec: &TargetSpec) -> Step<Vec<String>> {
    let full = |tag: &String| match Reference::parse(tag) {
        Ok(reference) if reference.digest.is_some() => {
            Err(Problem::usage(format!("tag `{tag}` must not have a digest")))
        }
        Ok(reference) => Ok(reference.to_string()),
        Err(e) => Err(Problem::usage(format!("tag: {e}"))),
    };
    spec.tags.iter().map(full).collect()
}

fn network(spec: &TargetSpec) -> Step<Network> {
    match spec.network.as_deref() {
        None | Some("" | "default" | "sandbox") => Ok(Network::Default),
        Some("host") => Ok(Network::Host),
        Some("none") => Ok(Network::None),
        Some(other) => Err(Problem::usage_hint(
            format!("unknown network mode `{other}`"),
            "want `default`, `host` or `none`",
        )),
    }
}

fn extra_hosts(spec: &TargetSpec) -> Step<Vec<ExtraHost>> {
    let read = |(host, address): &(String, String)| {
        let address = address.trim_start_matches('[').trim_end_matches(']');
        // Steps share the host's network, where the host is the loopback address.
        let address = if address == HOST_GATEWAY { "127.0.0.1" } else { address };
        match address.parse::<std::net::IpAddr>() {
            Ok(ip) if !host.is_empty() => {
                Ok(ExtraHost { host: host.clone(), address: ip.to_string() })
            }
            _ => Err(Problem::usage_hint(
                format!("invalid host `{host}={address}`"),
                "want `NAME=ADDRESS`, or `NAME=host-gateway`",
            )),
        }
    };
    spec.extra_hosts.iter().map(read).collect()
}
