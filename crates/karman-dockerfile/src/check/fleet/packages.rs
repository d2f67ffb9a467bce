//! Build tools in the final stage.

use std::collections::BTreeMap;

use karman_diag::Span;

use super::Script;
use super::installs::{Change, change, virtual_group};
use crate::check::{Checks, rules};

/// Packages that build other software, by the names of Debian, Alpine, Fedora and SUSE.
const TOOLS: &[&str] = &[
    "autoconf",
    "automake",
    "bison",
    "build-base",
    "build-essential",
    "cargo",
    "clang",
    "cmake",
    "dpkg-dev",
    "flex",
    "g++",
    "gcc",
    "gcc-c++",
    "git",
    "git-core",
    "golang",
    "golang-go",
    "libtool",
    "linux-headers",
    "make",
    "meson",
    "ninja-build",
    "patch",
    "pkg-config",
    "pkgconf",
    "rustc",
];

/// Ends of the names of packages with headers.
const HEADERS: &[&str] = &["-dev", "-devel", "-headers"];

/// So many are remembered; stages inherit them.
const MAX_PACKAGES: usize = 200;

/// Build packages that a stage installs and keeps, with the instructions that do.
#[derive(Debug, Clone, Default)]
pub(crate) struct BuildPackages(BTreeMap<String, Span>);

impl BuildPackages {
    /// Notes what a `RUN` leaves installed.
    pub(crate) fn note(&mut self, script: &Script, at: Span) {
        let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for command in script.commands() {
            match change(command) {
                Some(Change::Installed(packages)) => {
                    let tools: Vec<String> =
                        packages.into_iter().filter(|p| is_build_package(p)).collect();
                    if let Some(group) = virtual_group(command) {
                        groups.insert(group, tools.clone());
                    }
                    for name in tools {
                        if self.0.len() >= MAX_PACKAGES {
                            break;
                        }
                        self.0.entry(name).or_insert(at);
                    }
                }
                Some(Change::Removed(packages)) => {
                    for name in packages {
                        self.0.remove(&name);
                        groups.get(name.as_str()).into_iter().flatten().for_each(|p| {
                            self.0.remove(p);
                        });
                    }
                }
                None => {}
            }
        }
    }

    /// Reports what the final stage holds, once for each instruction.
    pub(crate) fn check(&self, checks: &Checks) {
        let mut by_place: BTreeMap<Span, Vec<&str>> = BTreeMap::new();
        for (name, span) in &self.0 {
            by_place.entry(*span).or_default().push(name);
        }
        for (span, names) in by_place {
            let list = names.join(", ");
            let message = format!(
                "Build packages are installed in the final stage ({list}): build in an earlier stage and copy the result"
            );
            checks.found(&rules::BUILD_PACKAGE_IN_FINAL_STAGE, span, message);
        }
    }
}

fn is_build_package(name: &str) -> bool {
    TOOLS.contains(&name)
        || HEADERS.iter().any(|end| name.ends_with(end))
        || versioned(name, "gcc-")
        || versioned(name, "g++-")
        || versioned(name, "clang-")
}

/// `gcc-14`, but not `gcc-14-base`.
fn versioned(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(|rest| {
        !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit() || c == '.')
    })
}
