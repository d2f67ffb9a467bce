//! Where bake files come from: the working directory, standard input, or a remote place.

use std::io::Read as _;
use std::path::Path;

use karman_bake::{DEFAULT_FILES, Files};
use karman_build::{BuildFacts, is_remote, read_definition};
use karman_control::{Cause, SolveError};
use karman_report::Redactor;

use crate::failure::{Done, Failure};
use crate::setup::Context;

/// A larger file is no bake file.
const MAX_FILE: u64 = 16 << 20;
const CWD: &str = "cwd://";
/// Bake files where none is named on the command line, and what separates them.
const FILES: &str = "BUILDX_BAKE_FILE";
const SEPARATOR: &str = "BUILDX_BAKE_PATH_SEPARATOR";

/// What the positional arguments ask for.
pub(super) struct Asked {
    /// The remote place of the bake files.
    pub(super) url: Option<String>,
    /// `BAKE_CMD_CONTEXT`, where another remote place follows the first.
    pub(super) context: Option<String>,
    pub(super) targets: Vec<String>,
}

impl Asked {
    /// One or two URLs, then targets.
    pub(super) fn of(arguments: &[String]) -> Self {
        let mut rest = arguments;
        let mut next = || match rest {
            [first, more @ ..] if is_remote(first) => {
                rest = more;
                Some(first.clone())
            }
            _ => None,
        };
        let url = next();
        let context = url.as_ref().and_then(|_| next());
        Self { url, context, targets: rest.to_vec() }
    }
}

/// The bake files with their names.
pub(super) struct Found {
    pub(super) files: Vec<(String, String)>,
    /// Where relative contexts are, unless below the working directory.
    pub(super) place: Option<String>,
}

/// Reads them: those of the remote place first, then the local ones.
pub(super) fn read(named: &[String], asked: &Asked, context: &Context) -> Done<Found> {
    let named = match named.is_empty() {
        true => from_environment(context),
        false => named.to_vec(),
    };
    let Some(url) = &asked.url else {
        return Ok(Found { files: local(&named, context)?, place: None });
    };
    let (local_names, remote_names): (Vec<String>, Vec<String>) =
        named.into_iter().partition(|name| name.starts_with(CWD));
    let engine = context.open(false)?;
    let mut session = context.session();
    let scratch = engine.store().temp_dir("bake").map_err(|e| Failure::host("use the store", e))?;
    let facts = BuildFacts {
        cwd: context.env.cwd.clone(),
        stdin: None,
        env: context.env.texts.clone(),
        scratch: scratch.path().to_owned(),
    };
    let found = read_definition(&engine, url, &remote_names, &DEFAULT_FILES, &facts, &mut session);
    let redactor = Redactor::new(context.env.proxy_passwords());
    let found = found.map_err(|e| Failure::plan(e, &redactor))?;
    let mut files = found.files;
    if !local_names.is_empty() {
        files.extend(local(&local_names, context)?);
    }
    Ok(Found { files, place: (!found.is_file).then(|| url.clone()) })
}

fn from_environment(context: &Context) -> Vec<String> {
    let separator = context.env.get(SEPARATOR).unwrap_or(":");
    let files = context.env.get(FILES).unwrap_or_default();
    let names = files.split(separator).map(str::trim).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect()
}

fn local(named: &[String], context: &Context) -> Done<Vec<(String, String)>> {
    if !named.is_empty() {
        return named.iter().map(|name| read_file(name, context)).collect();
    }
    let exists = |name: &&str| context.env.cwd.join(name).is_file();
    let found: Vec<&str> = DEFAULT_FILES.into_iter().filter(exists).collect();
    if found.is_empty() {
        let message = format!("there is no bake file in `{}`", context.env.cwd.display());
        let hint = format!("name one with `-f`; looked for {}", DEFAULT_FILES.join(", "));
        return Err(SolveError::new(Cause::Input, message).with_hint(hint).into());
    }
    found.into_iter().map(|name| read_file(name, context)).collect()
}

fn read_file(name: &str, context: &Context) -> Done<(String, String)> {
    let path = context.env.cwd.join(name.strip_prefix(CWD).unwrap_or(name));
    if name != "-" && karman_sys::fs::is_stray_pipe(&path) {
        return Err(Failure::usage_hint(
            format!("bake file `{name}` is a named pipe"),
            "read it from standard input with `-f -`",
        ));
    }
    let failed = |source| Failure::File { doing: "read bake file", path: path.clone(), source };
    let text = match name {
        "-" => limited(std::io::stdin().lock()),
        _ => std::fs::File::open(&path).and_then(limited),
    };
    match text.map_err(failed)? {
        Some(text) => Ok((name.to_owned(), text)),
        None => Err(Failure::usage(format!("bake file `{name}` is larger than {MAX_FILE} bytes"))),
    }
}

/// A text; `None` where it is too large.
fn limited(file: impl std::io::Read) -> std::io::Result<Option<String>> {
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text)?;
    Ok((text.len() as u64 <= MAX_FILE).then_some(text))
}

/// What compose files name, below the working directory unless they say otherwise.
pub(super) fn beside(cwd: &Path) -> Files {
    let cwd = cwd.to_owned();
    Files::new(move |name| {
        let path = cwd.join(name);
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_file() => {}
            // A directory or a pipe by that name is none of the files that compose means.
            Ok(_) => return Ok(None),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e.to_string()),
        }
        let text = std::fs::File::open(&path).and_then(limited).map_err(|e| e.to_string())?;
        text.map(Some).ok_or_else(|| format!("it is larger than {MAX_FILE} bytes"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_come_before_targets() {
        let of = |words: &[&str]| {
            let asked = Asked::of(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
            (asked.url, asked.context, asked.targets)
        };
        let url = |text: &str| Some(text.to_owned());
        assert_eq!(of(&["web", "db"]), (None, None, vec!["web".into(), "db".into()]));
        assert_eq!(
            of(&["https://h/a.git#v1", "web"]),
            (url("https://h/a.git#v1"), None, vec!["web".into()])
        );
        assert_eq!(
            of(&["https://h/a.git", "github.com/b/c"]),
            (url("https://h/a.git"), url("github.com/b/c"), vec![])
        );
    }
}
