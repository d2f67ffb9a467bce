//! Package URLs (<https://github.com/package-url/purl-spec>).

use std::fmt::Write as _;

use crate::model::{Package, System};
use crate::python::normalized;

/// `pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian-13`, as scanners write it.
pub(super) fn debian(system: Option<&System>, package: &Package) -> String {
    let id = system.map_or("debian", |s| s.id.as_str());
    let mut out = format!(
        "pkg:deb/{}/{}@{}?arch={}",
        encoded(id),
        encoded(&package.name),
        encoded(&package.version),
        encoded(&package.architecture)
    );
    if let Some(system) = system.filter(|s| !s.version.is_empty()) {
        let _ = write!(out, "&distro={}-{}", encoded(&system.id), encoded(&system.version));
    }
    out
}

/// `pkg:pypi/oslo-log@7.1.0`.
pub(super) fn python(name: &str, version: &str) -> String {
    format!("pkg:pypi/{}@{}", encoded(&normalized(name)), encoded(version))
}

/// `pkg:oci/nova@sha256%3A…`: the name is the last part of the repository's.
pub(super) fn image(name: &str, digest: &str) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    let last = last.split([':', '@']).next().unwrap_or(last).to_lowercase();
    format!("pkg:oci/{}@{}", encoded(&last), encoded(digest))
}

/// The name of a `Requires-Dist` that holds without extras.
pub(super) fn required(requirement: &str) -> Option<String> {
    if requirement.contains("extra ==") || requirement.contains("extra==") {
        return None;
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let end = requirement.find(|c| !is_name(c)).unwrap_or(requirement.len());
    Some(normalized(&requirement[..end])).filter(|name| !name.is_empty())
}

/// Percent-encoded but for unreserved characters (RFC 3986); the colon of an epoch is encoded as well.
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => {
                let _ = write!(out, "%{other:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_written_as_scanners_write_them() {
        let system =
            System { id: "debian".into(), version: "13".into(), codename: "trixie".into() };
        let package = Package {
            name: "libstdc++6".into(),
            version: "1:14.2.0-19".into(),
            architecture: "amd64".into(),
            ..Package::default()
        };
        assert_eq!(
            debian(Some(&system), &package),
            "pkg:deb/debian/libstdc%2B%2B6@1%3A14.2.0-19?arch=amd64&distro=debian-13"
        );
        assert_eq!(python("Oslo.Log", "7.1.0"), "pkg:pypi/oslo-log@7.1.0");
        assert_eq!(image("r.example:5000/a/Nova:1", "sha256:00"), "pkg:oci/nova@sha256%3A00");
    }

    #[test]
    fn requirements_give_names() {
        assert_eq!(required("Oslo.Log[x]>=3 ; python_version>'3'").as_deref(), Some("oslo-log"));
        assert_eq!(required("pytest; extra == 'test'"), None);
        assert_eq!(required("<3"), None);
    }
}
