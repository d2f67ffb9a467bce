//! Images of OCI layout directories and archives.

use std::path::PathBuf;

use karman_control::{Cause, ResolvedImage, Session, SolveError};
use karman_exporter::layout::Layout;
use karman_llb::{OciLayoutSource, SourceOp};
use karman_oci::{Digest, ImageConfig, Manifest, Platform};

use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::{OrFail as _, store as store_error};
use crate::exec::StepEvents;
use crate::images::read_document;

/// Where a layout is.
pub(super) fn place<'a>(layout: &OciLayoutSource, session: &'a Session) -> Option<&'a PathBuf> {
    session.layouts.get(split(&layout.name).0)
}

/// A session's layout name is `PATH`, `PATH:TAG` or `PATH@DIGEST`; the path is looked up.
fn open(
    layout: &OciLayoutSource,
    session: &Session,
) -> Result<(Layout, String, PathBuf), SolveError> {
    let (name, wanted) = split(&layout.name);
    let path = place(layout, session).ok_or_else(|| {
        SolveError::new(Cause::Engine, format!("the session has no layout `{name}`"))
    })?;
    let opened = Layout::open(path)
        .or_fail(Cause::Input, &format!("open OCI layout `{}`", path.display()))?;
    Ok((opened, wanted.to_owned(), path.clone()))
}

/// The session's name, and the tag or digest after it.
fn split(name: &str) -> (&str, &str) {
    if let Some((name, digest)) = name.split_once('@') {
        return (name, digest);
    }
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (name, ""),
    }
}

pub(super) fn resolve(
    engine: &Engine,
    layout: &OciLayoutSource,
    platform: &Platform,
    session: &Session,
) -> Result<ResolvedImage, SolveError> {
    let (opened, wanted, path) = open(layout, session)?;
    let doing = format!("read OCI layout `{}`", path.display());
    let top = opened
        .resolve(Some(wanted.as_str()).filter(|w| !w.is_empty()))
        .or_fail(Cause::Input, &doing)?;
    let manifest = opened.select(&top, platform).or_fail(Cause::Input, &doing)?;
    let parsed: Manifest = imported(engine, &opened, &manifest.digest, &doing).map_err(input)?;
    if parsed.config.size <= super::image::MAX_CONFIG {
        imported::<ImageConfig>(engine, &opened, &parsed.config.digest, &doing).map_err(input)?;
    }
    let config = super::image::config_of(engine, &manifest.digest).map_err(input)?;
    let source = OciLayoutSource { name: layout.name.clone(), manifest: Some(manifest.digest) };
    Ok(ResolvedImage { source: SourceOp::OciLayout(source), digest: top.digest, config })
}

/// What is wrong with a document came from the layout, through the store.
fn input(error: SolveError) -> SolveError {
    SolveError::new(Cause::Input, error.message)
}

/// A document of the layout, from the store. One that is damaged there is taken from the layout again.
fn imported<T: serde::de::DeserializeOwned>(
    engine: &Engine,
    layout: &Layout,
    digest: &Digest,
    doing: &str,
) -> Result<T, SolveError> {
    let store = engine.store();
    let import = || layout.import_blob(digest, store).or_fail(Cause::Input, doing);
    import()?;
    match read_document(store, digest) {
        Err(_) if !store.contains(digest).map_err(store_error)? => {
            import()?;
            read_document(store, digest)
        }
        other => other,
    }
}

pub(super) fn run(
    engine: &Engine,
    layout: &OciLayoutSource,
    session: &Session,
    events: &StepEvents,
) -> Result<Chain, SolveError> {
    let (opened, _, path) = open(layout, session)?;
    let manifest = super::pinned(layout.manifest, &layout.name)?;
    super::image::unpack_image(engine, &manifest, events, &|descriptor| {
        let doing = format!("read OCI layout `{}`", path.display());
        opened.import_blob(&descriptor.digest, engine.store()).or_fail(Cause::Input, &doing)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_digests_are_split_off() {
        assert_eq!(split("base"), ("base", ""));
        assert_eq!(split("/a/b:latest"), ("/a/b", "latest"));
        assert_eq!(split("base@sha256:00"), ("base", "sha256:00"));
        assert_eq!(split("/a:b/c"), ("/a:b/c", ""));
    }
}
