//! What registries, layouts and people send: image documents, references, platforms, digests, git locations,
//! authentication challenges.

#[path = "../../karman-registry/src/challenge.rs"]
mod challenge;

use karman_dockerfile::lower::parse_git_ref;
use karman_oci::{Digest, ImageConfig, Index, Manifest, Platform, Reference};

pub(crate) fn run(bytes: &[u8]) {
    if let Ok(config) = serde_json::from_slice::<ImageConfig>(bytes) {
        let json = serde_json::to_vec(&config).expect("it encodes");
        let again: ImageConfig = serde_json::from_slice(&json).expect("it is read again");
        assert_eq!(again, config);
        let _ = config.platform();
    }
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(bytes) {
        let json = serde_json::to_vec(&manifest).expect("it encodes");
        assert_eq!(serde_json::from_slice::<Manifest>(&json).expect("it is read again"), manifest);
    }
    if let Ok(index) = serde_json::from_slice::<Index>(bytes) {
        let json = serde_json::to_vec(&index).expect("it encodes");
        assert_eq!(serde_json::from_slice::<Index>(&json).expect("it is read again"), index);
    }
    let text = String::from_utf8_lossy(bytes);
    text.lines().take(16).for_each(names);
    for found in challenge::parse(&text) {
        assert!(!found.scheme.is_empty());
        let _ = found.get("realm");
    }
}

/// What is read is printed so that it is read as the same.
fn names(text: &str) {
    if let Ok(reference) = Reference::parse(text) {
        let shown = reference.to_string();
        assert_eq!(Reference::parse(&shown).as_ref(), Ok(&reference), "{shown}");
        let familiar = reference.familiar();
        assert_eq!(Reference::parse(&familiar).as_ref(), Ok(&reference), "{familiar}");
    }
    if let Ok(platform) = Platform::parse(text) {
        let shown = platform.to_string();
        assert_eq!(Platform::parse(&shown).as_ref(), Ok(&platform), "{shown}");
        assert!(platform.matches(&platform).is_some(), "{shown}");
    }
    if let Ok(digest) = Digest::parse(text) {
        assert_eq!(Digest::parse(&digest.to_string()).as_ref(), Ok(&digest));
    }
    let _ = parse_git_ref(text);
}
