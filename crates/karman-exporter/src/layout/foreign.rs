//! Images in formats that are no OCI layouts: docker archives without an index (`docker save` before version 25,
//! `podman save`, `skopeo copy docker-archive:`) and the flat directories of `skopeo copy dir:`.
//!
//! A docker archive has no manifest that a registry would take. One is made here, over the layers as they are in the
//! archive, so that its digest depends on the archive alone.

use std::collections::BTreeMap;
use std::io;

use karman_oci::{Descriptor, Digest, Hasher, Index, Manifest, Reference, media_type};
use serde::Deserialize;

use super::Files;
use crate::export::{IMAGE_NAME, REF_NAME};

const BUFFER: usize = 64 << 10;

/// What takes the place of `index.json` and `blobs/`.
#[derive(Debug, Default)]
pub(super) struct Foreign {
    pub(super) index: Option<Index>,
    /// Documents that are in no file.
    pub(super) documents: BTreeMap<Digest, Vec<u8>>,
    /// The files of blobs.
    pub(super) names: BTreeMap<Digest, String>,
    /// Whether blobs are files beside the manifest, named by their digits.
    pub(super) is_flat: bool,
}

/// An entry of a docker archive's `manifest.json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerEntry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

/// The parts by which a manifest tells what it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: u32,
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
}

/// Reads what `manifest.json` says; `None` where there is none.
pub(super) fn read(files: &Files) -> io::Result<Option<Foreign>> {
    let Some(bytes) = files.document("manifest.json")? else { return Ok(None) };
    if bytes.trim_ascii_start().starts_with(b"[") {
        return docker(files, &bytes).map(Some);
    }
    let shape: Shape = serde_json::from_slice(&bytes)?;
    if shape.schema_version != 2 {
        let text = format!("`manifest.json` has schema version {}", shape.schema_version);
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let own = match shape.manifests {
        Some(_) => media_type::OCI_INDEX,
        None => media_type::OCI_MANIFEST,
    };
    let kind = shape.media_type.unwrap_or_else(|| own.to_owned());
    let digest = Digest::sha256_of(&bytes);
    let descriptor = Descriptor::new(kind, digest, bytes.len() as u64);
    Ok(Some(Foreign {
        index: Some(Index::oci(vec![descriptor])),
        documents: BTreeMap::from([(digest, bytes)]),
        names: BTreeMap::new(),
        is_flat: true,
    }))
}

fn docker(files: &Files, bytes: &[u8]) -> io::Result<Foreign> {
    let entries: Vec<DockerEntry> = serde_json::from_slice(bytes)?;
    let mut foreign = Foreign::default();
    // A layer that several images have is read once.
    let mut known: BTreeMap<String, Descriptor> = BTreeMap::new();
    let mut manifests = Vec::new();
    for entry in entries {
        let config = blob(files, &entry.config, &mut known)?;
        let config = Descriptor { media_type: media_type::OCI_CONFIG.to_owned(), ..config };
        foreign.names.insert(config.digest, entry.config);
        let mut layers = Vec::new();
        for name in entry.layers {
            let layer = blob(files, &name, &mut known)?;
            foreign.names.insert(layer.digest, name);
            layers.push(layer);
        }
        let manifest = serde_json::to_vec(&Manifest::oci(config, layers))?;
        let digest = Digest::sha256_of(&manifest);
        let top = Descriptor::new(media_type::OCI_MANIFEST, digest, manifest.len() as u64);
        foreign.documents.insert(digest, manifest);
        let tags = entry.repo_tags.unwrap_or_default();
        let references: Vec<Reference> =
            tags.iter().filter_map(|tag| Reference::parse(tag).ok()).collect();
        manifests.extend(references.iter().map(|name| named(top.clone(), name)));
        if references.is_empty() {
            manifests.push(top);
        }
    }
    foreign.index = Some(Index::oci(manifests));
    Ok(foreign)
}

fn named(mut top: Descriptor, name: &Reference) -> Descriptor {
    top.annotations.insert(IMAGE_NAME.to_owned(), name.to_string());
    if let Some(tag) = &name.tag {
        top.annotations.insert(REF_NAME.to_owned(), tag.clone());
    }
    top
}

/// Reads a file to its end: its digest and size, and what it is compressed with.
fn blob(
    files: &Files,
    name: &str,
    known: &mut BTreeMap<String, Descriptor>,
) -> io::Result<Descriptor> {
    if let Some(descriptor) = known.get(name) {
        return Ok(descriptor.clone());
    }
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => error,
        kind => io::Error::new(kind, format!("read `{name}`: {error}")),
    };
    let mut file = files.open(name).map_err(failed)?;
    let (mut hasher, mut size, mut begin) = (Hasher::new(), 0, Vec::new());
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = match file.read(&mut buffer) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(failed)?,
        };
        if begin.len() < 4 {
            begin.extend_from_slice(&buffer[..read.min(4)]);
        }
        hasher.update(&buffer[..read]);
        size += read as u64;
    }
    let kind = match begin.as_slice() {
        [0x1f, 0x8b, ..] => media_type::OCI_LAYER_GZIP,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => media_type::OCI_LAYER_ZSTD,
        _ => media_type::OCI_LAYER,
    };
    let descriptor = Descriptor::new(kind, hasher.finish(), size);
    known.insert(name.to_owned(), descriptor.clone());
    Ok(descriptor)
}
