//! Names of stages and the casing of instructions.

use std::collections::BTreeSet;

use super::{Checks, rules};
use crate::instruction::Dockerfile;

/// Names that mean something else in `FROM` and `--from`.
const RESERVED: &[&str] = &["context", "scratch"];

/// Reserved names and names used twice.
pub(crate) fn check_names(tree: &Dockerfile, checks: &Checks) {
    let mut known = BTreeSet::new();
    for stage in &tree.stages {
        let Some(name) = stage.name.as_ref().map(|n| n.value.as_str()) else { continue };
        if RESERVED.contains(&name) {
            let message =
                format!("Stage name should not use the same name as reserved stage {name:?}");
            checks.found(&rules::RESERVED_STAGE_NAME, stage.span, message);
        }
        if !known.insert(name) {
            let message = format!("Duplicate stage name {name:?}, stage names should be unique");
            checks.found(&rules::DUPLICATE_STAGE_NAME, stage.span, message);
        }
    }
}

/// All instructions should be written as most are. Those before the first `FROM` do not count,
/// neither do triggers.
pub(crate) fn check_casing(tree: &Dockerfile, checks: &Checks) {
    let all = || {
        tree.stages.iter().flat_map(|stage| {
            let own = stage.instructions.iter().map(|i| (keyword(&i.text), i.span));
            std::iter::once((keyword(&stage.text), stage.span)).chain(own)
        })
    };
    let is_lower = |word: &str| word == word.to_lowercase();
    let is_upper = |word: &str| word == word.to_uppercase();
    let lower = all().filter(|(word, _)| is_lower(word)).count();
    let upper = all().filter(|(word, _)| is_upper(word)).count();
    let wants_lower = lower > upper;
    for (word, span) in all() {
        let casing = match wants_lower {
            true if !is_lower(word) => "lowercase",
            false if !is_upper(word) => "uppercase",
            _ => continue,
        };
        let message =
            format!("Command '{word}' should match the case of the command majority ({casing})");
        checks.found(&rules::CONSISTENT_INSTRUCTION_CASING, span, message);
    }
}

/// The keyword of an instruction as written.
pub(crate) fn keyword(text: &str) -> &str {
    text.split(char::is_whitespace).next().unwrap_or_default()
}
