//! Removing from a layout directory what its index no longer needs.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use karman_oci::{Descriptor, Digest, media_type};
use serde_json::Value;

use super::ExportError;
use super::layout::{alone, existing};
use crate::blobs::{BlobDir, document};

/// The most documents below one index that are looked into.
const MAX_DOCUMENTS: usize = 10_000;
/// What the media type of a document says that may name further blobs, whoever thought of it.
const WORDS: [&str; 2] = ["manifest", "index"];

/// Removes the blobs that nothing in the index of a layout directory needs, and gives their number. Where anything in it is not
/// understood, or cannot be locked against other writers, nothing is removed.
///
/// # Errors
/// When the directory cannot be read, or a blob cannot be removed.
pub fn sweep_layout(dest: &Path) -> Result<usize, ExportError> {
    let failed = |source| ExportError::Destination { path: dest.to_owned(), source };
    let Some(_alone) = alone(dest) else { return Ok(0) };
    let blobs = BlobDir::open(dest).map_err(failed)?;
    let Some(needed) = needed(&blobs, existing(dest).map_err(failed)?) else { return Ok(0) };
    let mut removed = 0;
    for entry in fs::read_dir(dest.join("blobs/sha256")).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let digest = name.to_str().and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
        // Files with other names are somebody's business.
        if digest.is_none_or(|digest| needed.contains(&digest)) {
            continue;
        }
        match fs::remove_file(entry.path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => removed += 1,
        }
    }
    Ok(removed)
}

/// Every blob that can be reached; `None` where that cannot be known.
fn needed(blobs: &BlobDir, entries: Vec<Descriptor>) -> Option<BTreeSet<Digest>> {
    let mut needed = BTreeSet::new();
    let mut documents: Vec<Digest> = Vec::new();
    for entry in entries {
        needed.insert(entry.digest);
        if !is_document(&entry.media_type) {
            return None;
        }
        documents.push(entry.digest);
    }
    let mut looked_into = BTreeSet::new();
    while let Some(digest) = documents.pop() {
        if !looked_into.insert(digest) {
            continue;
        }
        if looked_into.len() > MAX_DOCUMENTS {
            return None;
        }
        let bytes = document(blobs, &digest).ok()?;
        let json: Value = serde_json::from_slice(&bytes).ok()?;
        names(&json, &mut |digest, kind| {
            needed.insert(digest);
            if is_document(kind) {
                documents.push(digest);
            }
        });
    }
    Some(needed)
}

/// Tells every descriptor in a document, wherever it stands.
fn names(json: &Value, tell: &mut impl FnMut(Digest, &str)) {
    match json {
        Value::Array(all) => all.iter().for_each(|one| names(one, tell)),
        Value::Object(fields) => {
            let text = |name: &str| fields.get(name).and_then(Value::as_str);
            if let Some(digest) = text("digest").and_then(|digest| digest.parse().ok()) {
                tell(digest, text("mediaType").unwrap_or_default());
            }
            fields.values().for_each(|one| names(one, tell));
        }
        _ => {}
    }
}

fn is_document(kind: &str) -> bool {
    media_type::is_index(kind)
        || media_type::is_manifest(kind)
        || WORDS.iter().any(|word| kind.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

    struct Room(tempfile::TempDir);

    impl Room {
        fn new() -> Self {
            let room = Self(tempfile::tempdir().unwrap());
            fs::create_dir_all(room.0.path().join("blobs/sha256")).unwrap();
            room
        }

        /// Adds a blob; gives its descriptor.
        fn blob(&self, kind: &str, text: &str) -> String {
            let digest = Digest::sha256_of(text.as_bytes());
            fs::write(self.0.path().join("blobs/sha256").join(digest.hex()), text).unwrap();
            format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":{}}}"#, text.len())
        }

        fn index(&self, entries: &[&str]) {
            let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, entries.join(","));
            fs::write(self.0.path().join("index.json"), text).unwrap();
        }

        /// The texts that are left.
        fn left(&self) -> Vec<String> {
            let files = fs::read_dir(self.0.path().join("blobs/sha256")).unwrap();
            let mut texts: Vec<String> =
                files.map(|f| fs::read_to_string(f.unwrap().path()).unwrap()).collect();
            texts.retain(|text| !text.starts_with('{'));
            texts.sort();
            texts
        }
    }

    #[test]
    fn what_is_needed_in_any_form_stays() {
        let room = Room::new();
        let manifest = |layer: &str, more: &str| {
            let (config, layer) = (room.blob("x/config", &format!("config of {layer}")), layer);
            let layer = room.blob("x/layer", layer);
            let text =
                format!(r#"{{"schemaVersion":2,"config":{config},"layers":[{layer}]{more}}}"#);
            room.blob(MANIFEST, &text)
        };
        let subject = manifest("signed", "");
        let one = manifest("one", &format!(r#","subject":{subject}"#));
        // As BuildKit writes caches: layers and their config in an index.
        let (layer, config) = (room.blob("x/layer", "two"), room.blob("x/cache", "config of two"));
        let two =
            room.blob(INDEX, &format!(r#"{{"schemaVersion":2,"manifests":[{layer},{config}]}}"#));
        let deep = manifest("three", "");
        let three = room.blob(INDEX, &format!(r#"{{"schemaVersion":2,"manifests":[{deep}]}}"#));
        manifest("old", "");
        room.blob("x/layer", "loose");
        fs::write(room.0.path().join("blobs/sha256/.1.2.tmp"), "being written").unwrap();
        room.index(&[&one, &two, &three]);
        // Manifest, config and layer of the old one, and the loose one.
        assert_eq!(sweep_layout(room.0.path()).unwrap(), 4);
        let want = ["being written", "config of one", "config of signed", "config of three"];
        let more = ["config of two", "one", "signed", "three", "two"];
        assert_eq!(room.left(), [&want[..], &more].concat());
        assert_eq!(sweep_layout(room.0.path()).unwrap(), 0);
        room.index(&[&two]);
        assert_eq!(sweep_layout(room.0.path()).unwrap(), 10);
        assert_eq!(room.left(), ["being written", "config of two", "two"]);
    }

    #[test]
    fn nothing_goes_where_something_is_not_understood() {
        for (entry, is_kept) in [
            (r#"{"mediaType":"x/unknown","digest":"DIGEST","size":1}"#, true),
            (
                r#"{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"DIGEST","size":1}"#,
                true,
            ),
            ("", false),
        ] {
            let room = Room::new();
            room.blob("x/layer", "loose");
            let digest = Digest::sha256_of(b"somewhere else").to_string();
            let entry = entry.replace("DIGEST", &digest);
            room.index(&[entry.as_str()].into_iter().filter(|e| !e.is_empty()).collect::<Vec<_>>());
            assert_eq!(sweep_layout(room.0.path()).unwrap(), usize::from(!is_kept), "{entry}");
        }
        let room = Room::new();
        room.blob("x/layer", "loose");
        let broken = room.blob(MANIFEST, "{broken");
        room.index(&[&broken]);
        assert_eq!(sweep_layout(room.0.path()).unwrap(), 0);
    }

    #[test]
    fn others_that_write_are_waited_for() {
        let room = Room::new();
        room.blob("x/layer", "loose");
        room.index(&[]);
        let writing = alone(room.0.path()).unwrap();
        let path = room.0.path().to_owned();
        let sweep = std::thread::spawn(move || sweep_layout(&path).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(50));
        assert_eq!(room.left(), ["loose"]);
        drop(writing);
        assert_eq!(sweep.join().unwrap(), 1);
    }
}
