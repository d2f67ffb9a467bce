//! Seals: the digest of everything in a snapshot, by which damage on disk is noticed.
//!
//! A tree digest says whether two trees are the same to a build; a seal says whether one directory is still what it
//! was: times, whiteouts and opaque marks are part of it. Layers that came with an image are sealed when they are
//! unpacked, others when they are first verified.

use std::ffi::OsStr;

use karman_oci::{Digest, Hasher};
use karman_sys::fs::{Dir, Entry, FileKind, Stat, Xattrs, fd_xattrs};
use rayon::prelude::*;

use crate::attrs::{OPAQUE, is_image_xattr};
use crate::copy::file::{digest_file, xattrs_digest};

/// Names the encoding hashed below; change it together with the encoding.
const FORMAT: &[u8] = b"karman-seal-1";
/// Deeper trees cannot come from images (`MAX_DEPTH` of the unpacker) and would end the stack.
const MAX_DEPTH: usize = 1000;

/// The seal of a directory: of all names below it with type, mode, owner, size, time, content and attributes.
///
/// # Errors
/// When something cannot be read.
pub(crate) fn seal(dir: &Dir) -> karman_sys::fs::Result<Digest> {
    let mut hasher = Hasher::new();
    hasher.field(FORMAT);
    hash_facts(&mut hasher, &dir.stat_self()?);
    hasher.field(tree(dir, 0)?.as_bytes());
    Ok(hasher.finish())
}

fn tree(dir: &Dir, depth: usize) -> karman_sys::fs::Result<Digest> {
    let mut entries = dir.read_dir()?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let (dirs, others): (Vec<&Entry>, Vec<&Entry>) =
        entries.iter().partition(|entry| entry.kind == FileKind::Dir);
    let mut hasher = Hasher::new();
    hasher.field(xattrs(fd_xattrs(dir)?).as_ref().map_or(&[], |digest| &digest.as_bytes()[..]));
    let others: karman_sys::fs::Result<Vec<(Stat, Vec<u8>)>> =
        others.into_par_iter().map(|entry| payload(dir, &entry.name)).collect();
    let mut others = others?.into_iter();
    let mut below = Vec::with_capacity(dirs.len());
    for entry in &dirs {
        let inner = dir.open_dir(&entry.name)?;
        let content =
            if depth < MAX_DEPTH { tree(&inner, depth + 1)? } else { Digest::sha256_of(b"") };
        below.push((inner.stat_self()?, content.as_bytes().to_vec()));
    }
    let mut below = below.into_iter();
    for entry in &entries {
        let next = if entry.kind == FileKind::Dir { below.next() } else { others.next() };
        let Some((stat, content)) = next else { unreachable!("each entry was read") };
        hasher.field(entry.name.as_encoded_bytes());
        hash_facts(&mut hasher, &stat);
        hasher.field(&content);
    }
    Ok(hasher.finish())
}

/// What a name that is no directory stands for.
fn payload(dir: &Dir, name: &OsStr) -> karman_sys::fs::Result<(Stat, Vec<u8>)> {
    let stat = dir.stat(name)?;
    let content = match stat.kind() {
        FileKind::File => {
            let file = digest_file(&mut dir.open_file(name)?)?;
            let mut both = file.content.as_bytes().to_vec();
            both.extend(file.xattrs.iter().flat_map(|digest| digest.as_bytes()));
            both
        }
        FileKind::Symlink => dir.read_link(name)?.into_encoded_bytes(),
        FileKind::Char | FileKind::Block => stat.rdev.to_le_bytes().to_vec(),
        _ => Vec::new(),
    };
    Ok((stat, content))
}

fn hash_facts(hasher: &mut Hasher, stat: &Stat) {
    let mut facts = [0_u8; 28];
    facts[..4].copy_from_slice(&stat.mode.to_le_bytes());
    facts[4..8].copy_from_slice(&stat.uid.to_le_bytes());
    facts[8..12].copy_from_slice(&stat.gid.to_le_bytes());
    // Sizes of directories are the file system's own business.
    let size = if stat.is_file() { stat.size } else { 0 };
    facts[12..20].copy_from_slice(&size.to_le_bytes());
    facts[20..].copy_from_slice(&stat.mtime.as_nanos().to_le_bytes());
    hasher.update(&facts);
}

/// What belongs to the image, and the mark by which a directory hides what is below it. Other marks of
/// overlayfs are its own.
fn xattrs(mut all: Xattrs) -> Option<Digest> {
    all.retain(|(name, _)| is_image_xattr(name) || name == OPAQUE);
    xattrs_digest(&all)
}
