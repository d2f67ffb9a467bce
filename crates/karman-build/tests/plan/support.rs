//! A caller's directory and a backend that answers from maps.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use karman_build::{BuildFacts, PlanError, Planned, TargetSpec, plan};
use karman_control::{
    Backend, Cause, EventSink, ResolvedImage, Session, SolveError, SolveRequest, SolveResponse,
};
use karman_diag::render;
use karman_llb::{Graph, ImageSource, OciLayoutSource, Op, SourceOp, VertexDigest};
use karman_oci::{Digest, ImageConfig, Platform};

/// A backend of a few images and files.
#[derive(Default)]
pub(crate) struct Fake {
    /// Configs by full reference, or by layout name, or by debootstrap source.
    pub(crate) images: BTreeMap<String, ImageConfig>,
    /// Files by `URL path`; those of an unpacked archive by `unpacked URL path`.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// What was asked.
    pub(crate) asked: Mutex<Vec<String>>,
}

impl Fake {
    pub(crate) fn with_image(mut self, reference: &str) -> Self {
        self.images.insert(reference.to_owned(), ImageConfig::scratch(&Platform::host()));
        self
    }

    pub(crate) fn with_file(mut self, key: &str, text: impl Into<Vec<u8>>) -> Self {
        self.files.insert(key.to_owned(), text.into());
        self
    }

    pub(crate) fn asked(&self, what: &str) -> usize {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|a| a.contains(what)).count()
    }

    fn note(&self, what: String) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }
}

impl Backend for Fake {
    fn resolve_image(
        &self,
        source: &SourceOp,
        platform: &Platform,
        _session: &Session,
    ) -> Result<ResolvedImage, SolveError> {
        let name = match source {
            SourceOp::Image(image) => image.reference.clone(),
            SourceOp::OciLayout(layout) => layout.name.clone(),
            SourceOp::Debootstrap(source) => source.source.clone(),
            other => panic!("{other:?} is not an image"),
        };
        self.note(format!("image {name} {platform}"));
        let Some(config) = self.images.get(&name) else {
            let error = SolveError::new(Cause::Fetch, format!("{name}: not found"));
            return Err(error.with_hint("check the name"));
        };
        let digest = Digest::sha256_of(format!("{name} {platform}").as_bytes());
        let manifest = Some(digest);
        let source = match source {
            SourceOp::Image(_) => SourceOp::Image(ImageSource { reference: name, manifest }),
            SourceOp::OciLayout(_) => SourceOp::OciLayout(OciLayoutSource { name, manifest }),
            other => other.clone(),
        };
        let mut config = config.clone();
        config.architecture.clone_from(&platform.architecture);
        Ok(ResolvedImage { source, digest, config })
    }

    fn read_file(
        &self,
        graph: &Graph,
        vertex: &VertexDigest,
        path: &str,
        limit: u64,
        _session: &Session,
    ) -> Result<Option<Vec<u8>>, SolveError> {
        let key = format!("{} {path}", key_of(graph, vertex));
        self.note(format!("file {key}"));
        match self.files.get(&key) {
            Some(bytes) if bytes.len() as u64 > limit => {
                Err(SolveError::new(Cause::Input, "too large"))
            }
            found => Ok(found.cloned()),
        }
    }

    fn solve(
        &self,
        _request: SolveRequest,
        _session: &Session,
        _events: EventSink,
    ) -> Result<SolveResponse, SolveError> {
        Err(SolveError::new(Cause::Engine, "planning never solves"))
    }
}

fn key_of(graph: &Graph, vertex: &VertexDigest) -> String {
    let vertex = graph.vertex(vertex).expect("the vertex is in the graph");
    match &vertex.op {
        Op::Source(SourceOp::Git(git)) => git.url.clone(),
        Op::Source(SourceOp::Http(http)) => http.url.clone(),
        Op::Source(SourceOp::Image(image)) => image.reference.clone(),
        Op::Source(SourceOp::Local(local)) => format!("local {}", local.name),
        _ => format!("unpacked {}", key_of(graph, &vertex.inputs[0])),
    }
}

/// A caller.
pub(crate) struct Caller {
    dir: tempfile::TempDir,
    pub(crate) facts: BuildFacts,
    pub(crate) session: Session,
    pub(crate) backend: Fake,
}

impl Caller {
    /// A caller in an empty directory, whose backend has `alpine` and `ubuntu:24.04`.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let root = dir.path().canonicalize().expect("it has a name");
        let (cwd, scratch) = (root.join("work"), root.join("scratch"));
        fs_err::create_dir_all(&cwd).expect("a directory");
        let facts = BuildFacts { cwd, scratch, ..BuildFacts::default() };
        let backend = Fake::default()
            .with_image("docker.io/library/alpine:latest")
            .with_image("docker.io/library/ubuntu:24.04");
        Self { dir, facts, session: Session::default(), backend }
    }

    pub(crate) fn file(self, path: &str, text: &str) -> Self {
        let path = self.facts.cwd.join(path);
        fs_err::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs_err::write(path, text).expect("a file");
        self
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.facts.cwd.join(path)
    }

    pub(crate) fn root(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.facts.env.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.facts.stdin = Some(bytes.into());
        self
    }

    pub(crate) fn plan(&mut self, targets: &[TargetSpec]) -> Result<Planned, PlanError> {
        plan(&self.backend, targets, &self.facts, &mut self.session)
    }

    /// Plans what must be right.
    pub(crate) fn planned(&mut self, targets: &[TargetSpec]) -> Planned {
        self.plan(targets).unwrap_or_else(|e| panic!("{}", shown(&e)))
    }

    /// The rendered error of what must be wrong.
    pub(crate) fn refused(&mut self, targets: &[TargetSpec]) -> String {
        shown(&self.plan(targets).expect_err("the plan is refused"))
    }
}

/// An error as people see it.
pub(crate) fn shown(error: &PlanError) -> String {
    match error {
        PlanError::Diagnostics { diagnostics, sources, .. } => {
            diagnostics.iter().map(|d| render(d, sources)).collect()
        }
        PlanError::Solve(error) => format!("{error}\nhints: {:?}\n", error.hints),
        PlanError::Usage { message, hint } => format!("{message}\nhint: {hint:?}\n"),
    }
}

/// A target of that name with its Dockerfile as text.
pub(crate) fn inline(name: &str, dockerfile: &str) -> TargetSpec {
    TargetSpec {
        name: name.to_owned(),
        dockerfile_inline: Some(dockerfile.to_owned()),
        ..TargetSpec::default()
    }
}

/// A target with that context.
pub(crate) fn of_context(context: &str) -> TargetSpec {
    TargetSpec { context: context.to_owned(), ..TargetSpec::default() }
}

/// Sources of a graph.
pub(crate) fn sources(planned: &Planned) -> Vec<SourceOp> {
    let ops = planned.request.graph.iter().filter_map(|(_, v)| match &v.op {
        Op::Source(source) => Some(source.clone()),
        _ => None,
    });
    ops.collect()
}

/// The patterns of each local source by its name.
pub(crate) fn locals(planned: &Planned) -> Vec<(String, Vec<String>)> {
    let all = sources(planned).into_iter().filter_map(|s| match s {
        SourceOp::Local(local) => Some((local.name, local.exclude)),
        _ => None,
    });
    all.collect()
}

/// Names of all vertices.
pub(crate) fn names(planned: &Planned) -> Vec<String> {
    let graph = &planned.request.graph;
    graph.iter().filter_map(|(d, _)| graph.meta(d)).map(|m| m.name.clone()).collect()
}

/// A pair of strings in a map.
pub(crate) fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}
