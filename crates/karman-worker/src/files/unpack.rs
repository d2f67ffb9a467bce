//! Local archives that `ADD` unpacks.
//!
//! The rules are those of docker's untar (moby/go-archive in a chroot), which BuildKit calls: names are cleaned and
//! stay below the destination, parents that the archive does not name keep their metadata, owners are the archive's
//! unless `--chown` says otherwise, and `--chmod` and `--exclude` do not matter.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use karman_control::{Cause, SolveError};
use karman_exporter::tarball::{Entry, EntryKind};
use karman_exporter::unpack::{Limits, TreeSink, extract_archive, is_archive};
use karman_snapshot::{Attrs, Below, LayerWriter, Node, View};
use karman_sys::fs::{FileKind, Owner, Time, device_number};

use crate::error::OrFail as _;

/// Mode of directories that no entry announces.
const IMPLIED_MODE: u32 = 0o755;

/// Where an archive goes.
pub(super) struct Target<'a> {
    pub(super) dest: &'a Path,
    pub(super) owner: Option<Owner>,
    pub(super) created: Time,
}

/// Unpacks `path` of the source below the destination if it is an archive; whether it was one.
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
    let made = |owner| Attrs { mode: IMPLIED_MODE, owner, mtime: target.created };
    let dest_attrs = made(target.owner.unwrap_or_default());
    writer.ensure_dir(target.dest, dest_attrs).or_fail(Cause::Input, &doing)?;
    let below = writer.below(target.dest, made(Owner::default())).or_fail(Cause::Input, &doing)?;
    let mut sink = Sink { below, owner: target.owner };
    extract_archive(file, &mut sink, Limits::default()).or_fail(Cause::Input, &doing)?;
    Ok(true)
}

/// Entries of the archive as files of the layer.
struct Sink<'w> {
    below: Below<'w>,
    owner: Option<Owner>,
}

impl TreeSink for Sink<'_> {
    fn entry(
        &mut self,
        path: &[u8],
        entry: &Entry,
        data: &mut dyn Read,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let os = OsStr::from_bytes;
        let node = match &entry.kind {
            EntryKind::File => Node::File { data, size: entry.size },
            EntryKind::Dir => Node::Dir,
            EntryKind::HardLink(target) => Node::HardLink(Path::new(os(target))),
            EntryKind::Symlink(text) => Node::Symlink(os(text)),
            EntryKind::Fifo => Node::Special(FileKind::Fifo, 0),
            EntryKind::Char(major, minor) => {
                Node::Special(FileKind::Char, device_number(*major, *minor))
            }
            EntryKind::Block(major, minor) => {
                Node::Special(FileKind::Block, device_number(*major, *minor))
            }
        };
        let owner = self.owner.unwrap_or(Owner { uid: entry.uid, gid: entry.gid });
        // As docker's: times before 1970 are 1970.
        let mtime = if entry.mtime.sec < 0 { Time::default() } else { entry.mtime };
        let attrs = Attrs { mode: entry.mode, owner, mtime };
        Ok(self.below.put(Path::new(os(path)), node, attrs, &entry.xattrs)?)
    }
}
