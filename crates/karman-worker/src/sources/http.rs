//! One file by HTTP.
//!
//! Bucket `http`: URL → [`Known`], so that an unchanged file costs one conditional request, and
//! none where a checksum pins it.

use std::path::Path;
use std::time::UNIX_EPOCH;

use karman_control::{Cause, SolveError};
use karman_llb::HttpSource;
use karman_net::{Expect, NetError, Request, Url};
use karman_oci::Digest;
use karman_snapshot::{Attrs, View};
use karman_sys::fs::{Dir, Owner, Time};
use serde::{Deserialize, Serialize};

use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::{OrFail as _, chain as error_chain, failed, store as store_error};
use crate::layers::commit_dated;

const BUCKET: &str = "http";
/// The largest file fetched.
const MAX_FILE: u64 = 16 << 30;
/// BuildKit's permissions for fetched files.
const DEFAULT_MODE: u32 = 0o600;
/// The name of a file whose URL ends with a slash, as in BuildKit.
const DEFAULT_NAME: &str = "download";

#[derive(Clone, Serialize, Deserialize)]
struct Known {
    digest: Digest,
    etag: Option<String>,
    modified: Option<i64>,
    name: String,
}

pub(super) fn identity(engine: &Engine, http: &HttpSource) -> Result<Digest, SolveError> {
    if let Some(checksum) = http.checksum
        && engine.store().contains(&checksum).map_err(store_error)?
    {
        return Ok(checksum);
    }
    Ok(fetch(engine, http)?.digest)
}

/// The digest of a file that was fetched; without a request where that is possible.
pub(super) fn digest_of(engine: &Engine, http: &HttpSource) -> Result<Digest, SolveError> {
    match (http.checksum, known(engine, &http.url)?) {
        (Some(checksum), _) => Ok(checksum),
        (None, Some(known)) => Ok(known.digest),
        (None, None) => identity(engine, http),
    }
}

pub(super) fn run(engine: &Engine, http: &HttpSource) -> Result<Chain, SolveError> {
    let known = match known(engine, &http.url)? {
        Some(known) if engine.store().contains(&known.digest).map_err(store_error)? => known,
        _ => fetch(engine, http)?,
    };
    let active = engine.snapshots().prepare(&[]).or_fail(Cause::Store, "prepare a layer")?;
    let empty = View::of_layers(&[]).or_fail(Cause::Engine, "open an empty view")?;
    let mut writer = active.writer(&empty).or_fail(Cause::Store, "prepare a layer")?;
    let name = http.filename.as_deref().unwrap_or(&known.name);
    if !is_file_name(name) {
        return Err(SolveError::new(Cause::Input, format!("`{name}` is not a file name")));
    }
    let attrs = Attrs {
        mode: http.mode.unwrap_or(DEFAULT_MODE),
        owner: Owner { uid: 0, gid: 0 },
        mtime: Time::from_secs(known.modified.unwrap_or(0)),
    };
    let path = Path::new("/").join(name);
    let placed = writer.put_file(&path, &[], attrs).and_then(|()| writer.finish());
    placed.or_fail(Cause::Store, "store the file")?;
    fill(engine, &known.digest, &active.fs().join(name), attrs.mtime)?;
    Ok(vec![commit_dated(active, "http")?])
}

/// Fills the empty file at `path` with a blob; it may be larger than memory.
fn fill(engine: &Engine, digest: &Digest, path: &Path, mtime: Time) -> Result<(), SolveError> {
    let doing = "store the file";
    let mut from = engine.store().open_blob(digest).map_err(store_error)?;
    let mut to = std::fs::OpenOptions::new().write(true).open(path).or_fail(Cause::Store, doing)?;
    std::io::copy(&mut from, &mut to).or_fail(Cause::Store, doing)?;
    Dir::utimens_fd(&to, mtime).or_fail(Cause::Store, doing)
}

fn known(engine: &Engine, url: &str) -> Result<Option<Known>, SolveError> {
    let bytes = engine.store().get(BUCKET, url).map_err(store_error)?;
    Ok(bytes.and_then(|b| serde_json::from_slice(&b).ok()))
}

/// Fetches the file, unless the server says that the one we have is still the right one.
fn fetch(engine: &Engine, http: &HttpSource) -> Result<Known, SolveError> {
    let before =
        known(engine, &http.url)?.filter(|k| engine.store().contains(&k.digest).unwrap_or(false));
    let mut request = Request::get(&http.url);
    if let Some(etag) = before.as_ref().and_then(|k| k.etag.as_ref()) {
        request = request.header("If-None-Match", etag);
    }
    if let Some(before) = &before
        && before.etag.is_some()
        && engine.client().send(&request).is_ok_and(|r| r.status() == 304)
    {
        return checked(http, before.clone());
    }
    let open = || engine.store().writer().map_err(std::io::Error::other);
    let mut sink = karman_net::Reopen::new(open);
    let done = engine
        .client()
        .download(&http.url, &mut sink, &Expect::at_most(MAX_FILE))
        .map_err(|e| net_error(&e))?;
    let writer = sink.into_inner();
    let lost = || SolveError::new(Cause::Engine, "the download has no bytes");
    let (digest, _) = writer.ok_or_else(lost)?.commit(http.checksum).map_err(|e| {
        if http.checksum.is_some_and(|want| want.as_bytes() != &done.sha256) {
            return mismatch(http, &Digest::from_bytes(done.sha256));
        }
        store_error(e)
    })?;
    let modified = done.last_modified.and_then(|t| t.duration_since(UNIX_EPOCH).ok());
    let known = Known {
        digest,
        etag: done.etag.clone(),
        modified: modified.map(|d| i64::try_from(d.as_secs()).unwrap_or(0)),
        name: file_name(done.content_disposition.as_deref(), &http.url),
    };
    let bytes = serde_json::to_vec(&known).or_fail(Cause::Engine, "write a record")?;
    engine.store().put(BUCKET, &http.url, &bytes).map_err(store_error)?;
    checked(http, known)
}

fn checked(http: &HttpSource, known: Known) -> Result<Known, SolveError> {
    match http.checksum {
        Some(want) if want != known.digest => Err(mismatch(http, &known.digest)),
        _ => Ok(known),
    }
}

fn mismatch(http: &HttpSource, got: &Digest) -> SolveError {
    let want = http.checksum.map(|d| d.to_string()).unwrap_or_default();
    let url = Url::show(&http.url);
    SolveError::new(Cause::Fetch, format!("digest mismatch for {url}: {got} (expected: {want})"))
        .with_hint("the file at that address changed; check it before you change `--checksum`")
}

fn net_error(error: &NetError) -> SolveError {
    let told = failed(Cause::Fetch, error_chain(error), error);
    match error.hint() {
        Some(hint) => told.with_hint(hint),
        None => told,
    }
}

/// Whether a name stays in its directory.
fn is_file_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != ".."
}

/// The server's `filename=`, else the last part of the URL's path.
fn file_name(disposition: Option<&str>, url: &str) -> String {
    let named = disposition.and_then(|d| {
        let (_, value) = d.split_once("filename=")?;
        Some(value.split(';').next()?.trim().trim_matches('"').to_owned())
    });
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let path = path.split_once("://").map_or(path, |(_, rest)| rest);
    let last = path.split_once('/').and_then(|(_, p)| p.rsplit('/').next()).unwrap_or("");
    let fine = |n: &String| is_file_name(n);
    named
        .filter(fine)
        .or_else(|| Some(last.to_owned()).filter(fine))
        .unwrap_or_else(|| DEFAULT_NAME.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_leave_the_directory() {
        assert_eq!(file_name(None, "https://h/a/b.tar?x=1"), "b.tar");
        assert_eq!(file_name(None, "https://h/"), "download");
        assert_eq!(file_name(Some("attachment; filename=\"x.whl\""), "https://h/y"), "x.whl");
        assert_eq!(file_name(Some("attachment; filename=\"../x\""), "https://h/y"), "y");
        assert_eq!(file_name(None, "https://h/a/.."), "download");
    }
}
