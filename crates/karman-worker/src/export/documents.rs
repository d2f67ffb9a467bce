//! How the documents of an image are written, and what it is called.

use std::collections::BTreeMap;

use karman_control::{Annotation, AnnotationScope, Cause, Export, SolveError, TargetResult};
use karman_exporter::image::ImageOptions;
use karman_oci::{Platform, Reference};

use crate::error::OrFail as _;

/// How documents are written.
pub(super) fn options(
    export: &Export,
    target: &TargetResult,
    scope: AnnotationScope,
    platform: Option<&Platform>,
) -> ImageOptions {
    ImageOptions {
        oci_media_types: is_oci(export, target),
        annotations: annotations(export, target, scope, platform),
    }
}

/// Whether the result is an index: only one has room for attestations.
pub(super) fn is_index(target: &TargetResult) -> bool {
    target.is_index || !target.attest.is_empty()
}

/// Whether documents have OCI's media types: annotations and attestations exist in OCI's only.
pub(super) fn is_oci(export: &Export, target: &TargetResult) -> bool {
    let has_any = !export.annotations.is_empty() || !target.annotations.is_empty();
    export.oci_media_types || has_any || !target.attest.is_empty()
}

/// The annotations of the target win, as those of `--annotation` do in buildx.
pub(super) fn annotations(
    export: &Export,
    target: &TargetResult,
    scope: AnnotationScope,
    platform: Option<&Platform>,
) -> BTreeMap<String, String> {
    let all = export.annotations.iter().chain(&target.annotations);
    Annotation::select(all, scope, platform)
}

/// The names of an output: the target's tags, or without any the output's own, as in buildx.
pub(super) fn names(target: &TargetResult, export: &Export) -> Result<Vec<Reference>, SolveError> {
    let mut names = Vec::new();
    for name in if target.tags.is_empty() { &export.names } else { &target.tags } {
        let reference = Reference::parse(name).or_fail(Cause::Input, "read a tag")?;
        if !names.contains(&reference) {
            names.push(reference);
        }
    }
    Ok(names)
}
