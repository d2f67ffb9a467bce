//! Compose files to one model: documents, `include`, `extends` and several files laid over each other.

use std::collections::BTreeMap;

use karman_diag::{Diagnostic, FileId, SourceMap, Span};

use super::node::{Entry, Kind, Node, drop_resets, merge};
use super::{dotenv, interpolate, normal, service, yaml};
use crate::eval::{Eval, fail, suggest};
use crate::limits::{MAX_CHAIN, MAX_COMPOSE_FILES, MAX_FILE_BYTES};
use crate::request::Request;

/// The file whose variables every compose file may use.
const DOT_ENV: &str = ".env";

type Env = BTreeMap<String, String>;

/// A service of the merged model.
pub(super) struct Service<'m> {
    pub(super) name: String,
    pub(super) span: Span,
    pub(super) node: &'m Node,
    pub(super) environment: Env,
}

/// Reads files through the request and remembers their texts for diagnostics.
pub(super) struct Loader<'a> {
    sources: &'a mut SourceMap,
    request: &'a Request,
    env: Env,
    files: usize,
}

/// A file being read: its directory, and the files that led to it.
struct Way<'w> {
    dir: String,
    env: &'w Env,
    open: Vec<String>,
}

impl<'a> Loader<'a> {
    /// With the environment: that of the request, `.env` below it, `--var` above it.
    pub(super) fn new(sources: &'a mut SourceMap, request: &'a Request) -> Eval<Self> {
        let env = if request.looks_up() { request.env.clone() } else { Env::new() };
        let mut loader = Self { sources, request, env: Env::new(), files: 0 };
        let mut env = loader.below(env, DOT_ENV, None)?;
        env.extend(request.vars.clone());
        loader.env = env;
        Ok(loader)
    }

    /// The environment for interpolation.
    pub(super) fn env(&self) -> &Env {
        &self.env
    }

    /// `env` with the variables of a file that it does not have; `need` is where the file was asked for.
    fn below(&mut self, mut env: Env, path: &str, need: Option<Span>) -> Eval<Env> {
        let Some(text) = self.read(path, need)? else { return Ok(env) };
        for (name, value) in self.variables(path, &text, &env)? {
            env.entry(name).or_insert(value);
        }
        Ok(env)
    }

    fn variables(&mut self, path: &str, text: &str, env: &Env) -> Eval<Env> {
        dotenv::parse(text, &|name| env.get(name).cloned()).map_err(|(line, message)| {
            // The lines of such a file may hold secrets: they are named, never shown.
            Diagnostic::error(format!("`{path}`, line {line}: {message}"), None)
        })
    }

    /// The text of a file; without `need` it may be absent.
    fn read(&mut self, path: &str, need: Option<Span>) -> Eval<Option<String>> {
        self.files += 1;
        if self.files > MAX_COMPOSE_FILES {
            return Err(Diagnostic::error(
                format!("compose files name more than {MAX_COMPOSE_FILES} other files"),
                need,
            ));
        }
        let text = self
            .request
            .files
            .read(path)
            .map_err(|why| Diagnostic::error(format!("cannot read `{path}`: {why}"), need))?;
        match text {
            None if need.is_some() => {
                Err(Diagnostic::error(format!("there is no file `{path}`"), need))
            }
            Some(text) if text.len() > MAX_FILE_BYTES => Err(Diagnostic::error(
                format!("`{path}` is larger than {MAX_FILE_BYTES} bytes"),
                need,
            )),
            text => Ok(text),
        }
    }

    /// All files, each laid over those before it.
    pub(super) fn project(&mut self, files: &[FileId]) -> Eval<Node> {
        let env = self.env.clone();
        let mut model = Node::new(Kind::Map(Vec::new()), Span::default());
        for &file in files {
            let name = self.sources.get(file).map(|f| f.name.clone()).unwrap_or_default();
            let way = Way { dir: String::new(), env: &env, open: vec![name] };
            let one = self.file(file, &way)?;
            merge(&mut model, one);
        }
        drop_resets(&mut model);
        Ok(model)
    }

    /// One file with what it includes; services are extended.
    fn file(&mut self, file: FileId, way: &Way<'_>) -> Eval<Node> {
        let mut model = self.raw(file, way)?;
        let include = model.remove("include");
        self.extend_all(&mut model, way)?;
        if let Some(include) = include {
            self.include(&mut model, &include, way)?;
        }
        Ok(model)
    }

    /// The documents of a file, interpolated, in their long form and laid over each other.
    fn raw(&mut self, file: FileId, way: &Way<'_>) -> Eval<Node> {
        let text = self.sources.get(file).map(|f| f.text.clone()).unwrap_or_default();
        let mut model = Node::new(Kind::Map(Vec::new()), Span::new(file, 0, 0));
        for mut document in yaml::parse(file, &text)? {
            match document.kind {
                Kind::Map(_) => {}
                Kind::Null => continue,
                _ => return fail("a compose file must be a mapping", document.span),
            }
            interpolate::tree(&mut document, &|name| way.env.get(name).cloned())?;
            let places = normal::Places { dir: &way.dir, home: self.request.facts.home.as_deref() };
            normal::file(&mut document, &places)?;
            merge(&mut model, document);
        }
        Ok(model)
    }

    /// Adds what other files define; what is there already must not be defined again.
    fn include(&mut self, model: &mut Node, include: &Node, way: &Way<'_>) -> Eval<()> {
        let Kind::List(items) = &include.kind else {
            return fail("`include` must be a list", include.span);
        };
        for item in items {
            let included = self.included(item, way)?;
            for section in ["services", "secrets"] {
                let Some(found) = included.get(section) else { continue };
                if model.get(section).is_none() {
                    model.set(section, Node::new(Kind::Map(Vec::new()), found.span));
                }
                let Some(known) = model.get_mut(section) else { continue };
                for Entry { name, value, .. } in found.entries() {
                    if known.get(name).is_some_and(|k| !same(k, value)) {
                        let message =
                            format!("`{section}.{name}` is defined here and in an included file");
                        return fail(message, item.span);
                    }
                    known.set(name, value.clone());
                }
            }
        }
        Ok(())
    }

    /// The model of one entry of `include`.
    fn included(&mut self, item: &Node, way: &Way<'_>) -> Eval<Node> {
        let paths: Vec<String> = match (&item.kind, item.get("path").map(|p| &p.kind)) {
            (Kind::String(path), _) | (Kind::Map(_), Some(Kind::String(path))) => {
                vec![path.clone()]
            }
            (Kind::Map(_), Some(Kind::List(all))) => all.iter().filter_map(Node::to_text).collect(),
            _ => return fail("an `include` needs a path", item.span),
        };
        let place = |path: &str| {
            let home = self.request.facts.home.as_deref();
            normal::resolve(path, &normal::Places { dir: &way.dir, home })
        };
        let paths: Vec<String> = paths.iter().map(|p| place(p)).collect();
        let Some(first) = paths.first() else {
            return fail("an `include` needs a path", item.span);
        };
        let dir = match service::text(item, "project_directory")? {
            Some(dir) => place(&dir),
            None => directory(first),
        };
        let env_files: Vec<String> = match item.get("env_file").map(|n| &n.kind) {
            Some(Kind::String(one)) => vec![place(one)],
            Some(Kind::List(all)) => {
                all.iter().filter_map(Node::to_text).map(|one| place(&one)).collect()
            }
            _ => Vec::new(),
        };
        let mut env = way.env.clone();
        if env_files.is_empty() {
            env = self.below(env, &join(&dir, DOT_ENV), None)?;
        }
        for path in env_files {
            env = self.below(env, &path, Some(item.span))?;
        }
        let mut model = Node::new(Kind::Map(Vec::new()), item.span);
        for path in &paths {
            let way = way.to(path, item.span, dir.clone(), &env)?;
            let file = self.add(path, item.span)?;
            let one = self.file(file, &way)?;
            merge(&mut model, one);
        }
        Ok(model)
    }

    fn add(&mut self, path: &str, need: Span) -> Eval<FileId> {
        let text = self.read(path, Some(need))?.unwrap_or_default();
        Ok(self.sources.add(path, text))
    }

    /// Resolves `extends` of every service.
    fn extend_all(&mut self, model: &mut Node, way: &Way<'_>) -> Eval<()> {
        let names: Vec<String> = match model.get("services") {
            Some(services) => services.entries().iter().map(|e| e.name.clone()).collect(),
            None => return Ok(()),
        };
        for name in names {
            self.extend(model, &name, way, &mut Vec::new())?;
        }
        Ok(())
    }

    /// A service with what it extends; it is put back into the model, without `extends`.
    fn extend(
        &mut self,
        model: &mut Node,
        name: &str,
        way: &Way<'_>,
        chain: &mut Vec<String>,
    ) -> Eval<()> {
        let own = model.get("services").and_then(|s| s.get(name));
        let Some(extends) = own.and_then(|own| own.get("extends")).cloned() else { return Ok(()) };
        let place = format!("{}:{name}", way.open.last().cloned().unwrap_or_default());
        if chain.contains(&place) || chain.len() >= MAX_CHAIN {
            return Err(Diagnostic::error(
                format!("service `{name}` extends itself"),
                extends.span,
            )
            .with_hint(format!("the services are {}", chain.join(" -> "))));
        }
        chain.push(place);
        let wanted = match &extends.kind {
            Kind::String(service) => service.clone(),
            _ => match service::text(&extends, "service")? {
                Some(service) => service,
                None => return fail("`extends` needs `service`", extends.span),
            },
        };
        let mut base = match service::text(&extends, "file")? {
            None => self.base(model, &wanted, &extends, way, chain)?,
            Some(file) => {
                let home = self.request.facts.home.as_deref();
                let path = normal::resolve(&file, &normal::Places { dir: &way.dir, home });
                // A chain of services may come back to a file; the services must differ.
                let way = Way { dir: directory(&path), env: way.env, open: vec![path.clone()] };
                let id = self.add(&path, extends.span)?;
                let mut other = self.raw(id, &way)?;
                self.base(&mut other, &wanted, &extends, &way, chain)?
            }
        };
        chain.pop();
        if let Some(own) = model.get_mut("services").and_then(|s| s.get_mut(name)) {
            own.remove("extends");
            merge(&mut base, own.clone());
            *own = base;
        }
        Ok(())
    }

    /// The service that another extends, itself extended.
    fn base(
        &mut self,
        model: &mut Node,
        wanted: &str,
        extends: &Node,
        way: &Way<'_>,
        chain: &mut Vec<String>,
    ) -> Eval<Node> {
        self.extend(model, wanted, way, chain)?;
        let services = model.get("services").map(Node::entries).unwrap_or_default();
        match services.iter().find(|e| e.name == wanted) {
            Some(found) => Ok(found.value.clone()),
            None => {
                let d = Diagnostic::error(format!("there is no service `{wanted}`"), extends.span);
                Err(suggest(d, wanted, services.iter().map(|e| e.name.as_str())))
            }
        }
    }

    /// The services by name; each needs an image or a build.
    pub(super) fn services<'m>(&mut self, model: &'m Node) -> Eval<Vec<Service<'m>>> {
        let mut out = Vec::new();
        let Some(services) = model.get("services") else { return Ok(out) };
        for entry in services.entries() {
            let node = &entry.value;
            let is_map = matches!(node.kind, Kind::Map(_));
            if !is_map && !node.is_null() {
                return fail(format!("service `{}` must be a mapping", entry.name), node.span);
            }
            if node.get("image").is_none() && node.get("build").is_none() {
                let message = format!("service `{}` has neither `image` nor `build`", entry.name);
                return fail(message, entry.name_span);
            }
            // Only what is built has arguments to find.
            let environment = match node.get("build") {
                Some(_) => self.environment(node)?,
                None => Env::new(),
            };
            let (name, span) = (entry.name.clone(), entry.name_span);
            out.push(Service { name, span, node, environment });
        }
        out.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(out)
    }

    /// `env_file` and `environment` of a service; names without a value are taken from the caller.
    fn environment(&mut self, service: &Node) -> Eval<Env> {
        let mut out = Env::new();
        for item in service.get("env_file").map(Node::items).unwrap_or_default() {
            let Some(path) = service::text(item, "path")? else {
                return fail("an `env_file` needs `path`", item.span);
            };
            let need = service::flag(item, "required")?.unwrap_or(true);
            let need = need.then_some(item.span);
            if let Some(text) = self.read(&path, need)? {
                let env = self.env.clone();
                let found = self.variables(&path, &text, &env)?;
                out.extend(found);
            }
        }
        for entry in service.get("environment").map(Node::entries).unwrap_or_default() {
            match entry.value.to_text() {
                Some(text) => drop(out.insert(entry.name.clone(), text)),
                None => {
                    let given = self.env.get(&entry.name).cloned();
                    out.extend(given.map(|value| (entry.name.clone(), value)));
                }
            }
        }
        Ok(out)
    }
}

impl Way<'_> {
    /// The way to another file; a file on the way already is a cycle.
    fn to<'w>(&self, path: &str, span: Span, dir: String, env: &'w Env) -> Eval<Way<'w>> {
        let mut open = self.open.clone();
        if open.iter().any(|known| known == path) || open.len() >= MAX_CHAIN {
            return Err(Diagnostic::error(format!("`{path}` includes itself"), span)
                .with_hint(format!("the files are {} -> {path}", open.join(" -> "))));
        }
        open.push(path.to_owned());
        Ok(Way { dir, env, open })
    }
}

/// Whether two values are the same wherever they were written.
fn same(a: &Node, b: &Node) -> bool {
    match (&a.kind, &b.kind) {
        (Kind::List(a), Kind::List(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Kind::Map(a), Kind::Map(b)) => {
            a.len() == b.len()
                && a.iter().all(|x| b.iter().any(|y| x.name == y.name && same(&x.value, &y.value)))
        }
        (a, b) => a == b,
    }
}

fn directory(path: &str) -> String {
    path.rsplit_once('/').map_or_else(String::new, |(dir, _)| match dir {
        "" => "/".to_owned(),
        dir => dir.to_owned(),
    })
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}
