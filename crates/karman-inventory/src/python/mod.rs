//! Installed Python distributions: `*.dist-info` ("Recording installed projects" of the Python packaging
//! specifications) and the older `*.egg-info`.

mod metadata;
mod policies;
mod record;

use std::collections::HashSet;

use crate::claim::{Claims, Expected};
use crate::links::clean;
use crate::model::{Distribution, Kind, Origin, Role};
use crate::survey::Access;
use crate::tree::{Node, TreeError};

/// The largest metadata file read: long descriptions are in it.
const MAX_METADATA: usize = 4 << 20;
/// The largest list of files read: the largest distributions have about 50,000 files.
const MAX_RECORD: usize = 32 << 20;
/// The largest list of policies read: there are a dozen, a line each.
const MAX_POLICIES: usize = 64 << 10;

/// Names of distributions and the directories that they are installed into.
type Before = HashSet<(String, String)>;

/// Reads all distributions; claims their paths.
pub(crate) fn read(
    access: &Access<'_>,
    claims: &mut Claims,
) -> Result<Vec<Distribution>, TreeError> {
    let mut found = Vec::new();
    let mut before = Before::new();
    for node in access.nodes {
        let is_dir = node.kind == Kind::Directory;
        let is_info = node.path.ends_with(".dist-info") && is_dir;
        let is_egg = node.path.ends_with(".egg-info") && (is_dir || node.kind == Kind::File);
        if (is_info || is_egg)
            && let Some(distribution) = distribution(access, claims, node, &before)?
        {
            before.insert((distribution.name.clone(), site(&distribution).to_owned()));
            found.push(distribution);
        }
    }
    Ok(found)
}

fn distribution(
    access: &Access<'_>,
    claims: &mut Claims,
    node: &Node,
    before: &Before,
) -> Result<Option<Distribution>, TreeError> {
    let dir = node.path.as_str();
    let file = match (node.kind, dir.ends_with(".egg-info")) {
        (Kind::File, _) => dir.to_owned(),
        (_, true) => format!("{dir}/PKG-INFO"),
        _ => format!("{dir}/METADATA"),
    };
    let Some(text) = access.read(&file, MAX_METADATA)? else { return Ok(None) };
    let mut distribution = metadata::parse(&text);
    if distribution.name.is_empty() {
        return Ok(None);
    }
    dir.clone_into(&mut distribution.location);
    let entry_points = access.read(&format!("{dir}/entry_points.txt"), MAX_METADATA)?;
    distribution.entry_points = metadata::entry_points(&entry_points.unwrap_or_default());
    let installer = access.read(&format!("{dir}/INSTALLER"), MAX_METADATA)?.unwrap_or_default();
    let installer = String::from_utf8_lossy(&installer).trim().to_owned();
    distribution.installer = Some(installer).filter(|i| !i.is_empty());
    let policies = access.read(&format!("{dir}/POLICIES"), MAX_POLICIES)?.unwrap_or_default();
    distribution.policies = policies::parse(&policies);
    let owner = claims.get(&file).or_else(|| claims.get(dir)).map(|c| &c.origin);
    if let Some(Origin::Dpkg { package, .. }) = owner {
        distribution.package = Some(package.clone());
        return Ok(Some(distribution));
    }
    let record = access.read(&format!("{dir}/RECORD"), MAX_RECORD)?.unwrap_or_default();
    claim(access, claims, &distribution, &record, before);
    Ok(Some(distribution))
}

/// Claims what the record names, the directories that hold it, and what else is in the directory of metadata.
fn claim(
    access: &Access<'_>,
    claims: &mut Claims,
    distribution: &Distribution,
    record: &[u8],
    before: &Before,
) {
    let name = distribution.name.as_str();
    let site = site(distribution);
    // What is vendored inside another distribution has a place of its own and is listed by both.
    let lists_too = |owner: &str| before.contains(&(owner.to_owned(), site.to_owned()));
    for (path, digest) in record::parse(record) {
        let full = if path.starts_with('/') { path } else { format!("{site}/{path}") };
        let Some(place) = access.listed(&clean(&full)) else { continue };
        claim_above(access, claims, name, site, &place);
        let role = if place.ends_with(".pyc") { Role::Bytecode } else { Role::Listed };
        if let Some(Origin::Python { distribution: owner, .. }) =
            claims.get(&place).map(|c| &c.origin)
            && owner != name
            && lists_too(owner)
        {
            claims.share(place.clone());
        }
        claims.python(place, name, role, digest.map(Expected::Sha256));
    }
    claims.python(distribution.location.clone(), name, Role::Metadata, None);
    for (_, node) in access.children(&distribution.location) {
        claims.python(node.path.clone(), name, Role::Metadata, None);
    }
}

/// Claims the directories between a path and the directory of distributions, those that are there.
fn claim_above(access: &Access<'_>, claims: &mut Claims, name: &str, site: &str, place: &str) {
    let Some(below) = place.strip_prefix(site).filter(|below| below.starts_with('/')) else {
        return;
    };
    for (at, _) in below.match_indices('/').skip(1) {
        let dir = &place[..site.len() + at];
        // Downwards, because nothing is in what is not there, however long the line goes on.
        if !access.has(dir) {
            return;
        }
        if claims.get(dir).is_none() {
            claims.python(dir.to_owned(), name, Role::Listed, None);
        }
    }
}

/// The directory that a distribution is installed into.
fn site(distribution: &Distribution) -> &str {
    distribution.location.rsplit_once('/').map_or("", |(site, _)| site)
}

/// A name as PyPI compares it: lower case, runs of `-`, `_` and `.` as one hyphen (PEP 503).
pub(crate) fn normalized(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '-' | '_' | '.' if out.ends_with('-') => {}
            '-' | '_' | '.' => out.push('-'),
            c => out.push(c.to_ascii_lowercase()),
        }
    }
    out
}
