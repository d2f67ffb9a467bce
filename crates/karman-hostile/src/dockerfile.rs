//! A Dockerfile: parsed, and lowered over base images that are all there.

use karman_diag::{Diagnostic, SourceMap};
use karman_dockerfile::lower::{
    ContextInput, Options, ResolveError, ResolvedBase, Resolver, lower,
};
use karman_dockerfile::parse;
use karman_llb::{Graph, ImageSource, SourceOp, dump};
use karman_oci::{Digest, ImageConfig, Platform};

/// Has every image; those with `onbuild` in their names carry triggers.
struct Images;

impl Resolver for Images {
    fn image(&self, reference: &str, platform: &Platform) -> Result<ResolvedBase, ResolveError> {
        let digest = Digest::sha256_of(reference.as_bytes());
        let mut config = ImageConfig::scratch(platform);
        config.rootfs.diff_ids = vec![digest];
        config.config.env = Some(vec!["PATH=/bin".to_owned(), "A=$B".to_owned()]);
        if reference.contains("onbuild") {
            let triggers = ["ENV C=$A$A", "COPY . /app", "RUN echo $C"];
            config.config.on_build = Some(triggers.map(str::to_owned).to_vec());
        }
        let source = SourceOp::Image(ImageSource {
            reference: reference.to_owned(),
            manifest: Some(digest),
        });
        Ok(ResolvedBase { source: Some(source), config, digest: Some(digest) })
    }
}

pub(crate) fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut sources = SourceMap::new();
    let file = sources.add("Dockerfile", &*text);
    let (tree, problems) = parse(&text, file);
    crate::check_diagnostics(&problems, &sources);
    let failed = problems.iter().any(Diagnostic::is_error);
    assert!(tree.is_some() || failed, "neither a tree nor an error");
    let Some(tree) = tree.filter(|_| !failed) else { return };
    let mut graph = Graph::new();
    let mut options = Options::new(Platform::new("linux", "amd64"));
    options.main_context =
        ContextInput::Local { name: "context".to_owned(), exclude: vec!["x".to_owned()] };
    match lower(&tree, &options, &Images, &mut graph) {
        Ok(lowered) => {
            assert!(lowered.root.is_none_or(|root| graph.vertex(&root).is_some()));
            assert!(lowered.layers.iter().all(|l| l.history < lowered.config.history.len()));
            crate::check_diagnostics(&lowered.warnings, &sources);
            dump(&graph);
        }
        Err(problems) => {
            assert!(problems.iter().any(Diagnostic::is_error), "an error without an error");
            crate::check_diagnostics(&problems, &sources);
        }
    }
}
