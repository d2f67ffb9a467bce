//! Downloads and bases that may change under a build.

use karman_diag::Span;
use karman_oci::Reference;

use super::Script;
use crate::check::{Checks, rules};

/// An `ADD` of a URL without `--checksum`.
pub(crate) fn check_download(url: &str, checks: &Checks) {
    let message = format!("ADD of {url} is not pinned: give --checksum");
    checks.found_here(&rules::ADD_WITHOUT_CHECKSUM, message);
}

/// A base image that a tag names.
pub(crate) fn check_base(reference: &Reference, written: &str, at: Span, checks: &Checks) {
    if reference.digest.is_none() {
        let message = format!("Base image {written} is not pinned by digest");
        checks.found(&rules::UNPINNED_BASE, at, message);
    }
}

/// A repository that a command clones: it is not pinned, its history stays in the layer, and the
/// cache does not see that it changed.
pub(crate) fn check_clone(script: &Script, checks: &Checks) {
    for command in script.commands().filter(|c| c.name() == "git") {
        if subcommand(command.arguments()) != Some("clone") {
            continue;
        }
        let url = command.arguments().iter().find(|a| a.contains("://") || a.starts_with("git@"));
        let shown = url.map_or(String::new(), |url| format!(" of {url}"));
        let message = format!("RUN git clone{shown}: use ADD with the URL and a commit instead");
        checks.found_here(&rules::GIT_CLONE_IN_RUN, message);
    }
}

/// The first argument of git that is neither an option nor the value of one.
fn subcommand(arguments: &[String]) -> Option<&str> {
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "-C" | "-c" | "--git-dir" | "--work-tree" | "--namespace" => {
                rest.next();
            }
            option if option.starts_with('-') => {}
            name => return Some(name),
        }
    }
    None
}
