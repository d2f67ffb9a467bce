//! What a new cache mount begins with.

use std::path::{Path, PathBuf};

use karman_control::{Cause, SolveError};
use karman_snapshot::{Attrs, CopyOptions, View, copy};
use karman_sys::fs::{Dir, Owner};

use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::OrFail as _;

/// The directory of a cache mount inside its place in the store.
pub(crate) const DATA: &str = "data";

/// What a new cache mount begins with.
pub(crate) struct CacheSeed {
    /// Where its files come from; empty for an empty directory.
    pub(crate) chain: Chain,
    /// The path in there.
    pub(crate) source: String,
    /// Permission bits of an empty directory; one with files has those of its source.
    pub(crate) mode: u32,
    /// Owner of an empty directory.
    pub(crate) owner: Owner,
}

/// Makes the directory of a cache mount, once, and tells where it is. The name `data` appears when
/// it is complete.
pub(crate) fn seed_cache_mount(
    engine: &Engine,
    place: &Path,
    seed: &CacheSeed,
) -> Result<PathBuf, SolveError> {
    let doing = "make a cache mount";
    let dir = Dir::open(place).or_fail(Cause::Store, doing)?;
    let data = place.join(DATA);
    if dir.exists(DATA).or_fail(Cause::Store, doing)? {
        return Ok(data);
    }
    let fresh = engine.store().temp_name("cache-mount");
    dir.mkdir(&fresh, 0o700).or_fail(Cause::Store, doing)?;
    let attrs = fill(engine, &place.join(&fresh), seed)?;
    let made = dir.open_dir(&fresh).or_fail(Cause::Store, doing)?;
    made.chown_self(attrs.owner).or_fail(Cause::Store, doing)?;
    made.chmod_self(attrs.mode).or_fail(Cause::Store, doing)?;
    match dir.rename(&fresh, &dir, DATA) {
        Ok(()) => Ok(data),
        // Another user of a shared mount was faster; its directory is as good.
        Err(_) if dir.exists(DATA).unwrap_or(false) => {
            karman_sys::fs::remove_tree(&dir, &fresh).or_fail(Cause::Store, doing)?;
            Ok(data)
        }
        Err(e) => Err(e).or_fail(Cause::Store, doing),
    }
}

/// Copies what the mount begins with; gives the attributes of its directory.
fn fill(engine: &Engine, fresh: &Path, seed: &CacheSeed) -> Result<Attrs, SolveError> {
    let doing = "make a cache mount";
    let mtime = engine.epoch_time();
    let source = Path::new(&seed.source);
    let missing = || SolveError::new(Cause::Input, format!("{}: not found", seed.source));
    if seed.chain.is_empty() {
        let is_root = seed.source.trim_matches('/').is_empty();
        let attrs = Attrs { mode: seed.mode, owner: seed.owner, mtime };
        return if is_root { Ok(attrs) } else { Err(missing()) };
    }
    let view = engine.snapshots().view(&seed.chain).or_fail(Cause::Store, doing)?;
    let found = view.lookup(source, true).or_fail(Cause::Input, "fill a cache mount")?;
    let found = found.ok_or_else(missing)?;
    if found.dir.is_none() {
        let message = format!("{}: a cache mount begins with a directory", seed.source);
        return Err(SolveError::new(Cause::Input, message));
    }
    let stat = &found.stat;
    let owner = Owner { uid: stat.uid, gid: stat.gid };
    let attrs = Attrs { mode: stat.permissions(), owner, mtime };
    let empty = View::of_layers(&[]).or_fail(Cause::Engine, doing)?;
    let mut writer =
        karman_snapshot::LayerWriter::new(fresh, &empty).or_fail(Cause::Store, doing)?;
    // Cache mounts are written in place, so nothing in them may share an inode with a layer.
    let options = CopyOptions { dir_contents: true, link: false, ..CopyOptions::default() };
    copy(&view, source, &mut writer, Path::new("/"), &options)
        .or_fail(Cause::Input, "fill a cache mount")?;
    writer.finish().or_fail(Cause::Store, doing)?;
    Ok(attrs)
}
