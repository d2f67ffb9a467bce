//! `--metadata-file` and `--iidfile`.

use std::path::Path;

use karman_control::{ProvenanceMode, SolveResponse};
use karman_oci::{Digest, Reference};
use karman_sys::fs::{Dir, Durability, atomic_write};
use serde_json::{Map, Value};

use crate::driver::Made;
use crate::failure::{Done, Failure};

/// The member that says how an image came to be.
const PROVENANCE: &str = "buildx.build.provenance";

/// The member that names the build.
const BUILD_REF: &str = "buildx.build.ref";
/// Characters of the last part of such a name, as in buildx.
const BUILD_REF_LENGTH: usize = 25;

/// The name of a build, in buildx's form `BUILDER/NODE/ID`. Equal builds have equal names: there is no
/// history in which two of them would have to be told apart.
fn build_ref(target: &str, result: &Digest) -> String {
    let id = Digest::sha256_of(format!("{target} {result}").as_bytes());
    format!("karman/{target}/{}", &id.hex()[..BUILD_REF_LENGTH])
}

/// One target's metadata in buildx's words; absent members are unknown. `told` is how much of the
/// provenance there is.
pub(crate) fn of_target(
    all: &Made,
    target: &str,
    tags: &[String],
    told: Option<ProvenanceMode>,
) -> Value {
    let (response, mut map) = (&all.response, Map::new());
    let made = response.provenance.get(target).map(Vec::as_slice).unwrap_or_default();
    if let Some(mode) = told {
        for (platform, provenance) in made {
            let key = match made {
                [_] => PROVENANCE.to_owned(),
                _ => format!("{PROVENANCE}/{platform}"),
            };
            // A provenance is plain data: it always serialises.
            let whole = serde_json::to_value(provenance.clone().reduced(mode)).unwrap_or_default();
            map.insert(key, whole);
        }
    }
    let image = response.images.get(target).map(|descriptor| &descriptor.digest);
    if let Some(result) = image.or_else(|| all.results.get(target)) {
        map.insert(BUILD_REF.into(), build_ref(target, result).into());
    }
    if let Some(config) = response.configs.get(target) {
        map.insert("containerimage.config.digest".into(), config.to_string().into());
    }
    if let Some(descriptor) = response.images.get(target) {
        // A descriptor is plain data: it always serialises.
        let whole = serde_json::to_value(descriptor).unwrap_or_default();
        map.insert("containerimage.descriptor".into(), whole);
        map.insert("containerimage.digest".into(), descriptor.digest.to_string().into());
    }
    if !tags.is_empty() {
        let full = |tag: &String| Reference::parse(tag).map_or(tag.clone(), |r| r.to_string());
        let names: Vec<String> = tags.iter().map(full).collect();
        map.insert("image.name".into(), names.join(",").into());
    }
    Value::Object(map)
}

/// What `--iidfile` and `--quiet` tell: the digest of the config, or of the index where there are
/// several (buildx `getImageID`).
pub(crate) fn image_id(response: &SolveResponse, target: &str) -> Option<String> {
    let config = response.configs.get(target).map(ToString::to_string);
    config.or_else(|| response.images.get(target).map(|image| image.digest.to_string()))
}

/// Removes a file, where there is one.
pub(crate) fn remove(path: &Path) -> Done<()> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::File { doing: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Writes a JSON value to a file.
pub(crate) fn write_json(path: &Path, value: &Value) -> Done<()> {
    write(path, &format!("{value:#}\n"))
}

/// Writes a text to a file, which has it whole or not at all.
pub(crate) fn write(path: &Path, text: &str) -> Done<()> {
    let failed = |source| Failure::File { doing: "write", path: path.to_owned(), source };
    let name = path.file_name().filter(|_| std::fs::metadata(path).map_or(true, |m| m.is_file()));
    let Some(name) = name else {
        // A pipe or a terminal cannot be replaced.
        return std::fs::write(path, text).map_err(failed);
    };
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let dir = Dir::open(parent.unwrap_or(Path::new(".")));
    let written =
        dir.and_then(|dir| atomic_write(&dir, name, text.as_bytes(), 0o666, Durability::Process));
    written.map_err(|error| failed(error.source))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use karman_oci::{Descriptor, Digest, media_type};

    use super::*;

    #[test]
    fn members_are_named_as_in_buildx() {
        let digest = Digest::sha256_of(b"x");
        let mut response = SolveResponse::default();
        let descriptor = Descriptor::new(media_type::OCI_MANIFEST, digest, 5);
        response.images.insert("nova".into(), descriptor);
        response.configs.insert("nova".into(), digest);
        let mut all = Made { response, failed: Vec::new(), results: BTreeMap::new() };
        let value = of_target(&all, "nova", &["nova".into(), "r.example/n:1".into()], None);
        let digest = digest.to_string();
        assert_eq!(value["containerimage.digest"], digest.as_str());
        assert_eq!(value["containerimage.config.digest"], digest.as_str());
        let build = value["buildx.build.ref"].as_str().expect("a name");
        assert!(build.starts_with("karman/nova/") && build.len() == 12 + 25, "{build}");
        assert_eq!(value["containerimage.descriptor"]["size"], 5);
        assert_eq!(value["image.name"], "docker.io/library/nova:latest,r.example/n:1");
        // Files have no image, and a build that made them a name.
        all.results.insert("files".into(), Digest::sha256_of(b"y"));
        let value = of_target(&all, "files", &[], None);
        assert_eq!(value.as_object().map(Map::len), Some(1), "{value}");
        assert!(value["buildx.build.ref"].as_str().is_some_and(|b| b.starts_with("karman/files/")));
    }
}
