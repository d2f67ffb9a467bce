//! Images as one tar: OCI layout archives, and docker archives, which are OCI layouts with a `manifest.json`.
//!
//! Entries are sorted by name, as containerd's exporter does: `blobs/`, `blobs/sha256/`, the blobs, `index.json`,
//! `manifest.json`, `oci-layout`. All are root's, with mode 0444 (directories 0755) and time 0.

use std::io::{self, Read, Write};

use karman_oci::{Digest, Hasher, Index, Manifest, media_type};
use serde::Serialize;

use super::closure::{closure, read};
use super::layout::OCI_LAYOUT;
use super::{ExportError, Named};
use crate::blobs::BlobSource;
use crate::tarball::{Header, Kind, Meta, TarWriter};

/// Which archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveKind {
    /// An OCI layout.
    Oci,
    /// An OCI layout that `docker load` of any version reads too.
    Docker,
}

/// `manifest.json` of a docker archive.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// Writes images to one archive, streaming.
///
/// # Errors
/// When a blob is missing or not what its digest says, the output fails, or a docker archive is asked of an index.
pub fn write_archive(
    source: &dyn BlobSource,
    images: &[Named<'_>],
    kind: ArchiveKind,
    out: &mut dyn Write,
) -> Result<(), ExportError> {
    let mut blobs = Vec::new();
    for image in images {
        blobs.extend(closure(source, image.top)?);
    }
    blobs.sort_by_key(|blob| blob.digest);
    blobs.dedup_by_key(|blob| blob.digest);
    let manifest = match kind {
        ArchiveKind::Docker => Some(docker_manifest(source, images)?),
        ArchiveKind::Oci => None,
    };
    let index = Index::oci(images.iter().flat_map(Named::index_entries).collect());

    let mut tar = TarWriter::new(out);
    for dir in ["blobs", "blobs/sha256"] {
        let meta = Meta { mode: 0o755, ..Meta::default() };
        let header = Header { path: dir.as_bytes(), kind: Kind::Dir, meta: &meta };
        tar.append_bytes(&header, &[]).map_err(ExportError::Stream)?;
    }
    let meta = Meta { mode: 0o444, ..Meta::default() };
    for blob in &blobs {
        let digest = blob.digest;
        let failed = |source| ExportError::Blob { digest, source };
        let path = blob_path(&digest);
        let header = Header { path: path.as_bytes(), kind: Kind::File(blob.size), meta: &meta };
        let mut data = Verified::new(source.open_blob(&digest).map_err(failed)?, digest);
        tar.append_reader(&header, &mut data).map_err(failed)?;
    }
    let mut file = |name: &str, bytes: &[u8]| {
        let kind = Kind::File(bytes.len() as u64);
        tar.append_bytes(&Header { path: name.as_bytes(), kind, meta: &meta }, bytes)
            .map_err(ExportError::Stream)
    };
    file("index.json", &json(&index)?)?;
    if let Some(manifest) = manifest {
        file("manifest.json", &json(&manifest)?)?;
    }
    file("oci-layout", OCI_LAYOUT)?;
    let out = tar.finish().map_err(ExportError::Stream)?;
    out.flush().map_err(ExportError::Stream)
}

fn docker_manifest(
    source: &dyn BlobSource,
    images: &[Named<'_>],
) -> Result<Vec<DockerManifest>, ExportError> {
    let one = |image: &Named<'_>| {
        if media_type::is_index(&image.top.media_type) {
            return Err(ExportError::DockerIndex);
        }
        let manifest: Manifest = read(source, &image.top.digest)?;
        Ok(DockerManifest {
            config: blob_path(&manifest.config.digest),
            repo_tags: image.names.iter().map(karman_oci::Reference::familiar).collect(),
            layers: manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect(),
        })
    };
    images.iter().map(one).collect()
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn json(document: &impl Serialize) -> Result<Vec<u8>, ExportError> {
    serde_json::to_vec(document).map_err(|error| ExportError::Stream(error.into()))
}

/// Passes bytes on and refuses to end when they have the wrong digest.
struct Verified<R> {
    input: R,
    expected: Digest,
    hasher: Option<Hasher>,
}

impl<R> Verified<R> {
    fn new(input: R, expected: Digest) -> Self {
        Self { input, expected, hasher: Some(Hasher::new()) }
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        match &mut self.hasher {
            Some(hasher) if read > 0 => hasher.update(&buffer[..read]),
            Some(_) if !buffer.is_empty() => {
                let actual = self.hasher.take().map(Hasher::finish);
                if actual != Some(self.expected) {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "the blob is damaged"));
                }
            }
            _ => {}
        }
        Ok(read)
    }
}
