//! Named contexts: `--build-context NAME=SOURCE` and `contexts` of bake.

use std::path::{Path, PathBuf};

use karman_control::{LocalDir, SolveError};
use karman_dockerfile::lower::NamedContext;
use karman_llb::{SourceOp, VertexDigest};
use karman_oci::{Digest, ImageConfig, Platform, Reference};

use crate::error::{Problem, Step};
use crate::files::directory;
use crate::location::Location;
use crate::plan::Planner;
use crate::resolver::{LAYOUT_SCHEME, image_source};
use crate::spec::TargetSpec;

/// The image without files.
const SCRATCH: &str = "scratch";

/// Root filesystem and config of a target.
type Linked = (Option<VertexDigest>, ImageConfig);

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
        // Whether `.git` stays is asked for the main context only.
        match self.place_of(text, false)? {
            Location::Stdin => Err(Problem::usage(format!(
                "context `{name}`: only the main context can be standard input"
            ))),
            Location::Path(path) => {
                let path = directory(&self.facts.cwd, &path, &format!("context `{name}`:"))?;
                let exclude = self.ignored(&path, None)?;
                Ok(NamedContext::Local { name: self.local_name(&path, name), exclude })
            }
            Location::Git(git) => {
                let title = format!("[context {name}] {}", karman_llb::shown_remote(text));
                Ok(NamedContext::Vertex(self.add_source(SourceOp::Git(git), title)))
            }
            // As in BuildKit, a named context by HTTP is one file of a known name, archive or not.
            Location::Http(url) => {
                let title = format!("[context {name}] {}", karman_llb::shown_remote(text));
                Ok(NamedContext::Vertex(self.http_source(&url, &title)))
            }
            Location::Image(text) if text == SCRATCH => Ok(NamedContext::Scratch),
            image => self.named_image(&spec.name, name, &image, platform),
        }
    }

    /// A context that is an image: of another target, or found when the lowering needs it.
    fn named_image(
        &mut self,
        target: &str,
        name: &str,
        location: &Location,
        platform: &Platform,
    ) -> Step<NamedContext> {
        if let Location::Target(linked) = location {
            let (root, config) = self.linked(target, linked, platform)?;
            return Ok(NamedContext::Image { root, config: Box::new(config) });
        }
        Ok(NamedContext::Reference(match self.image_source(name, location)? {
            SourceOp::Image(image) => image.reference,
            SourceOp::OciLayout(layout) => format!("{LAYOUT_SCHEME}{}", layout.name),
            SourceOp::Debootstrap(source) => source.source,
            SourceOp::Local(_) | SourceOp::Git(_) | SourceOp::Http(_) => {
                unreachable!("an image's source is one of the three above")
            }
        }))
    }

    /// The root filesystem behind a main context that is an image.
    pub(crate) fn image_root(
        &mut self,
        target: &str,
        location: &Location,
        platform: &Platform,
    ) -> Step<Option<VertexDigest>> {
        if let Location::Target(linked) = location {
            return Ok(self.linked(target, linked, platform)?.0);
        }
        let source = self.image_source("context", location)?;
        let resolved = self.images.resolve(self.backend, &source, platform, self.session);
        let resolved = resolved
            .map_err(|e| SolveError { message: format!("main context: {}", e.message), ..*e })?;
        let title = "[internal] load remote build context".to_owned();
        Ok(Some(self.add_source_for(resolved.source, title, platform.clone())))
    }

    /// The source to ask the backend for; not pinned yet.
    fn image_source(&mut self, name: &str, location: &Location) -> Step<SourceOp> {
        match location {
            Location::Image(text) => match Reference::parse(text) {
                Ok(reference) => Ok(image_source(&reference.to_string())),
                Err(e) => Err(Problem::usage(format!("context `{name}`: {e}"))),
            },
            Location::Layout(text) => {
                let (path, suffix) = self.layout(name, text)?;
                let layout = format!("{}{suffix}", self.layout_name(&path));
                Ok(image_source(&format!("{LAYOUT_SCHEME}{layout}")))
            }
            Location::Debootstrap(source) => Ok(image_source(source)),
            _ => Err(Problem::usage(format!("context `{name}` is not an image"))),
        }
    }

    /// The result of another target.
    fn linked(&self, target: &str, linked: &str, platform: &Platform) -> Step<Linked> {
        let Some(done) = self.done.get(linked) else { return Err(Problem::Known) };
        let same = done.iter().find(|image| image.platform == *platform);
        match (same, done.as_slice()) {
            (Some(image), _) | (None, [image]) => Ok((image.root, image.config.clone())),
            (None, many) => {
                let have: Vec<String> = many.iter().map(|i| i.platform.to_string()).collect();
                Err(Problem::usage_hint(
                    format!(
                        "target `{linked}` is not built for {platform}, which `{target}` needs"
                    ),
                    format!("`{linked}` is built for {}", have.join(", ")),
                ))
            }
        }
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
