//! What sources are in the words of provenance: addresses without credentials, and digests.

use karman_control::provenance::Dependency;
use karman_control::{Session, SolveError};
use karman_llb::{ImageSource, SourceOp, shown_remote};
use karman_oci::{Platform, Reference};

use super::{bootstrap, git, http};
use crate::engine::Engine;

/// What came of a source that was run. A directory of the caller has no name outside.
pub(crate) fn materials(
    engine: &Engine,
    source: &SourceOp,
    platform: &Platform,
    session: &Session,
) -> Result<Vec<Dependency>, SolveError> {
    Ok(match source {
        SourceOp::Local(_) => Vec::new(),
        SourceOp::Image(image) => image_material(image, platform).into_iter().collect(),
        SourceOp::OciLayout(layout) => {
            let uri = format!("pkg:oci/layout?platform={}", encoded(&platform.to_string()));
            let pinned = layout.manifest.map(|m| Dependency::new(uri, "sha256", m.hex()));
            pinned.into_iter().collect()
        }
        SourceOp::Git(source) => {
            let commit = git::commit_of(engine, source, session)?;
            let mut uri = shown_remote(&source.url);
            if !source.reference.is_empty() {
                uri.push('#');
                uri.push_str(&source.reference);
            }
            let algorithm = if commit.len() == 64 { "sha256" } else { "sha1" };
            vec![Dependency::new(uri, algorithm, commit)]
        }
        SourceOp::Http(source) => {
            let digest = http::digest_of(engine, source)?;
            vec![Dependency::new(shown_remote(&source.url), "sha256", digest.hex())]
        }
        SourceOp::Debootstrap(source) => bootstrap::materials(engine, source, platform)?,
    })
}

fn image_material(image: &ImageSource, platform: &Platform) -> Option<Dependency> {
    let manifest = image.manifest?;
    let mut name = image.reference.clone();
    let mut version = String::new();
    if let Ok(reference) = Reference::parse(&image.reference) {
        let bare = Reference { tag: None, digest: None, ..reference.clone() };
        name = bare.familiar();
        if let Some(tag) = &reference.tag {
            name = name.trim_end_matches(&format!(":{tag}")).to_owned();
            version = format!("@{}", encoded(tag));
        }
    }
    let uri = format!("pkg:docker/{name}{version}?platform={}", encoded(&platform.to_string()));
    Some(Dependency::new(uri, "sha256", manifest.hex()))
}

/// Percent-encoded but for unreserved characters (RFC 3986), as package URLs want it.
pub(crate) fn encoded(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~');
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_plain(c) {
            out.push(c);
            continue;
        }
        let mut bytes = [0; 4];
        for byte in c.encode_utf8(&mut bytes).bytes() {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use karman_oci::Digest;

    use super::*;

    #[test]
    fn images_are_package_urls() {
        let url = |reference: &str| {
            let reference = Reference::parse(reference).expect("valid").to_string();
            let image = ImageSource { reference, manifest: Some(Digest::sha256_of(b"x")) };
            let platform = Platform::parse("linux/amd64").expect("valid");
            image_material(&image, &platform).expect("pinned").uri
        };
        assert_eq!(url("busybox"), "pkg:docker/busybox@latest?platform=linux%2Famd64");
        let own = url("r.example:5000/a/b:1.2");
        assert_eq!(own, "pkg:docker/r.example:5000/a/b@1.2?platform=linux%2Famd64");
    }
}
