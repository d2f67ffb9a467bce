//! What a new cache mount begins with.

use std::path::Path;

use karman_control::{Cause, SolveError};
use karman_snapshot::{Attrs, CopyOptions, View, copy};
use karman_sys::fs::{Dir, Owner};

use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::OrFail as _;

/// The directory of a cache mount inside its place in the store.
const DATA: &str = "data";

/// What a new cache mount begins with.
pub(crate) struct CacheSeed {
    /// Where its files come from; empty for an empty directory.
    pub(crate) chain: Chain,
    /// The path in there.
    pub(crate) source: String,
    /// Permission bits of the directory.
    pub(crate) mode: u32,
    /// Owner of the directory.
    pub(crate) owner: Owner,
}

/// Makes the directory of a cache mount, once. The name `data` appears when it is complete.
pub(crate) fn seed_cache_mount(
    engine: &Engine,
    place: &Path,
    seed: &CacheSeed,
) -> Result<(), SolveError> {
    let doing = "make a cache mount";
    let dir = Dir::open(place).or_fail(Cause::Store, doing)?;
    if dir.exists(DATA).or_fail(Cause::Store, doing)? {
        return Ok(());
    }
    let fresh = engine.store().temp_name("cache-mount");
    dir.mkdir(&fresh, 0o700).or_fail(Cause::Store, doing)?;
    let attrs = Attrs { mode: seed.mode, owner: seed.owner, mtime: engine.epoch_time() };
    let empty = View::of_layers(&[]).or_fail(Cause::Engine, doing)?;
    if !seed.chain.is_empty() {
        let mut writer = karman_snapshot::LayerWriter::new(&place.join(&fresh), &empty)
            .or_fail(Cause::Store, doing)?;
        let view = engine.snapshots().view(&seed.chain).or_fail(Cause::Store, doing)?;
        // Cache mounts are written in place, so nothing in them may share an inode with a layer.
        let options = CopyOptions { dir_contents: true, link: false, ..CopyOptions::default() };
        copy(&view, Path::new(&seed.source), &mut writer, Path::new("/"), &options)
            .or_fail(Cause::Input, "fill a cache mount")?;
        writer.finish().or_fail(Cause::Store, doing)?;
    }
    let made = dir.open_dir(&fresh).or_fail(Cause::Store, doing)?;
    made.chown_self(attrs.owner).or_fail(Cause::Store, doing)?;
    made.chmod_self(attrs.mode).or_fail(Cause::Store, doing)?;
    match dir.rename(&fresh, &dir, DATA) {
        Ok(()) => Ok(()),
        // Another user of a shared mount was faster; its directory is as good.
        Err(_) if dir.exists(DATA).unwrap_or(false) => {
            karman_sys::fs::remove_tree(&dir, &fresh).or_fail(Cause::Store, doing)
        }
        Err(e) => Err(e).or_fail(Cause::Store, doing),
    }
}
