//! Global arguments: platforms, predefined names, `ARG`s before the first `FROM`, the epoch.

use std::collections::BTreeMap;

use karman_diag::{Diagnostic, Span};
use karman_oci::Platform;

use super::budget::{OVERHEAD, check_variables};
use super::state::Step;
use super::{ContextInput, Lowering, env::Env};
use crate::instruction::{ArgPair, InstructionKind};

/// Proxy arguments, in lower case; they need no declaration and are in no key.
const PROXIES: &[&str] = &["http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"];

/// Arguments that control the build itself.
const CONTROLS: &[&str] = &["SOURCE_DATE_EPOCH", "BUILDKIT_", "KARMAN_"];

/// Arguments that say what is scanned for an SBOM; they are no variables of steps.
const SCAN_ARGS: &[&str] = &["BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"];

/// The name of the argument that dates the build.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// Whether an argument means something without a declaration.
pub(super) fn is_predefined(name: &str) -> bool {
    is_proxy(name) || CONTROLS.iter().any(|c| name.starts_with(c))
}

fn is_proxy(name: &str) -> bool {
    PROXIES.iter().any(|p| name.eq_ignore_ascii_case(p))
}

/// The proxies among build arguments, by their lower-case names.
pub(super) fn proxy(build_args: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let proxies = build_args.iter().filter(|(name, _)| is_proxy(name));
    proxies.map(|(name, value)| (name.to_lowercase(), value.clone())).collect()
}

impl Lowering<'_> {
    /// Sets the platform arguments and reads the `ARG`s before the first `FROM`.
    pub(super) fn read_globals(&mut self) -> Step<()> {
        let options = self.options;
        for (name, value) in platform_args(&options.build_platform, &options.target_platform) {
            self.set_global(&name, &value);
        }
        let stages = &self.dockerfile.stages;
        let last = stages.last().and_then(|s| s.name.as_ref()).map(|n| n.value.as_str());
        let target = options.target.as_deref().or(last).filter(|t| !t.is_empty());
        self.set_global("TARGETSTAGE", target.unwrap_or("default"));
        self.check_defaults();
        let dockerfile = self.dockerfile;
        for instruction in &dockerfile.global_args {
            if let InstructionKind::Arg(pairs) = &instruction.kind {
                for pair in pairs {
                    self.read_global(pair)?;
                }
            }
        }
        self.read_epoch()
    }

    fn set_global(&mut self, name: &str, value: &str) {
        let value = self.options.build_args.get(name).map_or(value, String::as_str);
        self.globals.set(name, value);
    }

    /// The build argument of that name. An epoch counts only where it is one.
    fn build_arg(&self, name: &str) -> Option<&str> {
        let given = self.options.build_args.get(name)?.as_str();
        (name != EPOCH || given.parse::<i64>().is_ok()).then_some(given)
    }

    fn read_global(&mut self, pair: &ArgPair) -> Step<()> {
        let name = &pair.name.value;
        self.declared.insert(name.clone());
        let value = match (self.build_arg(name), &pair.value) {
            (Some(given), _) => given.to_owned(),
            (None, Some(default)) => self.global_word(default)?,
            (None, None) => return Ok(()),
        };
        self.budget.spend(self.globals.len());
        check_variables(self.globals.len(), pair.name.span)?;
        self.globals.set(name, &value);
        Ok(())
    }

    /// The epoch in seconds since 1970. `context` asks for the time of a git or http context, and
    /// so does the name of a named context; a directory and an image have none.
    fn read_epoch(&mut self) -> Step<()> {
        let given = self.options.build_args.get(EPOCH).map(String::as_str);
        let text = given.or_else(|| self.globals.get(EPOCH)).unwrap_or_default();
        let is_directory = matches!(self.options.main_context, ContextInput::Local { .. });
        match text {
            "" => self.globals.remove(EPOCH),
            "context" if is_directory => self.globals.remove(EPOCH),
            text if self.is_dateless(text) => self.globals.remove(EPOCH),
            text if self.epoch.is_none() => {
                self.epoch = Some(text.parse().map_err(|_| self.bad_epoch(text))?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether that is a named context without a time of its own.
    fn is_dateless(&self, name: &str) -> bool {
        use super::NamedContext::{Image, Local, Reference, Scratch};
        let context = self.options.contexts.get(name);
        matches!(context, Some(Image { .. } | Local { .. } | Reference(_) | Scratch))
    }

    /// What is wrong with an epoch that is no number: a stage may be named, but only one that is
    /// a download and nothing else.
    fn bad_epoch(&self, text: &str) -> Diagnostic {
        let is_named = |name: &str| name.eq_ignore_ascii_case(text);
        let mut stages = self.dockerfile.stages.iter();
        let stage = stages.find(|s| s.name.as_ref().is_some_and(|name| is_named(&name.value)));
        match stage {
            Some(stage) if stage.base.value != "scratch" => {
                let message = "SOURCE_DATE_EPOCH stage must use FROM scratch".to_owned();
                Diagnostic::error(message, stage.span)
            }
            Some(stage) => {
                let message = "SOURCE_DATE_EPOCH stage must contain exactly one remote ADD";
                Diagnostic::error(message.to_owned(), stage.span)
                    .with_hint("Karman takes no time from a stage: give seconds since 1970")
            }
            None => Diagnostic::error(format!("invalid SOURCE_DATE_EPOCH: {text}"), None)
                .with_hint("want seconds since 1970"),
        }
    }

    /// `ARG` in a stage.
    pub(super) fn lower_arg(&mut self, id: usize, pairs: &[ArgPair], span: Span) -> Step<()> {
        let mut texts = vec!["ARG".to_owned()];
        for pair in pairs {
            let name = &pair.name.value;
            self.declared.insert(name.clone());
            let value = match (self.build_arg(name), &pair.value) {
                (Some(given), _) => Some(given.to_owned()),
                (None, Some(default)) => Some(self.stage_word(id, default)?),
                (None, None) => self.globals.get(name).map(|value| self.budget.copy(value)),
            };
            let state = &mut self.states[id];
            self.budget.spend(OVERHEAD + state.env.len());
            self.budget.check(span)?;
            check_variables(state.env.len(), span)?;
            if let Some(value) = &value {
                if !SCAN_ARGS.contains(&name.as_str()) {
                    state.env.set(name, value);
                }
                texts.push(format!("{name}={value}"));
            } else {
                texts.push(name.clone());
            }
            state.build_args.push((name.clone(), value));
        }
        self.states[id].note(texts.join(" "), self.epoch);
        Ok(())
    }

    /// The environment that names see: global ones for `FROM`.
    pub(super) fn platform_word(&self, raw: &str, span: Span, env: &Env) -> Step<Platform> {
        let text = self.expand(raw, span, env)?;
        if text.is_empty() {
            let message = format!("empty platform value from expression {raw}");
            return Err(Diagnostic::error(message, span));
        }
        Platform::parse(&text)
            .map_err(|e| Diagnostic::error(format!("failed to parse platform {raw}: {e}"), span))
    }
}

fn platform_args(build: &Platform, target: &Platform) -> Vec<(String, String)> {
    let of = |kind: &str, p: &Platform| {
        let optional = |v: &Option<String>| v.clone().unwrap_or_default();
        [
            (format!("{kind}PLATFORM"), p.to_string()),
            (format!("{kind}OS"), p.os.clone()),
            (format!("{kind}OSVERSION"), optional(&p.os_version)),
            (format!("{kind}ARCH"), p.architecture.clone()),
            (format!("{kind}VARIANT"), optional(&p.variant)),
        ]
    };
    of("BUILD", build).into_iter().chain(of("TARGET", target)).collect()
}
