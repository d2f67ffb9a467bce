//! Named contexts: `--build-context NAME=SOURCE` and `contexts` of bake.

use std::path::{Path, PathBuf};

use karman_control::{LocalDir, ResolvedImage, SolveError};
use karman_dockerfile::lower::NamedContext;
use karman_llb::{DebootstrapSource, ImageSource, OciLayoutSource, SourceOp};
use karman_oci::{Digest, Platform, Reference};

use crate::error::{Problem, Step};
use crate::files::directory;
use crate::location::Location;
use crate::plan::Planner;
use crate::spec::TargetSpec;

impl Planner<'_> {
    /// A named context of a target for one platform.
    pub(crate) fn named(
        &mut self,
        spec: &TargetSpec,
        name: &str,
        platform: &Platform,
    ) -> Step<NamedContext> {
        let text = spec.contexts.get(name).map(String::as_str).unwrap_or_default();
        if text.is_empty() {
            return Err(Problem::usage(format!("context `{name}` names no source")));
        }
        match self.locate(text, spec)? {
            Location::Stdin => Err(Problem::usage(format!(
                "context `{name}`: only the main context can be standard input"
            ))),
            Location::Path(path) => {
                let path = directory(&self.facts.cwd, &path, &format!("context `{name}`:"))?;
                let exclude = self.ignored(&path, None)?;
                Ok(NamedContext::Local { name: self.local_name(&path, name), exclude })
            }
            Location::Git(git) => {
                let title = format!("[context {name}] {}", crate::git::shown(text));
                Ok(NamedContext::Vertex(self.add_source(SourceOp::Git(git), title)))
            }
            Location::Http(url) => {
                let title = format!("[context {name}] {}", crate::git::shown(text));
                Ok(NamedContext::Vertex(self.http_context(&url, &title)?.0))
            }
            image => self.named_image(&spec.name, name, &image, platform),
        }
    }

    /// A context that is an image, with its config.
    pub(crate) fn named_image(
        &mut self,
        target: &str,
        name: &str,
        location: &Location,
        platform: &Platform,
    ) -> Step<NamedContext> {
        let source = match location {
            Location::Target(linked) => return self.linked(target, linked, platform),
            Location::Image(reference) => {
                let reference = Reference::parse(reference)
                    .map_err(|e| Problem::usage(format!("context `{name}`: {e}")))?;
                let reference = reference.to_string();
                SourceOp::Image(ImageSource { reference, manifest: None })
            }
            Location::Layout(text) => {
                let (path, suffix) = self.layout(name, text)?;
                let layout = format!("{}{suffix}", self.layout_name(&path));
                SourceOp::OciLayout(OciLayoutSource { name: layout, manifest: None })
            }
            Location::Debootstrap(source) => {
                SourceOp::Debootstrap(DebootstrapSource { source: source.clone() })
            }
            Location::Stdin | Location::Path(_) | Location::Git(_) | Location::Http(_) => {
                return Err(Problem::usage(format!("context `{name}` is not an image")));
            }
        };
        let resolved = self.resolve(&source, platform).map_err(|e| {
            SolveError { message: format!("context `{name}`: {}", e.message), ..e }
        })?;
        let title = format!("[context {name}] {}", title_of(location, &resolved.digest));
        let root = self.add_source_for(resolved.source, title, platform.clone());
        Ok(NamedContext::Image { root: Some(root), config: Box::new(resolved.config) })
    }

    fn resolve(&self, source: &SourceOp, platform: &Platform) -> Result<ResolvedImage, SolveError> {
        self.images.resolve(self.backend, source, platform, self.session)
    }

    /// The result of another target.
    fn linked(&self, target: &str, linked: &str, platform: &Platform) -> Step<NamedContext> {
        let Some(done) = self.done.get(linked) else { return Err(Problem::Known) };
        let same = done.iter().find(|image| image.platform == *platform);
        let (root, config) = match (same, done.as_slice()) {
            (Some(image), _) | (None, [image]) => (image.root, image.config.clone()),
            (None, many) => {
                let have: Vec<String> = many.iter().map(|i| i.platform.to_string()).collect();
                return Err(Problem::usage_hint(
                    format!("target `{linked}` is not built for {platform}, which `{target}` needs"),
                    format!("`{linked}` is built for {}", have.join(", ")),
                ));
            }
        };
        Ok(NamedContext::Image { root, config: Box::new(config) })
    }

    /// The path of an OCI layout, canonical, and the `:tag` or `@digest` after it.
    fn layout(&self, name: &str, text: &str) -> Step<(PathBuf, String)> {
        let malformed =
            |why: String| Problem::usage(format!("context `{name}`: `oci-layout://{text}`: {why}"));
        let (rest, digest) = match text.rsplit_once('@') {
            Some((rest, digest)) if digest.contains(':') => {
                let digest = Digest::parse(digest).map_err(|e| malformed(e.to_string()))?;
                (rest, Some(digest))
            }
            _ => (text, None),
        };
        let is_there = |path: &str| self.facts.cwd.join(path).exists();
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') && !is_there(rest) => (path, Some(tag)),
            _ => (rest, None),
        };
        if path.is_empty() || tag == Some("") {
            return Err(malformed("want `PATH[:tag][@digest]`".to_owned()));
        }
        let suffix = match (digest, tag) {
            (Some(digest), _) => format!("@{digest}"),
            (None, Some(tag)) => format!(":{tag}"),
            (None, None) => String::new(),
        };
        let found = fs_err::canonicalize(self.facts.cwd.join(path)).map_err(|_| {
            Problem::input_hint(
                format!("context `{name}`: there is no OCI layout at `{path}`"),
                "make one with `--output type=oci,tar=false,dest=…`",
            )
        })?;
        Ok((found, suffix))
    }

    /// The session's name for a directory; `wish` where it is free. A directory has one name
    /// however many targets use it, so that it is one vertex.
    pub(crate) fn local_name(&mut self, path: &Path, wish: &str) -> String {
        if let Some((name, _)) = self.session.locals.iter().find(|(_, dir)| dir.path == path) {
            return name.clone();
        }
        let name = free_name(wish, |name| self.session.locals.contains_key(name));
        self.session.locals.insert(name.clone(), LocalDir { path: path.to_owned() });
        name
    }

    /// The session's name for a layout; free of `:` and `@`, which come after it.
    fn layout_name(&mut self, path: &Path) -> String {
        if let Some((name, _)) = self.session.layouts.iter().find(|(_, known)| *known == path) {
            return name.clone();
        }
        let name = free_name("layout", |name| self.session.layouts.contains_key(name));
        self.session.layouts.insert(name.clone(), path.to_owned());
        name
    }
}

/// `wish`, or `wish-2`, `wish-3`, …
fn free_name(wish: &str, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(wish) {
        return wish.to_owned();
    }
    let mut number = 2u64;
    loop {
        let name = format!("{wish}-{number}");
        if !is_taken(&name) {
            return name;
        }
        number += 1;
    }
}

fn title_of(location: &Location, digest: &Digest) -> String {
    match location {
        Location::Image(text) if text.contains('@') => format!("docker-image://{text}"),
        Location::Image(text) => format!("docker-image://{text}@{digest}"),
        Location::Layout(text) => format!("oci-layout://{text}"),
        Location::Debootstrap(text) => text.clone(),
        other => format!("{other:?}"),
    }
}
