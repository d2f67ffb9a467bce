//! Images as an OCI layout directory (image-spec `image-layout.md`).

use std::fs;
use std::io;
use std::path::Path;

use karman_oci::{Descriptor, Index};

use super::closure::closure;
use super::{ExportError, IMAGE_NAME, Named, beside};
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
    if dest.exists() {
        return fill(source, images, dest, dest);
    }
    let failed = |source| ExportError::Destination { path: dest.to_owned(), source };
    let temp = beside(dest).map_err(failed)?;
    fs::create_dir(&temp).map_err(failed)?;
    let written =
        fill(source, images, &temp, dest).and_then(|()| fs::rename(&temp, dest).map_err(failed));
    if written.is_err() {
        // The first error is the one that matters.
        let _ = fs::remove_dir_all(&temp);
    }
    written
}

fn fill(
    source: &dyn BlobSource,
    images: &[Named<'_>],
    root: &Path,
    dest: &Path,
) -> Result<(), ExportError> {
    let failed = |source| ExportError::Destination { path: dest.to_owned(), source };
    let blobs = BlobDir::open(root).map_err(failed)?;
    for image in images {
        for blob in closure(source, image.top)? {
            blobs
                .add_from(source, &blob.digest)
                .map_err(|source| ExportError::Blob { digest: blob.digest, source })?;
        }
    }
    let mut entries = existing(root).map_err(failed)?;
    for entry in images.iter().flat_map(Named::index_entries) {
        entries.retain(|other| !is_same(other, &entry));
        entries.push(entry);
    }
    let index = serde_json::to_vec(&Index::oci(entries)).map_err(|error| failed(error.into()))?;
    BlobDir::write_beside(root, "oci-layout", OCI_LAYOUT).map_err(failed)?;
    BlobDir::write_beside(root, "index.json", &index).map_err(failed)
}

fn existing(root: &Path) -> io::Result<Vec<Descriptor>> {
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

/// Whether a new entry takes the place of another: the same name, or the same image without one.
fn is_same(other: &Descriptor, new: &Descriptor) -> bool {
    match new.annotations.get(IMAGE_NAME) {
        Some(name) => other.annotations.get(IMAGE_NAME) == Some(name),
        None => other.digest == new.digest && other.annotations == new.annotations,
    }
}
