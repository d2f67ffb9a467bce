//! What refers to an image in a registry: listing it, and attaching files.

use std::path::PathBuf;

use karman_content::ImportMode;
use karman_control::{Cause, SolveError};
use karman_oci::{Descriptor, Reference};
use karman_registry::{EMPTY_CONFIG, Registry};

use super::journal::Journal;
use super::push::reader;
use crate::engine::Engine;
use crate::error::{OrFail as _, store as store_error};
use crate::sources::registry_error;

/// Where a file's name is kept, as other tools have it.
const TITLE: &str = "org.opencontainers.image.title";

/// A file to attach.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// The file.
    pub path: PathBuf,
    /// The name that it is given.
    pub title: String,
    /// Its media type.
    pub media_type: String,
}

impl Engine {
    /// The manifest that a name of a registry stands for, and what refers to it.
    ///
    /// # Errors
    /// When the registry cannot be reached, denies access, or has no such image.
    pub fn referrers(
        &self,
        reference: &Reference,
        artifact_type: Option<&str>,
    ) -> Result<(Descriptor, Vec<Descriptor>), SolveError> {
        let top = self.registry().resolve(reference).map_err(|e| registry_error(&e))?.descriptor;
        let found = self.registry().referrers(reference, &top.digest, artifact_type);
        Ok((top, found.map_err(|e| registry_error(&e))?))
    }

    /// Attaches files to an image of a registry. The same files give the same artifact.
    ///
    /// # Errors
    /// When a file cannot be read, or the registry cannot be reached or refuses.
    pub fn attach(
        &self,
        reference: &Reference,
        artifact_type: &str,
        files: &[Attachment],
    ) -> Result<Descriptor, SolveError> {
        self.keep_uses()?;
        let top = self.registry().resolve(reference).map_err(|e| registry_error(&e))?.descriptor;
        let store = self.store();
        let mut blobs = Vec::new();
        for file in files {
            let doing = format!("read `{}`", file.path.display());
            let imported = store.import_file(&file.path, ImportMode::Copy, None);
            let (digest, size) = imported.or_fail(Cause::Input, &doing)?;
            let mut blob = Descriptor::new(file.media_type.clone(), digest, size);
            blob.annotations.insert(TITLE.to_owned(), file.title.clone());
            blobs.push(blob);
        }
        store.put_blob(EMPTY_CONFIG).map_err(store_error)?;
        for blob in blobs.iter().chain([&Registry::empty_config()]) {
            self.push_one(reference, blob)?;
        }
        let pushed = self.registry().push_artifact(reference, &top, artifact_type, &blobs);
        pushed.map_err(|e| registry_error(&e))
    }

    fn push_one(&self, reference: &Reference, blob: &Descriptor) -> Result<(), SolveError> {
        let journal = Journal::of(self.store(), reference, &blob.digest);
        let open = reader(self.store(), blob.digest);
        let pushed = self.registry().push_blob(reference, blob, &[], &journal, open);
        pushed.map(drop).map_err(|e| registry_error(&e))
    }
}
