//! Rebuilds: how an image came to be, and whether another build of it is the same.

use std::collections::BTreeMap;

use karman_control::provenance::{DigestSet, PREDICATE_TYPE, Provenance};
use karman_control::{Cause, Session, SolveError};
use karman_exporter::attestation::{PREDICATE_TYPE as TYPE_ANNOTATION, REFERENCE_DIGEST};
use karman_exporter::compare::compare_layers;
use karman_exporter::layout::Layout;
use karman_oci::{Descriptor, Digest, ImageConfig, Manifest, Platform, Reference, media_type};
use serde::Deserialize;

use crate::engine::Engine;
use crate::error::{OrFail as _, store as store_error};
use crate::images::{MAX_DOCUMENT, attestations_of, read_document};
use crate::inventory::{ImageSpec, manifest_of};
use crate::sources::{fetch, registry_error};

/// An image and how it came to be.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The digest of its manifest.
    pub manifest: Digest,
    /// How it came to be.
    pub provenance: Provenance,
}

/// A statement, as far as it is looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    predicate_type: String,
    predicate: Provenance,
}

impl Engine {
    /// How the image of a platform came to be: as this store remembers it, else as its index attests
    /// it. Its layers are in the store afterwards.
    ///
    /// # Errors
    /// When there is no such image, or nobody says how it came to be.
    pub fn origin(
        &self,
        spec: &ImageSpec,
        platform: &Platform,
        session: &Session,
    ) -> Result<Origin, SolveError> {
        self.keep_uses()?;
        let manifest = manifest_of(self, spec, platform, session)?;
        let (top, place) = self.top_of(spec)?;
        let document: Manifest = read_document(self.store(), &manifest)?;
        document.layers.iter().try_for_each(|layer| self.bring(&place, layer))?;
        if let Some(provenance) = crate::export::recall(self.store(), &manifest)? {
            return Ok(Origin { manifest, provenance });
        }
        match self.attested(&top, &place, &manifest)? {
            Some(provenance) => Ok(Origin { manifest, provenance }),
            None => Err(SolveError::new(
                Cause::NotFound,
                format!("nobody says how `{}` was built", spec.name()),
            )
            .with_hint(
                "the store that built it remembers; elsewhere it is known of images built with `--provenance=mode=max`",
            )),
        }
    }

    /// What the index of an image attests of a manifest.
    fn attested(
        &self,
        top: &Descriptor,
        place: &Place,
        manifest: &Digest,
    ) -> Result<Option<Provenance>, SolveError> {
        for entry in attestations_of(self.store(), top)? {
            if entry.annotations.get(REFERENCE_DIGEST) != Some(&manifest.to_string()) {
                continue;
            }
            self.bring(place, &entry)?;
            let document: Manifest = read_document(self.store(), &entry.digest)?;
            let is_provenance = |layer: &&Descriptor| {
                let kind = layer.annotations.get(TYPE_ANNOTATION);
                kind.is_some_and(|k| k == PREDICATE_TYPE) && layer.size <= MAX_DOCUMENT
            };
            for layer in document.layers.iter().filter(is_provenance) {
                self.bring(place, layer)?;
                let statement: Statement = read_document(self.store(), &layer.digest)?;
                if statement.predicate_type == PREDICATE_TYPE {
                    return Ok(Some(statement.predicate));
                }
            }
        }
        Ok(None)
    }

    /// Brings a blob of an image into the store, where it is not there.
    fn bring(&self, place: &Place, descriptor: &Descriptor) -> Result<(), SolveError> {
        if self.store().contains(&descriptor.digest).map_err(store_error)? {
            return Ok(());
        }
        match place {
            Place::Store => {
                let message = format!("blob {} of the image is gone", descriptor.digest);
                Err(SolveError::new(Cause::Store, message).with_hint("build the image again"))
            }
            Place::Layout(layout) => layout
                .import_blob(&descriptor.digest, self.store())
                .or_fail(Cause::Input, "read the layout"),
            Place::Registry(reference) if media_type::is_manifest(&descriptor.media_type) => {
                let pulled = self.registry().pull_manifest(reference, descriptor);
                let pulled = pulled.map_err(|e| registry_error(&e))?;
                self.store().put_blob(&pulled.bytes).map(drop).map_err(store_error)
            }
            Place::Registry(reference) => fetch(self, reference, descriptor),
        }
    }

    /// The manifest or index that a name stands for, in the store.
    fn top_of(&self, spec: &ImageSpec) -> Result<(Descriptor, Place), SolveError> {
        match spec {
            ImageSpec::Local(name) => Ok((self.find_image(name)?.descriptor, Place::Store)),
            ImageSpec::Layout { path, wanted, .. } => {
                let doing = format!("read OCI layout `{}`", path.display());
                let layout = Layout::open(path).or_fail(Cause::Input, &doing)?;
                let top = layout.resolve(wanted.as_deref()).or_fail(Cause::NotFound, &doing)?;
                layout.import_blob(&top.digest, self.store()).or_fail(Cause::Input, &doing)?;
                Ok((top, Place::Layout(Box::new(layout))))
            }
            ImageSpec::Registry(text) => {
                let reference = Reference::parse(text).or_fail(Cause::Input, "read a reference")?;
                let top = self.registry().resolve(&reference).map_err(|e| registry_error(&e))?;
                self.store().put_blob(&top.bytes).map_err(store_error)?;
                Ok((top.descriptor, Place::Registry(reference)))
            }
        }
    }

    /// What of two images differs first, the second in another store: people's words. Nothing where
    /// manifests differ in what nobody sees.
    ///
    /// # Errors
    /// When an image cannot be read.
    pub fn first_difference(
        &self,
        image: &Digest,
        other_engine: &Engine,
        rebuilt: &Digest,
    ) -> Result<Option<String>, SolveError> {
        let manifest: Manifest = read_document(self.store(), image)?;
        let other: Manifest = read_document(other_engine.store(), rebuilt)?;
        for (at, (one, two)) in manifest.layers.iter().zip(&other.layers).enumerate() {
            if one.digest == two.digest {
                continue;
            }
            let doing = "compare the layers";
            crate::transfer::bring(self, one)?;
            let first = self.store().open_blob(&one.digest).map_err(store_error)?;
            let second = other_engine.store().open_blob(&two.digest).map_err(store_error)?;
            let found = compare_layers(first, second).or_fail(Cause::Engine, doing)?;
            let number = at + 1;
            return Ok(Some(match found {
                Some(difference) => format!("layer {number}: {difference}"),
                None => format!("layer {number}: the same files in other bytes (compression)"),
            }));
        }
        let (have, made) = (manifest.layers.len(), other.layers.len());
        if have != made {
            return Ok(Some(format!("the image has {have} layers, the rebuild {made}")));
        }
        let one: ImageConfig = read_document(self.store(), &manifest.config.digest)?;
        let two: ImageConfig = read_document(other_engine.store(), &other.config.digest)?;
        Ok(config_difference(&one, &two))
    }
}

/// Where an image is.
enum Place {
    Store,
    Layout(Box<Layout>),
    Registry(Reference),
}

/// The first member in which two configs differ.
fn config_difference(one: &ImageConfig, two: &ImageConfig) -> Option<String> {
    let value = |config| serde_json::to_value(config).unwrap_or_default();
    let (one, two) = (value(one), value(two));
    let names = one.as_object()?.keys().chain(two.as_object()?.keys());
    let name = names.into_iter().find(|name| one[*name] != two[*name])?;
    let (one, two) = (&one[name], &two[name]);
    Some(format!("the configuration: `{name}` is {one} in the image, {two} in the rebuild"))
}

/// What came from outside for the image and not for the rebuild, and the other way round.
pub fn changed_inputs(image: &Provenance, rebuilt: &Provenance) -> Vec<String> {
    let all = |p: &Provenance| -> BTreeMap<String, DigestSet> {
        let dependencies = p.build_definition.resolved_dependencies.iter();
        dependencies.map(|d| (d.uri.clone(), d.digest.clone())).collect()
    };
    let (before, after) = (all(image), all(rebuilt));
    let mut lines = Vec::new();
    for (uri, digest) in &before {
        match after.get(uri) {
            None => lines.push(format!("- {uri}")),
            Some(other) if other != digest => lines.push(format!("! {uri}")),
            Some(_) => {}
        }
    }
    lines.extend(after.keys().filter(|uri| !before.contains_key(*uri)).map(|u| format!("+ {u}")));
    lines
}

#[cfg(test)]
mod tests {
    use karman_control::provenance::Dependency;

    use super::*;

    #[test]
    fn changed_inputs_are_told_apart() {
        let of = |all: &[(&str, &str)]| {
            let mut provenance = Provenance::default();
            let each = all.iter().map(|(uri, digest)| Dependency::new(*uri, "sha256", *digest));
            provenance.build_definition.resolved_dependencies = each.collect();
            provenance
        };
        let before = of(&[("pkg:deb/debian/a@1", "0"), ("https://h/x", "1"), ("same", "2")]);
        let after = of(&[("pkg:deb/debian/a@2", "0"), ("https://h/x", "3"), ("same", "2")]);
        let told = changed_inputs(&before, &after);
        assert_eq!(told, ["! https://h/x", "- pkg:deb/debian/a@1", "+ pkg:deb/debian/a@2"]);
        assert!(changed_inputs(&before, &before).is_empty());
    }

    #[test]
    fn configs_differ_in_a_member() {
        let one = ImageConfig { author: Some("a".into()), ..ImageConfig::default() };
        let told = config_difference(&one, &ImageConfig::default()).expect("a difference");
        assert_eq!(told, "the configuration: `author` is \"a\" in the image, null in the rebuild");
        assert_eq!(config_difference(&one, &one), None);
    }
}
