//! Where filesystems come from: base images, named contexts, the main context.

use std::error::Error;

use karman_diag::{Diagnostic, Span};
use karman_llb::{LocalSource, Op, SourceOp, Vertex, VertexDigest, VertexMeta};
use karman_oci::{ImageConfig, Platform, Reference};

use super::Lowering;
use super::options::{ContextInput, NamedContext};
use super::state::{StateId, Step, empty_image};
use crate::check::fleet::pins::check_base;
use crate::check::rules;

/// A context's files and, where it is an image, its config.
type LoadedContext = (Option<VertexDigest>, Option<ImageConfig>);

/// The base without files. Only this spelling: `SCRATCH` is an image.
pub(super) fn is_scratch(base: &str) -> bool {
    base == "scratch"
}

impl Lowering<'_> {
    /// The named context for a stage or image name, in every spelling of the image: the one for
    /// the platform, else the one for all.
    pub(super) fn named_context(
        &self,
        name: &str,
        platform: Option<&Platform>,
    ) -> Option<&NamedContext> {
        if name.eq_ignore_ascii_case("scratch") || name.eq_ignore_ascii_case("context") {
            return None;
        }
        let contexts = &self.options.contexts;
        let platform = platform.unwrap_or(&self.options.target_platform);
        let wanted = short_name(name);
        let find = |of_platform: bool| {
            contexts.iter().find(|(key, _)| match (key.split_once("::"), of_platform) {
                (Some((key, suffix)), true) => {
                    short_name(key) == wanted
                        && Platform::parse(suffix).is_ok_and(|p| p == *platform)
                }
                (None, false) => *key == name || short_name(key) == wanted,
                _ => false,
            })
        };
        find(true).or_else(|| find(false)).map(|(_, context)| context)
    }

    /// Finds the base of a state that is built on no other one.
    pub(super) fn resolve_base(&mut self, id: StateId, is_needed: bool) -> Step<()> {
        let state = &self.states[id];
        let (span, base, platform) = (state.span, state.base_name.clone(), state.platform.clone());
        if is_scratch(&base) && state.context.is_none() {
            let platform = self.options.target_platform.clone();
            let state = &mut self.states[id];
            state.image = empty_image(&platform);
            state.platform = Some(platform);
            state.is_resolved = true;
            state.is_dispatched = state.is_unregistered;
            return Ok(());
        }
        // A malformed name is an error wherever it stands, unless a context bears it.
        let reference = Reference::parse(&base);
        if reference.is_err()
            && self.states[id].context.is_none()
            && self.named_context(&base, platform.as_ref()).is_none()
        {
            let why = reference.err().map(|e| e.to_string()).unwrap_or_default();
            let message = format!("failed to parse stage name {base:?}: {why}");
            return Err(Diagnostic::error(message, span));
        }
        if !is_needed {
            return Ok(());
        }
        if let Some(context) = self.states[id].context.clone() {
            self.replace_stage(id, &context)?;
        } else if let Some(context) = self.named_context(&base, platform.as_ref()).cloned() {
            self.base_on_context(id, &context)?;
        } else if let Ok(reference) = reference {
            self.base_on_image(id, &reference, &base)?;
        }
        let state = &mut self.states[id];
        state.is_resolved = true;
        state.is_dispatched |= state.is_unregistered;
        Ok(())
    }

    /// A stage that bears the name of a context is that context; its instructions do not run.
    fn replace_stage(&mut self, id: StateId, context: &NamedContext) -> Step<()> {
        let (root, config) = self.load_context(id, context)?;
        let state = &mut self.states[id];
        state.is_dispatched = true;
        state.root = root;
        if let Some(config) = config {
            if !config.os.is_empty() && !config.architecture.is_empty() {
                state.platform = Some(config.platform());
            }
            state.image = ImageConfig { created: None, ..config };
        }
        let target = &self.options.target_platform;
        state.platform.get_or_insert_with(|| target.clone());
        Ok(())
    }

    fn base_on_context(&mut self, id: StateId, context: &NamedContext) -> Step<()> {
        let (root, config) = self.load_context(id, context)?;
        let platform = self.platform_of(id);
        let state = &mut self.states[id];
        state.image = config.unwrap_or_else(|| empty_image(&platform));
        state.image.created = None;
        state.root = root;
        state.platform = Some(platform);
        Ok(())
    }

    fn base_on_image(&mut self, id: StateId, reference: &Reference, written: &str) -> Step<()> {
        let span = self.states[id].span;
        let mut platform = self.platform_of(id);
        check_base(reference, written, span, &self.checks);
        let resolved = self.resolver.image(&reference.to_string(), &platform).map_err(|e| {
            let message = format!("{written}: {}", with_causes(&e));
            self.with_nearest_stage(Diagnostic::error(message, span), written)
        })?;
        let pinned = match resolved.digest {
            Some(digest) => reference.clone().with_digest(digest),
            None => reference.clone(),
        };
        if self.states[id].platform.is_none() && self.options.implicit_platform {
            platform = detect(&resolved.config, platform, &self.options.build_platform);
        }
        let name = self.step_name(id, &format!("FROM {pinned}"), Some(&platform));
        self.bases.push(pinned.to_string());
        let source = resolved.source;
        let root = source.map(|op| self.add_platform_source(op, platform.clone(), name, span));
        self.check_platform(&resolved.config, &platform, written, span);
        let state = &mut self.states[id];
        state.image = ImageConfig { created: None, ..resolved.config };
        state.platform = Some(platform);
        state.root = root;
        Ok(())
    }

    /// Warns of an image that is for something else than it was asked for.
    fn check_platform(&self, config: &ImageConfig, wanted: &Platform, name: &str, span: Span) {
        let found = config.platform();
        let is_named = !config.os.is_empty() && !config.architecture.is_empty();
        if is_named && (found.os != wanted.os || found.architecture != wanted.architecture) {
            let message = format!(
                "Base image {name} was pulled with platform \"{found}\", expected \"{wanted}\" for current build"
            );
            self.checks.found(&rules::INVALID_BASE_IMAGE_PLATFORM, span, message);
        }
    }

    fn platform_of(&self, id: StateId) -> Platform {
        self.states[id].platform.clone().unwrap_or_else(|| self.options.target_platform.clone())
    }

    fn load_context(&mut self, id: StateId, context: &NamedContext) -> Step<LoadedContext> {
        let span = self.states[id].span;
        Ok(match context {
            NamedContext::Image { root, config } => (*root, Some((**config).clone())),
            NamedContext::Reference(reference) => return self.load_reference(id, reference),
            NamedContext::Vertex(vertex) => (Some(*vertex), None),
            NamedContext::Scratch => (None, None),
            NamedContext::Source(source) => {
                let platform = match source {
                    SourceOp::Image(_) | SourceOp::OciLayout(_) | SourceOp::Debootstrap(_) => {
                        self.platform_of(id)
                    }
                    _ => self.options.build_platform.clone(),
                };
                let name = "[internal] load context".to_owned();
                (Some(self.add_platform_source(source.clone(), platform, name, span)), None)
            }
            NamedContext::Local { name, exclude } => {
                let local = LocalSource { name: name.clone(), exclude: exclude.clone() };
                let title = format!("[context {name}] load from client");
                (Some(self.add_source(SourceOp::Local(local), title, vec![span])), None)
            }
        })
    }

    fn load_reference(&mut self, id: StateId, reference: &str) -> Step<LoadedContext> {
        let span = self.states[id].span;
        let platform = self.platform_of(id);
        let resolved = self
            .resolver
            .image(reference, &platform)
            .map_err(|e| Diagnostic::error(with_causes(&e), span))?;
        let pinned = match (resolved.digest, reference.contains('@')) {
            (Some(digest), false) => format!("{reference}@{digest}"),
            _ => reference.to_owned(),
        };
        let state = &self.states[id];
        let replaced = state.name.as_ref().filter(|_| state.context.is_some());
        let name = format!("[context {}] {pinned}", replaced.unwrap_or(&state.base_name));
        self.bases.push(pinned);
        let root = resolved.source.map(|op| self.add_platform_source(op, platform, name, span));
        Ok((root, Some(resolved.config)))
    }

    fn add_platform_source(
        &mut self,
        op: SourceOp,
        platform: Platform,
        name: String,
        span: Span,
    ) -> VertexDigest {
        let vertex = Vertex { op: Op::Source(op), inputs: Vec::new(), platform };
        self.graph.add(vertex, VertexMeta { name, spans: vec![span], ..VertexMeta::default() })
    }

    /// The main context; it is in the graph only where something reads it.
    pub(super) fn main_context(&mut self) -> Option<VertexDigest> {
        if let Some(known) = self.main {
            return known;
        }
        let root = match &self.options.main_context {
            ContextInput::Empty => None,
            ContextInput::Vertex(vertex) => Some(*vertex),
            ContextInput::Local { name, exclude } => {
                let local = LocalSource { name: name.clone(), exclude: exclude.clone() };
                let title = "[internal] load build context".to_owned();
                Some(self.add_source(SourceOp::Local(local), title, Vec::new()))
            }
        };
        self.main = Some(root);
        root
    }

    /// Adds a source that is the same for all platforms.
    pub(super) fn add_source(
        &mut self,
        op: SourceOp,
        name: String,
        spans: Vec<Span>,
    ) -> VertexDigest {
        let platform = self.options.build_platform.clone();
        let vertex = Vertex { op: Op::Source(op), inputs: Vec::new(), platform };
        self.graph.add(vertex, VertexMeta { name, spans, ..VertexMeta::default() })
    }
}

/// The name without default host, namespace and `:latest`.
fn short_name(name: &str) -> String {
    let Ok(reference) = Reference::parse(name) else { return name.to_owned() };
    let familiar = reference.familiar();
    familiar.strip_suffix(":latest").unwrap_or(&familiar).to_owned()
}

/// The platform of an image that nobody asked a platform for.
fn detect(config: &ImageConfig, target: Platform, build: &Platform) -> Platform {
    let is = |p: &Platform| p.os == config.os && p.architecture == config.architecture;
    if !is(&target) && is(build) { build.clone() } else { target }
}

fn with_causes(error: &dyn Error) -> String {
    let mut out = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        out.push_str(": ");
        out.push_str(&next.to_string());
        cause = next.source();
    }
    out
}
