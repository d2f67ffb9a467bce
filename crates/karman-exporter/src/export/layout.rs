//! Images as an OCI layout directory (image-spec `image-layout.md`).

use std::fs;
use std::io;
use std::path::Path;

use karman_oci::{Descriptor, Digest, Index};

use super::closure::closure;
use super::{ExportError, IMAGE_NAME, Named, REF_NAME, new_dir, sweep_beside};
use crate::blobs::{BlobDir, BlobSource, MAX_DOCUMENT};

/// The file that says what the directory is.
pub(super) const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

/// Writes images to a layout directory. Blobs are linked from the store where that is possible, so they must not be
/// edited in place. An existing layout keeps its other images; entries with the same name are replaced.
///
/// # Errors
/// When a blob is missing, or the directory cannot be written.
pub fn write_layout(
    source: &dyn BlobSource,
    images: &[Named<'_>],
    dest: &Path,
) -> Result<(), ExportError> {
    let fill = |root: &Path| {
        let mut blobs = Vec::new();
        for image in images {
            blobs.extend(closure(source, image.top)?.into_iter().map(|blob| blob.digest));
        }
        let entries = images.iter().flat_map(Named::index_entries).collect();
        fill(source, &blobs, entries, root, dest)
    };
    whole(dest, &fill)
}

/// Something that is no image, such as a build cache, and everything that belongs to it.
#[derive(Debug, Clone, Copy)]
pub struct LayoutEntry<'a> {
    /// What the index names.
    pub top: &'a Descriptor,
    /// Its name.
    pub tag: &'a str,
    /// All its blobs, `top` among them; those that the layout has already may be missing in the source.
    pub blobs: &'a [Digest],
}

/// Adds an entry to a layout directory, in place of the one with its name.
///
/// # Errors
/// When a blob is missing, or the directory cannot be written.
pub fn add_to_layout(
    source: &dyn BlobSource,
    entry: &LayoutEntry<'_>,
    dest: &Path,
) -> Result<(), ExportError> {
    let mut named = entry.top.clone();
    named.annotations.insert(REF_NAME.to_owned(), entry.tag.to_owned());
    whole(dest, &|root| fill(source, entry.blobs, vec![named.clone()], root, dest))
}

/// Fills an existing directory in place, a new one under another name first.
fn whole(dest: &Path, fill: &dyn Fn(&Path) -> Result<(), ExportError>) -> Result<(), ExportError> {
    if !dest.exists() {
        let made = new_dir(dest, fill);
        // Whoever was faster made a directory that is filled in place.
        if made.is_ok() || !dest.join("index.json").exists() {
            return made;
        }
    }
    sweep_beside(dest);
    let _alone = alone(dest);
    fill(dest)
}

/// Keeps other writers of a layout out until it is dropped; `None` where the file system does not know how. Readers are not kept
/// out, unless they hold [`reading`]: they see the index before or after.
pub(super) fn alone(dest: &Path) -> Option<fs::File> {
    let dir = fs::File::open(dest).ok()?;
    dir.lock().ok()?;
    Some(dir)
}

/// Keeps writers of a layout out, so that no blob is removed that somebody still reads; `None` where the file system does
/// not know how.
#[must_use]
pub fn reading(dest: &Path) -> Option<fs::File> {
    let dir = fs::File::open(dest).ok()?;
    dir.lock_shared().ok()?;
    Some(dir)
}

fn fill(
    source: &dyn BlobSource,
    wanted: &[Digest],
    new: Vec<Descriptor>,
    root: &Path,
    dest: &Path,
) -> Result<(), ExportError> {
    let failed = |source| ExportError::Destination { path: dest.to_owned(), source };
    let blobs = BlobDir::open(root).map_err(failed)?;
    for digest in wanted {
        blobs
            .add_from(source, digest)
            .map_err(|source| ExportError::Blob { digest: *digest, source })?;
    }
    let mut entries = existing(root).map_err(failed)?;
    for entry in new {
        entries.retain(|other| !is_same(other, &entry));
        entries.push(entry);
    }
    let index = serde_json::to_vec(&Index::oci(entries)).map_err(|error| failed(error.into()))?;
    BlobDir::write_beside(root, "oci-layout", OCI_LAYOUT).map_err(failed)?;
    BlobDir::write_beside(root, "index.json", &index).map_err(failed)
}

/// The entries of the index of a layout.
pub(super) fn existing(root: &Path) -> io::Result<Vec<Descriptor>> {
    let path = root.join("index.json");
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
        Ok(meta) if meta.len() > MAX_DOCUMENT => return Err(io::ErrorKind::FileTooLarge.into()),
        Ok(_) => {}
    }
    let index: Index = serde_json::from_slice(&fs::read(path)?)?;
    Ok(index.manifests)
}

/// Whether a new entry takes the place of another: the same name, the same tag of what has no name, or the same image
/// without either.
fn is_same(other: &Descriptor, new: &Descriptor) -> bool {
    let names = |d: &Descriptor| {
        (d.annotations.get(IMAGE_NAME).cloned(), d.annotations.get(REF_NAME).cloned())
    };
    match names(new) {
        (Some(name), _) => other.annotations.get(IMAGE_NAME) == Some(&name),
        (None, Some(tag)) => names(other) == (None, Some(tag)),
        (None, None) => other.digest == new.digest && other.annotations == new.annotations,
    }
}
