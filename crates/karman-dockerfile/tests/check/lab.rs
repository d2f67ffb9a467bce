//! A Dockerfile with a few images around it.

use std::fmt::Write as _;

use karman_diag::{Diagnostic, SourceMap, Span};
use karman_dockerfile::call::{self, Answer, CheckReport, ErrorKind};
use karman_dockerfile::check::{VIOLATION, of_syntax};
use karman_dockerfile::instruction::Dockerfile;
use karman_dockerfile::lower::{
    ContextInput, Lowered, NamedContext, Options, ResolveError, ResolvedBase, Resolver, lower,
};
use karman_dockerfile::parse;
use karman_llb::{Graph, ImageSource, SourceOp};
use karman_oci::{Digest, ImageConfig, Platform};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A build.
    Build,
    /// `--check`.
    Check,
}

/// A Dockerfile and how it is built.
pub(crate) struct Lab {
    sources: SourceMap,
    tree: Option<Dockerfile>,
    errors: Vec<Diagnostic>,
    options: Options,
}

impl Lab {
    /// Of a text and lines of options.
    pub(crate) fn new(text: &str, options: &str) -> Self {
        let mut sources = SourceMap::new();
        let file = sources.add("dir/Dockerfile", text);
        let (tree, errors) = parse(text, file);
        Self { sources, tree, errors, options: read_options(options) }
    }

    /// Warnings, advice and the error, each with its lines.
    pub(crate) fn findings(&self, asked: Asked) -> String {
        let report = self.run(asked).1;
        let mut out = String::new();
        let lists = [("", &report.warnings), ("advice ", &report.advice)];
        for (label, found) in lists.iter().flat_map(|(l, list)| list.iter().map(move |f| (l, f))) {
            let _ = writeln!(
                out,
                "{label}{} {}: {}",
                self.lines(found.span),
                found.code,
                found.message
            );
        }
        if let Some(error) = &report.error {
            let _ = writeln!(out, "error {}: {}", self.lines(error.span), error.message);
        }
        if out.is_empty() { "nothing\n".to_owned() } else { out }
    }

    /// What `--call=check` answers.
    pub(crate) fn report(&self) -> Answer {
        let file = self.sources.get(karman_diag::FileId(0)).expect("the file");
        self.run(Asked::Check).1.answer(file)
    }

    /// What a build says at its end.
    pub(crate) fn summary(&self, expand: bool) -> String {
        call::summary(&self.run(Asked::Build).1.warnings, &self.sources, expand)
    }

    /// What `--call=outline` answers.
    pub(crate) fn outline(&self) -> Answer {
        let file = self.sources.get(karman_diag::FileId(0)).expect("the file");
        let lowered = self.run(Asked::Build).0.expect("no errors");
        call::outline(&lowered.outline, file)
    }

    /// What `--call=targets` answers.
    pub(crate) fn targets(&self) -> Answer {
        let file = self.sources.get(karman_diag::FileId(0)).expect("the file");
        call::targets(self.tree.as_ref().expect("a tree"), file)
    }

    /// The result of lowering, and what was found meanwhile.
    pub(crate) fn run(&self, asked: Asked) -> (Option<Lowered>, CheckReport) {
        let mut report = CheckReport::default();
        let Some(tree) = &self.tree else {
            report.error = self.errors.first().cloned();
            return (None, report);
        };
        if let Some(error) = self.errors.first() {
            report.warnings = of_syntax(tree, &self.options.build_args).expect("a configuration");
            report.error = Some(error.clone());
            report.kind = ErrorKind::Syntax;
            return (None, report);
        }
        let mut options = self.options.clone();
        options.all_stages = asked == Asked::Check && options.target.is_none();
        match lower(tree, &options, &Images, &mut Graph::new()) {
            Ok(lowered) => {
                report.warnings.clone_from(&lowered.warnings);
                if asked == Asked::Check {
                    report.advice.clone_from(&lowered.advice);
                }
                (Some(lowered), report)
            }
            Err(mut found) => {
                report.error = found.pop();
                if report.error.as_ref().is_some_and(|e| e.code == VIOLATION) {
                    report.kind = ErrorKind::Violation;
                }
                report.warnings = found;
                (None, report)
            }
        }
    }

    fn lines(&self, span: Option<Span>) -> String {
        let Some(span) = span else { return "-".to_owned() };
        let file = self.sources.get(span.file).expect("the file");
        let first = file.line_column(span.start as usize).line;
        let end = (span.end as usize).saturating_sub(1).max(span.start as usize);
        let last = file.line_column(end).line;
        if first == last { format!("{first}") } else { format!("{first}-{last}") }
    }
}

fn read_options(text: &str) -> Options {
    let platform = |text: &str| Platform::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let mut options = Options::new(platform("linux/amd64"));
    let mut exclude = Vec::new();
    for line in text.lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let pair = || value.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        match key {
            "arg" => options.build_args.extend(pair()),
            "target" => options.target = Some(value.to_owned()),
            "platform" => options.target_platform = platform(value),
            "exclude" => exclude.push(value.to_owned()),
            "context" => {
                let local = NamedContext::Local { name: value.to_owned(), exclude: Vec::new() };
                options.contexts.insert(value.to_owned(), local);
            }
            other => panic!("unknown option `{other}`"),
        }
    }
    options.main_context = ContextInput::Local { name: "context".to_owned(), exclude };
    options
}

/// Knows every image.
struct Images;

impl Resolver for Images {
    fn image(&self, reference: &str, platform: &Platform) -> Result<ResolvedBase, ResolveError> {
        let name = reference.rsplit('/').next().unwrap_or(reference);
        let name = name.split([':', '@']).next().unwrap_or(name);
        let mut config = ImageConfig::scratch(platform);
        config.rootfs.diff_ids = vec![Digest::sha256_of(name.as_bytes())];
        let list = |words: &[&str]| Some(words.iter().map(|w| (*w).to_owned()).collect());
        config.config.env = list(&["PATH=/bin"]);
        match name {
            "shell" => config.config.shell = list(&["/bin/bash", "-c"]),
            "env" => config.config.env = list(&["PATH=/bin", "TOOL_VERSION=1"]),
            "placed" => config.config.working_dir = "/srv".to_owned(),
            "triggers" => config.config.on_build = list(&["CMD echo", "COPY $missing ."]),
            "amd64-only" => config.architecture = "amd64".to_owned(),
            _ => {}
        }
        let source = ImageSource { reference: reference.to_owned(), manifest: None };
        Ok(ResolvedBase { source: Some(SourceOp::Image(source)), config, digest: None })
    }
}
