//! Every name of a merged tree at once, without data.

use std::os::unix::ffi::OsStringExt as _;

use karman_sys::fs::{Dir, FileKind, Stat, Xattrs};

use super::{Data, Mode, WalkError, What, file_error, os, tree};
use crate::tarball::WHITEOUT_PREFIX;

/// One name. The attributes of files are read with their data.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) path: Vec<u8>,
    pub(crate) kind: ListedKind,
    pub(crate) stat: Stat,
    /// Of directories.
    pub(crate) xattrs: Xattrs,
    /// Index of the layer it is from, topmost 0.
    pub(crate) layer: usize,
}

#[derive(Debug)]
pub(crate) enum ListedKind {
    Dir,
    File,
    Link(Vec<u8>),
    Symlink(Vec<u8>),
    Special,
}

/// Lists `layers` (topmost first) as a container would see them, in canonical order. Names that a layer cannot express
/// are left out, as they are from layers of steps.
pub(crate) fn list_merged(layers: &[&Dir]) -> Result<Vec<Listed>, WalkError> {
    let mut tree = tree::Tree::open(layers, Mode::Merged)?;
    let mut all = Vec::new();
    while let Some(item) = tree.next_item()? {
        if item.path.split(|byte| *byte == b'/').any(|name| name.starts_with(WHITEOUT_PREFIX)) {
            continue;
        }
        let kind = match &item.what {
            What::Dir => ListedKind::Dir,
            What::Link(target) => ListedKind::Link(target.clone()),
            What::File(Data::Later(dir)) if item.stat.kind() == FileKind::Symlink => {
                let text = dir.read_link(os(item.name())).map_err(file_error(&item.path))?;
                ListedKind::Symlink(text.into_vec())
            }
            What::File(_) => ListedKind::File,
            What::Special => ListedKind::Special,
            // Neither is in a merged tree, and link texts are read above.
            What::Opaque | What::Whiteout | What::Symlink(_) => continue,
        };
        let (path, stat, xattrs, layer) = (item.path, item.stat, item.xattrs, item.layer);
        all.push(Listed { path, kind, stat, xattrs, layer });
    }
    Ok(all)
}
