//! Targets from a provenance: the build that it tells of, once more.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use karman_control::provenance::{
    BUILD_ARG, BuildRequest, CONTEXT, ConfigSource, INLINE_CACHE, INPUT, LABEL, LOCAL, Provenance,
    SourceInfo,
};
use karman_control::{CacheExport, OutputKind, OutputSpec};
use karman_oci::Platform;

use crate::asked::digest_of;
use crate::error::PlanError;
use crate::spec::{SecretSpec, SshSpec, TargetSpec};
use crate::units::parse_ulimit;

/// The name of the main context.
const MAIN: &str = "context";

/// What a rebuild is given besides the provenance.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// Where the paths of the provenance are found: the working directory of the build.
    pub dir: PathBuf,
    /// Sources of contexts by name; `context` is the main one. They win over the provenance.
    pub contexts: BTreeMap<String, String>,
    /// Build arguments that the provenance does not tell.
    pub build_args: BTreeMap<String, String>,
    /// Secrets.
    pub secrets: Vec<SecretSpec>,
    /// SSH agents.
    pub ssh: Vec<SshSpec>,
}

/// The targets that a provenance tells of; the one it is about comes last and has an output, the
/// others are those that it links.
///
/// # Errors
/// When the provenance leaves out what the build needs and it is not given.
pub fn rebuild(provenance: &Provenance, given: &Given) -> Result<Vec<TargetSpec>, PlanError> {
    let definition = &provenance.build_definition;
    let parameters = &definition.external_parameters;
    let buildkit = provenance.run_details.metadata.buildkit.as_ref();
    let infos = buildkit.map(|b| b.source.infos.as_slice()).unwrap_or_default();
    let platform = &definition.internal_parameters.platform;
    let platform =
        Platform::parse(platform).map_err(|e| wrong(format!("its platform `{platform}`: {e}")))?;
    let rebuild = Rebuild { given, infos, platform };
    let none = ConfigSource::default();
    let mut targets = Vec::new();
    for (name, request) in &parameters.request.inputs {
        let config = request.config_source.as_ref().unwrap_or(&none);
        targets.push(rebuild.target(name, config, request)?);
    }
    let mut name = "image".to_owned();
    while parameters.request.inputs.contains_key(&name) {
        name.push('_');
    }
    let mut last = rebuild.target(&name, &parameters.config_source, &parameters.request)?;
    let mut attributes = definition.internal_parameters.output.clone();
    if attributes.remove(INLINE_CACHE).is_some() {
        last.cache_to.extend(CacheExport::new("inline", &BTreeMap::new()));
    }
    let output = OutputSpec { kind: OutputKind::Image, dest: None, attributes };
    last.exports.push(output.bind().map_err(|e| wrong(e.to_string()))?);
    targets.push(last);
    Ok(targets)
}

fn wrong(message: String) -> PlanError {
    PlanError::Usage { message: format!("the provenance cannot be rebuilt: {message}"), hint: None }
}

struct Rebuild<'a> {
    given: &'a Given,
    infos: &'a [SourceInfo],
    platform: Platform,
}

impl Rebuild<'_> {
    fn target(
        &self,
        name: &str,
        config: &ConfigSource,
        request: &BuildRequest,
    ) -> Result<TargetSpec, PlanError> {
        let mut spec = TargetSpec {
            name: name.to_owned(),
            context: self.context(MAIN, None, request)?,
            secrets: self.given.secrets.clone(),
            ssh: self.given.ssh.clone(),
            ..TargetSpec::default()
        };
        if let Some(text) = request.args.get(MAIN) {
            spec.context = self.context(MAIN, Some(text), request)?;
        }
        self.dockerfile(config, &mut spec)?;
        for (key, value) in &request.args {
            self.argument(key, value, request, &mut spec)?;
        }
        // A base that the provenance names as an image may be somewhere else now.
        for (name, source) in self.given.contexts.iter().filter(|(name, _)| *name != MAIN) {
            spec.contexts.entry(name.clone()).or_insert_with(|| source.clone());
        }
        for (name, value) in &self.given.build_args {
            spec.build_args.entry(name.clone()).or_insert_with(|| Some(value.clone()));
        }
        Ok(spec)
    }

    fn argument(
        &self,
        key: &str,
        value: &str,
        request: &BuildRequest,
        spec: &mut TargetSpec,
    ) -> Result<(), PlanError> {
        if let Some(name) = key.strip_prefix(BUILD_ARG) {
            spec.build_args.insert(name.to_owned(), Some(value.to_owned()));
        } else if let Some(name) = key.strip_prefix(LABEL) {
            spec.labels.insert(name.to_owned(), value.to_owned());
        } else if let Some(name) = key.strip_prefix(CONTEXT) {
            let source = self.context(name, Some(value), request)?;
            spec.contexts.insert(name.to_owned(), source);
        }
        let list = || value.split(',').filter(|part| !part.is_empty());
        match key {
            "target" => spec.stage = Some(value.to_owned()),
            "platform" => spec.platforms = self.platforms(list()),
            "force-network-mode" => spec.network = Some(value.to_owned()),
            "shm-size" => {
                spec.shm_size = value.parse().map_err(|_| wrong(format!("{key} is `{value}`")))?;
            }
            "add-hosts" => {
                let pairs = list().filter_map(|pair| pair.split_once('='));
                spec.extra_hosts = pairs.map(|(h, a)| (h.to_owned(), a.to_owned())).collect();
            }
            "ulimit" => spec.ulimits = list().filter_map(parse_ulimit).collect(),
            _ => {}
        }
        Ok(())
    }

    /// Only the platform of the image, where the target was built for it too.
    fn platforms<'t>(&self, texts: impl Iterator<Item = &'t str>) -> Vec<Platform> {
        let all: Vec<Platform> = texts.filter_map(|text| Platform::parse(text).ok()).collect();
        match all.contains(&self.platform) {
            true => vec![self.platform.clone()],
            false => all,
        }
    }

    /// Where a context is now. `locator` is what the provenance says; a main context without one was a
    /// directory.
    fn context(
        &self,
        name: &str,
        locator: Option<&str>,
        request: &BuildRequest,
    ) -> Result<String, PlanError> {
        if let Some(source) = self.given.contexts.get(name) {
            return Ok(source.clone());
        }
        match locator {
            Some(text) if text.starts_with(INPUT) => {
                return Ok(format!("target:{}", &text[INPUT.len()..]));
            }
            Some(text) if !text.starts_with(LOCAL) => return Ok(text.to_owned()),
            _ => {}
        }
        let local = request.locals.iter().find(|local| local.name == name);
        match (local.and_then(|local| local.path.clone()), local) {
            (Some(path), _) => Ok(path),
            // A request with a remote main context names no directory; the locator comes later.
            (None, None) if name == MAIN => Ok(".".to_owned()),
            (None, _) => Err(PlanError::usage(
                format!(
                    "the provenance does not say where context `{name}` was: it was a directory elsewhere"
                ),
                format!("say where it is with `--build-context {name}=PATH`"),
            )),
        }
    }

    /// The Dockerfile: the file where it lies and is still the same, since its ignore file lies beside
    /// it; else the text in the provenance.
    fn dockerfile(&self, config: &ConfigSource, spec: &mut TargetSpec) -> Result<(), PlanError> {
        let path = config.path.as_deref();
        if let Some(uri) = &config.uri {
            spec.dockerfile =
                if *uri == spec.context { path.map(str::to_owned) } else { Some(uri.clone()) };
            return Ok(());
        }
        if let Some(path) = path
            && let Ok(text) = fs_err::read_to_string(self.given.dir.join(path))
            && (config.digest.is_empty() || digest_of(&text) == config.digest)
        {
            spec.dockerfile = Some(path.to_owned());
            return Ok(());
        }
        let info = self.infos.iter().find(|info| info.digest == config.digest);
        let text = info.and_then(|info| STANDARD.decode(&info.data).ok());
        match text.and_then(|bytes| String::from_utf8(bytes).ok()) {
            Some(text) => spec.dockerfile_inline = Some(text),
            None => return Err(self.no_dockerfile(config)),
        }
        Ok(())
    }

    fn no_dockerfile(&self, config: &ConfigSource) -> PlanError {
        let place = config.path.as_deref().map(Path::new).unwrap_or(Path::new("Dockerfile"));
        let message = format!(
            "the provenance has no text of the Dockerfile, and `{}` is not the one that was built",
            place.display()
        );
        PlanError::usage(message, "`--provenance=mode=max` keeps it; or check out what was built")
    }
}
