//! Progress names: `[build 2/5] RUN make`.

use karman_oci::Platform;

use super::Lowering;
use super::env::Env;
use super::state::StateId;
use crate::expand::{Expander, LexMode};

/// How variables show in a progress name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// As the instruction sees it: expanded, quotes resolved.
    Resolved,
    /// As a shell command: known variables expanded, quotes and unknown ones kept.
    Command,
}

impl Lowering<'_> {
    /// `text` with the stage's name and the next step number before it.
    pub(super) fn step_name(
        &mut self,
        id: StateId,
        text: &str,
        platform: Option<&Platform>,
    ) -> String {
        let shows_platform = self.options.multi_platform;
        let state = &mut self.states[id];
        if state.steps_total == 0 {
            return text.to_owned();
        }
        let mut out = "[".to_owned();
        if let Some(platform) = platform.filter(|_| shows_platform) {
            out.push_str(&platform.to_string());
            if let Some(target) = state.env.target_platform(platform) {
                out.push_str(&cross(platform, &target));
            }
            out.push(' ');
        }
        if !state.display.is_empty() {
            out.push_str(&state.display);
            out.push(' ');
        }
        state.steps_done += 1;
        let width = state.steps_total.to_string().len();
        out.push_str(&format!("{:>width$}/{}] ", state.steps_done, state.steps_total));
        if state.is_in_trigger {
            out.push_str("ONBUILD ");
        }
        out + text
    }

    /// An instruction's text for people: the keyword in upper case, variables expanded. `masked`
    /// are variables whose values are secrets.
    pub(super) fn shown(&self, text: &str, env: &Env, mode: Shown, masked: &[String]) -> String {
        let lookup = |name: &str| {
            let is_masked = masked.iter().any(|m| m == name);
            if is_masked {
                Some("****".to_owned())
            } else {
                env.get(name).map(|value| self.budget.copy(value))
            }
        };
        let expander = Expander::new(self.dockerfile.directives.escape, &lookup);
        let is_command = mode == Shown::Command;
        let lex = LexMode { keep_quotes: is_command, keep_unset: is_command, ..LexMode::default() };
        let text = expander.run(text, lex).map_or_else(|_| text.to_owned(), |(e, _)| e.text);
        match text.split_once(' ') {
            Some((keyword, rest)) => format!("{} {rest}", keyword.to_uppercase()),
            None => text.to_uppercase(),
        }
    }
}

/// `->arch` where a stage of one platform works for another.
fn cross(base: &Platform, target: &Platform) -> String {
    if target.os != base.os {
        return format!("->{target}");
    }
    if target.architecture == base.architecture {
        return String::new();
    }
    match &target.variant {
        Some(variant) => format!("->{}/{variant}", target.architecture),
        None => format!("->{}", target.architecture),
    }
}
