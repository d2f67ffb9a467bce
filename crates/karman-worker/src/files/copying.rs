//! The copy action: sources by wildcard, filters, owners and permissions, then the snapshot copy.

use std::path::{Path, PathBuf};

use karman_control::{Cause, SolveError};
use karman_llb::Copy;
use karman_pattern::{Matcher, glob_match};
use karman_snapshot::{CopyOptions, Decision, Replace, SnapshotError, View, ViewCache, copy};
use karman_sys::fs::FileKind;

use super::mode::ModeChange;
use super::{Actor, clean, find_owner, unpack};
use crate::error::{OrFail as _, chain as error_chain, failed};
use crate::layers::windows_of;
use crate::solve::Output;
use crate::sources::context_view;

/// A wildcard may match at most this many paths.
const MAX_MATCHES: usize = 1_000_000;

impl Actor<'_> {
    pub(super) fn copy(&mut self, action: &Copy) -> Result<(), SolveError> {
        if self.is_from_scratch(action) {
            return self.copy_nothing(action);
        }
        let source = self.source(action)?;
        for path in &action.required {
            let at = clean(&action.src).join(path.trim_start_matches('/'));
            let found = source.lookup(&at, true).or_fail(Cause::Input, "look up a source")?;
            if found.is_none() {
                return Err(not_found(&at));
            }
        }
        let matches = if action.allow_wildcard {
            resolve_wildcards(&source, &action.src, action.follow_symlinks)?
        } else {
            vec![clean(&action.src)]
        };
        if matches.is_empty() && !action.allow_empty_wildcard {
            return Err(not_found(Path::new(&action.src)));
        }
        for path in &matches {
            if action.unpack && self.unpack(action, &source, path)? {
                continue;
            }
            self.copy_one(action, &source, path)?;
        }
        Ok(())
    }

    /// Whether the source has no layers: `scratch`, or a stage that adds nothing to it.
    fn is_from_scratch(&self, action: &Copy) -> bool {
        match action.from.and_then(|i| self.inputs.get(i)) {
            Some(Output::Context(_)) => false,
            Some(layers) => layers.chain().is_some_and(Vec::is_empty),
            None => true,
        }
    }

    /// A copy from a source without layers. BuildKit mounts an empty directory for it: the root can be copied, wildcards
    /// match nothing, and everything else is missing.
    fn copy_nothing(&mut self, action: &Copy) -> Result<(), SolveError> {
        let source = clean(&action.src);
        let is_root = source == Path::new("/");
        let is_pattern =
            action.allow_wildcard && karman_pattern::has_wildcard(&source.to_string_lossy());
        let in_root = source.parent() == Some(Path::new("/"));
        if is_pattern && in_root && action.allow_empty_wildcard {
            return Ok(());
        }
        if !is_root || !action.required.is_empty() {
            return Err(not_found(action.required.first().map_or(&source, |path| Path::new(path))));
        }
        let attrs = self.attrs(0o755, action.owner.as_ref(), action.created)?;
        let made = self.writer.ensure_dir(Path::new(&action.dest), attrs);
        made.or_fail(Cause::Input, &format!("make directory `{}`", action.dest))
    }

    /// The view that is copied from.
    fn source(&mut self, action: &Copy) -> Result<View, SolveError> {
        match action.from.and_then(|i| self.inputs.get(i)) {
            Some(Output::Context(context)) => context_view(context),
            Some(layers) => {
                let missing = || SolveError::new(Cause::Engine, "the source was not fetched");
                let chain = layers.chain().ok_or_else(missing)?;
                let snapshots = self.engine.snapshots();
                self.windows.add(&windows_of(snapshots, chain)?);
                snapshots.view(chain).or_fail(Cause::Store, "open the source")
            }
            None => View::of_layers(&[]).or_fail(Cause::Engine, "open an empty view"),
        }
    }

    fn copy_one(&mut self, action: &Copy, source: &View, path: &Path) -> Result<(), SolveError> {
        let filter = PathRules::new(&action.include, &action.exclude)?;
        let decide = |path: &Path, is_dir: bool| filter.decide(path, is_dir);
        let change = action.mode.as_deref().map(ModeChange::parse).transpose()?;
        let change = change.map(|c| move |mode: u32, is_dir: bool| c.apply(mode, is_dir));
        let owner = match &action.owner {
            Some(owner) => Some(find_owner(owner, self.base)?),
            None => None,
        };
        let options = CopyOptions {
            follow_symlink: action.follow_symlinks,
            dir_contents: action.contents_only,
            create_dest_path: action.create_dest_path,
            filter: filter.is_some().then_some(&decide),
            owner,
            mode: change.as_ref().map(|c| c as &(dyn Fn(u32, bool) -> u32 + Sync)),
            // Files keep their times; the epoch is for what the copy itself makes. BuildKit's
            // `rewrite-timestamp` pulls later times back when the layer is written.
            mtime: None,
            created: self.time(action.created),
            link: true,
            replace: if action.replace { Replace::Anything } else { Replace::SameType },
            digests: !source.is_immutable(),
        };
        let report = copy(source, path, &mut self.writer, Path::new(&action.dest), &options)
            .map_err(|e| copy_error(e, path))?;
        if !source.is_immutable()
            && let Some(input) = action.from
        {
            self.digests.entry(input).or_default().extend(report.digests);
        }
        Ok(())
    }

    /// Remembers the digests of the context files that were read, so that they need not be read again to see whether
    /// they changed. Once for all actions: the table of a large context takes long to load and to save.
    pub(super) fn remember_digests(&mut self) -> Result<(), SolveError> {
        let doing = "remember file digests";
        for (input, files) in std::mem::take(&mut self.digests) {
            let Some(Output::Context(context)) = self.inputs.get(input) else { continue };
            let view = context_view(context)?;
            let mut cache =
                ViewCache::load(self.engine.store(), &view).or_fail(Cause::Store, doing)?;
            for file in files {
                cache.insert(file.layer, &file.stat, file.digest);
            }
            cache.save().or_fail(Cause::Store, doing)?;
        }
        Ok(())
    }

    /// Unpacks the source if it is an archive; whether it was one.
    fn unpack(&mut self, action: &Copy, source: &View, path: &Path) -> Result<bool, SolveError> {
        let owner = match &action.owner {
            Some(owner) => Some(find_owner(owner, self.base)?),
            None => None,
        };
        let (dest, created) = (Path::new(&action.dest), self.time(action.created));
        let target = unpack::Target { dest, owner, created };
        unpack::archive(source, path, &mut self.writer, &target)
    }
}

pub(super) fn not_found(path: &Path) -> SolveError {
    SolveError::new(
        Cause::Input,
        format!("{}: not found", super::clean(&path.to_string_lossy()).display()),
    )
    .with_hint("the path is relative to the context; `.dockerignore` may exclude it")
}

fn copy_error(error: SnapshotError, path: &Path) -> SolveError {
    match error {
        SnapshotError::NotFound(_) => not_found(path),
        other => {
            let message = format!("failed to copy `{}`: {}", path.display(), error_chain(&other));
            failed(Cause::Input, message, &other)
        }
    }
}

/// The paths that a pattern matches, sorted; a pattern without wildcards is itself, whether or not it exists.
/// Symbolic links before the first wildcard are followed (the last of them if `follow`), those behind it are not.
///
/// # Errors
/// When what comes before the first wildcard does not exist.
pub(super) fn resolve_wildcards(
    view: &View,
    pattern: &str,
    follow: bool,
) -> Result<Vec<PathBuf>, SolveError> {
    let cleaned = clean(pattern);
    let text = cleaned.to_string_lossy().into_owned();
    if !karman_pattern::has_wildcard(&text) {
        return Ok(vec![cleaned]);
    }
    let parts: Vec<&str> = text.split('/').filter(|p| !p.is_empty()).collect();
    let first = parts.iter().position(|p| karman_pattern::has_wildcard(p)).unwrap_or(0);
    let prefix: PathBuf = std::iter::once("/").chain(parts[..first].iter().copied()).collect();
    if view.lookup(&prefix, follow).or_fail(Cause::Input, "look up a source")?.is_none() {
        return Err(not_found(&prefix));
    }
    let mut found = vec![prefix];
    for (at, part) in parts.iter().enumerate().skip(first) {
        let mut next = Vec::new();
        for dir in &found {
            children(view, dir, part, &mut next)?;
            if next.len() > MAX_MATCHES {
                let message = format!("`{pattern}` matches more than {MAX_MATCHES} paths");
                return Err(SolveError::new(Cause::Input, message));
            }
        }
        if at + 1 < parts.len() {
            next.retain(|p| is_dir(view, p));
        }
        found = next;
    }
    found.sort();
    Ok(found)
}

fn children(
    view: &View,
    dir: &Path,
    pattern: &str,
    out: &mut Vec<PathBuf>,
) -> Result<(), SolveError> {
    let doing = "list a source directory";
    let Some(found) = view.lookup(dir, true).or_fail(Cause::Input, doing)? else { return Ok(()) };
    if found.dir.is_none() {
        return Ok(());
    }
    for (name, _kind) in view.read_dir(&found).or_fail(Cause::Input, doing)? {
        let matched = glob_match(pattern, &name.to_string_lossy());
        if matched.or_fail(Cause::Input, &format!("match `{pattern}`"))? {
            out.push(dir.join(&name));
        }
    }
    Ok(())
}

fn is_dir(view: &View, path: &Path) -> bool {
    let found = view.lookup(path, false).ok().flatten();
    found.is_some_and(|f| f.stat.kind() == FileKind::Dir)
}

/// Include and exclude patterns, relative to the source directory.
pub(super) struct PathRules {
    include: Option<Matcher>,
    exclude: Option<Matcher>,
}

impl PathRules {
    pub(super) fn new(include: &[String], exclude: &[String]) -> Result<Self, SolveError> {
        let matcher = |patterns: &[String]| {
            if patterns.is_empty() {
                return Ok(None);
            }
            Matcher::new(patterns).map(Some).or_fail(Cause::Input, "read the patterns")
        };
        Ok(Self { include: matcher(include)?, exclude: matcher(exclude)? })
    }

    pub(super) fn is_some(&self) -> bool {
        self.include.is_some() || self.exclude.is_some()
    }

    pub(super) fn decide(&self, path: &Path, is_dir: bool) -> Decision {
        let path = path.to_string_lossy();
        let included = match &self.include {
            Some(matcher) if matcher.excluded(&path, is_dir) => Decision::Keep,
            Some(_) if is_dir => Decision::DropButDescend,
            Some(_) => Decision::Drop,
            None => Decision::Keep,
        };
        let kept = match &self.exclude {
            Some(matcher) => match matcher.decide(&path, is_dir) {
                karman_pattern::Decision::Keep => Decision::Keep,
                karman_pattern::Decision::Drop => Decision::Drop,
                karman_pattern::Decision::DropButDescend => Decision::DropButDescend,
            },
            None => Decision::Keep,
        };
        included.and(kept)
    }
}
