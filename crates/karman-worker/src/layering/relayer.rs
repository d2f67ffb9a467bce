//! Images that others made, with layers along packages.

use std::collections::BTreeMap;

use karman_control::{Cause, Export, LayerPlan, Layering, OutputKind, Push, Session, SolveError};
use karman_exporter::export::Named;
use karman_exporter::image::{ImageOptions, StoredImage, assemble};
use karman_oci::{Descriptor, Digest, Manifest, Platform, Reference};

use super::{Cuts, Steps, Wanted, remember_steps};
use crate::engine::Engine;
use crate::error::OrFail as _;
use crate::export::{LayerRecipe, complete_history, write_images};
use crate::images::read_document;
use crate::inventory::{ImageSpec, Opened, open_image};
use crate::transfer::PushItem;

/// What is to be done with which images.
#[derive(Debug, Clone)]
pub struct Relayer<'a> {
    /// The images, and the names they get.
    pub images: &'a [(ImageSpec, Vec<Reference>)],
    /// Which one of an index.
    pub platform: &'a Platform,
    /// Where they go; with layers along packages.
    pub export: &'a Export,
    /// Seconds since 1970 for times that are clamped; those of the images stay otherwise.
    pub epoch: Option<i64>,
}

/// Images with new layers.
#[derive(Debug, Clone)]
pub struct Relayered {
    /// The images, in the order that was asked for.
    pub images: Vec<RelayeredImage>,
    /// What their layers hold.
    pub plan: LayerPlan,
}

/// An image with new layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayeredImage {
    /// As people named it.
    pub name: String,
    /// The new manifest.
    pub descriptor: Descriptor,
    /// Digest and size of its layers before.
    pub before: BTreeMap<Digest, u64>,
    /// And now.
    pub after: BTreeMap<Digest, u64>,
}

impl Engine {
    /// Gives images layers along packages and writes them out. Nothing is written before all are made.
    ///
    /// # Errors
    /// When an image does not exist or cannot be read, or the output cannot be written.
    pub fn relayer(
        &self,
        wanted: &Relayer<'_>,
        session: &Session,
        on_layer: &(dyn Fn(&str, usize, usize) + Sync),
    ) -> Result<Relayered, SolveError> {
        self.keep_uses()?;
        let Layering::Packages(layers) = &wanted.export.layering else {
            unreachable!("the caller asks for layers along packages")
        };
        let recipe = LayerRecipe::of(wanted.export, wanted.epoch);
        let mut sources = Vec::new();
        for (spec, _) in wanted.images {
            let opened = open_image(self, spec, wanted.platform, session)?;
            let one = Wanted {
                name: spec.name().to_owned(),
                platform: wanted.platform.clone(),
                chain: opened.chain.clone(),
                recipe: recipe.clone(),
                layers: layers.clone(),
            };
            sources.push((opened, one));
        }
        let cuts = Cuts::of(self, sources.iter().map(|(_, one)| one.clone()).collect())?;
        let mut images = Vec::new();
        for (opened, one) in &sources {
            let on_layer = |done, total| on_layer(&one.name, done, total);
            images.push(self.relayer_one(wanted.export, opened, one, &cuts, &on_layer)?);
        }
        self.write_out(wanted, &images)?;
        Ok(Relayered { images, plan: cuts.told().unwrap_or_default() })
    }

    fn relayer_one(
        &self,
        export: &Export,
        opened: &Opened,
        wanted: &Wanted,
        cuts: &Cuts,
        on_layer: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<RelayeredImage, SolveError> {
        let mut config = opened.layer_config();
        complete_history(&mut config, opened.chain.len());
        let steps = Steps { chain: opened.chain.clone(), history: config.history.clone() };
        let layers = cuts.layers(self, wanted, &mut config, on_layer)?;
        let before: Option<Manifest> =
            opened.manifest.map(|digest| read_document(self.store(), &digest)).transpose()?;
        let annotations = before.as_ref().map(|m| m.annotations.clone()).unwrap_or_default();
        let oci_media_types = export.oci_media_types || !annotations.is_empty();
        let options = ImageOptions { oci_media_types, annotations };
        let StoredImage { manifest, .. } = assemble(config, &layers, &options, self.store())
            .or_fail(Cause::Engine, "store the image")?;
        remember_steps(self, &manifest.digest, &steps)?;
        let before = before.map(|m| m.layers).unwrap_or_default();
        Ok(RelayeredImage {
            name: wanted.name.clone(),
            descriptor: manifest,
            before: before.into_iter().map(|d| (d.digest, d.size)).collect(),
            after: layers.into_iter().map(|l| (l.descriptor.digest, l.descriptor.size)).collect(),
        })
    }

    fn write_out(&self, wanted: &Relayer<'_>, images: &[RelayeredImage]) -> Result<(), SolveError> {
        let both = || images.iter().zip(wanted.images.iter().map(|(_, names)| names));
        match wanted.export.kind {
            OutputKind::Oci | OutputKind::Docker => {
                let named: Vec<Named<'_>> =
                    both().map(|(one, names)| Named { top: &one.descriptor, names }).collect();
                write_images(self, &named, wanted.export, "write the images")?;
            }
            OutputKind::Image => {
                if wanted.export.push != Push::No {
                    let item = |(one, names): (&RelayeredImage, &Vec<Reference>)| PushItem {
                        top: one.descriptor.clone(),
                        names: names.clone(),
                    };
                    let items: Vec<PushItem> = both().map(item).collect();
                    crate::transfer::push(self, &items, &|_, _| {})?;
                }
                for (one, names) in both() {
                    names.iter().try_for_each(|name| self.tag_image(name, &one.descriptor))?;
                }
            }
            OutputKind::Local | OutputKind::Tar | OutputKind::CacheOnly => {}
        }
        Ok(())
    }
}
