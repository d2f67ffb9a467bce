//! Finding, reading and parsing Dockerfiles. Each one is parsed once, however many targets use it.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use karman_diag::{Diagnostic, FileId, Span};
use karman_dockerfile::instruction::Dockerfile;
use karman_dockerfile::{MAX_SOURCE_BYTES, parse};
use karman_llb::VertexDigest;
use karman_sys::fs::{Dir, FsError};

use crate::context::Place;
use crate::error::{Problem, Step};
use crate::files::{Read, candidates, read_bounded, shown, tidy};
use crate::location::is_http;
use crate::plan::Planner;
use crate::spec::{STDIN, TargetSpec};

/// The default name, and the one tried after it.
const DEFAULT_NAMES: [&str; 2] = ["Dockerfile", "dockerfile"];

/// Where a Dockerfile's text comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Origin {
    /// A local file, canonical.
    File(PathBuf),
    /// A file in something remote.
    Inside(VertexDigest, String),
    /// A URL.
    Url(String),
    /// Standard input.
    Stdin,
    /// The text itself.
    Inline(String),
}

/// A Dockerfile that was read.
#[derive(Debug)]
pub(crate) struct Parsed {
    tree: Option<Dockerfile>,
    errors: Vec<Diagnostic>,
    file: FileId,
}

/// A Dockerfile, perhaps with errors.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    parsed: Rc<Parsed>,
    /// Where it is, where it is a local file: its ignore file lies beside it.
    pub(crate) path: Option<PathBuf>,
}

impl Loaded {
    /// The tree of a Dockerfile without errors.
    pub(crate) fn tree(&self) -> Step<&Dockerfile> {
        match &self.parsed.tree {
            Some(tree) if self.parsed.errors.is_empty() => Ok(tree),
            _ => Err(Problem::Found(self.parsed.errors.clone())),
        }
    }

    /// What could be understood of it.
    pub(crate) fn partial_tree(&self) -> Option<&Dockerfile> {
        self.parsed.tree.as_ref()
    }

    /// What is wrong with its syntax.
    pub(crate) fn errors(&self) -> &[Diagnostic] {
        &self.parsed.errors
    }

    /// The text.
    pub(crate) fn file(&self) -> FileId {
        self.parsed.file
    }
}

impl Planner<'_> {
    /// Finds, reads and parses the Dockerfile of a target.
    pub(crate) fn dockerfile(&mut self, spec: &TargetSpec, place: &Place) -> Step<Loaded> {
        if let Some(text) = &spec.dockerfile_inline {
            let origin = Origin::Inline(text.clone());
            return self.parsed(origin, "Dockerfile (inline)", |_| Ok(text.clone().into_bytes()));
        }
        let written = spec.dockerfile.as_deref();
        if let Some(url) = written.filter(|f| is_http(f)) {
            return self.load_url(url);
        }
        match (place, written) {
            (_, Some(STDIN)) if spec.context == STDIN => Err(Problem::usage(
                "invalid argument: can't use stdin for both build context and dockerfile",
            )),
            (Place::StdinDockerfile, None) => self.load_stdin(),
            (Place::StdinDockerfile, Some(_)) => Err(Problem::usage_hint(
                "ambiguous Dockerfile source: both stdin and flag correspond to Dockerfiles",
                "name a directory as context, or leave `-f` out",
            )),
            (_, Some(STDIN)) => self.load_stdin(),
            (Place::Directory { path, is_unpacked: true }, _) => self.load_unpacked(path, written),
            (Place::Directory { path, .. }, _) => {
                self.load_directory(path, written.map(|f| self.facts.cwd.join(f)))
            }
            (Place::Fetched { text, vertex }, _) => {
                let origin = Origin::Inside(*vertex, String::new());
                self.parsed(origin, "Dockerfile (remote)", |_| Ok(text.clone()))
            }
            // As in buildx, an absolute path is the caller's own file.
            (Place::Vertex(_), Some(file)) if Path::new(file).is_absolute() => {
                self.load_file(Path::new(file))
            }
            (Place::Vertex(vertex), _) => self.load_vertex(Some(*vertex), written, spec),
            (Place::Image(location), _) => {
                let platform = crate::lowering::first_platform(spec);
                let root = self.image_root(&spec.name, location, &platform)?;
                self.load_vertex(root, written, spec)
            }
        }
    }

    fn load_stdin(&mut self) -> Step<Loaded> {
        self.parsed(Origin::Stdin, "Dockerfile (standard input)", |planner| {
            Ok(planner.stdin_bytes()?.to_vec())
        })
    }

    fn load_url(&mut self, url: &str) -> Step<Loaded> {
        let shown = karman_llb::shown_remote(url);
        self.parsed(Origin::Url(url.to_owned()), &shown, |planner| {
            let vertex = planner.http_source(url, "[internal] load remote Dockerfile");
            let read =
                planner.read_remote(vertex, crate::context::HTTP_FILE, MAX_SOURCE_BYTES as u64)?;
            read.ok_or_else(|| Problem::input(format!("`{shown}` has no content")))
        })
    }

    /// A Dockerfile of the caller for a context that is elsewhere.
    fn load_file(&mut self, file: &Path) -> Step<Loaded> {
        let dir = file.parent().unwrap_or(Path::new("/")).to_owned();
        self.load_directory(&dir, Some(file.to_owned()))
    }

    /// A Dockerfile of the caller: `file`, or the default one of `context`.
    fn load_directory(&mut self, context: &Path, file: Option<PathBuf>) -> Step<Loaded> {
        let wanted = tidy(&file.unwrap_or_else(|| context.join(DEFAULT_NAMES[0])));
        let is_default = wanted.file_name().is_some_and(|n| n == DEFAULT_NAMES[0]);
        let other = is_default.then(|| wanted.with_file_name(DEFAULT_NAMES[1]));
        for path in [Some(wanted.clone()), other].into_iter().flatten() {
            // A pipe of a shell (`-f <(…)`) exists but has no canonical name.
            if !path.exists() {
                continue;
            }
            let canonical = fs_err::canonicalize(&path).unwrap_or_else(|_| path.clone());
            let name = shown(&path, &self.facts.cwd);
            let origin = Origin::File(canonical);
            let mut loaded = self.parsed(origin, &name, |_| read_file(&path, &name))?;
            loaded.path = Some(path);
            return Ok(loaded);
        }
        let dir = wanted.parent().filter(|d| d.is_dir()).unwrap_or(context);
        Err(missing(&shown(&wanted, &self.facts.cwd), candidates_below(dir, &self.facts.cwd)))
    }

    /// A Dockerfile of an archive that somebody else may have made: links stay inside it.
    fn load_unpacked(&mut self, root: &Path, written: Option<&str>) -> Step<Loaded> {
        let names = names_inside(written);
        let failed = |e: FsError| Problem::input(format!("read the unpacked context: {e}"));
        let dir = Dir::open(root).map_err(failed)?;
        for name in &names {
            let file = match dir.open_in_root(name) {
                Ok(file) => file,
                Err(e) if e.is_not_found() => continue,
                Err(e) => return Err(failed(e)),
            };
            let origin = Origin::File(root.join(name));
            let mut bytes = Vec::new();
            let read = file.take(MAX_SOURCE_BYTES as u64 + 1).read_to_end(&mut bytes);
            read.map_err(|e| Problem::input(format!("read `{name}`: {e}")))?;
            return self.parsed(origin, name, |_| Ok(bytes));
        }
        Err(missing(names.first().map_or("", String::as_str), candidates(root)))
    }

    fn load_vertex(
        &mut self,
        vertex: Option<VertexDigest>,
        written: Option<&str>,
        spec: &TargetSpec,
    ) -> Step<Loaded> {
        let names = names_inside(written);
        let wanted = names.first().cloned().unwrap_or_default();
        let Some(vertex) = vertex else {
            return Err(missing(&wanted, Vec::new()));
        };
        for path in names {
            let origin = Origin::Inside(vertex, path.clone());
            if self.dockerfiles.contains_key(&origin) {
                return self.parsed(origin, "", |_| Ok(Vec::new()));
            }
            if let Some(bytes) = self.read_remote(vertex, &path, MAX_SOURCE_BYTES as u64)? {
                return self.parsed(origin, &path, |_| Ok(bytes));
            }
        }
        let context = karman_llb::shown_remote(&spec.context);
        Err(Problem::input_hint(
            format!("there is no `{wanted}` in `{context}`"),
            "`-f` names the Dockerfile inside the remote context",
        ))
    }

    /// The parsed text; `read` is asked only where it is not known.
    fn parsed(
        &mut self,
        origin: Origin,
        name: &str,
        read: impl FnOnce(&mut Self) -> Step<Vec<u8>>,
    ) -> Step<Loaded> {
        let parsed = match self.dockerfiles.get(&origin) {
            Some(known) => Rc::clone(known),
            None => {
                let bytes = read(self)?;
                let parsed = Rc::new(self.parse(name, bytes)?);
                self.dockerfiles.insert(origin, Rc::clone(&parsed));
                parsed
            }
        };
        Ok(Loaded { parsed, path: None })
    }

    fn parse(&mut self, name: &str, bytes: Vec<u8>) -> Step<Parsed> {
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            let message = format!("`{name}` is UTF-16 text");
            return Err(Problem::input_hint(message, "save it as UTF-8"));
        }
        let malformed = std::str::from_utf8(&bytes).err().map(|e| e.valid_up_to());
        let text = String::from_utf8_lossy(&bytes);
        let file = self.sources.add(name, &*text);
        if let Some(at) = malformed {
            // A comment in another encoding is no reason to refuse the rest.
            let message = format!("`{name}` is not UTF-8 text: what is malformed reads as U+FFFD");
            self.warn(vec![Diagnostic::warning(
                message,
                Span::new(file, at, at + "\u{fffd}".len()),
            )]);
        }
        let (tree, mut errors) = parse(&text, file);
        for error in errors.iter_mut().filter(|e| e.span.is_none()) {
            error.message = format!("`{name}`: {}", error.message);
        }
        Ok(Parsed { tree, errors, file })
    }
}

/// The paths to try inside an archive or a repository: relative, without `..`.
fn names_inside(written: Option<&str>) -> Vec<String> {
    let clean = karman_pattern::clean(&format!("/{}", written.unwrap_or(DEFAULT_NAMES[0])));
    let wanted = clean.trim_start_matches('/').to_owned();
    let (stem, name) = wanted
        .rsplit_once('/')
        .map_or(("", wanted.as_str()), |(_, n)| (&wanted[..wanted.len() - n.len()], n));
    let other = (name == DEFAULT_NAMES[0]).then(|| format!("{stem}{}", DEFAULT_NAMES[1]));
    [Some(wanted.clone()), other].into_iter().flatten().collect()
}

fn read_file(path: &Path, name: &str) -> Step<Vec<u8>> {
    match read_bounded(path, MAX_SOURCE_BYTES) {
        Ok(Read::Bytes(bytes)) => Ok(bytes),
        Ok(Read::TooLarge) => {
            let message = format!("`{name}` exceeds the maximum size of {MAX_SOURCE_BYTES} bytes");
            Err(Problem::input(message))
        }
        Ok(Read::Missing) => Err(missing(name, Vec::new())),
        Err(e) => Err(Problem::input(format!("read `{name}`: {e}"))),
    }
}

fn candidates_below(dir: &Path, cwd: &Path) -> Vec<String> {
    candidates(dir).into_iter().map(|name| shown(&dir.join(name), cwd)).collect()
}

fn missing(name: &str, candidates: Vec<String>) -> Problem {
    let message = format!("there is no Dockerfile at `{name}`");
    match candidates.as_slice() {
        [] => Problem::input_hint(message, "name the Dockerfile with `-f`"),
        found => {
            let list: Vec<String> = found.iter().map(|c| format!("`{c}`")).collect();
            Problem::input_hint(message, format!("found {}; name one with `-f`", list.join(", ")))
        }
    }
}
