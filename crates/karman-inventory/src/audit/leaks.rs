//! What only a build needs, by names and by origins.

use std::collections::BTreeSet;

use super::{Finding, Found};

use crate::model::{Distribution, ElfKind, Entry, Inventory, Kind, Origin, Package};
use crate::python::normalized;

/// Compilers, linkers and what drives them; without a target's prefix and a version behind.
const BUILD_TOOLS: &[&str] = &[
    "addr2line",
    "ar",
    "as",
    "autoconf",
    "automake",
    "bison",
    "c++",
    "c++filt",
    "cargo",
    "cc",
    "cc1",
    "cc1obj",
    "cc1plus",
    "clang",
    "clang++",
    "cmake",
    "collect2",
    "cpp",
    "cython",
    "elfedit",
    "f951",
    "flex",
    "g++",
    "gcc",
    "gcc-ar",
    "gcc-nm",
    "gcc-ranlib",
    "gccgo",
    "gdb",
    "gfortran",
    "gmake",
    "gnat",
    "gold",
    "gprof",
    "javac",
    "ld",
    "ld.bfd",
    "ld.gold",
    "ld.lld",
    "libtool",
    "libtoolize",
    "lld",
    "lto-wrapper",
    "lto1",
    "m4",
    "make",
    "maturin",
    "meson",
    "nasm",
    "ninja",
    "nm",
    "objcopy",
    "objdump",
    "pkg-config",
    "pkgconf",
    "ranlib",
    "readelf",
    "rustc",
    "strip",
    "swig",
    "yasm",
];
/// Version control.
const VCS_TOOLS: &[&str] =
    &["bzr", "cvs", "darcs", "fossil", "git", "hg", "svn", "svnadmin", "svnsync"];
const VCS_DIRECTORIES: &[&str] = &[".bzr", ".git", ".hg", ".svn", "CVS"];
/// Programs that install Python packages.
const PYTHON_TOOLS: &[&str] =
    &["easy_install", "pip", "pip3", "pipx", "poetry", "uv", "uvx", "virtualenv"];
/// Distributions that install or build others. `setuptools` is not among them: `pkg_resources` of it is imported at
/// run time.
const PYTHON_TOOLING: &[&str] = &[
    "build",
    "cython",
    "flit",
    "flit-core",
    "hatch",
    "hatchling",
    "maturin",
    "meson-python",
    "nox",
    "pdm",
    "pdm-backend",
    "pip",
    "pipx",
    "poetry",
    "poetry-core",
    "scikit-build",
    "scikit-build-core",
    "setuptools-rust",
    "setuptools-scm",
    "tox",
    "twine",
    "uv",
    "uv-build",
    "virtualenv",
    "wheel",
];
const HEADERS: &[&str] = &["h", "h++", "hh", "hpp", "hxx", "pxd"];
const PACKAGE_FILES: &[&str] = &["apk", "deb", "dsc", "rpm", "udeb", "whl"];
/// Directories that only ever hold what can be made again, wherever they are.
const CACHE_DIRECTORIES: &[&str] =
    &[".cache", ".ccache", ".npm", ".pytest_cache", ".mypy_cache", ".ruff_cache"];
/// Directories whose content is a cache or temporary.
const CACHE_PLACES: &[&str] = &["/tmp", "/var/cache/apt", "/var/tmp"];
/// What apt keeps there without having fetched anything.
const EMPTY_CACHES: &[&str] = &["/var/cache/apt/archives/lock"];
const HISTORIES: &[&str] = &[
    ".ash_history",
    ".bash_history",
    ".history",
    ".lesshst",
    ".mysql_history",
    ".psql_history",
    ".python_history",
    ".rediscli_history",
    ".sh_history",
    ".sqlite_history",
    ".viminfo",
    ".wget-hsts",
    ".zsh_history",
];
const APT_LISTS: &str = "/var/lib/apt/lists/";
/// What apt keeps in its lists without having fetched any.
const EMPTY_LISTS: &[&str] = &["auxfiles", "lock", "partial"];
/// Directories of programs, by a component of the path.
const PROGRAM_DIRECTORIES: &[&str] = &["bin", "sbin", "libexec", "gcc", "git-core"];

/// Looks at every path, package and distribution.
pub(super) fn find(inventory: &Inventory, found: &mut Found<'_>) {
    let installed: BTreeSet<&str> = inventory.packages.iter().map(|p| p.name.as_str()).collect();
    for entry in &inventory.entries {
        if let Some((id, message)) = leak(entry) {
            found.add(entry, id, message);
        }
        if let Some(package) = build_only(entry, &installed) {
            let message = format!("it is of `{package}`, which only a build stage has installed");
            found.add(entry, "leak-build-only", &message);
        }
    }
    for package in inventory.packages.iter().filter(|p| is_dev(p)) {
        let message = format!("it serves to build: section `{}`", package.section);
        found.push(Finding::new("leak-dev-package", package.name.clone(), message));
    }
    // What another distribution carries inside itself installs nothing.
    let installed = |d: &&Distribution| !d.location.contains("/_vendor/");
    for distribution in inventory.distributions.iter().filter(installed) {
        let name = normalized(&distribution.name);
        if PYTHON_TOOLING.contains(&name.as_str()) {
            let subject = format!("{} {}", distribution.name, distribution.version);
            let message = format!("it is installed in `{}`", distribution.location);
            found.push(Finding::new("leak-python-tooling", subject, message));
        }
    }
}

fn leak(entry: &Entry) -> Option<(&'static str, &'static str)> {
    let path = entry.path.as_str();
    let (dir, name) = path.rsplit_once('/')?;
    let is_file = entry.kind == Kind::File;
    if entry.kind == Kind::Directory {
        return directory_leak(dir, name);
    }
    if let Some(leak) = place_leak(path, name) {
        return Some(leak);
    }
    if HISTORIES.contains(&name) {
        return Some(("leak-history", "it remembers what people typed"));
    }
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    if HEADERS.contains(&extension) {
        return Some(("leak-header", "only a compiler reads it"));
    }
    if PACKAGE_FILES.contains(&extension) {
        return Some(("leak-package-file", "only an installation reads it"));
    }
    let is_object =
        entry.elf.as_ref().is_some_and(|e| e.kind == ElfKind::Relocatable) && !name.contains(".ko");
    if is_file && (entry.archive || is_object || extension == "la") {
        return Some(("leak-static-library", "only a linker reads it"));
    }
    // An applet of busybox is a name of a program that is there anyway.
    if entry.target.as_deref().is_some_and(|t| t.ends_with("busybox")) {
        return None;
    }
    dir.split('/').any(|part| PROGRAM_DIRECTORIES.contains(&part)).then(|| program_leak(name))?
}

fn directory_leak(dir: &str, name: &str) -> Option<(&'static str, &'static str)> {
    if VCS_DIRECTORIES.contains(&name) && !dir.contains("/share/") {
        return Some(("leak-vcs", "it is the data of a version control tool"));
    }
    let is_cache = CACHE_DIRECTORIES.contains(&name) && !inside(dir, CACHE_DIRECTORIES);
    is_cache.then_some(("leak-cache", "what is in it can be made again"))
}

fn place_leak(path: &str, name: &str) -> Option<(&'static str, &'static str)> {
    if inside(path, VCS_DIRECTORIES) && !path.contains("/share/") {
        return Some(("leak-vcs", "it is the data of a version control tool"));
    }
    let below = |place: &str| path.strip_prefix(place).is_some_and(|r| r.starts_with('/'));
    let is_empty = EMPTY_CACHES.contains(&path);
    if inside(path, CACHE_DIRECTORIES) || CACHE_PLACES.iter().any(|p| below(p)) && !is_empty {
        return Some(("leak-cache", "it can be made again"));
    }
    if name == "CACHEDIR.TAG" {
        return Some(("leak-cache", "its directory says that it is a cache"));
    }
    let list = path.strip_prefix(APT_LISTS)?;
    let is_list = !EMPTY_LISTS.contains(&list.split('/').next().unwrap_or_default());
    is_list.then_some(("leak-apt-lists", "apt fetches it again"))
}

fn program_leak(name: &str) -> Option<(&'static str, &'static str)> {
    let plain = plain_name(name);
    if BUILD_TOOLS.contains(&plain) {
        return Some(("leak-compiler", "it serves to build"));
    }
    if VCS_TOOLS.contains(&plain) || name.starts_with("git-") {
        return Some(("leak-vcs", "it is a version control tool"));
    }
    let is_python_tool = PYTHON_TOOLS.contains(&plain);
    is_python_tool.then_some(("leak-python-tooling", "it installs Python packages"))
}

/// `x86_64-linux-gnu-gcc-14` → `gcc`; `pip3.13` → `pip`.
fn plain_name(name: &str) -> &str {
    let name = ["-linux-gnu-", "-linux-gnueabihf-", "-linux-musl-"]
        .iter()
        .find_map(|target| name.split_once(target).map(|(_, plain)| plain))
        .unwrap_or(name);
    let is_version = |c: char| c.is_ascii_digit() || c == '.';
    match name.rsplit_once('-') {
        Some((plain, version)) if !version.is_empty() && version.chars().all(is_version) => plain,
        _ if name.starts_with("pip3") => name.trim_end_matches(is_version),
        _ => name,
    }
}

fn inside(path: &str, directories: &[&str]) -> bool {
    let dir = path.rsplit_once('/').map_or("", |(dir, _)| dir);
    dir.split('/').any(|part| directories.contains(&part))
}

/// The package that a copied file comes from, where the image itself does not have it installed.
fn build_only<'a>(entry: &'a Entry, installed: &BTreeSet<&str>) -> Option<&'a str> {
    if matches!(entry.origin, Origin::Dpkg { .. }) || entry.kind == Kind::Directory {
        return None;
    }
    entry.upstream.iter().find_map(|upstream| match &upstream.origin {
        Origin::Dpkg { package, .. } if !installed.contains(package.as_str()) => {
            Some(package.as_str())
        }
        _ => None,
    })
}

fn is_dev(package: &Package) -> bool {
    let section = package.section.rsplit('/').next().unwrap_or_default();
    // Data that libraries share is in section `devel` now and then, such as `libsoup-3.0-common`.
    let is_tool = section == "devel" && !package.name.starts_with("lib");
    package.name.ends_with("-dev") || section == "libdevel" || is_tool
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_are_known_under_all_their_names() {
        let id = |name| program_leak(name).map(|(id, _)| id);
        for name in ["gcc", "x86_64-linux-gnu-gcc-14", "aarch64-linux-gnu-ld.bfd", "clang-19"] {
            assert_eq!(id(name), Some("leak-compiler"), "{name}");
        }
        assert_eq!(id("git-upload-pack"), Some("leak-vcs"));
        assert_eq!(id("pip3.13"), Some("leak-python-tooling"));
        for name in ["ldd", "asdf", "gccheck", "python3.13", "m4a", "update-alternatives"] {
            assert_eq!(id(name), None, "{name}");
        }
    }

    #[test]
    fn places_are_known() {
        let id = |path: &str| place_leak(path, path.rsplit('/').next().unwrap_or("")).map(|l| l.0);
        assert_eq!(id("/root/.cache/uv/x"), Some("leak-cache"));
        assert_eq!(id("/tmp/x"), Some("leak-cache"));
        assert_eq!(id("/var/lib/apt/lists/deb_x"), Some("leak-apt-lists"));
        assert_eq!(id("/var/lib/apt/lists/lock"), None);
        assert_eq!(id("/srv/.git/config"), Some("leak-vcs"));
        assert_eq!(normalized("Setuptools__SCM"), "setuptools-scm");
    }
}
