//! `FROM`: undeclared arguments, platforms, defaults.

use std::collections::BTreeSet;

use karman_diag::Span;
use karman_oci::{Platform, Reference};

use super::variables::suggest;
use super::{Checks, rules};
use crate::expand::Expanded;
use crate::instruction::Stage;

/// The platform that is built for, as an argument.
const TARGET: &str = "TARGETPLATFORM";

/// Arguments of a `FROM` that nothing declares; `known` are those that exist, asked for only
/// where one is unset: a file may have thousands of both.
pub(crate) fn check_args<'k>(
    unset: &BTreeSet<String>,
    known: impl Fn() -> BTreeSet<&'k str>,
    at: Span,
    checks: &Checks,
) {
    if unset.is_empty() || checks.is_full() {
        return;
    }
    let known = known();
    for name in unset.iter().filter(|name| !known.contains(name.as_str())) {
        let mut message = format!("FROM argument '{name}' is not declared");
        if let Some(meant) = suggest(name, known.iter().copied(), checks) {
            message.push_str(&format!(" (did you mean {meant}?)"));
        }
        checks.found(&rules::UNDEFINED_ARG_IN_FROM, at, message);
    }
}

/// A `--platform` that is the default, or a constant.
pub(crate) fn check_platform(
    stage: &Stage,
    raw: &str,
    expanded: &Expanded,
    target: Option<&str>,
    checks: &Checks,
) {
    let Expanded { text, matched, unmatched } = expanded;
    if matched.len() == 1
        && matched.contains(TARGET)
        && unmatched.is_empty()
        && target == Some(text)
    {
        let message = format!(
            "Setting platform to predefined {raw} in FROM is redundant as this is the default behavior"
        );
        checks.found(&rules::REDUNDANT_TARGET_PLATFORM, stage.span, message);
    }
    if !matched.is_empty() || !unmatched.is_empty() {
        return;
    }
    // What is no platform is an error anyway.
    let Ok(platform) = Platform::parse(text) else { return };
    let name = stage.name.as_ref().map_or("", |n| n.value.as_str());
    if name.contains(&platform.os) || name.contains(&platform.architecture) {
        return;
    }
    let message = format!("FROM --platform flag should not use constant value {text:?}");
    checks.found(&rules::FROM_PLATFORM_FLAG_CONST_DISALLOWED, stage.span, message);
}

/// A base that is no name when no build argument is given; `base` is what it expands to then.
pub(crate) fn check_default(stage: &Stage, base: &str, checks: &Checks) {
    if Reference::parse(base).is_err() {
        let written = &stage.base.value;
        let message =
            format!("Default value for ARG {written} results in empty or invalid base image name");
        checks.found(&rules::INVALID_DEFAULT_ARG_IN_FROM, stage.span, message);
    }
}
