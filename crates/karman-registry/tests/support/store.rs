//! A registry in memory that takes uploads, and misbehaves as told.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use karman_oci::Digest;

use super::http::{Reply, Seen};

/// What a registry holds: blobs and manifests by `repository` and digest or tag, and open uploads.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) blobs: BTreeMap<(String, String), Vec<u8>>,
    pub(crate) manifests: BTreeMap<(String, String), Vec<u8>>,
    uploads: BTreeMap<String, Vec<u8>>,
    opened: usize,
    /// Whether mounts are granted.
    pub(crate) mounts: bool,
}

/// A registry that tests and the server's threads share.
#[derive(Clone, Default)]
pub(crate) struct Shelf(pub(crate) Arc<Mutex<Held>>);

impl Shelf {
    pub(crate) fn blob(&self, repository: &str, digest: &Digest) -> Option<Vec<u8>> {
        let held = self.0.lock().unwrap();
        held.blobs.get(&(repository.to_owned(), digest.to_string())).cloned()
    }

    /// Forgets all open uploads, as a registry that restarts may.
    pub(crate) fn forget_uploads(&self) {
        self.0.lock().unwrap().uploads.clear();
    }

    /// Changes a bit of what arrived of open uploads.
    pub(crate) fn spoil_uploads(&self) {
        self.0
            .lock()
            .unwrap()
            .uploads
            .values_mut()
            .filter_map(|u| u.first_mut())
            .for_each(|b| *b ^= 1);
    }

    /// What a well-behaved registry answers.
    pub(crate) fn serve(&self, seen: &Seen) -> Reply {
        let held = &mut *self.0.lock().unwrap();
        let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
        let path = path.trim_start_matches("/v2/");
        if let Some((repository, rest)) = path.split_once("/blobs/uploads/") {
            return held.upload(seen, repository, rest, query);
        }
        if let Some((repository, digest)) = path.split_once("/blobs/") {
            return found(held.blobs.get(&(repository.to_owned(), digest.to_owned())));
        }
        let Some((repository, name)) = path.split_once("/manifests/") else {
            return Reply::new(404, "");
        };
        let key = (repository.to_owned(), name.to_owned());
        if seen.method == "PUT" {
            held.manifests.insert(key, seen.body.clone());
            return Reply::new(201, "");
        }
        found(held.manifests.get(&key))
    }
}

impl Held {
    fn upload(&mut self, seen: &Seen, repository: &str, id: &str, query: &str) -> Reply {
        let value = |name: &str| {
            let pair = query.split('&').find_map(|p| p.strip_prefix(name)?.strip_prefix('='));
            pair.unwrap_or_default().to_owned()
        };
        if seen.method == "POST" {
            let source = (value("from"), value("mount"));
            if let Some(bytes) = self.blobs.get(&source).filter(|_| self.mounts).cloned() {
                self.blobs.insert((repository.to_owned(), source.1), bytes);
                return Reply::new(201, "");
            }
            self.opened += 1;
            let id = format!("u{}", self.opened);
            self.uploads.insert(id.clone(), Vec::new());
            return accepted(repository, &id, 0);
        }
        let Some(held) = self.uploads.get_mut(id) else { return Reply::new(404, "") };
        let start = seen.header("content-range").and_then(|r| r.split_once('-')?.0.parse().ok());
        if start.unwrap_or(held.len()) != held.len() {
            return Reply::new(416, "");
        }
        held.extend_from_slice(&seen.body);
        match seen.method.as_str() {
            "GET" => Reply { status: 204, ..accepted(repository, id, held.len()) },
            "PATCH" => accepted(repository, id, held.len()),
            _ if Digest::sha256_of(held).to_string() != value("digest") => Reply::new(
                400,
                r#"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match"}]}"#,
            ),
            _ => {
                let bytes = self.uploads.remove(id).unwrap();
                self.blobs.insert((repository.to_owned(), value("digest")), bytes);
                Reply::new(201, "")
            }
        }
    }
}

fn accepted(repository: &str, id: &str, held: usize) -> Reply {
    Reply::new(202, "")
        .with("location", &format!("/v2/{repository}/blobs/uploads/{id}"))
        .with("range", &format!("0-{}", held.saturating_sub(1)))
}

fn found(bytes: Option<&Vec<u8>>) -> Reply {
    match bytes {
        Some(bytes) => {
            let digest = Digest::sha256_of(bytes).to_string();
            Reply::ok(bytes.clone()).with("docker-content-digest", &digest)
        }
        None => Reply::new(404, ""),
    }
}
