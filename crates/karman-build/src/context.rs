//! The main context: where `COPY` without `--from` reads.

use std::path::PathBuf;

use karman_dockerfile::MAX_SOURCE_BYTES;
use karman_dockerfile::lower::{ContextInput, go_bool};
use karman_exporter::unpack::is_archive;
use karman_llb::{
    Copy, FileAction, FileOp, HttpSource, Op, SourceOp, Vertex, VertexDigest, VertexMeta,
};
use karman_oci::Platform;

use crate::dockerfile::Loaded;
use crate::error::{Problem, Step};
use crate::files::directory;
use crate::location::Location;
use crate::plan::Planner;
use crate::spec::TargetSpec;
use crate::stdin::StdinContext;

/// The name a fetched file gets, as in BuildKit.
pub(crate) const HTTP_FILE: &str = "context";
/// The largest file fetched to see whether it is an archive. Archives with a telling name are not
/// looked into and may be larger.
const MAX_UNKNOWN: u64 = 256 << 20;
/// Endings of URLs that are archives without a look.
const ARCHIVES: [&str; 10] = [
    ".tar",
    ".tgz",
    ".tar.gz",
    ".tbz2",
    ".tar.bz2",
    ".txz",
    ".tar.xz",
    ".tzst",
    ".tar.zst",
    ".tar.zstd",
];
/// The build argument that keeps `.git` in a git context.
const KEEP_GIT_DIR: &str = "BUILDKIT_CONTEXT_KEEP_GIT_DIR";

/// Where a main context is.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// A directory: the caller's, or an archive of standard input.
    Directory {
        /// Where it is, canonical.
        path: PathBuf,
        /// Whether it was an archive: `-f` is inside it, and it has no ignore file.
        is_unpacked: bool,
    },
    /// No files; the Dockerfile is on standard input.
    StdinDockerfile,
    /// A Dockerfile by HTTP, the only file of the context.
    Fetched {
        /// Its text.
        text: Vec<u8>,
        /// The source that has it.
        vertex: VertexDigest,
    },
    /// Files in the graph.
    Vertex(VertexDigest),
    /// Files of an image, which differ by platform.
    Image(Location),
}

impl Planner<'_> {
    /// What the text of a main context names.
    pub(crate) fn locate(&self, text: &str, spec: &TargetSpec) -> Step<Location> {
        let keep = spec.build_args.get(KEEP_GIT_DIR).and_then(Option::as_deref);
        self.place_of(text, keep.and_then(go_bool).unwrap_or(false))
    }

    /// What the text of any context names.
    pub(crate) fn place_of(&self, text: &str, keep_git_dir: bool) -> Step<Location> {
        Location::parse(text, keep_git_dir, |path| self.facts.cwd.join(path).is_dir())
    }

    /// Finds the main context.
    pub(crate) fn main_place(&mut self, spec: &TargetSpec) -> Step<Place> {
        match self.locate(&spec.context, spec)? {
            Location::Stdin => Ok(match self.stdin_context()? {
                StdinContext::Archive(path) => Place::Directory { path, is_unpacked: true },
                StdinContext::Dockerfile => Place::StdinDockerfile,
            }),
            Location::Path(path) => {
                let path = directory(&self.facts.cwd, &path, "context")?;
                Ok(Place::Directory { path, is_unpacked: false })
            }
            Location::Git(git) => {
                let title = format!(
                    "[internal] load git source {}",
                    karman_llb::shown_remote(&spec.context)
                );
                Ok(Place::Vertex(self.add_source(SourceOp::Git(git), title)))
            }
            Location::Http(url) => {
                let (vertex, text) =
                    self.http_context(&url, "[internal] load remote build context")?;
                Ok(match text {
                    Some(text) => Place::Fetched { text, vertex },
                    None => Place::Vertex(vertex),
                })
            }
            image => Ok(Place::Image(image)),
        }
    }

    /// The main context as the lowering takes it, for one platform.
    pub(crate) fn main_input(
        &mut self,
        spec: &TargetSpec,
        place: &Place,
        dockerfile: &Loaded,
        platform: &Platform,
    ) -> Step<ContextInput> {
        Ok(match place {
            Place::StdinDockerfile => {
                let path = self.empty_directory()?;
                ContextInput::Local { name: self.local_name(&path, "context"), exclude: Vec::new() }
            }
            Place::Fetched { vertex, .. } | Place::Vertex(vertex) => ContextInput::Vertex(*vertex),
            Place::Directory { path, is_unpacked } => {
                let exclude = match is_unpacked {
                    true => Vec::new(),
                    false => self.ignored(path, dockerfile.path.as_deref())?,
                };
                ContextInput::Local { name: self.local_name(path, "context"), exclude }
            }
            Place::Image(location) => match self.image_root(&spec.name, location, platform)? {
                Some(root) => ContextInput::Vertex(root),
                None => ContextInput::Empty,
            },
        })
    }

    /// A file by HTTP as a context: unpacked where it is an archive, else with its bytes.
    pub(crate) fn http_context(
        &mut self,
        url: &str,
        title: &str,
    ) -> Step<(VertexDigest, Option<Vec<u8>>)> {
        let vertex = self.http_source(url, title);
        let path = url.split(['?', '#']).next().unwrap_or(url).to_lowercase();
        if !ARCHIVES.iter().any(|ending| path.ends_with(ending)) {
            let bytes = self.read_remote(vertex, HTTP_FILE, MAX_UNKNOWN)?.unwrap_or_default();
            if !is_archive(bytes.as_slice()) {
                let text = (bytes.len() <= MAX_SOURCE_BYTES).then_some(bytes);
                let name = karman_llb::shown_remote(url);
                let neither =
                    || Problem::input(format!("`{name}` is neither archive nor Dockerfile"));
                return Ok((vertex, Some(text.ok_or_else(neither)?)));
            }
        }
        Ok((self.unpacked(vertex, title), None))
    }

    /// The archive a vertex holds, unpacked.
    fn unpacked(&mut self, archive: VertexDigest, title: &str) -> VertexDigest {
        let copy = Copy {
            from: Some(0),
            src: format!("/{HTTP_FILE}"),
            dest: "/".to_owned(),
            owner: None,
            mode: None,
            follow_symlinks: false,
            contents_only: false,
            unpack: true,
            create_dest_path: true,
            allow_wildcard: false,
            allow_empty_wildcard: false,
            include: Vec::new(),
            exclude: Vec::new(),
            required: Vec::new(),
            replace: false,
            created: None,
        };
        let op = Op::File(FileOp { base: None, actions: vec![FileAction::Copy(Box::new(copy))] });
        let vertex = Vertex { op, inputs: vec![archive], platform: Platform::host() };
        let name = format!("{title}: unpack");
        self.graph.add(vertex, VertexMeta { name, ..VertexMeta::default() })
    }

    /// A file by HTTP in the graph.
    pub(crate) fn http_source(&mut self, url: &str, title: &str) -> VertexDigest {
        let source = HttpSource {
            url: url.to_owned(),
            checksum: None,
            filename: Some(HTTP_FILE.to_owned()),
            mode: None,
        };
        self.add_source(SourceOp::Http(source), title.to_owned())
    }

    /// Adds a source that is the same for all platforms.
    pub(crate) fn add_source(&mut self, source: SourceOp, name: String) -> VertexDigest {
        self.add_source_for(source, name, Platform::host())
    }

    /// Adds a source.
    pub(crate) fn add_source_for(
        &mut self,
        source: SourceOp,
        name: String,
        platform: Platform,
    ) -> VertexDigest {
        let vertex = Vertex { op: Op::Source(source), inputs: Vec::new(), platform };
        self.graph.add(vertex, VertexMeta { name, ..VertexMeta::default() })
    }

    /// One file of something remote.
    pub(crate) fn read_remote(
        &mut self,
        vertex: VertexDigest,
        path: &str,
        limit: u64,
    ) -> Step<Option<Vec<u8>>> {
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(self.backend.read_file(&self.graph, &vertex, &path, limit, self.session)?)
    }
}
