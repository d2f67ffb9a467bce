//! Compose files: every service with a `build` section is a target, and together they are the group `default`.
//!
//! The way of a file: `yaml` (text to a tree with places) → `interpolate` → `normal` (long forms, paths) →
//! `model` (include, extends, several files merged) → `service`, `extension` (sections to targets).
//! Reference: <https://docs.docker.com/build/bake/compose-file/> and compose-go, which buildx reads them with.

mod dotenv;
mod extension;
mod interpolate;
mod model;
mod node;
mod normal;
mod scalar;
mod service;
mod size;
mod yaml;

use karman_diag::{Diagnostic, FileId, SourceMap, Span};

use crate::matrix::{bad_name, valid_name};
use crate::request::Request;
use crate::target::Target;

/// What the compose files of one invocation define.
#[derive(Debug, Default)]
pub(crate) struct Compose {
    /// Targets by name, with the places of their names.
    pub(crate) targets: Vec<(String, Span, Target)>,
}

/// Whether a text without a telling name is a compose file.
pub(crate) fn is_compose(text: &str) -> bool {
    let Ok(documents) = yaml::parse(FileId::default(), text) else { return false };
    documents.iter().any(|d| d.get("services").is_some() || d.get("secrets").is_some())
}

/// Reads the files, which are in `sources` already, in the order they win.
pub(crate) fn load(
    files: &[FileId],
    sources: &mut SourceMap,
    request: &Request,
    warnings: &mut Vec<Diagnostic>,
) -> Result<Compose, Diagnostic> {
    let mut loader = model::Loader::new(sources, request)?;
    let model = loader.project(files)?;
    let mut compose = Compose::default();
    for found in loader.services(&model)? {
        let mut around = service::Surroundings {
            secrets: model.get("secrets"),
            environment: found.environment,
            env: loader.env(),
            warnings,
        };
        let Some(target) = service::target(found.node, &mut around)? else { continue };
        // Names of services may hold dots, those of targets may not.
        let name = found.name.replace('.', "_");
        if !valid_name(&name) {
            return Err(bad_name(&name, found.span));
        }
        match compose.targets.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, _, known)) => known.merge(target),
            None => compose.targets.push((name, found.span, target)),
        }
    }
    Ok(compose)
}
