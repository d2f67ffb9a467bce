//! `ADD` and `COPY`.

use karman_diag::{Diagnostic, Span};
use karman_llb::{
    Copy, FileAction, FileOp, GitSource, HttpSource, MergeOp, Op, SourceOp, Vertex, VertexDigest,
    VertexMeta,
};
use karman_oci::Digest;
use karman_pattern::has_wildcard;

use super::Lowering;
use super::budget::OVERHEAD;
use super::file_words::{check_mode, is_http, owner, url_file_name};
use super::git_ref::{GitRef, GitRefError, parse_source};
use super::mounts::input_index;
use super::state::{Command, StateId, Step};
use crate::check::fleet::pins::check_download;
use crate::instruction::{Add, Copy as CopyInstruction, Files, Heredoc, Instruction, SourceWord};

/// Permission bits of a heredoc's file.
const HEREDOC_MODE: u32 = 0o644;

/// What `ADD` and `COPY` have in common, expanded.
struct Request<'a> {
    instruction: &'a Instruction,
    is_add: bool,
    files: &'a Files,
    paths: Vec<(String, Span)>,
    dest: String,
    chown: Option<String>,
    chmod: Option<String>,
    exclude: Vec<String>,
    keep_git_dir: Option<bool>,
    checksum: Option<String>,
    unpack: Option<bool>,
    /// Where paths are read; `None` is scratch.
    source: Option<VertexDigest>,
}

impl Request<'_> {
    /// A source as a git URL. `--keep-git-dir`, with either value, says that a URL is one.
    fn git(&self, path: &str) -> Result<Option<GitRef>, GitRefError> {
        parse_source(path, self.is_add && self.keep_git_dir.is_some())
    }

    /// Whether a source is downloaded, or cloned.
    fn is_remote(&self, path: &str) -> bool {
        is_http(path) || matches!(self.git(path), Ok(Some(_)))
    }
}

/// The file op that is put together.
struct Assembly {
    inputs: Vec<VertexDigest>,
    actions: Vec<FileAction>,
    /// What every copy begins with.
    template: Copy,
    name: String,
}

impl Assembly {
    fn push(&mut self, from: Option<VertexDigest>, copy: Copy) {
        let from = from.map(|vertex| input_index(&mut self.inputs, vertex));
        self.actions.push(FileAction::Copy(Box::new(Copy { from, ..copy })));
    }
}

impl Lowering<'_> {
    pub(super) fn lower_add(
        &mut self,
        id: StateId,
        instruction: &Instruction,
        add: &Add,
    ) -> Step<()> {
        let mut request = self.request(id, instruction, &add.files)?;
        request.is_add = true;
        request.keep_git_dir = add.keep_git_dir;
        request.unpack = add.unpack;
        if let Some(word) = &add.checksum {
            request.checksum = Some(self.stage_word(id, word)?).filter(|c| !c.is_empty());
        }
        let reads_context = request.paths.iter().any(|(path, _)| !request.is_remote(path));
        if reads_context {
            request.source = self.main_context();
        }
        self.lower_files(id, request)
    }

    pub(super) fn lower_copy(
        &mut self,
        id: StateId,
        command: &Command,
        copy: &CopyInstruction,
    ) -> Step<()> {
        let source = command.sources.first().copied().flatten();
        if source.is_some_and(|s| !self.states[s].is_dispatched) {
            let from = copy.from.as_ref().map_or("", |f| f.value.as_str());
            let message = format!(
                "cannot copy from stage {from:?}, it needs to be defined before current stage {:?}",
                self.states[id].display
            );
            let span = copy.from.as_ref().map(|f| f.span);
            return Err(Diagnostic::error(message, span));
        }
        let mut request = self.request(id, &command.instruction, &copy.files)?;
        request.source = match source {
            Some(source) => self.states[source].root,
            None if request.paths.is_empty() => None,
            None => self.main_context(),
        };
        self.lower_files(id, request)
    }

    fn request<'a>(
        &self,
        id: StateId,
        instruction: &'a Instruction,
        files: &'a Files,
    ) -> Step<Request<'a>> {
        let mut paths = Vec::new();
        for source in &files.sources {
            if let SourceWord::Path(word) = source {
                paths.push((self.stage_word(id, word)?, word.span));
            }
        }
        let optional = |word: &Option<_>| match word {
            Some(word) => self.stage_word(id, word).map(|w| Some(w).filter(|w| !w.is_empty())),
            None => Ok(None),
        };
        // Patterns are taken as they are written: no variables.
        let exclude: Vec<String> = files.exclude.iter().map(|word| word.value.clone()).collect();
        let chmod = optional(&files.chmod)?;
        if let (Some(mode), Some(word)) = (&chmod, &files.chmod) {
            check_mode(mode).map_err(|message| Diagnostic::error(message, word.span))?;
        }
        for (pattern, word) in exclude.iter().zip(&files.exclude) {
            karman_pattern::Matcher::new(&[pattern]).map_err(|e| {
                let message = format!("invalid excludepatterns: [{pattern}]: {e}");
                Diagnostic::error(message, word.span)
            })?;
        }
        Ok(Request {
            instruction,
            is_add: false,
            files,
            paths,
            dest: self.stage_word(id, &files.dest)?,
            chown: optional(&files.chown)?,
            chmod,
            exclude,
            keep_git_dir: None,
            checksum: None,
            unpack: None,
            source: None,
        })
    }

    fn lower_files(&mut self, id: StateId, mut request: Request<'_>) -> Step<()> {
        check_checksum(&request)?;
        let name = self.file_step_name(id, request.instruction);
        // `--link` with `--chmod` is a plain copy in BuildKit too.
        let is_linked = request.files.link && request.chmod.is_none();
        let root = self.states[id].root;
        let mut assembly = Assembly {
            inputs: root.filter(|_| !is_linked).into_iter().collect(),
            actions: Vec::new(),
            template: self.copy_template(id, &request),
            name,
        };
        let base = (!assembly.inputs.is_empty()).then_some(0);
        for (path, span) in std::mem::take(&mut request.paths) {
            self.add_path(&mut assembly, &mut request, path.as_str(), span)?;
            request.paths.push((path, span));
        }
        for source in &request.files.sources {
            if let SourceWord::Heredoc(heredoc) = source {
                self.add_heredoc(id, &mut assembly, heredoc)?;
            }
        }
        let text = history_text(&request);
        let Assembly { inputs, actions, name, .. } = assembly;
        let platform = self.stage_platform(id);
        let vertex = Vertex { op: Op::File(FileOp { base, actions }), inputs, platform };
        let meta = VertexMeta {
            name,
            spans: vec![request.instruction.span],
            ignore_cache: self.states[id].ignore_cache,
            internal: false,
        };
        let digest = match root.filter(|_| is_linked) {
            Some(root) => self.link_over(root, vertex, meta),
            None => self.graph.add(vertex, meta),
        };
        self.states[id].layer(text, self.epoch, digest);
        Ok(())
    }

    /// Lays files copied to an empty filesystem over a root.
    fn link_over(&mut self, root: VertexDigest, vertex: Vertex, meta: VertexMeta) -> VertexDigest {
        let linked = match meta.name.split_once("] ") {
            Some((head, rest)) => format!("{head}] LINK {rest}"),
            None => format!("LINK {}", meta.name),
        };
        let platform = vertex.platform.clone();
        let merge_meta = VertexMeta { name: linked, ..meta.clone() };
        let files = self.graph.add(vertex, meta);
        let op = Op::Merge(MergeOp { inputs: vec![0, 1] });
        self.graph.add(Vertex { op, inputs: vec![root, files], platform }, merge_meta)
    }

    fn copy_template(&self, id: StateId, request: &Request<'_>) -> Copy {
        Copy {
            from: None,
            src: String::new(),
            dest: self.states[id].destination(&request.dest),
            owner: request.chown.as_deref().map(owner),
            mode: request.chmod.clone(),
            follow_symlinks: false,
            contents_only: false,
            unpack: false,
            create_dest_path: true,
            allow_wildcard: false,
            allow_empty_wildcard: false,
            include: Vec::new(),
            exclude: request.exclude.clone(),
            required: Vec::new(),
            replace: false,
            created: self.epoch,
        }
    }

    fn add_path(
        &mut self,
        assembly: &mut Assembly,
        request: &mut Request<'_>,
        path: &str,
        span: Span,
    ) -> Step<()> {
        let excludes: usize = assembly.template.exclude.iter().map(|e| e.len() + 24).sum();
        self.budget.spend(2 * OVERHEAD + assembly.template.dest.len() + excludes);
        self.budget.check(span)?;
        let git = request.git(path).map_err(|e| Diagnostic::error(e.to_string(), span))?;
        if let Some(git) = git {
            return self.add_git(assembly, request, &git, span);
        }
        if is_http(path) {
            return self.add_http(assembly, request, path, span);
        }
        self.check_ignored(request.instruction, path);
        let mut copy = Copy {
            follow_symlinks: true,
            contents_only: true,
            unpack: request.unpack.unwrap_or(request.is_add),
            allow_wildcard: true,
            allow_empty_wildcard: true,
            ..assembly.template.clone()
        };
        let mut root = path;
        if request.files.parents {
            let (parent, pattern) = path.split_once("/./").unwrap_or(("/", path));
            let pattern = karman_pattern::clean(&format!("/{pattern}"));
            let pattern = pattern.trim_start_matches('/').to_owned();
            if !has_wildcard(parent) && !has_wildcard(&pattern) {
                copy.required = vec![pattern.clone()];
            }
            copy.include = vec![pattern];
            root = parent;
        }
        copy.src = karman_pattern::clean(&format!("/{root}"));
        assembly.push(request.source, copy);
        Ok(())
    }

    fn add_git(
        &mut self,
        assembly: &mut Assembly,
        request: &mut Request<'_>,
        git: &GitRef,
        span: Span,
    ) -> Step<()> {
        if !request.is_add {
            return Err(Diagnostic::error("source can't be a git ref for COPY", span));
        }
        let disagree =
            |a: Option<bool>, b: Option<bool>| matches!((a, b), (Some(a), Some(b)) if a != b);
        if disagree(request.keep_git_dir, git.keep_git_dir) {
            return Err(Diagnostic::error("inconsistent keep-git-dir configuration", span));
        }
        if let (Some(flag), Some(query)) = (&request.checksum, &git.checksum)
            && flag != query
        {
            let message = format!("checksum mismatch {flag:?} != {query:?}");
            return Err(Diagnostic::error(message, span));
        }
        let source = GitSource {
            url: git.url.clone(),
            reference: git.reference.clone(),
            subdir: git.subdir.clone(),
            keep_git_dir: git.keep_git_dir.or(request.keep_git_dir).unwrap_or(false),
            checksum: git.checksum.clone().or_else(|| request.checksum.clone()),
            skip_submodules: git.submodules == Some(false),
        };
        let vertex = self.add_source(SourceOp::Git(source), assembly.name.clone(), vec![span]);
        let copy = Copy { src: "/".to_owned(), contents_only: true, ..assembly.template.clone() };
        assembly.push(Some(vertex), copy);
        Ok(())
    }

    fn add_http(
        &mut self,
        assembly: &mut Assembly,
        request: &Request<'_>,
        url: &str,
        span: Span,
    ) -> Step<()> {
        if !request.is_add {
            return Err(Diagnostic::error("source can't be a URL for COPY", span));
        }
        let checksum = match &request.checksum {
            Some(text) => {
                let bad = |e| Diagnostic::error(format!("invalid checksum {text:?}: {e}"), span);
                Some(Digest::parse(text).map_err(bad)?)
            }
            None => {
                check_download(url, &self.checks);
                None
            }
        };
        let file = url_file_name(url);
        let source =
            HttpSource { url: url.to_owned(), checksum, filename: Some(file.clone()), mode: None };
        let vertex = self.add_source(SourceOp::Http(source), assembly.name.clone(), vec![span]);
        let copy = Copy {
            src: format!("/{file}"),
            unpack: request.unpack.unwrap_or(false),
            ..assembly.template.clone()
        };
        assembly.push(Some(vertex), copy);
        Ok(())
    }

    fn add_heredoc(&mut self, id: StateId, assembly: &mut Assembly, heredoc: &Heredoc) -> Step<()> {
        let mut body = heredoc.text();
        if heredoc.expand {
            let env = &self.states[id].env;
            let lookup = |name: &str| env.get(name).map(|value| self.budget.copy(value));
            let expander = crate::expand::Expander::new(self.dockerfile.directives.escape, &lookup);
            let expanded = expander.process_heredoc(&body);
            let problem =
                |e: crate::expand::ExpandError| Diagnostic::error(e.to_string(), heredoc.span);
            let expanded = expanded.map_err(problem)?;
            self.check_unset(id, &expanded.unmatched);
            body = expanded.text;
            self.budget.spend(body.len());
            self.budget.check(heredoc.span)?;
        }
        let span = heredoc.span;
        let vertex = self.inline_document(id, heredoc, body, HEREDOC_MODE, span);
        let src = karman_pattern::clean(&format!("/{}", heredoc.name));
        assembly.push(Some(vertex), Copy { src, ..assembly.template.clone() });
        Ok(())
    }
}

fn check_checksum(request: &Request<'_>) -> Step<()> {
    if request.checksum.is_none() {
        return Ok(());
    }
    let span = request.instruction.span;
    let [(path, _)] = request.paths.as_slice() else {
        return Err(Diagnostic::error("checksum can't be specified for multiple sources", span));
    };
    if request.is_remote(path) {
        return Ok(());
    }
    Err(Diagnostic::error("checksum requires HTTP(S) or Git sources", span))
}

/// BuildKit's `created_by`: flags that change the files, sources, destination.
fn history_text(request: &Request<'_>) -> String {
    let mut text = if request.is_add { "ADD" } else { "COPY" }.to_owned();
    if request.files.parents {
        text.push_str(" --parents");
    }
    for (flag, value) in [("chown", &request.chown), ("chmod", &request.chmod)] {
        if let Some(value) = value {
            text.push_str(&format!(" --{flag}={value}"));
        }
    }
    for (path, _) in &request.paths {
        text.push(' ');
        text.push_str(path);
    }
    for source in &request.files.sources {
        if let SourceWord::Heredoc(heredoc) = source {
            text.push_str(&format!(" <<{}", heredoc.name));
        }
    }
    format!("{text} {} # buildkit", request.dest)
}
