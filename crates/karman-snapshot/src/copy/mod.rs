//! Copying from a view into a layer, with the rules of BuildKit's `COPY` (tonistiigi/fsutil, `copy/copy.go`).
//!
//! * Missing parents of the destination are created with mode 0755 and the given owner.
//! * An existing destination directory keeps its metadata, except that it gets the time of the source directory.
//! * Directories *inside* the source overwrite mode, owner, time and attributes of directories they meet.
//! * A file replaces a file or link of its name; it never replaces a directory, and a directory nothing else.
//! * Wildcards are the caller's: call [`copy()`] once per match.
//!
//! Files of snapshots are linked if nothing about them changes, everything else is copied by all processors.

mod batch;
pub(crate) mod file;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use karman_sys::fs::{Owner, Stat, Time};

use crate::error::{Result, SnapshotError};
use crate::statcache::FileDigest;
use crate::view::{Found, PathFilter, View};
use crate::writer::{Attrs, LayerWriter, Replace};

/// Mode of created parent directories.
const PARENT_MODE: u32 = 0o755;

/// How to copy.
#[derive(Clone, Copy)]
pub struct CopyOptions<'a> {
    /// Follow the source if it is a symbolic link itself.
    pub follow_symlink: bool,
    /// Copy the content of a source directory, not the directory.
    pub dir_contents: bool,
    /// Create missing parents of the destination; otherwise they are an error.
    pub create_dest_path: bool,
    /// Decides by path relative to the source directory. A source that is no directory is not asked about.
    pub filter: Option<PathFilter<'a>>,
    /// Owner of everything copied and created, instead of the source's (root for created parents).
    pub owner: Option<Owner>,
    /// Changes permissions (`0o7777`) of files and directories; the second argument is whether it is a directory.
    pub mode: Option<&'a (dyn Fn(u32, bool) -> u32 + Sync)>,
    /// Modification time of everything copied and created, instead of the source's.
    pub mtime: Option<Time>,
    /// Modification time of created parents when `mtime` is not given.
    pub created: Time,
    /// Link files of immutable views when nothing about them changes.
    pub link: bool,
    /// What may be replaced by something of another type.
    pub replace: Replace,
    /// Return the digests of the files that were read (not of linked ones).
    pub digests: bool,
}

impl Default for CopyOptions<'_> {
    fn default() -> Self {
        Self {
            follow_symlink: false,
            dir_contents: false,
            create_dest_path: true,
            filter: None,
            owner: None,
            mode: None,
            mtime: None,
            created: Time::default(),
            link: true,
            replace: Replace::SameType,
            digests: false,
        }
    }
}

/// A file that was read by a copy.
#[derive(Debug, Clone)]
pub struct CopiedFile {
    /// Its path in the source view.
    pub path: PathBuf,
    /// The layer it came from; 0 is the topmost.
    pub layer: usize,
    /// What it was before it was read; for [`crate::ViewCache::insert`].
    pub stat: Stat,
    /// What it holds.
    pub digest: FileDigest,
}

/// What a copy did.
#[derive(Debug, Clone, Default)]
pub struct CopyReport {
    /// Regular files written or linked.
    pub files: usize,
    /// Of these, how many were linked to the source.
    pub linked: usize,
    /// Directories created or changed.
    pub dirs: usize,
    /// Symbolic links, pipes, sockets and devices.
    pub others: usize,
    /// Bytes read and written.
    pub bytes: u64,
    /// Attributes that the file system of the store refused, as BuildKit ignores them.
    pub lost_xattrs: usize,
    /// Digests of the files that were read, if they were asked for.
    pub digests: Vec<CopiedFile>,
}

/// Copies `src` of a view to `dst` in the layer. `dst` ending in `/` is a directory.
///
/// # Errors
/// [`SnapshotError::NotFound`] for a missing source; see [`Replace::SameType`] for what may be in the way.
pub fn copy(
    source: &View,
    src: &Path,
    writer: &mut LayerWriter,
    dst: &Path,
    options: &CopyOptions<'_>,
) -> Result<CopyReport> {
    let found = source
        .lookup(src, options.follow_symlink)?
        .ok_or_else(|| SnapshotError::NotFound(src.to_owned()))?;
    prepare_parents(writer, dst, options)?;
    let dst = target(&found, src, writer, dst, options)?;
    let created = created_attrs(options);
    // An existing destination for contents is the target itself; a new one is created as a parent would be.
    let parent = dst.parent().unwrap_or(Path::new(""));
    if found.dir.is_some() && options.dir_contents && writer.view().lookup(&dst, false)?.is_none() {
        writer.open_dest(&dst, Some(created))?;
    }
    writer.open_dest(parent, Some(created))?;
    batch::run(source, &found, writer, &dst, options)
}

fn created_attrs(options: &CopyOptions<'_>) -> Attrs {
    Attrs {
        mode: PARENT_MODE,
        owner: options.owner.unwrap_or_default(),
        mtime: options.mtime.unwrap_or(options.created),
    }
}

/// Creates the directory the destination is in, or the destination itself if it ends in `/` or `/.`.
fn prepare_parents(writer: &mut LayerWriter, dst: &Path, options: &CopyOptions<'_>) -> Result<()> {
    let bytes = dst.as_os_str().as_bytes();
    let is_dir =
        bytes.ends_with(b"/") || bytes.ends_with(b"/.") || bytes == b"." || bytes.is_empty();
    let dir = if is_dir { dst } else { dst.parent().unwrap_or(Path::new("")) };
    if !options.create_dest_path {
        let parent = writer.view().resolve(dst, true)?;
        let parent = parent.parent().unwrap_or(Path::new("")).to_owned();
        if writer.view().lookup(&parent, false)?.is_none() {
            return Err(SnapshotError::NoParent(parent));
        }
    }
    writer.ensure_dir(dir, created_attrs(options))
}

/// The resolved path the source will have: below an existing directory it keeps its own name.
fn target(
    found: &Found,
    src: &Path,
    writer: &LayerWriter,
    dst: &Path,
    options: &CopyOptions<'_>,
) -> Result<PathBuf> {
    let mut path = writer.view().resolve(dst, true)?;
    let existing = writer.view().lookup(&path, false)?;
    let below = match (&existing, found.dir.is_some()) {
        (None, _) => false,
        (Some(_), true) => !options.dir_contents,
        (Some(existing), false) => existing.dir.is_some(),
    };
    // The root has no name: its content is what is copied.
    if below && let Some(name) = src.file_name() {
        path.push(name);
    }
    if path.as_os_str().is_empty() && found.dir.is_none() {
        return Err(SnapshotError::Root);
    }
    Ok(path)
}
