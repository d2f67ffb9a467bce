//! Debian's package database: `/var/lib/dpkg` (`dpkg(1)`, `deb-conffiles(5)`, `dpkg-divert(1)`), and the form without
//! dpkg that distroless images have, `/var/lib/dpkg/status.d`.
//!
//! | file | what it tells |
//! |---|---|
//! | `status` | packages, versions, what conffiles were like |
//! | `info/NAME[:ARCH].list` | the paths of a package |
//! | `info/NAME[:ARCH].md5sums` | what its files were like |
//! | `info/NAME[:ARCH].conffiles` | which of them people may change |
//! | `diversions` | paths that were moved aside for another package |

mod copyright;
mod status;

use std::collections::{BTreeMap, HashMap};

use crate::claim::{Claims, Expected};
use crate::model::{Package, Role};
use crate::survey::Access;
use crate::tree::TreeError;

const STATUS: &str = "/var/lib/dpkg/status";
const STATUS_DIR: &str = "/var/lib/dpkg/status.d";
const INFO_DIR: &str = "/var/lib/dpkg/info";
const DIVERSIONS: &str = "/var/lib/dpkg/diversions";
/// The largest database file read: the status of a full desktop has about 5 MB.
const MAX_FILE: usize = 64 << 20;

/// Diverted path → where it went and for which package (`:` is the administrator).
type Diversions = HashMap<String, (String, String)>;

/// Reads the database; claims the paths of all packages.
pub(crate) fn read(access: &Access<'_>, claims: &mut Claims) -> Result<Vec<Package>, TreeError> {
    let mut found = BTreeMap::new();
    let status = access.read(STATUS, MAX_FILE)?.unwrap_or_default();
    let mut conffiles = status::read(&status, &mut found);
    for (name, node) in access.children(STATUS_DIR) {
        if !name.ends_with(".md5sums") {
            let text = access.read(&node.path, MAX_FILE)?.unwrap_or_default();
            conffiles.extend(status::read(&text, &mut found));
        }
    }
    let diversions = diversions(access)?;
    for (name, node) in access.children(INFO_DIR) {
        let Some((package, kind)) = name.rsplit_once('.') else { continue };
        let package = package.split(':').next().unwrap_or(package);
        claims.dpkg(node.path.clone(), package, Role::Metadata);
        if kind == "list" {
            let text = access.read(&node.path, MAX_FILE)?.unwrap_or_default();
            for path in lines(&text).filter(|p| *p != "/." && p.starts_with('/')) {
                claim(access, claims, &diversions, package, path);
            }
        }
    }
    let marks = Marks { access, diversions: &diversions };
    for (name, node) in access.children(INFO_DIR) {
        let Some((package, kind)) = name.rsplit_once('.') else { continue };
        let package = package.split(':').next().unwrap_or(package);
        if matches!(kind, "md5sums" | "conffiles") {
            let text = access.read(&node.path, MAX_FILE)?.unwrap_or_default();
            match kind {
                "md5sums" => marks.md5sums(claims, package, &text),
                _ => marks.conffiles(claims, package, &text),
            }
        }
    }
    for (name, node) in access.children(STATUS_DIR) {
        let package = name.strip_suffix(".md5sums").unwrap_or(name);
        claims.dpkg(node.path.clone(), package, Role::Metadata);
        if name.ends_with(".md5sums") {
            let text = access.read(&node.path, MAX_FILE)?.unwrap_or_default();
            for (_, path) in lines(&text).filter_map(sum) {
                claim(access, claims, &diversions, package, &path);
            }
            marks.md5sums(claims, package, &text);
        }
    }
    for (package, path, md5) in conffiles {
        if let Some((place, _)) = marks.place(&package, &path) {
            claims.expect(&place, Expected::Md5(md5));
        }
    }
    let mut packages: Vec<Package> = found.into_values().collect();
    for package in &mut packages {
        package.licences = copyright::licences(access, &package.name)?;
    }
    Ok(packages)
}

/// Where the files of packages really are.
struct Marks<'a> {
    access: &'a Access<'a>,
    diversions: &'a Diversions,
}

impl Marks<'_> {
    fn place(&self, package: &str, path: &str) -> Option<(String, Role)> {
        let place = self.access.listed(path)?;
        Some(match self.diversions.get(&place) {
            Some((to, by)) if by != package => (to.clone(), Role::Diverted),
            _ => (place, Role::Listed),
        })
    }

    fn md5sums(&self, claims: &mut Claims, package: &str, text: &[u8]) {
        for (md5, path) in lines(text).filter_map(sum) {
            if let Some((place, _)) = self.place(package, &path) {
                claims.expect(&place, Expected::Md5(md5));
            }
        }
    }

    fn conffiles(&self, claims: &mut Claims, package: &str, text: &[u8]) {
        for path in lines(text) {
            // `remove-on-upgrade PATH` names what the package no longer has.
            if path.starts_with('/')
                && let Some((place, _)) = self.place(package, path)
            {
                claims.dpkg(place, package, Role::Conffile);
            }
        }
    }
}

fn claim(
    access: &Access<'_>,
    claims: &mut Claims,
    diversions: &Diversions,
    package: &str,
    path: &str,
) {
    if let Some((place, role)) = (Marks { access, diversions }).place(package, path) {
        claims.dpkg(place, package, role);
    }
}

/// Three lines each: the path, where it goes, and the package it goes for.
fn diversions(access: &Access<'_>) -> Result<Diversions, TreeError> {
    let text = access.read(DIVERSIONS, MAX_FILE)?.unwrap_or_default();
    let lines: Vec<&str> = lines(&text).collect();
    let diverted = lines.chunks_exact(3).filter_map(|three| {
        let place = |path| access.listed(path);
        Some((place(three[0])?, (place(three[1])?, three[2].to_owned())))
    });
    Ok(diverted.collect())
}

/// A line of `md5sums`: the sum and the path, without its leading slash there.
fn sum(line: &str) -> Option<([u8; 16], String)> {
    let (hex, path) = line.split_once(' ')?;
    Some((md5_of_hex(hex)?, format!("/{}", path.trim_start().trim_start_matches('/'))))
}

fn md5_of_hex(hex: &str) -> Option<[u8; 16]> {
    let mut out = [0; 16];
    if hex.len() != 32 || !hex.is_ascii() {
        return None;
    }
    for (byte, at) in out.iter_mut().zip((0..32).step_by(2)) {
        *byte = u8::from_str_radix(&hex[at..at + 2], 16).ok()?;
    }
    Some(out)
}

/// The lines of a database file. Names of files are bytes there; those that are no UTF-8 end the text.
fn lines(text: &[u8]) -> impl Iterator<Item = &str> {
    let lines = text.split(|b| *b == b'\n');
    lines.filter_map(|l| std::str::from_utf8(l).ok()).filter(|l| !l.is_empty())
}
