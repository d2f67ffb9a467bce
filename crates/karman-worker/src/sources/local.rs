//! Directories of the caller, read in place.

use std::path::Path;
use std::sync::Arc;

use karman_control::{Cause, Session, SolveError};
use karman_llb::{LocalSource, SourceOp};
use karman_oci::Digest;
use karman_snapshot::{Decision, Filter, View};

use crate::engine::Engine;
use crate::error::OrFail as _;
use crate::solve::ContextDir;

/// The digest of what `stat` says of every file: an unchanged directory costs one walk.
pub(super) fn identity(
    _engine: &Engine,
    local: &LocalSource,
    session: &Session,
) -> Result<Digest, SolveError> {
    let context = output(local, session)?;
    let view = context_view(&context)?;
    let all = karman_snapshot::digest::Selection::default();
    karman_snapshot::digest::stat_identity(&view, Path::new("/"), &all)
        .or_fail(Cause::Input, &format!("read context `{}`", context.path.display()))
}

/// The directory behind the source.
pub(super) fn output(local: &LocalSource, session: &Session) -> Result<ContextDir, SolveError> {
    let dir = session.locals.get(&local.name).ok_or_else(|| {
        SolveError::new(Cause::Engine, format!("the session has no directory `{}`", local.name))
    })?;
    Ok(ContextDir { path: dir.path.clone(), exclude: Arc::new(local.exclude.clone()) })
}

/// A view of the directory behind a source.
pub(crate) fn local_view(source: &SourceOp, session: &Session) -> Result<View, SolveError> {
    match source {
        SourceOp::Local(local) => context_view(&output(local, session)?),
        _ => Err(SolveError::new(Cause::Engine, "this source is no directory of the caller")),
    }
}

/// A view of the directory without what is ignored.
pub(crate) fn context_view(context: &ContextDir) -> Result<View, SolveError> {
    let view = View::context(&context.path)
        .or_fail(Cause::Input, &format!("open context `{}`", context.path.display()))?;
    Ok(match context_filter(&context.exclude)? {
        Some(filter) => view.with_filter(filter),
        None => view,
    })
}

/// `.dockerignore` patterns as a filter; `None` where nothing is ignored.
pub(crate) fn context_filter(exclude: &[String]) -> Result<Option<Arc<Filter>>, SolveError> {
    if exclude.is_empty() {
        return Ok(None);
    }
    let matcher =
        karman_pattern::Matcher::new(exclude).or_fail(Cause::Input, "read the ignore patterns")?;
    Ok(Some(Arc::new(move |path: &Path, is_dir: bool| {
        match matcher.decide(&path.to_string_lossy(), is_dir) {
            karman_pattern::Decision::Keep => Decision::Keep,
            karman_pattern::Decision::Drop => Decision::Drop,
            karman_pattern::Decision::DropButDescend => Decision::DropButDescend,
        }
    })))
}
