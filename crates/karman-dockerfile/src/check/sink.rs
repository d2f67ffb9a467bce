//! What was found, less what the configuration silences.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use karman_diag::{Diagnostic, Span};

use super::config::{CONFIG_ARG, Config};
use super::rules::{Level, NO_EMPTY_CONTINUATION, Rule, rule};
use crate::instruction::Dockerfile;

/// After so many findings the rest is not kept: a hostile file has one for every word.
const MAX_FOUND: usize = 1_000;

/// So many names are compared with ones that are not set, in one file.
const MAX_COMPARISONS: usize = 50_000;

/// Takes what the rules find. Rules speak from many places of the lowering, most of which only
/// read: hence the cells.
#[derive(Debug)]
pub(crate) struct Checks {
    config: Config,
    /// `# check=` comments, by the instruction below them.
    local: BTreeMap<Span, Config>,
    /// The directive that the configuration comes from.
    directive: Option<Span>,
    warnings: RefCell<Vec<Diagnostic>>,
    advice: RefCell<Vec<Diagnostic>>,
    /// The instruction at work.
    here: Cell<Option<Span>>,
    comparisons: Cell<usize>,
}

impl Checks {
    /// With the build argument's configuration, else the directive's.
    pub(crate) fn new(
        tree: &Dockerfile,
        build_args: &BTreeMap<String, String>,
    ) -> Result<Self, Diagnostic> {
        let directive = tree.directives.check.as_ref();
        let config = match (build_args.get(CONFIG_ARG), directive) {
            (Some(text), _) => Config::parse(text).map_err(|e| {
                Diagnostic::error(format!("failed to parse build-arg:{CONFIG_ARG}: {e}"), None)
            })?,
            // BuildKit reads the first word of a directive.
            (None, Some(word)) => Config::parse(first_word(&word.value)).map_err(|e| {
                Diagnostic::error(format!("failed to parse check options: {e}"), word.span)
            })?,
            (None, None) => Config::default(),
        };
        let local = tree.local_checks.iter().filter_map(|word| {
            // A comment that is no configuration is just a comment.
            Some((word.span, Config::parse(first_word(&word.value)).ok()?))
        });
        Ok(Self {
            config,
            local: local.collect(),
            directive: directive.map(|word| word.span),
            warnings: RefCell::default(),
            advice: RefCell::default(),
            here: Cell::default(),
            comparisons: Cell::default(),
        })
    }

    /// What the parser found: all empty continuation lines first, as BuildKit's parser is through
    /// with the file before any instruction is looked at.
    pub(crate) fn add_syntax(&self, tree: &Dockerfile) {
        let is_first = |found: &&Diagnostic| found.code == NO_EMPTY_CONTINUATION.name;
        let first = tree.found.iter().filter(is_first);
        for found in first.chain(tree.found.iter().filter(|f| !is_first(f))) {
            if let (Some(rule), Some(span)) = (rule(&found.code), found.span) {
                self.found(rule, span, found.message.clone());
            }
        }
    }

    /// Sets the instruction that is at work.
    pub(crate) fn enter(&self, span: Span) {
        self.here.set(Some(span));
    }

    /// Whether further findings are dropped, so that there is no use in looking.
    pub(crate) fn is_full(&self) -> bool {
        self.warnings.borrow().len() >= MAX_FOUND
    }

    /// Whether one more name may be compared.
    pub(crate) fn may_compare(&self) -> bool {
        let done = self.comparisons.get();
        self.comparisons.set(done + 1);
        done < MAX_COMPARISONS
    }

    /// A finding about the instruction at work.
    pub(crate) fn found_here(&self, rule: &Rule, message: impl Into<String>) {
        if let Some(span) = self.here.get() {
            self.found(rule, span, message);
        }
    }

    /// A finding at a place.
    pub(crate) fn found(&self, rule: &Rule, span: Span, message: impl Into<String>) {
        let local = self.local.get(&span);
        let configs = || [Some(&self.config), local].into_iter().flatten();
        let is_skipped = configs().any(|c| c.skips(rule));
        let is_asked_for = configs().any(|c| c.asks_for(rule));
        // What is asked for by name speaks even where `skip` is `all`, as BuildKit does it.
        let list = match rule.level {
            Level::Standard if !is_skipped => &self.warnings,
            Level::Standard => return,
            _ if is_asked_for => &self.warnings,
            Level::Fleet if !is_skipped => &self.advice,
            _ => return,
        };
        let mut list = list.borrow_mut();
        if list.len() < MAX_FOUND {
            list.push(Diagnostic::warning(message, span).with_code(rule.name));
        }
    }

    /// The error that warnings are, where `error=true` says so.
    pub(crate) fn violation(&self) -> Option<Diagnostic> {
        let warnings = self.warnings.borrow();
        if !self.config.error || warnings.is_empty() {
            return None;
        }
        let names: BTreeSet<&str> = warnings.iter().map(|w| w.code.as_str()).collect();
        let list = names.into_iter().collect::<Vec<_>>().join(", ");
        let message = format!("lint violation found for rules: {list}");
        Some(Diagnostic::error(message, self.directive).with_code(VIOLATION))
    }

    /// Warnings and advice, in the order in which they were found.
    pub(crate) fn take(&self) -> (Vec<Diagnostic>, Vec<Diagnostic>) {
        (self.warnings.take(), self.advice.take())
    }
}

/// The code of the error that `error=true` makes of warnings.
pub const VIOLATION: &str = "check";

fn first_word(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}
