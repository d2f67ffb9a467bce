//! Local archives that `ADD` unpacks.

use std::fs::File;
use std::path::Path;

use karman_control::{Cause, SolveError};
use karman_exporter::unpack::{DirSink, Limits, Ownership, extract_archive, is_archive};
use karman_snapshot::{CopyOptions, LayerWriter, Replace, Snapshots, View, copy};
use karman_sys::fs::{Dir, Owner, Time};

use crate::error::OrFail as _;

/// Where an archive goes.
pub(super) struct Target<'a> {
    pub(super) snapshots: &'a Snapshots,
    pub(super) dest: &'a Path,
    pub(super) owner: Option<Owner>,
    pub(super) created: Time,
}

/// Unpacks `path` of the source below the destination if it is an archive; whether it was one.
///
/// The archive is unpacked beside the layer first and then linked into it by the rules of a copy,
/// so that nothing in it can reach outside of its own directory.
pub(super) fn archive(
    source: &View,
    path: &Path,
    writer: &mut LayerWriter,
    target: &Target<'_>,
) -> Result<bool, SolveError> {
    let doing = format!("unpack `{}`", path.display());
    let open = || -> Result<Option<File>, SolveError> {
        let Some(found) = source.lookup(path, true).or_fail(Cause::Input, &doing)? else {
            return Ok(None);
        };
        if !found.stat.is_file() {
            return Ok(None);
        }
        source.open_file(&found).map(Some).or_fail(Cause::Input, &doing)
    };
    let Some(probe) = open()? else { return Ok(false) };
    if !is_archive(probe) {
        return Ok(false);
    }
    let Some(file) = open()? else { return Ok(false) };
    let scratch = target.snapshots.prepare(&[]).or_fail(Cause::Store, &doing)?;
    let root = Dir::open(scratch.fs()).or_fail(Cause::Store, &doing)?;
    let mut sink = DirSink::new(&root, Ownership::Exact);
    extract_archive(file, &mut sink, Limits::default()).or_fail(Cause::Input, &doing)?;
    sink.finish().or_fail(Cause::Input, &doing)?;
    let unpacked = View::of_layers(&[scratch.fs().to_path_buf()]).or_fail(Cause::Store, &doing)?;
    let options = CopyOptions {
        dir_contents: true,
        create_dest_path: true,
        owner: target.owner,
        created: target.created,
        link: true,
        replace: Replace::Anything,
        ..CopyOptions::default()
    };
    copy(&unpacked, Path::new("/"), writer, target.dest, &options).or_fail(Cause::Input, &doing)?;
    Ok(true)
}
