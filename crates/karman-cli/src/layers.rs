//! Layers along packages, for people and as a plan.

use std::collections::{BTreeMap, BTreeSet};

use karman_control::{Export, LayerPlan, Layering, OutputKind, PackageLayers, PlannedImage};
use karman_oci::Digest;
use karman_report::{Table, human_size};

/// How layers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// The layers of each image
    Table,
    /// The plan, as `layer-plan=` reads it
    Json,
}

/// What outputs are while only their layers are planned. The plan that is printed as a file is made anew.
pub(crate) fn planning(exports: &[Export], format: Format) -> Option<Export> {
    let mut export = exports.first()?.clone();
    let layers = exports.iter().find_map(|e| match &e.layering {
        Layering::Packages(layers) => Some(layers.clone()),
        Layering::Steps => None,
    });
    let mut layers = layers.unwrap_or_default();
    if format == Format::Json {
        layers = PackageLayers { plan: None, ..layers };
    }
    export.layering = Layering::Packages(layers);
    (export.kind, export.dest) = (OutputKind::CacheOnly, None);
    Some(export)
}

/// Prints what was planned.
pub(crate) fn print(plan: &LayerPlan, format: Format) -> String {
    if format == Format::Json {
        return plan.json.clone();
    }
    let mut images: BTreeMap<&Digest, BTreeSet<usize>> = BTreeMap::new();
    for (at, image) in plan.images.iter().enumerate() {
        for layer in &image.layers {
            images.entry(&layer.key).or_default().insert(at);
        }
    }
    let count = |key: &Digest| images.get(key).map_or(0, BTreeSet::len);
    let tables: Vec<String> = plan.images.iter().map(|image| table(image, &count)).collect();
    tables.join("\n")
}

fn table(image: &PlannedImage, images: &dyn Fn(&Digest) -> usize) -> String {
    let size: u64 = image.layers.iter().map(|layer| layer.size).sum();
    let mut table = Table::new(["SIZE", "IMAGES", "UNITS", "LAYER"]);
    for layer in &image.layers {
        table.row([
            human_size(layer.size),
            images(&layer.key).to_string(),
            layer.units.len().to_string(),
            layer.title.clone(),
        ]);
    }
    let (name, platform, count) = (&image.name, &image.platform, image.layers.len());
    let all = human_size(size);
    format!("{name} ({platform}): {count} layers, {all} uncompressed\n{}", table.render())
}
