//! Files a container image wants that no package brings.
//!
//! Names and effects are those of the official Debian images, so that Dockerfiles written for them
//! (`rm -f /etc/apt/apt.conf.d/docker-clean` before a cache mount) work here too.

use crate::plan::{Plan, ReleaseInfo};
use crate::slim::Filter;
use crate::source::Distribution;

const POLICY_RC_D: &str = "#!/bin/sh\n\
    # Written by karman: services are not started while an image is built.\n\
    exit 101\n";
const SPEEDUP: &str = "# Written by karman: an image is made anew rather than recovered, so nothing needs fsync.\n\
    force-unsafe-io\n";
const CLEAN: &str = "# Written by karman: downloaded packages and apt's binary caches would only make layers larger.\n\
    # Remove this file to keep them in a cache mount.\n\
    DPkg::Post-Invoke { \"rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true\"; };\n\
    APT::Update::Post-Invoke { \"rm -f /var/cache/apt/archives/*.deb /var/cache/apt/archives/partial/*.deb /var/cache/apt/*.bin || true\"; };\n\
    Dir::Cache::pkgcache \"\";\n\
    Dir::Cache::srcpkgcache \"\";\n";
const NO_LANGUAGES: &str = "# Written by karman: translated descriptions are not downloaded.\nAcquire::Languages \"none\";\n";
const GZIP_INDEXES: &str = "# Written by karman: package lists stay compressed on the disk.\n\
    Acquire::GzipIndexes \"true\";\n";
const AUTOREMOVE: &str = "# Written by karman: packages that are only suggested do not keep others from being removed.\n\
    Apt::AutoRemove::SuggestsImportant \"false\";\n";

/// Path, content and mode of files that must be there before packages are configured.
pub(crate) fn before_configure(filter: Filter) -> Vec<(&'static str, String, u32)> {
    let mut files = vec![
        ("usr/sbin/policy-rc.d", POLICY_RC_D.to_owned(), 0o755),
        ("etc/dpkg/dpkg.cfg.d/docker-apt-speedup", SPEEDUP.to_owned(), 0o644),
    ];
    if let Some(config) = filter.dpkg_config() {
        files.push(("etc/dpkg/dpkg.cfg.d/docker", config, 0o644));
    }
    files
}

/// Path and content of apt's configuration.
pub(crate) fn apt_config() -> [(&'static str, &'static str); 4] {
    [
        ("etc/apt/apt.conf.d/docker-autoremove-suggests", AUTOREMOVE),
        ("etc/apt/apt.conf.d/docker-clean", CLEAN),
        ("etc/apt/apt.conf.d/docker-gzip-indexes", GZIP_INDEXES),
        ("etc/apt/apt.conf.d/docker-no-languages", NO_LANGUAGES),
    ]
}

/// The path of the source list of a distribution.
pub(crate) fn sources_path(distribution: Distribution) -> &'static str {
    match distribution {
        Distribution::Debian => "etc/apt/sources.list.d/debian.sources",
        Distribution::Ubuntu => "etc/apt/sources.list.d/ubuntu.sources",
    }
}

/// Keyrings that may be named in the source list, the best first.
pub(crate) fn keyrings(distribution: Distribution) -> &'static [&'static str] {
    match distribution {
        Distribution::Debian => &[
            "usr/share/keyrings/debian-archive-keyring.pgp",
            "usr/share/keyrings/debian-archive-keyring.gpg",
        ],
        Distribution::Ubuntu => &["usr/share/keyrings/ubuntu-archive-keyring.gpg"],
    }
}

/// The source list, one stanza per archive (sources.list(5), deb822 format). A root filesystem that was made from a
/// snapshot names the snapshot, so that what is installed into it later is of the same moment.
pub(crate) fn sources(plan: &Plan, keyring: Option<&str>) -> String {
    let mut archives: Vec<(&ReleaseInfo, Vec<&str>)> = Vec::new();
    for release in &plan.releases {
        match archives.iter_mut().find(|(known, _)| known.listed == release.listed) {
            Some((_, suites)) => suites.push(&release.suite),
            None => archives.push((release, vec![&release.suite])),
        }
    }
    let stanza = |(release, suites): &(&ReleaseInfo, Vec<&str>)| {
        let mut text = String::from("Types: deb\n");
        if let Some(time) = &plan.source.snapshot {
            text.push_str(&format!("# made from the snapshot of {time}\n"));
        }
        text.push_str(&format!("URIs: {}\nSuites: {}\n", release.listed, suites.join(" ")));
        text.push_str(&format!("Components: {}\n", plan.source.components.join(" ")));
        if let Some(keyring) = keyring {
            text.push_str(&format!("Signed-By: /{keyring}\n"));
        }
        if release.listed != release.archive {
            // Its Release files say until when they are valid, which is past.
            text.push_str("Check-Valid-Until: no\n");
        }
        text
    };
    archives.iter().map(stanza).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Source;

    fn listed(text: &str) -> String {
        let source = Source::parse(text).expect("a source");
        let release = |pocket: crate::archive::Pocket| ReleaseInfo {
            listed: if pocket.is_snapshot { pocket.url } else { pocket.canonical.clone() },
            archive: pocket.canonical,
            suite: pocket.suite,
            digest: String::new(),
            signers: Vec::new(),
            date: 0,
        };
        let releases = crate::archive::pockets(&source, "amd64").into_iter().map(release).collect();
        let plan = Plan { source, arch: "amd64".to_owned(), releases, packages: Vec::new() };
        sources(&plan, None)
    }

    #[test]
    fn a_snapshot_is_listed_so_that_packages_come_of_the_same_moment() {
        let text = listed("debootstrap://debian/trixie?snapshot=20261121T091544Z");
        let main = "URIs: http://snapshot.debian.org/archive/debian/20261121T091544Z\n\
                    Suites: trixie trixie-updates\nComponents: main\nCheck-Valid-Until: no\n";
        assert!(text.contains(main), "{text}");
        assert!(text.contains("archive/debian-security/20261121T091544Z\n"), "{text}");
        let now = listed("debootstrap://debian/trixie");
        assert!(now.contains("URIs: http://deb.debian.org/debian\n"), "{now}");
        assert!(!now.contains("Check-Valid-Until"), "{now}");
    }
}
