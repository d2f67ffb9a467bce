//! Layers along package lines: units of chains, one plan over all images of a run, each layer made once.
//!
//! | bucket | what it has |
//! |---|---|
//! | `units` | layers and times → the units of the tree ([`units::Known`]) |
//! | `package-layer` | compression and the keys of units → the blob |
//! | `steps-of-image` | manifest → the layers of the steps it was made of ([`steps`]) |

mod history;
mod make;
mod relayer;
mod steps;
mod units;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use karman_control::{Cause, LayerPlan, PackageLayers, PlannedImage, PlannedLayer, SolveError};
use karman_exporter::image::ImageLayer;
use karman_exporter::layering::plan::{MAX_PLAN, Plan};
use karman_exporter::layering::{Cut, Facts, UnitInfo, cut};
use karman_oci::{Digest, Hasher, ImageConfig, Platform};

pub(crate) use self::make::LayerTimes;
use self::make::Work;
pub use self::relayer::{Relayer, Relayered, RelayeredImage};
pub(crate) use self::steps::{Steps, remember_steps, steps_of};
use self::units::Known;
use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::OrFail as _;
use crate::export::LayerRecipe;

/// An image whose layers are to be cut along packages.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Its name for people.
    pub(crate) name: String,
    pub(crate) platform: Platform,
    pub(crate) chain: Chain,
    pub(crate) recipe: LayerRecipe,
    pub(crate) layers: PackageLayers,
}

/// An image that was cut.
struct CutImage {
    known: Arc<Known>,
    cuts: Vec<Cut>,
}

/// The cuts of all images of a run.
#[derive(Default)]
pub(crate) struct Cuts {
    /// By layers, times and attributes.
    images: BTreeMap<(Chain, LayerTimes, PackageLayers), CutImage>,
    plans: Vec<Plan>,
    told: Vec<Wanted>,
    facts: Facts,
    work: Work,
}

impl Cuts {
    /// Plans images together: those with the same times and the same attributes know of each other.
    pub(crate) fn of(engine: &Engine, wanted: Vec<Wanted>) -> Result<Self, SolveError> {
        let mut cuts = Self::default();
        let mut groups: BTreeMap<(LayerTimes, PackageLayers), Vec<&Chain>> = BTreeMap::new();
        for one in &wanted {
            let group = groups.entry((one.recipe.times(), one.layers.clone())).or_default();
            if !group.contains(&&one.chain) {
                group.push(&one.chain);
            }
        }
        for ((times, layers), chains) in groups {
            let mut known = Vec::new();
            for chain in &chains {
                known.push(cuts.work.units(engine, chain, times, &cuts.facts)?);
            }
            let plan = match &layers.plan {
                Some(file) => read_plan(file)?,
                None => {
                    let units: Vec<&[UnitInfo]> =
                        known.iter().map(|k| k.units.as_slice()).collect();
                    Plan::of(&units, layers.budget)
                }
            };
            for (chain, known) in chains.into_iter().zip(known) {
                let made = cut(&plan, &known.units, layers.budget);
                let key = (chain.clone(), times, layers.clone());
                cuts.images.insert(key, CutImage { known, cuts: made });
            }
            cuts.plans.push(plan);
        }
        cuts.told = wanted;
        Ok(cuts)
    }

    fn image(&self, wanted: &Wanted) -> &CutImage {
        let key = (wanted.chain.clone(), wanted.recipe.times(), wanted.layers.clone());
        let image = self.images.get(&key);
        image.unwrap_or_else(|| unreachable!("every image with such layers was planned"))
    }

    /// Makes the layers of an image, those that do not exist. `config` gets their history.
    pub(crate) fn layers(
        &self,
        engine: &Engine,
        wanted: &Wanted,
        config: &mut ImageConfig,
        on_layer: &(dyn Fn(usize, usize) + Sync),
    ) -> Result<Vec<ImageLayer>, SolveError> {
        let image = self.image(wanted);
        let blobs = self.work.layers(engine, wanted, image, &self.facts, on_layer)?;
        history::rewrite(config, wanted.chain.len(), &image.cuts, &image.known);
        let layers = blobs.into_iter();
        Ok(layers.map(|b| ImageLayer { descriptor: b.descriptor, diff_id: b.diff_id }).collect())
    }

    /// What was planned; nothing where no image was.
    pub(crate) fn told(&self) -> Option<LayerPlan> {
        let json = self.plans.first()?.to_json();
        let images = self.told.iter().map(|wanted| PlannedImage {
            name: wanted.name.clone(),
            platform: wanted.platform.clone(),
            layers: self.image(wanted).planned(),
        });
        Some(LayerPlan { json, images: images.collect() })
    }
}

impl CutImage {
    fn planned(&self) -> Vec<PlannedLayer> {
        let layer = |cut: &Cut| {
            let units = cut.units.iter().map(|at| &self.known.units[*at]);
            PlannedLayer {
                key: key(cut, &self.known.units),
                size: units.clone().map(|u| u.size).sum(),
                title: history::title(cut, &self.known),
                units: units.map(|u| u.name.clone()).collect(),
            }
        };
        self.cuts.iter().map(layer).collect()
    }
}

/// What the bytes of a layer depend on besides the way they are written.
fn key(cut: &Cut, units: &[UnitInfo]) -> Digest {
    let mut hasher = Hasher::new();
    for at in &cut.units {
        hasher.field(units[*at].key.as_bytes());
    }
    hasher.finish()
}

/// Reads a plan to find out whether it can be read: the end of a long build is late to say that it cannot.
///
/// # Errors
/// When there is no such file, or it is no plan.
pub fn check_layer_plan(file: &Path) -> Result<(), SolveError> {
    read_plan(file).map(drop)
}

fn read_plan(file: &Path) -> Result<Plan, SolveError> {
    use std::io::Read as _;
    let doing = format!("read the layer plan `{}`", file.display());
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(file).or_fail(Cause::Input, &doing).map_err(|error| {
        error.with_hint(
            "`karman bake --print-layers=json` prints the plan of what it builds; an empty \
             `layer-plan=` plans the images of one build together",
        )
    })?;
    opened.take(MAX_PLAN + 1).read_to_end(&mut bytes).or_fail(Cause::Input, &doing)?;
    if bytes.len() as u64 > MAX_PLAN {
        let message = format!("{doing}: it is larger than {MAX_PLAN} bytes");
        return Err(SolveError::new(Cause::Input, message));
    }
    Plan::parse(&bytes).or_fail(Cause::Input, &doing)
}
