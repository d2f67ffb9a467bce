//! Inventories of images: of the local store, of OCI layouts, of registries.
//!
//! Bucket `inventory`: manifest → [`Record`]; the inventory itself is a blob, zstd over JSON. It is
//! made when it is first asked for, and again when more of the stages behind the image is known
//! than at that time. On inventories rest audits and the gate of a build.

mod audit;
mod gate;
mod image;
mod stages;
mod tree;

use karman_content::Store;
use karman_control::{Cause, Session, SolveError};
use karman_inventory::sbom;
use karman_inventory::{Inventory, Layer, Step, StepKind, Survey, VERSION, take};
use karman_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform};
use serde::{Deserialize, Serialize};

pub use audit::{AuditOptions, MoreFindings};
pub use gate::Gate;
pub(crate) use gate::check;
pub use image::ImageSpec;
pub(crate) use image::{Opened, open as open_image};
use stages::{Stages, steps};
pub(crate) use tree::ViewTree;

use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::{OrFail as _, interrupted, store as store_error};
use crate::images::read_document;
use crate::made_by::{MadeBy, kind_of};

/// Manifest → its inventory.
pub(crate) const BUCKET: &str = "inventory";
/// zstd's own default: five times smaller in a few milliseconds.
const LEVEL: i32 = 3;
/// The largest inventory read back: some 400 bytes for each path.
const MAX_INVENTORY: u64 = 2 << 30;

#[derive(Serialize, Deserialize)]
struct Record {
    version: u32,
    blob: Digest,
    /// Layers whose step was known, and stages.
    known: (usize, usize),
}

/// An image with its inventory.
#[derive(Debug, Clone)]
pub struct Inspected {
    /// Its name as people wrote it.
    pub name: String,
    /// The digest of its manifest.
    pub manifest: Digest,
    /// The layers that the manifest names, lowest first.
    pub layers: Vec<Descriptor>,
    /// The config.
    pub config: ImageConfig,
    /// What is in it.
    pub inventory: Inventory,
}

impl Engine {
    /// The inventory of an image, made at the first question.
    ///
    /// # Errors
    /// When there is no such image, it cannot be read, or somebody interrupts it.
    pub fn inventory(
        &self,
        spec: &ImageSpec,
        platform: &Platform,
        session: &Session,
    ) -> Result<Inspected, SolveError> {
        self.stoppable("inventory", || self.inspected(spec, platform, session))
    }

    fn inspected(
        &self,
        spec: &ImageSpec,
        platform: &Platform,
        session: &Session,
    ) -> Result<Inspected, SolveError> {
        self.keep_uses()?;
        let opened = image::open(self, spec, platform, session)?;
        let inventory = self.inventory_of(&opened)?;
        let layers = match &opened.manifest {
            Some(digest) => read_document::<Manifest>(self.store(), digest)?.layers,
            None => Vec::new(),
        };
        Ok(Inspected {
            name: spec.name().to_owned(),
            manifest: opened.digest(),
            layers,
            config: opened.config,
            inventory,
        })
    }

    fn inventory_of(&self, opened: &Opened) -> Result<Inventory, SolveError> {
        let made = steps(self, &opened.chain)?;
        let known = made.iter().flatten().count();
        let stored = match &opened.manifest {
            Some(manifest) => record(self.store(), manifest)?,
            None => None,
        };
        // Stages are only surveyed where something about them can be new.
        if let Some(record) = &stored
            && record.known.0 >= known
            && (record.known.1 > 0 || !copies_stages(self, &made))
            && let Some(inventory) = self.read_inventory(record)?
        {
            return Ok(inventory);
        }
        let sources = Stages::find(self, &made)?;
        let layers = layers(&opened.layer_config(), &made);
        let (tree, survey) = survey(self, &opened.chain, layers)?;
        let platform = opened.config.platform().to_string();
        let inventory =
            take(&tree, survey, &platform, &sources).or_fail(Cause::Store, "read the image")?;
        if self.interrupted() {
            // What could not be read for that reason must not be remembered as absent.
            return Err(interrupted());
        }
        if let Some(manifest) = &opened.manifest {
            self.write_inventory(manifest, &inventory, (known, sources.count()))?;
        }
        Ok(inventory)
    }

    fn write_inventory(
        &self,
        manifest: &Digest,
        inventory: &Inventory,
        known: (usize, usize),
    ) -> Result<(), SolveError> {
        let json = serde_json::to_vec(inventory).or_fail(Cause::Engine, "write an inventory")?;
        let packed = zstd::encode_all(json.as_slice(), LEVEL)
            .or_fail(Cause::Engine, "compress an inventory")?;
        let blob = self.store().put_blob(&packed).map_err(store_error)?;
        let record = Record { version: VERSION, blob, known };
        let bytes = serde_json::to_vec(&record).or_fail(Cause::Engine, "write a record")?;
        self.store().put(BUCKET, manifest.as_bytes(), &bytes).map_err(store_error)
    }

    /// A stored inventory; nothing where its blob was pruned.
    fn read_inventory(&self, record: &Record) -> Result<Option<Inventory>, SolveError> {
        if record.version != VERSION || !self.store().contains(&record.blob).map_err(store_error)? {
            return Ok(None);
        }
        let packed = self.store().read_blob(&record.blob, MAX_INVENTORY).map_err(store_error)?;
        let json =
            zstd::decode_all(packed.as_slice()).or_fail(Cause::Store, "read an inventory")?;
        serde_json::from_slice(&json).or_fail(Cause::Store, "read an inventory").map(Some)
    }
}

/// The manifest of an image for a platform.
pub(crate) fn manifest_of(
    engine: &Engine,
    spec: &ImageSpec,
    platform: &Platform,
    session: &Session,
) -> Result<Digest, SolveError> {
    image::open(engine, spec, platform, session).map(|opened| opened.digest())
}

/// The bill of materials of an image that a build just made, as SPDX.
pub(crate) fn spdx(
    engine: &Engine,
    name: &str,
    manifest: Digest,
    config: Digest,
    chain: &Chain,
) -> Result<serde_json::Value, SolveError> {
    let config: ImageConfig = read_document(engine.store(), &config)?;
    let steps = crate::layering::steps_of(engine, &manifest)?.map(|steps| steps.history);
    let opened = Opened { manifest: Some(manifest), config, chain: chain.clone(), steps };
    let inventory = engine.inventory_of(&opened)?;
    Ok(sbom::spdx(&sbom::Subject {
        name,
        digest: manifest,
        created: opened.config.created.as_deref(),
        version: env!("CARGO_PKG_VERSION"),
        inventory: &inventory,
    }))
}

fn record(store: &Store, manifest: &Digest) -> Result<Option<Record>, SolveError> {
    let bytes = store.get(BUCKET, manifest.as_bytes()).map_err(store_error)?;
    // A record of another version has another form: it counts as none.
    Ok(bytes.and_then(|b| serde_json::from_slice(&b).ok()))
}

/// The blob of a manifest's inventory, so that a prune spares it with its image.
pub(crate) fn stored_blob(store: &Store, manifest: &Digest) -> Result<Option<Digest>, SolveError> {
    Ok(record(store, manifest)?.map(|record| record.blob))
}

/// Whether a copied stage of the image still exists.
fn copies_stages(engine: &Engine, made: &[Option<MadeBy>]) -> bool {
    let copies = made.iter().flatten().flat_map(|m| &m.copies);
    copies.filter_map(|c| c.chain.as_ref()).any(|chain| engine.records().exists(chain))
}

/// A chain as a tree, surveyed.
fn survey(
    engine: &Engine,
    chain: &Chain,
    layers: Vec<Layer>,
) -> Result<(ViewTree, Survey), SolveError> {
    let view = engine.snapshots().view(chain).or_fail(Cause::Store, "open the layers")?;
    let tree = ViewTree::new(view).or_fail(Cause::Store, "list the files of the image")?;
    let tree = tree.stopped_by(engine);
    let survey = Survey::read(&tree, layers).or_fail(Cause::Store, "read the image")?;
    Ok((tree, survey))
}

/// The layers of an image: what was written down when they were made, else its history.
fn layers(config: &ImageConfig, made: &[Option<MadeBy>]) -> Vec<Layer> {
    let history: Vec<_> = config.history.iter().filter(|h| !h.empty_layer).collect();
    let is_built_here = made.iter().any(Option::is_some);
    let told = |at: usize| -> Step {
        let text = history.get(at).and_then(|h| h.created_by.clone()).unwrap_or_default();
        let kind = match () {
            // Below a step that was made here, what nobody wrote down came with a base image.
            () if is_built_here => StepKind::Base,
            () if history.len() != made.len() => StepKind::Unknown,
            () => kind_of(&text),
        };
        Step { kind, text, place: None, from: None }
    };
    let steps = made.iter().enumerate();
    let steps = steps.map(|(at, m)| m.as_ref().map_or_else(|| told(at), |m| m.step.clone()));
    // Outputs that are no images have layers without digests.
    let diff_id = |at: usize| config.rootfs.diff_ids.get(at).copied();
    steps.enumerate().map(|(at, step)| Layer { diff_id: diff_id(at), step }).collect()
}

#[cfg(test)]
mod tests {
    use karman_oci::History;

    use super::*;

    fn config(history: &[&str]) -> ImageConfig {
        let mut config = ImageConfig::default();
        for text in history {
            let created_by = Some((*text).to_owned());
            config.history.push(History { created_by, ..History::default() });
            config.rootfs.diff_ids.push(Digest::sha256_of(text.as_bytes()));
        }
        config
    }

    #[test]
    fn a_pulled_image_is_told_by_its_history() {
        let config = config(&["bazel build", "RUN /bin/sh -c x", "COPY a b # buildkit"]);
        let kinds: Vec<_> =
            layers(&config, &[None, None, None]).iter().map(|l| l.step.kind).collect();
        assert_eq!(kinds, [StepKind::Base, StepKind::Run, StepKind::Copy]);
    }

    #[test]
    fn below_own_steps_everything_is_of_the_base() {
        let step = Step { kind: StepKind::Run, text: "RUN y".into(), ..Step::default() };
        let made = MadeBy { step, ..MadeBy::default() };
        let config = config(&["RUN /bin/sh -c x", "RUN y"]);
        let kinds: Vec<_> =
            layers(&config, &[None, Some(made)]).iter().map(|l| l.step.kind).collect();
        assert_eq!(kinds, [StepKind::Base, StepKind::Run]);
    }
}
