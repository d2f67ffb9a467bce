//! Git repositories, through the `git` program.
//!
//! The identity is the commit; it is asked of the remote with `ls-remote`. A checkout is made in a
//! scratch directory with hooks, system and user configuration out of reach, and then becomes a
//! layer in which everything belongs to root and carries the commit's time.

use std::path::{Path, PathBuf};

use karman_control::{Cause, Session, SolveError};
use karman_llb::{GitSource, shown_remote};
use karman_oci::Digest;
use karman_snapshot::{CopyOptions, Decision, View, copy};
use karman_sys::fs::{Owner, Time};

use super::git_program::{Remote, checked_run, program};
use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::OrFail as _;
use crate::layers::commit_dated;

/// The fewest digits of a commit that `checksum=` may give (BuildKit accepts a prefix).
const MIN_COMMIT_PREFIX: usize = 7;

pub(super) fn identity(
    engine: &Engine,
    git: &GitSource,
    session: &Session,
) -> Result<Digest, SolveError> {
    let commit = commit_of(engine, git, session)?;
    let text = format!("{commit} {} {} {}", git.subdir, git.keep_git_dir, git.skip_submodules);
    Ok(Digest::sha256_of(text.as_bytes()))
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Refuses what git would take for an option.
fn check_words(git: &GitSource) -> Result<(), SolveError> {
    match [&git.url, &git.reference].into_iter().find(|word| word.starts_with('-')) {
        Some(word) => {
            let message = format!("`{word}` is neither a repository nor a branch, tag or commit");
            Err(SolveError::new(Cause::Input, message))
        }
        None => Ok(()),
    }
}

/// The commit that the reference names; asked of the remote once in the life of an engine.
pub(super) fn commit_of(
    engine: &Engine,
    git: &GitSource,
    session: &Session,
) -> Result<String, SolveError> {
    check_words(git)?;
    if is_commit(&git.reference) {
        return checked(git, git.reference.to_lowercase());
    }
    let key = format!("{}#{}", git.url, git.reference);
    if let Some(known) = super::lock(engine).commits.get(&key) {
        return checked(git, known.clone());
    }
    let wanted = if git.reference.is_empty() { "HEAD" } else { &git.reference };
    let peeled = format!("{wanted}^{{}}");
    let remote = Remote::new(engine, git, session)?;
    let run = remote.program(Path::new("/"));
    let output = checked_run(run.args(["ls-remote", "--", &git.url, wanted, &peeled]), git)?;
    let listing = String::from_utf8_lossy(&output.stdout).into_owned();
    let commit = choose(&listing, wanted).ok_or_else(|| {
        SolveError::new(
            Cause::NotFound,
            format!("repository `{}` does not contain ref `{wanted}`", shown_remote(&git.url)),
        )
        .with_hint("name a branch, a tag, `refs/…`, or a commit with all its digits")
    })?;
    super::lock(engine).commits.insert(key, commit.clone());
    checked(git, commit)
}

/// The best match of `ls-remote`'s lines, in git's own order: the name itself, a tag, a branch.
/// A peeled tag (`^{}`) is the commit behind an annotated one.
fn choose(listing: &str, wanted: &str) -> Option<String> {
    let lines: Vec<(&str, &str)> = listing.lines().filter_map(|l| l.split_once('\t')).collect();
    let names = [
        wanted.to_owned(),
        format!("refs/tags/{wanted}"),
        format!("refs/heads/{wanted}"),
        format!("refs/{wanted}"),
    ];
    let find = |name: &str| lines.iter().find(|(_, n)| *n == name).map(|(c, _)| (*c).to_owned());
    names.iter().find_map(|name| find(&format!("{name}^{{}}")).or_else(|| find(name)))
}

fn checked(git: &GitSource, commit: String) -> Result<String, SolveError> {
    match &git.checksum {
        Some(want)
            if want.len() < MIN_COMMIT_PREFIX || !commit.starts_with(&want.to_lowercase()) =>
        {
            let message = format!(
                "expected checksum to match {want}, got {commit} for `{}`",
                shown_remote(&git.url)
            );
            Err(SolveError::new(Cause::Fetch, message))
        }
        _ => Ok(commit),
    }
}

pub(super) fn run(
    engine: &Engine,
    git: &GitSource,
    session: &Session,
) -> Result<Chain, SolveError> {
    let commit = commit_of(engine, git, session)?;
    let temp = engine.store().temp_dir("git").or_fail(Cause::Store, "make a scratch directory")?;
    let checkout = checkout(engine, git, &commit, temp.path(), session)?;
    let time = commit_time(engine, git, &checkout)?;
    let root = subdir(&checkout, &git.subdir)?;
    let keep = git.keep_git_dir;
    let view = View::context(&root).or_fail(Cause::Input, "open the checkout")?;
    let active = engine.snapshots().prepare(&[]).or_fail(Cause::Store, "prepare a layer")?;
    let empty = View::of_layers(&[]).or_fail(Cause::Engine, "open an empty view")?;
    let mut writer = active.writer(&empty).or_fail(Cause::Store, "prepare a layer")?;
    let decide = move |path: &Path, _is_dir: bool| {
        if !keep && path == Path::new(".git") { Decision::Drop } else { Decision::Keep }
    };
    let options = CopyOptions {
        dir_contents: true,
        create_dest_path: true,
        filter: Some(&decide),
        owner: Some(Owner { uid: 0, gid: 0 }),
        mtime: Some(time),
        ..CopyOptions::default()
    };
    copy(&view, Path::new("/"), &mut writer, Path::new("/"), &options)
        .and_then(|_| writer.finish())
        .or_fail(Cause::Store, "store the checkout")?;
    Ok(vec![commit_dated(active, "git")?])
}

fn checkout(
    engine: &Engine,
    git: &GitSource,
    commit: &str,
    temp: &Path,
    session: &Session,
) -> Result<PathBuf, SolveError> {
    let dir = temp.join("checkout");
    let format = if commit.len() == 64 { "sha256" } else { "sha1" };
    let init = program(engine, temp).args(["init", "-q", "--object-format", format, "checkout"]);
    checked_run(init, git)?;
    let remote = Remote::new(engine, git, session)?;
    let here = |args: &[&str]| checked_run(remote.program(&dir).args(args), git);
    here(&["remote", "add", "origin", &git.url])?;
    let reference = if git.reference.is_empty() { "HEAD" } else { &git.reference };
    let shallow = here(&["fetch", "-q", "--depth=1", "--no-tags", "origin", commit]);
    if shallow.is_err() {
        // Servers may refuse commits that no reference names; the whole history has it.
        here(&["fetch", "-q", "--tags", "origin", reference])
            .or_else(|_| here(&["fetch", "-q", "--tags", "origin"]))?;
    }
    here(&["-c", "advice.detachedHead=false", "checkout", "-q", commit])?;
    if !git.skip_submodules {
        here(&["submodule", "update", "-q", "--init", "--recursive", "--depth=1"])?;
    }
    Ok(dir)
}

fn commit_time(engine: &Engine, git: &GitSource, dir: &Path) -> Result<Time, SolveError> {
    let output = checked_run(program(engine, dir).args(["log", "-1", "--format=%ct"]), git)?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(Time::from_secs(text.trim().parse().unwrap_or(0)))
}

/// A directory of the checkout, never outside of it: links in the repository are not followed.
fn subdir(checkout: &Path, subdir: &str) -> Result<PathBuf, SolveError> {
    if subdir.trim_matches('/').is_empty() {
        return Ok(checkout.to_path_buf());
    }
    let view = View::context(checkout).or_fail(Cause::Input, "open the checkout")?;
    let found =
        view.lookup(Path::new(subdir), true).or_fail(Cause::Input, "look up the directory")?;
    match found.filter(|f| f.dir.is_some()) {
        Some(found) => Ok(checkout.join(found.path)),
        None => Err(SolveError::new(
            Cause::NotFound,
            format!("the repository has no directory `{subdir}`"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_annotated_tag_is_the_commit_behind_it() {
        let listing = "aaa\trefs/tags/v1\nbbb\trefs/tags/v1^{}\nccc\trefs/heads/v1\n";
        assert_eq!(choose(listing, "v1").as_deref(), Some("bbb"));
        assert_eq!(choose("ccc\trefs/heads/main\n", "main").as_deref(), Some("ccc"));
        assert_eq!(choose("ddd\tHEAD\n", "HEAD").as_deref(), Some("ddd"));
        assert_eq!(choose("", "x"), None);
    }

    #[test]
    fn options_in_disguise_are_refused() {
        let source = |url: &str, reference: &str| GitSource {
            url: url.into(),
            reference: reference.into(),
            subdir: String::new(),
            keep_git_dir: false,
            checksum: None,
            skip_submodules: false,
        };
        assert!(check_words(&source("https://h/r.git", "main")).is_ok());
        assert!(check_words(&source("https://h/r.git", "--upload-pack=x")).is_err());
        assert!(check_words(&source("-x", "main")).is_err());
    }
}
