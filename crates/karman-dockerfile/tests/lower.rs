//! Dockerfiles to graph and config: one `.case` file each.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use karman_diag::{Diagnostic, FileId, SourceMap};
use karman_dockerfile::lower::{
    ContextInput, Lowered, NamedContext, Options, ResolveError, ResolvedBase, Resolver, lower,
};
use karman_dockerfile::parse;
use karman_llb::{Graph, ImageSource, Op, SourceOp, Vertex, VertexMeta, dump};
use karman_oci::{ContainerConfig, Digest, History, ImageConfig, Platform};
use karman_testing::{Case, run_cases};

/// Knows a few images and nothing else.
struct Images;

#[derive(Debug, thiserror::Error)]
#[error("not found")]
struct NotFound;

impl Resolver for Images {
    fn image(&self, reference: &str, platform: &Platform) -> Result<ResolvedBase, ResolveError> {
        let missing =
            || ResolveError { reference: reference.to_owned(), source: Box::new(NotFound) };
        let name = reference.strip_prefix("docker.io/library/").ok_or_else(missing)?;
        let config = image(name, platform).ok_or_else(missing)?;
        if config.rootfs.diff_ids.is_empty() {
            return Ok(ResolvedBase { source: None, config, digest: None });
        }
        let digest = Digest::sha256_of(format!("{reference} {platform}").as_bytes());
        let source = ImageSource { reference: reference.to_owned(), manifest: Some(digest) };
        Ok(ResolvedBase { source: Some(SourceOp::Image(source)), config, digest: None })
    }
}

fn image(name: &str, platform: &Platform) -> Option<ImageConfig> {
    let texts = |list: &[&str]| Some(list.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
    let mut config = ImageConfig::scratch(platform);
    config.created = Some("2000-01-01T00:00:00Z".to_owned());
    let layer = History { created_by: Some(format!("{name} layer")), ..History::default() };
    config.history = vec![layer];
    config.rootfs.diff_ids = vec![Digest::sha256_of(name.as_bytes())];
    config.config = match name {
        "busybox:latest" => ContainerConfig {
            cmd: texts(&["sh"]),
            env: texts(&["PATH=/bin"]),
            ..ContainerConfig::default()
        },
        "app:latest" => ContainerConfig {
            user: "app".to_owned(),
            working_dir: "/srv".to_owned(),
            env: texts(&["PATH=/bin", "HOME=/home/app"]),
            entrypoint: texts(&["/entry"]),
            cmd: texts(&["serve"]),
            shell: texts(&["/bin/bash", "-c"]),
            ..ContainerConfig::default()
        },
        "onbuild:latest" => ContainerConfig {
            on_build: texts(&["RUN echo first", "ENV FROM_BASE=yes", "COPY . /app"]),
            ..ContainerConfig::default()
        },
        "amd64-only:latest" => {
            config.architecture = "amd64".to_owned();
            ContainerConfig::default()
        }
        "empty:latest" => {
            config.history.clear();
            config.rootfs.diff_ids.clear();
            ContainerConfig { env: texts(&["A=b"]), ..ContainerConfig::default() }
        }
        _ => return None,
    };
    Some(config)
}

/// Reads `//- options` lines: `arg K=V`, `label K=V`, `target S`, `platform P`, `context NAME KIND`,
/// `exclude PATTERN`, `no-cache`, `no-cache-filter S`, `epoch N`, `multi`, `implicit`.
fn options(case: &Case, graph: &mut Graph) -> Options {
    let platform = |text: &str| Platform::parse(text).unwrap_or_else(|e| panic!("{e}"));
    let mut options = Options::new(platform("linux/amd64"));
    let mut exclude = Vec::new();
    for line in case.body("options").lines() {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let pair = || value.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        match key {
            "arg" => options.build_args.extend(pair()),
            "label" => options.labels.extend(pair()),
            "target" => options.target = Some(value.to_owned()),
            "platform" => options.target_platform = platform(value),
            "exclude" => exclude.push(value.to_owned()),
            "no-cache" => options.no_cache = true,
            "no-cache-filter" => options.no_cache_filter.push(value.to_owned()),
            "epoch" => options.epoch = value.parse().ok(),
            "multi" => options.multi_platform = true,
            "implicit" => options.implicit_platform = true,
            "hostname" => options.hostname = value.to_owned(),
            "shm-size" => options.shm_size = value.parse().expect("a number"),
            "context" => {
                let (name, kind) = value.split_once(' ').expect("NAME KIND");
                options.contexts.insert(name.to_owned(), context(kind, graph));
            }
            other => panic!("unknown option `{other}`"),
        }
    }
    options.main_context = ContextInput::Local { name: "context".to_owned(), exclude };
    options
}

fn context(kind: &str, graph: &mut Graph) -> NamedContext {
    let platform = Platform::new("linux", "amd64");
    let source = SourceOp::Image(ImageSource { reference: format!("ctx/{kind}"), manifest: None });
    match kind {
        "local" => NamedContext::Local { name: "other".to_owned(), exclude: vec!["x".to_owned()] },
        "source" => NamedContext::Source(source),
        "scratch" => NamedContext::Scratch,
        reference if reference.contains('/') => NamedContext::Reference(reference.to_owned()),
        image_name => {
            let config = image(image_name, &platform).expect("a known image");
            let vertex = Vertex { op: Op::Source(source), inputs: vec![], platform };
            let root = Some(
                graph.add(vertex, VertexMeta { name: kind.to_owned(), ..VertexMeta::default() }),
            );
            NamedContext::Image { root, config: Box::new(config) }
        }
    }
}

fn subject(case: &Case) -> String {
    let mut graph = Graph::new();
    let options = options(case, &mut graph);
    let text = case.body("Dockerfile");
    let mut map = SourceMap::new();
    let file = map.add("Dockerfile", text);
    assert_eq!(file, FileId::default());
    let (dockerfile, problems) = parse(text, file);
    let errors: Vec<Diagnostic> = problems.into_iter().filter(Diagnostic::is_error).collect();
    let result = match dockerfile {
        Some(dockerfile) if errors.is_empty() => lower(&dockerfile, &options, &Images, &mut graph),
        _ => Err(errors),
    };
    match result {
        Ok(lowered) => show(case, &lowered, &graph),
        Err(problems) => show_errors(&problems, &map),
    }
}

fn show_errors(problems: &[Diagnostic], map: &SourceMap) -> String {
    let mut out = String::new();
    for problem in problems.iter().filter(|p| p.is_error()) {
        let line = problem.span.and_then(|s| map.locate(s)).map(|(_, at)| at.line);
        let line = line.map_or_else(|| "-".to_owned(), |l| l.to_string());
        let _ = writeln!(out, "error at {line}: {}", problem.message);
        for hint in &problem.hints {
            let _ = writeln!(out, "hint: {}", hint.0);
        }
    }
    out
}

fn show(case: &Case, lowered: &Lowered, graph: &Graph) -> String {
    let made = lowered
        .config
        .history
        .iter()
        .filter(|h| h.comment.as_deref() == Some("buildkit.dockerfile.v0") && !h.empty_layer);
    assert_eq!(made.count(), lowered.layers.len(), "one layer for each entry");
    for step in &lowered.layers {
        assert!(!lowered.config.history[step.history].empty_layer);
        assert!(graph.vertex(&step.vertex).is_some());
    }
    let wanted = case.section("expect").map_or("", |s| s.value.as_str());
    let mut out = String::new();
    for part in wanted.split_whitespace() {
        match part {
            "llb" => out.push_str(&plain(&dump(graph))),
            "config" => {
                let json = serde_json::to_string_pretty(&lowered.config.config);
                let _ = writeln!(out, "{}", json.expect("a config encodes"));
            }
            "names" => show_names(&mut out, graph),
            "history" => {
                for entry in &lowered.config.history {
                    let mark = if entry.empty_layer { "e" } else { "L" };
                    let text = entry.created_by.as_deref().unwrap_or_default();
                    let time =
                        entry.created.as_deref().map(|t| format!(" @{t}")).unwrap_or_default();
                    let _ = writeln!(out, "{mark} {}{time}", text.escape_debug());
                }
            }
            "platform" => {
                let _ = writeln!(
                    out,
                    "{} created {:?}",
                    lowered.config.platform(),
                    lowered.config.created
                );
            }
            "args" => {
                let _ = writeln!(out, "unused {:?} proxy {:?}", lowered.unused_args, lowered.proxy);
            }
            "warnings" => {
                for warning in &lowered.warnings {
                    let _ = writeln!(out, "{}: {}", warning.code, warning.message);
                }
            }
            other => panic!("unknown expectation `{other}`"),
        }
    }
    out
}

fn show_names(out: &mut String, graph: &Graph) {
    for (digest, _) in graph.iter() {
        let Some(meta) = graph.meta(digest) else { continue };
        let marks = match (meta.ignore_cache, meta.internal) {
            (false, false) => "",
            (true, _) => " (no cache)",
            (false, true) => " (internal)",
        };
        let _ = writeln!(out, "{}{marks}", meta.name.escape_debug());
    }
}

/// Digests by the order in which they are first seen.
fn plain(text: &str) -> String {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("sha256:") {
        let hex: String = after.chars().take_while(char::is_ascii_hexdigit).collect();
        rest = &after[hex.len()..];
        let next = seen.len() + 1;
        let number = seen.entry(hex).or_insert(next);
        let _ = write!(out, "{before}[sha256:{number}]");
    }
    out + rest
}

#[test]
fn dockerfiles_are_lowered() {
    run_cases(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/lower"), subject);
}
