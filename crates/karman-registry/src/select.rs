//! Which entry of an index is meant.

use karman_oci::{Descriptor, Index, Platform, media_type};

use crate::error::RegistryError;

/// The annotation by which BuildKit marks attestations.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// The entry of `index` that runs best on `platform`: the same variant, or else the nearest lower
/// one. The first of equals wins, as in containerd. Attestations are never chosen; an entry without
/// a platform only when no other fits.
///
/// # Errors
/// When none fits; the error lists what there is.
pub fn select_platform(index: &Index, platform: &Platform) -> Result<Descriptor, RegistryError> {
    let images: Vec<&Descriptor> = index.manifests.iter().filter(|d| is_image(d)).collect();
    let scored = images.iter().filter_map(|d| {
        let score = d.platform.as_ref()?.matches(platform)?;
        Some((score, *d))
    });
    if let Some((_, found)) = scored.min_by_key(|(score, _)| *score) {
        return Ok(found.clone());
    }
    if let Some(found) = images.iter().find(|d| d.platform.is_none()) {
        return Ok((*found).clone());
    }
    let mut available: Vec<String> = images
        .iter()
        .filter_map(|d| d.platform.as_ref())
        .map(|p| p.clone().normalized().to_string())
        .collect();
    available.sort();
    available.dedup();
    Err(RegistryError::NoPlatform { wanted: platform.to_string(), available })
}

fn is_image(descriptor: &Descriptor) -> bool {
    let unknown = descriptor
        .platform
        .as_ref()
        .is_some_and(|p| p.os == "unknown" || p.architecture == "unknown");
    media_type::is_manifest(&descriptor.media_type)
        && !unknown
        && !descriptor.annotations.contains_key(REFERENCE_TYPE)
}

#[cfg(test)]
mod tests {
    use karman_oci::Digest;

    use super::*;

    fn entry(platform: Option<&str>) -> Descriptor {
        let digest = Digest::sha256_of(platform.unwrap_or_default().as_bytes());
        let mut out = Descriptor::new(media_type::OCI_MANIFEST, digest, 1);
        out.platform = platform.map(|p| Platform::parse(p).unwrap());
        out
    }

    fn chosen(have: &[&str], want: &str) -> Result<String, RegistryError> {
        let index = Index::oci(have.iter().map(|p| entry(Some(p))).collect());
        select_platform(&index, &Platform::parse(want).unwrap())
            .map(|d| d.platform.unwrap().to_string())
    }

    #[test]
    fn variants_of_arm() {
        let have = ["linux/arm/v5", "linux/arm/v7", "linux/arm64", "linux/amd64"];
        assert_eq!(chosen(&have, "linux/arm/v6").unwrap(), "linux/arm/v5");
        assert_eq!(chosen(&have, "linux/arm").unwrap(), "linux/arm/v7");
        assert_eq!(chosen(&have, "linux/arm64/v8").unwrap(), "linux/arm64");
    }

    #[test]
    fn what_is_missing_is_explained() {
        let error =
            chosen(&["linux/arm64", "linux/amd64", "unknown/unknown"], "linux/s390x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "no image for `linux/s390x`; available: linux/amd64, linux/arm64"
        );
    }

    #[test]
    fn attestations_are_not_images() {
        let mut attestation = entry(Some("linux/amd64"));
        attestation
            .annotations
            .insert(REFERENCE_TYPE.to_owned(), "attestation-manifest".to_owned());
        let index = Index::oci(vec![attestation]);
        assert!(select_platform(&index, &Platform::new("linux", "amd64")).is_err());
    }

    #[test]
    fn an_entry_without_platform_is_the_last_resort() {
        let index = Index::oci(vec![entry(None), entry(Some("linux/amd64"))]);
        let amd64 = select_platform(&index, &Platform::new("linux", "amd64")).unwrap();
        assert!(amd64.platform.is_some());
        assert!(
            select_platform(&index, &Platform::new("linux", "s390x")).unwrap().platform.is_none()
        );
    }
}
