//! How a target was asked for, in the words of provenance: what a rebuild needs to know, and nothing
//! of the machine.
//!
//! Paths below the working directory are named relative to it; others are not named. Credentials and
//! queries of addresses are left out, and so are proxies.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use karman_control::provenance::{
    Asked, BUILD_ARG, BuildRequest, CONTEXT, ConfigSource, DigestSet, INPUT, LABEL, LOCAL,
    LocalName, SourceInfo,
};
use karman_oci::Digest;

use crate::context::Place;
use crate::dockerfile::Loaded;
use crate::error::Step;
use crate::location::{Location, is_http};
use crate::plan::Planner;
use crate::spec::{STDIN, TargetSpec};

/// What reads Dockerfiles, in BuildKit's words.
const FRONTEND: &str = "dockerfile.v0";
/// The name of the main context.
const MAIN: &str = "context";
/// Build arguments that are proxies of the caller; never part of a cache key or an image.
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

impl Planner<'_> {
    /// Describes a target; those that it links were planned before.
    pub(crate) fn asked(
        &self,
        spec: &TargetSpec,
        place: &Place,
        dockerfile: &Loaded,
    ) -> Step<Asked> {
        let mut request = BuildRequest {
            frontend: FRONTEND.to_owned(),
            args: self.arguments(spec),
            ..BuildRequest::default()
        };
        let mut sources = Vec::new();
        let own = self.source_info(dockerfile);
        let config_source = self.config_source(spec, place, dockerfile, &own);
        sources.push(own);
        self.describe(spec, MAIN, &spec.context, &mut request, &mut sources)?;
        for (name, text) in &spec.contexts {
            self.describe(spec, name, text, &mut request, &mut sources)?;
        }
        Ok(Asked { config_source, request, sources, cwd: self.facts.cwd.clone() })
    }

    /// Everything but contexts.
    fn arguments(&self, spec: &TargetSpec) -> BTreeMap<String, String> {
        let mut args = BTreeMap::new();
        let mut put = |name: String, value: String| drop(args.insert(name, value));
        for (name, value) in self.build_args(spec) {
            if !PROXIES.contains(&name.to_uppercase().as_str()) {
                put(format!("{BUILD_ARG}{name}"), value);
            }
        }
        for (name, value) in &spec.labels {
            put(format!("{LABEL}{name}"), value.clone());
        }
        if let Some(stage) = &spec.stage {
            put("target".to_owned(), stage.clone());
        }
        let texts = |parts: Vec<String>| (!parts.is_empty()).then(|| parts.join(","));
        let platforms = spec.platforms.iter().map(ToString::to_string).collect();
        let hosts = spec.extra_hosts.iter().map(|(host, at)| format!("{host}={at}")).collect();
        let limits = spec.ulimits.iter().map(|l| format!("{}={}:{}", l.name, l.soft, l.hard));
        let lists = [
            ("platform", texts(platforms)),
            ("add-hosts", texts(hosts)),
            ("ulimit", texts(limits.collect())),
            ("force-network-mode", spec.network.clone().filter(|n| !n.is_empty())),
            ("shm-size", (spec.shm_size > 0).then(|| spec.shm_size.to_string())),
        ];
        for (name, value) in lists {
            if let Some(value) = value {
                put(name.to_owned(), value);
            }
        }
        args
    }

    /// Puts a context into the request.
    fn describe(
        &self,
        spec: &TargetSpec,
        name: &str,
        text: &str,
        request: &mut BuildRequest,
        sources: &mut Vec<SourceInfo>,
    ) -> Step<()> {
        let is_main = name == MAIN && text == spec.context;
        let location = match is_main {
            true => self.locate(text, spec)?,
            false => self.place_of(text, false)?,
        };
        let locator = match location {
            Location::Path(path) => {
                let path = self.below(&self.facts.cwd.join(&path));
                request.locals.push(LocalName { name: name.to_owned(), path });
                // As in BuildKit: a main context without a locator is the caller's directory.
                (!is_main).then(|| format!("{LOCAL}{name}"))
            }
            Location::Stdin => {
                request.locals.push(LocalName { name: name.to_owned(), path: None });
                None
            }
            Location::Git(_) | Location::Http(_) => Some(karman_llb::shown_remote(text)),
            Location::Image(reference) => Some(format!("docker-image://{reference}")),
            Location::Layout(layout) => {
                let path = Path::new(&layout);
                let is_below = !path.is_absolute() && !layout.starts_with("..");
                request.locals.push(LocalName {
                    name: name.to_owned(),
                    path: is_below.then(|| format!("oci-layout://{layout}")),
                });
                Some(format!("{LOCAL}{name}"))
            }
            Location::Debootstrap(source) => Some(source),
            Location::Target(linked) => {
                self.link(&linked, request, sources);
                Some(format!("{INPUT}{linked}"))
            }
        };
        if let Some(locator) = locator {
            let key = if is_main { MAIN.to_owned() } else { format!("{CONTEXT}{name}") };
            request.args.insert(key, locator);
        }
        Ok(())
    }

    /// Puts a linked target, and what it links in turn, beside the request: each once.
    fn link(&self, linked: &str, request: &mut BuildRequest, sources: &mut Vec<SourceInfo>) {
        let Some(asked) = self.asked.get(linked) else { return };
        let mut one = asked.request.clone();
        request.inputs.append(&mut one.inputs);
        one.config_source = Some(asked.config_source.clone());
        request.inputs.insert(linked.to_owned(), one);
        for source in &asked.sources {
            if !sources.contains(source) {
                sources.push(source.clone());
            }
        }
    }

    fn source_info(&self, dockerfile: &Loaded) -> SourceInfo {
        let file = self.sources.get(dockerfile.file());
        let (name, text) = file.map_or(("", ""), |f| (&*f.name, &*f.text));
        // A file elsewhere is known by its last name only.
        let name = match Path::new(name).is_absolute() {
            true => name.rsplit('/').next().unwrap_or(name),
            false => name,
        };
        SourceInfo {
            filename: name.to_owned(),
            language: "Dockerfile".to_owned(),
            data: STANDARD.encode(text),
            digest: digest_of(text),
        }
    }

    fn config_source(
        &self,
        spec: &TargetSpec,
        place: &Place,
        dockerfile: &Loaded,
        own: &SourceInfo,
    ) -> ConfigSource {
        let written = spec.dockerfile.as_deref().filter(|f| *f != STDIN);
        let is_inline = spec.dockerfile_inline.is_some();
        let is_remote = matches!(place, Place::Vertex(_) | Place::Image(_) | Place::Fetched { .. });
        let uri = match written {
            _ if is_inline => None,
            Some(url) if is_http(url) => Some(karman_llb::shown_remote(url)),
            _ if is_remote => Some(karman_llb::shown_remote(&spec.context)),
            _ => None,
        };
        let local = dockerfile.path.as_deref().and_then(|path| self.below(path));
        let path = match (&local, is_inline, is_remote) {
            (Some(_), false, _) => local,
            (None, false, true) => Some(own.filename.clone()),
            _ => None,
        };
        ConfigSource { uri, digest: own.digest.clone(), path }
    }

    /// A path relative to the working directory; none where it is elsewhere.
    fn below(&self, path: &Path) -> Option<String> {
        let cwd = fs_err::canonicalize(&self.facts.cwd).ok()?;
        let path = fs_err::canonicalize(path).ok()?;
        let below = path.strip_prefix(&cwd).ok()?.to_str()?;
        Some(if below.is_empty() { ".".to_owned() } else { below.to_owned() })
    }
}

/// The digest by which a Dockerfile is known.
pub(crate) fn digest_of(text: &str) -> DigestSet {
    DigestSet::from([("sha256".to_owned(), Digest::sha256_of(text.as_bytes()).hex())])
}
