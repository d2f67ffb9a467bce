//! A bake target as a [`TargetSpec`].

use std::path::{Path, PathBuf};

use karman_bake::{CacheEntry, Output, Target};
use karman_control::{
    Annotation, CacheExport, CacheImport, CacheSpecError, Export, OutputKind, OutputSpec,
};
use karman_oci::Platform;

use crate::error::{PlanError, Problem};
use crate::location::{Location, is_http};
use crate::spec::{STDIN, SecretSpec, SshSpec, TargetSpec};
use crate::units::{parse_size, parse_ulimit};

/// The file bake names by default.
const DEFAULT_DOCKERFILE: &str = "Dockerfile";
/// buildx's word for the platform of the builder.
const LOCAL_PLATFORM: &str = "local";
/// bake's prefix for paths below the working directory.
const CWD: &str = "cwd://";

/// The attributes of a resolved bake target. A target that is only linked has no tags, goes nowhere
/// and writes no cache. `pull`, `call` and `entitlements` are the caller's to heed.
///
/// # Errors
/// [`PlanError::Usage`] for a value that cannot be read, and for what Karman cannot do yet:
/// policies.
pub fn from_bake(name: &str, target: &Target) -> Result<TargetSpec, PlanError> {
    let bad =
        |message: String, hint: &str| PlanError::usage(format!("target `{name}`: {message}"), hint);
    if !target.policy.is_empty() {
        return Err(bad("`policy` is not supported".to_owned(), "leave `policy` out"));
    }
    let context = target.context.clone().unwrap_or_else(|| ".".to_owned());
    let mut spec = TargetSpec {
        name: name.to_owned(),
        dockerfile: dockerfile(target, &context),
        dockerfile_inline: target.dockerfile_inline.clone(),
        context,
        stage: target.target.clone(),
        build_args: target.args.iter().map(|(k, v)| (k.clone(), Some(v.clone()))).collect(),
        labels: target.labels.clone(),
        contexts: target.contexts.clone(),
        annotations: annotations(target)
            .map_err(|why| bad(why, "want `[TYPE[PLATFORM]:]KEY=VALUE`"))?,
        no_cache: target.no_cache.unwrap_or(false),
        no_cache_filter: target.no_cache_filter.clone(),
        network: target.network.clone(),
        extra_hosts: target.extra_hosts.iter().map(|(h, a)| (h.clone(), a.clone())).collect(),
        secrets: target.secret.iter().map(secret).collect(),
        ssh: target.ssh.iter().map(ssh).collect(),
        ..TargetSpec::default()
    };
    spec.platforms = platforms(&target.platforms).map_err(|why| bad(why, "as in `linux/amd64`"))?;
    if let Some(size) = &target.shm_size {
        let bytes = parse_size(size);
        spec.shm_size =
            bytes.ok_or_else(|| bad(format!("`{size}` is not a size"), "as in `128m`"))?;
    }
    for text in &target.ulimits {
        let wrong = || bad(format!("`{text}` is not a limit"), "as in `nofile=1024:2048`");
        spec.ulimits.push(parse_ulimit(text).ok_or_else(wrong)?);
    }
    for attest in &target.attest {
        spec.attest.add(&attest.kind, attest.disabled, &attest.attrs).map_err(|e| {
            bad(e.to_string(), "want `type=provenance,mode=min|max` or `type=sbom`")
        })?;
    }
    let cached = |e: CacheSpecError| match e.hint() {
        Some(hint) => bad(e.to_string(), hint),
        None => PlanError::Usage { message: format!("target `{name}`: {e}"), hint: None },
    };
    let from = |c: &CacheEntry| CacheImport::new(&c.kind, &c.attrs).map_err(cached);
    spec.cache_from = target.cache_from.iter().map(from).collect::<Result<_, _>>()?;
    if !target.linked {
        let to = |c: &CacheEntry| CacheExport::new(&c.kind, &c.attrs).map_err(cached);
        spec.cache_to = target.cache_to.iter().map(to).collect::<Result<_, _>>()?;
        spec.tags.clone_from(&target.tags);
        for output in &target.output {
            spec.exports.push(export(output).map_err(|p| placed(name, p))?);
        }
    }
    Ok(spec)
}

/// Platforms as buildx reads them: lists are split, `local` is this host's, each one counts once.
fn platforms(texts: &[String]) -> Result<Vec<Platform>, String> {
    let mut all: Vec<Platform> = Vec::new();
    for text in texts.iter().flat_map(|t| t.split(',')).map(str::trim).filter(|t| !t.is_empty()) {
        let platform = match text {
            LOCAL_PLATFORM => Platform::host(),
            text => Platform::parse(text).map_err(|e| e.to_string())?,
        };
        if !all.contains(&platform) {
            all.push(platform);
        }
    }
    Ok(all)
}

/// The Dockerfile's path; bake means it relative to a local context, [`TargetSpec`] to the working
/// directory. `None` is the default one.
fn dockerfile(target: &Target, context: &str) -> Option<String> {
    let written = target.dockerfile.as_deref().filter(|f| *f != DEFAULT_DOCKERFILE)?;
    if let Some(rest) = written.strip_prefix(CWD) {
        return Some(rest.to_owned());
    }
    // Whether a directory bears the name of a git repository is found out later; the prefixes
    // that need a look are no sane names of directories.
    let location = Location::parse(context, false, |_| false);
    match location {
        Ok(Location::Path(dir)) if written != STDIN && !is_http(written) => {
            Some(Path::new(&dir).join(written).to_string_lossy().into_owned())
        }
        _ => Some(written.to_owned()),
    }
}

fn secret(secret: &karman_bake::Secret) -> SecretSpec {
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    SecretSpec {
        id: secret.id.clone(),
        src: given(&secret.src).map(PathBuf::from),
        env: given(&secret.env),
    }
}

fn ssh(ssh: &karman_bake::Ssh) -> SshSpec {
    SshSpec { id: ssh.id.clone(), paths: ssh.paths.iter().map(PathBuf::from).collect() }
}

fn annotations(target: &Target) -> Result<Vec<Annotation>, String> {
    let mut all = Vec::new();
    for text in target.annotations.iter().filter(|text| !text.is_empty()) {
        all.extend(Annotation::parse(text).map_err(|e| e.to_string())?);
    }
    Ok(all)
}

fn export(output: &Output) -> Result<Export, Problem> {
    let mut attributes = output.attrs.clone();
    // docker's exporter without a place loads the image, which here is the local store.
    let kind = match output.kind.as_str() {
        "docker" if output.dest.is_empty() && !attributes.contains_key("load") => "image",
        kind => kind,
    };
    let mut spec =
        OutputSpec::parse(&format!("type={kind}")).map_err(|e| Problem::usage(e.to_string()))?;
    attributes.extend(std::mem::take(&mut spec.attributes));
    if !output.dest.is_empty() {
        spec.dest = Some(output.dest.clone());
    }
    if output.kind == "docker" && spec.kind == OutputKind::Image {
        attributes.entry("oci-mediatypes".to_owned()).or_insert_with(|| "false".to_owned());
    }
    spec.attributes = attributes;
    spec.bind().map_err(|e| Problem::usage(e.to_string()))
}

fn placed(name: &str, problem: Problem) -> PlanError {
    crate::error::gather(vec![(name.to_owned(), problem)], karman_diag::SourceMap::new(), true)
}
