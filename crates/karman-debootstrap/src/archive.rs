//! The archives a source means: canonical URLs, pockets, and where a site keeps its copies.

use crate::source::{Distribution, Security, Source};

const DEBIAN: &str = "http://deb.debian.org/debian";
const DEBIAN_SECURITY: &str = "http://deb.debian.org/debian-security";
const DEBIAN_SNAPSHOT: &str = "http://snapshot.debian.org/archive";
const UBUNTU: &str = "http://archive.ubuntu.com/ubuntu";
const UBUNTU_SECURITY: &str = "http://security.ubuntu.com/ubuntu";
const UBUNTU_PORTS: &str = "http://ports.ubuntu.com/ubuntu-ports";
const UBUNTU_SNAPSHOT: &str = "http://snapshot.ubuntu.com/ubuntu";
/// Suites of Debian that are rolling: they have neither updates nor security.
const ROLLING: [&str; 4] = ["sid", "unstable", "experimental", "rc-buggy"];

/// A site's copies of archives: canonical URL → mirror.
///
/// A mirror changes where bytes come from and nothing else: they are verified all the same, the
/// identity of a plan does not contain it, and the root filesystem names the canonical URLs.
#[derive(Clone, Debug, Default)]
pub struct Mirrors {
    map: Vec<(String, String)>,
}

impl Mirrors {
    /// No mirrors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a mirror for every URL at or below `canonical`.
    #[must_use]
    pub fn with(mut self, canonical: &str, mirror: &str) -> Self {
        let clean = |url: &str| url.trim_end_matches('/').to_owned();
        self.map.push((clean(canonical), clean(mirror)));
        // The longest prefix wins; a boundary is required, or `…/debian` would catch `…/debian-security`.
        self.map.sort_by_key(|(canonical, _)| std::cmp::Reverse(canonical.len()));
        self
    }

    pub(crate) fn apply(&self, url: &str) -> String {
        for (canonical, mirror) in &self.map {
            if let Some(rest) = url.strip_prefix(canonical.as_str())
                && (rest.is_empty() || rest.starts_with('/'))
            {
                return format!("{mirror}{rest}");
            }
        }
        url.to_owned()
    }
}

/// One suite of one archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pocket {
    /// The URL without trailing slash that bytes are fetched from, before mirrors.
    pub(crate) url: String,
    /// The URL of the archive itself, whoever serves it.
    pub(crate) canonical: String,
    /// Whether the URL is that of a snapshot.
    pub(crate) is_snapshot: bool,
    /// The suite under `dists/`.
    pub(crate) suite: String,
}

/// The pockets of `source` for a Debian architecture; the main suite comes first.
pub(crate) fn pockets(source: &Source, arch: &str) -> Vec<Pocket> {
    let (main, security) = canonical_urls(source.distribution, arch);
    let main_url = match (&source.mirror, &source.snapshot) {
        (Some(mirror), _) => mirror.clone(),
        (None, Some(time)) => snapshot_url(source.distribution, "debian", time),
        (None, None) => main.to_owned(),
    };
    let pocket = |url: &str, canonical: &str, suite: String, is_snapshot: bool| Pocket {
        url: url.to_owned(),
        canonical: canonical.to_owned(),
        is_snapshot,
        suite,
    };
    // A mirror and a snapshot exclude each other.
    let is_snapshot = source.snapshot.is_some();
    let mut out = vec![pocket(&main_url, main, source.suite.clone(), is_snapshot)];
    if source.distribution == Distribution::Debian && ROLLING.contains(&source.suite.as_str()) {
        return out;
    }
    if source.updates {
        out.push(pocket(&main_url, main, format!("{}-updates", source.suite), is_snapshot));
    }
    let security_url = match (&source.security, &source.snapshot) {
        (Security::None, _) => return out,
        (Security::Url(url), _) => url.clone(),
        (Security::Default, Some(time)) => {
            snapshot_url(source.distribution, "debian-security", time)
        }
        (Security::Default, None) => security.to_owned(),
    };
    let is_snapshot = is_snapshot && !matches!(source.security, Security::Url(_));
    out.push(pocket(&security_url, security, format!("{}-security", source.suite), is_snapshot));
    out
}

fn canonical_urls(distribution: Distribution, arch: &str) -> (&'static str, &'static str) {
    match (distribution, arch) {
        (Distribution::Debian, _) => (DEBIAN, DEBIAN_SECURITY),
        (Distribution::Ubuntu, "amd64" | "i386") => (UBUNTU, UBUNTU_SECURITY),
        (Distribution::Ubuntu, _) => (UBUNTU_PORTS, UBUNTU_PORTS),
    }
}

fn snapshot_url(distribution: Distribution, archive: &str, time: &str) -> String {
    match distribution {
        Distribution::Debian => format!("{DEBIAN_SNAPSHOT}/{archive}/{time}"),
        Distribution::Ubuntu => format!("{UBUNTU_SNAPSHOT}/{time}"),
    }
}

/// The Debian name of an OCI platform (`linux/<architecture>[/<variant>]`).
pub fn debian_arch(architecture: &str, variant: Option<&str>) -> Option<&'static str> {
    match (architecture, variant) {
        ("amd64", _) => Some("amd64"),
        ("arm64", _) => Some("arm64"),
        ("arm", None | Some("v7")) => Some("armhf"),
        ("arm", Some("v5" | "v6")) => Some("armel"),
        ("386", _) => Some("i386"),
        ("ppc64le", _) => Some("ppc64el"),
        ("riscv64", _) => Some("riscv64"),
        ("s390x", _) => Some("s390x"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suites(text: &str, arch: &str) -> Vec<String> {
        let source = Source::parse(text).expect("parse");
        let join = |pocket: &Pocket| format!("{} {}", pocket.url, pocket.suite);
        pockets(&source, arch).iter().map(join).collect()
    }

    #[test]
    fn debian_has_three_pockets_in_two_archives() {
        assert_eq!(
            suites("debootstrap://debian/trixie", "amd64"),
            [
                "http://deb.debian.org/debian trixie",
                "http://deb.debian.org/debian trixie-updates",
                "http://deb.debian.org/debian-security trixie-security",
            ]
        );
        assert_eq!(
            suites("debootstrap://debian/sid", "amd64"),
            ["http://deb.debian.org/debian sid"]
        );
    }

    #[test]
    fn ubuntu_on_arm_is_a_port() {
        assert_eq!(
            suites("debootstrap://ubuntu/noble?updates=false", "arm64"),
            [
                "http://ports.ubuntu.com/ubuntu-ports noble",
                "http://ports.ubuntu.com/ubuntu-ports noble-security",
            ]
        );
    }

    #[test]
    fn a_snapshot_moves_the_urls_and_keeps_the_canonical_ones() {
        let source =
            Source::parse("debootstrap://debian/trixie?snapshot=20261121T091544Z").expect("parse");
        let found = pockets(&source, "amd64");
        assert_eq!(
            found[2].url,
            "http://snapshot.debian.org/archive/debian-security/20261121T091544Z"
        );
        assert_eq!(found[2].canonical, "http://deb.debian.org/debian-security");
    }

    #[test]
    fn a_mirror_stops_at_path_boundaries() {
        let mirrors = Mirrors::new().with("http://deb.debian.org/debian/", "http://m/d");
        assert_eq!(mirrors.apply("http://deb.debian.org/debian/dists/x"), "http://m/d/dists/x");
        let other = "http://deb.debian.org/debian-security/dists/x";
        assert_eq!(mirrors.apply(other), other);
    }
}
