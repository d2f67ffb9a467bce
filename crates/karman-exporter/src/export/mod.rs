//! Exporters: OCI layouts and docker archives of images, and root filesystems as files or as a tar.
//!
//! A destination is complete or untouched: archives and new layouts are written under a temporary name beside it and
//! renamed; what a killed process leaves of them goes when the same destination is written again. Two are written in place, as BuildKit does: an existing layout, which keeps its other images (its index is
//! replaced last, in one step), and the directory of [`export_local`], which keeps its other files.

mod archive;
mod closure;
mod layout;
mod rootfs;
mod sweep;

pub use archive::{ArchiveKind, write_archive};
pub use closure::closure;
pub use layout::{LayoutEntry, add_to_layout, reading, write_layout};
pub use rootfs::{Rootfs, export_local, export_tar};
pub use sweep::sweep_layout;

use std::ffi::OsStr;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use karman_oci::{Descriptor, Digest, Reference};
use karman_sys::fs::{Dir, Draft, sweep_drafts};

use crate::layer::LayerError;
use crate::unpack::UnpackError;
use crate::walk::WalkError;

/// The annotation with the tag (image-spec `annotations.md`).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation with the whole name (containerd).
pub const IMAGE_NAME: &str = "io.containerd.image.name";

/// An output that could not be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The destination could not be written.
    #[error("write `{}`", path.display())]
    Destination {
        /// The destination.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The stream could not be written.
    #[error("write archive")]
    Stream(#[source] io::Error),
    /// A blob could not be read or copied.
    #[error("blob `{digest}`")]
    Blob {
        /// The blob.
        digest: Digest,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A document is not what its media type says.
    #[error("manifest `{digest}` is malformed")]
    Document {
        /// The document.
        digest: Digest,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
    /// Something that is neither a manifest nor an index.
    #[error("`{digest}` has the media type `{media_type}`, which is no image")]
    MediaType {
        /// The blob.
        digest: Digest,
        /// Its type.
        media_type: String,
    },
    /// More manifests, or deeper nested, than we follow.
    #[error("index `{0}` refers to too many manifests")]
    TooMany(Digest),
    /// A docker archive holds one image for each name.
    #[error(
        "docker exporter does not support exporting manifest lists, use the oci exporter instead"
    )]
    DockerIndex,
    /// Two platforms have a file of one name, and no directories of their own.
    #[error("cannot overwrite {path} from {first} with {second} when split option is disabled")]
    Overwritten {
        /// The file.
        path: String,
        /// The platform that has it too.
        first: String,
        /// The platform at hand.
        second: String,
    },
    /// The root filesystem could not be read.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// The root filesystem could not be archived.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The root filesystem could not be placed.
    #[error(transparent)]
    Place(#[from] UnpackError),
}

/// An image and what it is called.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// The manifest, or the index over platforms.
    pub top: &'a Descriptor,
    /// Its names; may be empty.
    pub names: &'a [Reference],
}

impl Named<'_> {
    /// The entries of `index.json`: one for each name, or one without a name.
    fn index_entries(&self) -> Vec<Descriptor> {
        if self.names.is_empty() {
            return vec![self.top.clone()];
        }
        let entry = |name: &Reference| {
            let mut entry = self.top.clone();
            let tag = name.tag.clone().unwrap_or_default();
            entry.annotations.insert(IMAGE_NAME.to_owned(), name.to_string());
            if !tag.is_empty() {
                entry.annotations.insert(REF_NAME.to_owned(), tag);
            }
            entry
        };
        self.names.iter().map(entry).collect()
    }
}

/// Writes a file through `write` so that it is there whole or not at all. A destination that exists and is no regular
/// file (a pipe, a terminal) is written directly.
///
/// # Errors
/// When the file cannot be written, or `write` fails.
pub fn write_file(
    dest: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
) -> Result<(), ExportError> {
    let failed = |source| ExportError::Destination { path: dest.to_owned(), source };
    if std::fs::metadata(dest).is_ok_and(|meta| !meta.is_file()) {
        let mut file = OpenOptions::new().write(true).open(dest).map_err(failed)?;
        return write(&mut file);
    }
    let (dir, name) = beside(dest).map_err(failed)?;
    let (draft, file) = Draft::file(&dir, name, 0o644).map_err(|error| failed(error.source))?;
    let mut out = BufWriter::with_capacity(1 << 20, file);
    write(&mut out)?;
    out.flush().map_err(failed)?;
    draft.place(name).map_err(|error| failed(error.source))
}

/// The directory of a destination, and its name there.
fn beside(dest: &Path) -> io::Result<(Dir, &OsStr)> {
    let name = dest.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = dest.parent().filter(|parent| !parent.as_os_str().is_empty());
    let dir = Dir::open(parent.unwrap_or(Path::new("."))).map_err(|error| error.source)?;
    Ok((dir, name))
}

/// Makes a new directory through `fill`, which is there whole or not at all, and what is missing above it.
fn new_dir<T>(
    dest: &Path,
    fill: impl FnOnce(&Path) -> Result<T, ExportError>,
) -> Result<T, ExportError> {
    let failed = |source| ExportError::Destination { path: dest.to_owned(), source };
    if let Some(parent) = dest.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let (dir, name) = beside(dest).map_err(failed)?;
    let draft = Draft::dir(&dir, name, 0o777).map_err(|error| failed(error.source))?;
    let filled = fill(&dest.with_file_name(draft.name()))?;
    draft.place(name).map_err(|error| failed(error.source))?;
    Ok(filled)
}

/// Removes what killed processes left of a directory that is there now.
fn sweep_beside(dest: &Path) {
    if let Ok((dir, name)) = beside(dest) {
        sweep_drafts(&dir, name);
    }
}
