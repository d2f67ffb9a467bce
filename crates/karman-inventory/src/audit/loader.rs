//! Where the dynamic linker finds a library (`ld.so(8)`).

use std::collections::HashMap;

use crate::links::{Links, clean};
use crate::model::{ElfFacts, Entry, Inventory, Kind};

/// Looked in last, as Debian's and musl's linkers have them built in; `$` stands for the machine's directory.
const DEFAULT_PATH: &[&str] =
    &["/lib/$", "/usr/lib/$", "/lib", "/usr/lib", "/lib64", "/usr/lib64", "/usr/local/lib"];

/// Debian's name of a machine's directory of libraries, and the linker's name of the machine.
const MACHINES: &[(&str, u8, &str, &str)] = &[
    ("x86-64", 64, "x86_64-linux-gnu", "x86_64"),
    ("i386", 32, "i386-linux-gnu", "i686"),
    ("aarch64", 64, "aarch64-linux-gnu", "aarch64"),
    ("arm", 32, "arm-linux-gnueabihf", "v7l"),
    ("powerpc64", 64, "powerpc64le-linux-gnu", "powerpc64le"),
    ("riscv", 64, "riscv64-linux-gnu", "riscv64"),
    ("s390", 64, "s390x-linux-gnu", "s390x"),
];

/// The libraries of an image by path.
pub(super) struct Loader<'a> {
    entries: HashMap<&'a str, &'a Entry>,
    links: Links,
    configured: &'a [String],
    environment: Vec<String>,
}

impl<'a> Loader<'a> {
    /// `environment` is the image's `LD_LIBRARY_PATH`.
    pub(super) fn new(inventory: &'a Inventory, environment: Option<&str>) -> Self {
        let link = |e: &Entry| Some((e.path.clone(), e.target.clone()?));
        let environment = environment.unwrap_or_default().split(':').filter(|d| !d.is_empty());
        Self {
            entries: inventory.entries.iter().map(|e| (e.path.as_str(), e)).collect(),
            links: Links::new(inventory.entries.iter().filter_map(link).collect()),
            configured: &inventory.library_path,
            environment: environment.map(str::to_owned).collect(),
        }
    }

    /// What a path leads to, links followed.
    pub(super) fn entry(&self, path: &str) -> Option<&'a Entry> {
        self.entries.get(self.links.follow(path).as_str()).copied()
    }

    /// The library of that name that the linker would load for a file.
    pub(super) fn find(&self, user: &Entry, facts: &ElfFacts, library: &str) -> Option<&'a Entry> {
        if library.contains('/') {
            return self.entry(&clean(library)).filter(|e| fits(e, facts));
        }
        // DT_RPATH counts only without DT_RUNPATH, and before the environment.
        let rpath = if facts.runpath.is_empty() { facts.rpath.as_slice() } else { &[] };
        let place = self.links.follow(&user.path);
        let machine = MACHINES.iter().find(|m| m.0 == facts.machine && m.1 == facts.class);
        let own = rpath.iter().chain(&self.environment).chain(&facts.runpath);
        let own = own.map(|dir| expand(dir, &place, machine));
        let configured = self.configured.iter().cloned();
        let multiarch = machine.map_or("", |m| m.2);
        let defaults = DEFAULT_PATH.iter().map(|dir| dir.replace('$', multiarch));
        let mut paths = own.chain(configured).chain(defaults).map(|dir| format!("{dir}/{library}"));
        paths.find_map(|path| self.entry(&clean(&path)).filter(|e| fits(e, facts)))
    }
}

/// A library of another machine is passed over.
fn fits(entry: &Entry, user: &ElfFacts) -> bool {
    let same = |e: &ElfFacts| (e.class, &e.machine) == (user.class, &user.machine);
    entry.kind == Kind::File && entry.elf.as_ref().is_some_and(|e| same(e))
}

/// `$ORIGIN`, `$LIB` and `$PLATFORM`, with or without braces.
fn expand(dir: &str, user: &str, machine: Option<&(&str, u8, &str, &str)>) -> String {
    let origin = user.rsplit_once('/').map_or("/", |(dir, _)| dir);
    let lib = machine.map_or_else(|| "lib".to_owned(), |m| format!("lib/{}", m.2));
    let platform = machine.map_or("", |m| m.3);
    let mut out = dir.to_owned();
    for (name, value) in [("ORIGIN", origin), ("LIB", lib.as_str()), ("PLATFORM", platform)] {
        out = out.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value);
    }
    out
}
