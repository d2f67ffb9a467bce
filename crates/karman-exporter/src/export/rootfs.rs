//! Root filesystems without their layers: as files, or as one tar.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::path::Path;

use karman_oci::Platform;
use karman_sys::fs::{Dir, Stat};

use super::{ExportError, new_dir, sweep_beside};
use crate::TimePolicy;
use crate::layer::{Below, Counts, LayerError, write_entries};
use crate::tarball::{Entry, EntryKind, Header, Kind, Meta, TarWriter};
use crate::unpack::{Form, Ownership, Place, UnpackError, Warnings};
use crate::walk::{Data, Item, Mode, What, walk};

/// The layers of one root filesystem.
#[derive(Debug, Clone, Copy)]
pub struct Rootfs<'a> {
    /// What it runs on: names the subdirectory when there are several.
    pub platform: &'a Platform,
    /// Layer snapshots, topmost first.
    pub layers: &'a [&'a Dir],
}

impl Rootfs<'_> {
    /// `linux_amd64`, `linux_arm_v7`.
    fn subdir(&self) -> String {
        let Platform { os, architecture, variant, .. } = self.platform;
        match variant {
            Some(variant) => format!("{os}_{architecture}_{variant}"),
            None => format!("{os}_{architecture}"),
        }
    }
}

/// Writes root filesystems below `dest`. A new directory appears when it is complete; an existing one keeps its
/// other files;
/// `is_split` gives every platform a subdirectory. Files are copies, never links into the store.
///
/// # Errors
/// When a layer cannot be read, the destination cannot be written, or two platforms have a file of the same name
/// and no subdirectories. What has been written to an existing directory stays.
pub fn export_local(
    systems: &[Rootfs<'_>],
    is_split: bool,
    dest: &Path,
    ownership: Ownership,
) -> Result<Warnings, ExportError> {
    if !is_split {
        refuse_conflicts(systems)?;
    }
    if std::fs::symlink_metadata(dest).is_ok() {
        sweep_beside(dest);
        return fill(systems, is_split, dest, dest, ownership);
    }
    new_dir(dest, |temp| fill(systems, is_split, temp, dest, ownership))
}

fn fill(
    systems: &[Rootfs<'_>],
    is_split: bool,
    into: &Path,
    dest: &Path,
    ownership: Ownership,
) -> Result<Warnings, ExportError> {
    let failed = |source| ExportError::Destination { path: dest.to_owned(), source };
    std::fs::create_dir_all(into).map_err(failed)?;
    let root = Dir::open(into).map_err(|error| failed(std::io::Error::other(error)))?;
    let mut warnings = Warnings::default();
    for system in systems {
        let below = match is_split {
            false => root.reopen(),
            true => root.ensure_dir(system.subdir(), 0o755),
        };
        let below = below.map_err(|error| failed(std::io::Error::other(error)))?;
        let mut place = Place::new(&below, Form::Plain, ownership, None);
        walk(system.layers, Mode::Merged, |item| put(&mut place, item).map_err(ExportError::from))?;
        let more = place.finish()?;
        warnings.total += more.total;
        warnings.first.extend(more.first);
    }
    Ok(warnings)
}

/// Writes root filesystems as one deterministic tar; `is_split` gives every platform a subdirectory.
///
/// # Errors
/// When a layer cannot be read, the output fails, or two platforms have a file of the same name and no
/// subdirectories.
pub fn export_tar(
    systems: &[Rootfs<'_>],
    is_split: bool,
    times: TimePolicy<'_>,
    out: &mut dyn Write,
) -> Result<(), ExportError> {
    let mut below = Below::default();
    if !is_split {
        below.once = refuse_conflicts(systems)?;
    }
    let mut tar = TarWriter::new(out);
    let mut sorted: Vec<_> = systems.iter().collect();
    sorted.sort_by_key(|system| system.subdir());
    for system in sorted {
        if is_split {
            below.prefix = system.subdir().into_bytes();
            let meta = Meta { mode: 0o755, mtime: times.epoch, ..Meta::default() };
            let header = Header { path: &below.prefix, kind: Kind::Dir, meta: &meta };
            tar.append_bytes(&header, &[]).map_err(ExportError::Stream)?;
        }
        let mut counts = Counts::default();
        write_entries(&mut tar, system.layers, Mode::Merged, times, &mut below, &mut counts)?;
    }
    let out = tar.finish().map_err(LayerError::Write)?;
    out.flush().map_err(ExportError::Stream)
}

/// Files of the same name in two platforms; gives the directories that several platforms share.
fn refuse_conflicts(systems: &[Rootfs<'_>]) -> Result<BTreeSet<Vec<u8>>, ExportError> {
    let mut shared = BTreeSet::new();
    if systems.len() < 2 {
        return Ok(shared);
    }
    let mut seen: BTreeMap<Vec<u8>, (&Platform, bool)> = BTreeMap::new();
    for system in systems {
        walk(system.layers, Mode::Merged, |item| {
            let is_dir = matches!(item.what, What::Dir);
            match seen.get(&item.path) {
                Some((_, true)) if is_dir => {
                    shared.insert(item.path);
                }
                Some((first, _)) => {
                    return Err(ExportError::Overwritten {
                        path: String::from_utf8_lossy(&item.path).into_owned(),
                        first: first.to_string(),
                        second: system.platform.to_string(),
                    });
                }
                None => {
                    seen.insert(item.path, (system.platform, is_dir));
                }
            }
            Ok(())
        })?;
    }
    Ok(shared)
}

fn put(place: &mut Place<'_>, item: Item) -> Result<(), UnpackError> {
    let Item { path, what, stat, xattrs, .. } = item;
    let mut bytes: &[u8] = &[];
    let mut open = None;
    let kind = match &what {
        What::Opaque | What::Whiteout | What::File(Data::Later(_)) => return Ok(()),
        What::Dir => EntryKind::Dir,
        What::Link(target) => EntryKind::HardLink(target.clone()),
        What::Symlink(text) => EntryKind::Symlink(text.clone()),
        What::Special => special(&stat),
        What::File(Data::Bytes(data)) => {
            bytes = data;
            EntryKind::File
        }
        What::File(Data::Open(file)) => {
            open = Some(file);
            EntryKind::File
        }
    };
    let size = if kind == EntryKind::File { stat.size } else { 0 };
    let mode = stat.permissions();
    let entry =
        Entry { path, kind, mode, uid: stat.uid, gid: stat.gid, mtime: stat.mtime, size, xattrs };
    match open {
        Some(mut file) => place.put(&entry, &mut file as &mut dyn Read),
        None => place.put(&entry, &mut bytes),
    }
}

fn special(stat: &Stat) -> EntryKind {
    use karman_sys::fs::FileKind;
    let (major, minor) = (rustix::fs::major(stat.rdev), rustix::fs::minor(stat.rdev));
    match stat.kind() {
        FileKind::Fifo => EntryKind::Fifo,
        FileKind::Block => EntryKind::Block(major, minor),
        _ => EntryKind::Char(major, minor),
    }
}
