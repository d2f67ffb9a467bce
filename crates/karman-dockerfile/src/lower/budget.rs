//! What lowering may cost. A Dockerfile of 16 MiB can ask for far more: variables that double, an environment that every
//! `RUN` and every stage repeats, triggers of a base in a thousand stages.

use std::cell::Cell;

use karman_diag::{Diagnostic, Span};

use super::state::Step;

/// Bytes of text that lowering makes, all together: expanded words, histories, and the environments and configs that are
/// copied. Ordinary Dockerfiles need some thousand.
pub(super) const MAX_LOWERED_BYTES: usize = 256 << 20;

/// Variables of a stage. The kernel takes 2 MiB of arguments and environment, so a command could not use more.
pub(super) const MAX_VARIABLES: usize = 4096;

/// What something costs besides its text.
pub(super) const OVERHEAD: usize = 128;

/// What a trigger costs besides its text: it becomes an instruction.
pub(super) const TRIGGER: usize = 1024;

/// What a port costs: it is a text in a map.
pub(super) const PORT: usize = 64;

/// Counts bytes, and steps of work as bytes.
#[derive(Debug, Default)]
pub(super) struct Budget(Cell<usize>);

impl Budget {
    /// Takes note of bytes; whether there are too many is asked with [`Budget::check`].
    pub(super) fn spend(&self, bytes: usize) {
        self.0.set(self.0.get().saturating_add(bytes));
    }

    /// A copy that is paid for.
    pub(super) fn copy(&self, text: &str) -> String {
        self.spend(text.len());
        text.to_owned()
    }

    /// Fails once more than [`MAX_LOWERED_BYTES`] were spent.
    pub(super) fn check(&self, span: Span) -> Step<()> {
        if self.0.get() <= MAX_LOWERED_BYTES {
            return Ok(());
        }
        let message =
            format!("the instructions expand to more than {MAX_LOWERED_BYTES} bytes together");
        Err(Diagnostic::error(message, span)
            .with_hint("large values of variables count each time they are used or inherited"))
    }
}

/// Refuses more variables than [`MAX_VARIABLES`].
pub(super) fn check_variables(count: usize, span: Span) -> Step<()> {
    if count <= MAX_VARIABLES {
        return Ok(());
    }
    let message = format!("more than {MAX_VARIABLES} variables in one environment");
    Err(Diagnostic::error(message, span))
}
