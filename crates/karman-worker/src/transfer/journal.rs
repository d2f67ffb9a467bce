//! Uploads that are under way, so that another process can go on with one whose own was killed.

use karman_content::Store;
use karman_oci::{Digest, Reference};
use karman_registry::UploadLog;

const BUCKET: &str = "upload";

/// What is known of the upload of one blob to one repository.
///
/// Everything here only saves work: a store that cannot be written makes uploads begin anew, and the
/// push itself will tell.
pub(super) struct Journal<'a> {
    store: &'a Store,
    key: String,
}

impl<'a> Journal<'a> {
    pub(super) fn of(store: &'a Store, place: &Reference, digest: &Digest) -> Self {
        Self { store, key: format!("{}/{} {digest}", place.host, place.repository) }
    }
}

impl UploadLog for Journal<'_> {
    fn begun(&self) -> Option<String> {
        let found = self.store.get(BUCKET, &self.key).ok().flatten()?;
        String::from_utf8(found).ok()
    }

    fn note(&self, location: &str) {
        let _ = self.store.put(BUCKET, &self.key, location.as_bytes());
    }

    fn ended(&self) {
        let _ = self.store.delete(BUCKET, &self.key);
    }
}
