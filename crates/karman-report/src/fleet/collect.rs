//! An inventory and a manifest as an image of a fleet.

use std::collections::BTreeMap;

use karman_inventory::print::origin_text;
use karman_inventory::{Entry, Inventory, Kind, Origin, Role};
use karman_oci::{Descriptor, Digest, ImageConfig};

use super::model::{Image, Layer, OriginBytes, OriginKind, Unit};

/// The longest title of a layer, in characters.
const MAX_TITLE: usize = 120;

/// An image without findings and start-up times.
///
/// `digest` is that of its manifest, `layers` are those of the manifest.
pub fn image(
    name: &str,
    digest: &Digest,
    layers: &[Descriptor],
    config: &ImageConfig,
    inventory: &Inventory,
) -> Image {
    let files = inventory.entries.iter().filter(|e| e.kind == Kind::File);
    let distributions = inventory.distributions.iter().filter(|d| d.package.is_none());
    let mut packages: Vec<Unit> =
        inventory.packages.iter().map(|p| unit(&p.name, &p.version)).collect();
    let mut distributions: Vec<Unit> = distributions.map(|d| unit(&d.name, &d.version)).collect();
    packages.sort();
    distributions.sort();
    Image {
        name: name.to_owned(),
        digest: digest.to_string(),
        platform: inventory.platform.clone(),
        compressed: layers.iter().map(|l| l.size).sum(),
        unpacked: files.clone().map(|e| e.size).sum(),
        files: files.count() as u64,
        packages,
        distributions,
        layers: titled(layers, config),
        origins: origins(inventory),
        findings: None,
        starts: Vec::new(),
    }
}

fn unit(name: &str, version: &str) -> Unit {
    Unit { name: name.to_owned(), version: version.to_owned() }
}

fn titled(layers: &[Descriptor], config: &ImageConfig) -> Vec<Layer> {
    let mut titles = config.history.iter().filter(|h| !h.empty_layer);
    let one = |l: &Descriptor| {
        let title = titles.next().and_then(|h| h.created_by.clone()).unwrap_or_default();
        let flat = title.split_whitespace().filter(|w| !w.starts_with("--mount="));
        let flat = flat.collect::<Vec<_>>().join(" ");
        let mut title: String = flat.chars().take(MAX_TITLE).collect();
        if title.len() < flat.len() {
            title.push('…');
        }
        Layer { digest: l.digest, size: l.size, title }
    };
    layers.iter().map(one).collect()
}

/// What is known of an origin while its entries come by.
#[derive(Default)]
struct Sum {
    bytes: u64,
    bytecode: u64,
    files: u64,
    lines: String,
}

fn origins(inventory: &Inventory) -> Vec<OriginBytes> {
    let mut sums: BTreeMap<(OriginKind, String), Sum> = BTreeMap::new();
    // Entries are sorted by path, so the lines of every origin are too.
    for entry in inventory.entries.iter().filter(|e| e.kind != Kind::Directory) {
        let sum = sums.entry(named(inventory, entry)).or_default();
        if entry.kind == Kind::File {
            sum.bytes += entry.size;
            sum.files += 1;
        }
        if is_bytecode(entry) {
            sum.bytecode += entry.size;
        }
        let content = entry.digest.map(|d| d.to_string()).or_else(|| entry.target.clone());
        sum.lines.push_str(&format!(
            "{}\0{:o}\0{}:{}\0{}\n",
            entry.path,
            entry.mode,
            entry.uid,
            entry.gid,
            content.unwrap_or_default()
        ));
    }
    let mut all: Vec<OriginBytes> = sums
        .into_iter()
        .map(|((kind, name), sum)| OriginBytes {
            kind,
            version: version(inventory, kind, &name),
            name,
            bytes: sum.bytes,
            bytecode: sum.bytecode,
            files: sum.files,
            digest: Digest::sha256_of(sum.lines.as_bytes()),
        })
        .collect();
    all.sort_by(|a, b| {
        b.bytes.cmp(&a.bytes).then_with(|| (a.kind, &a.name).cmp(&(b.kind, &b.name)))
    });
    all
}

fn named(inventory: &Inventory, entry: &Entry) -> (OriginKind, String) {
    let words = || origin_text(&entry.origin, inventory.step(entry));
    match &entry.origin {
        Origin::Dpkg { package, .. } => (OriginKind::Dpkg, package.clone()),
        Origin::Python { distribution, .. } => (OriginKind::Python, distribution.clone()),
        Origin::Copy { .. } => (OriginKind::Copy, words()),
        Origin::Run => (OriginKind::Run, words()),
        Origin::Base => (OriginKind::Base, words()),
        Origin::Unknown => (OriginKind::Unknown, words()),
    }
}

fn is_bytecode(entry: &Entry) -> bool {
    let role = match &entry.origin {
        Origin::Dpkg { role, .. } | Origin::Python { role, .. } => *role,
        _ => Role::Listed,
    };
    role == Role::Bytecode || entry.path.ends_with(".pyc")
}

fn version(inventory: &Inventory, kind: OriginKind, name: &str) -> String {
    let found = match kind {
        OriginKind::Dpkg => {
            inventory.packages.iter().find(|p| p.name == name).map(|p| p.version.clone())
        }
        OriginKind::Python => {
            inventory.distributions.iter().find(|d| d.name == name).map(|d| d.version.clone())
        }
        _ => None,
    };
    found.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(path: &str, size: u64, origin: Origin) -> Entry {
        Entry {
            path: path.to_owned(),
            kind: Kind::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            size,
            digest: Some(Digest::sha256_of(path.as_bytes())),
            target: None,
            device: None,
            capability: None,
            layer: 0,
            origin,
            altered: false,
            upstream: Vec::new(),
            interpreter: None,
            archive: false,
            elf: None,
        }
    }

    #[test]
    fn bytes_are_counted_by_origin_and_content_has_a_digest() {
        let python = |role| Origin::Python { distribution: "six".into(), role };
        let mut inventory = Inventory {
            entries: vec![
                entry("/a/six.py", 10, python(Role::Listed)),
                entry("/a/six.pyc", 30, python(Role::Bytecode)),
                entry("/b", 5, Origin::Dpkg { package: "b".into(), role: Role::Listed }),
            ],
            ..Inventory::default()
        };
        let first = origins(&inventory);
        let shown: Vec<_> =
            first.iter().map(|o| (o.name.as_str(), o.bytes, o.bytecode, o.files)).collect();
        assert_eq!(shown, [("six", 40, 30, 2), ("b", 5, 0, 1)]);
        inventory.entries[1].mode = 0o755;
        let second = origins(&inventory);
        assert_ne!(first[0].digest, second[0].digest);
        assert_eq!(first[1], second[1]);
    }
}
