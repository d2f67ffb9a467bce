//! Local files: bounded reads, and what a directory offers as a Dockerfile.

use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};

use crate::error::{Problem, Step};

/// Entries of a directory looked at for a hint.
const MAX_LISTED: usize = 2000;
/// Directories below the context looked at for a hint.
const MAX_SUBDIRS: usize = 50;
/// Candidates a hint names.
const MAX_CANDIDATES: usize = 5;

/// What reading a file gives.
pub(crate) enum Read {
    /// There is none.
    Missing,
    /// It has more bytes than allowed.
    TooLarge,
    /// Its bytes.
    Bytes(Vec<u8>),
}

/// Reads a file (or a pipe of the caller) of at most `limit` bytes.
pub(crate) fn read_bounded(path: &Path, limit: usize) -> io::Result<Read> {
    if karman_sys::fs::is_stray_pipe(path) {
        let message = "it is a named pipe, whose end may never come; read it from standard input";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let file = match fs_err::File::open(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Read::Missing);
        }
        Err(e) => return Err(e),
    };
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(if bytes.len() > limit { Read::TooLarge } else { Read::Bytes(bytes) })
}

/// A directory of the caller, canonical. `what` names it in messages.
pub(crate) fn directory(cwd: &Path, written: &str, what: &str) -> Step<PathBuf> {
    let path = cwd.join(written);
    let found = match fs_err::canonicalize(&path) {
        Ok(found) => found,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let hint = format!("paths are relative to `{}`", cwd.display());
            return Err(Problem::input_hint(format!("{what} `{written}` does not exist"), hint));
        }
        Err(e) => return Err(Problem::input(format!("{what} `{written}`: {e}"))),
    };
    match found.is_dir() {
        true => Ok(found),
        false => Err(Problem::input_hint(
            format!("{what} `{written}` is not a directory"),
            "a Dockerfile is named with `-f`, a context is the directory it copies from",
        )),
    }
}

/// A path as people know it: relative to the working directory where it is below it.
pub(crate) fn shown(path: &Path, cwd: &Path) -> String {
    let cwd = fs_err::canonicalize(cwd).unwrap_or_else(|_| cwd.to_owned());
    match path.strip_prefix(&cwd) {
        Ok(below) if !below.as_os_str().is_empty() => below.display().to_string(),
        _ => path.display().to_string(),
    }
}

/// A path without `.` components; nothing is resolved.
pub(crate) fn tidy(path: &Path) -> PathBuf {
    path.components().filter(|c| !matches!(c, Component::CurDir)).collect()
}

/// Files below `dir` that look like Dockerfiles, relative to it.
pub(crate) fn candidates(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut subdirs = Vec::new();
    for (name, is_dir) in entries(dir) {
        if is_dir && !name.starts_with('.') {
            subdirs.push(name);
        } else if looks_like_dockerfile(&name) {
            found.push(name);
        }
    }
    for subdir in subdirs.into_iter().take(MAX_SUBDIRS) {
        let inside = entries(&dir.join(&subdir)).into_iter();
        let files = inside.filter(|(name, is_dir)| !is_dir && looks_like_dockerfile(name));
        found.extend(files.map(|(name, _)| format!("{subdir}/{name}")));
    }
    found.truncate(MAX_CANDIDATES);
    found
}

fn entries(dir: &Path) -> Vec<(String, bool)> {
    let Ok(listed) = fs_err::read_dir(dir) else { return Vec::new() };
    let entries = listed.take(MAX_LISTED).filter_map(Result::ok);
    let mut names: Vec<(String, bool)> = entries
        .filter_map(|e| Some((e.file_name().into_string().ok()?, e.file_type().ok()?.is_dir())))
        .collect();
    names.sort();
    names
}

fn looks_like_dockerfile(name: &str) -> bool {
    let lower = name.to_lowercase();
    (lower.contains("dockerfile") || lower.contains("containerfile"))
        && !lower.ends_with(".dockerignore")
}
