//! Which image has which layer, and what that saves.

use std::collections::{BTreeMap, BTreeSet};

use karman_oci::Digest;

use super::model::{Fleet, Image, Layer};

/// The layers of a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharing {
    /// Every layer once with the indexes of the images that have it: the most shared first, then the largest.
    pub layers: Vec<(Layer, BTreeSet<usize>)>,
    /// Bytes of all images together, as if none shared anything.
    pub total: u64,
    /// Bytes of all layers, each once: what a registry keeps.
    pub unique: u64,
}

impl Sharing {
    /// Looks at all images of a fleet.
    pub fn of(fleet: &Fleet) -> Self {
        let mut by_digest: BTreeMap<Digest, (Layer, BTreeSet<usize>)> = BTreeMap::new();
        for (at, image) in fleet.images.iter().enumerate() {
            for layer in &image.layers {
                let known = by_digest.entry(layer.digest);
                known.or_insert_with(|| (layer.clone(), BTreeSet::new())).1.insert(at);
            }
        }
        let mut layers: Vec<_> = by_digest.into_values().collect();
        layers.sort_by(|(a, in_a), (b, in_b)| {
            let order = in_b.len().cmp(&in_a.len()).then(b.size.cmp(&a.size));
            order.then_with(|| a.digest.cmp(&b.digest))
        });
        let unique = layers.iter().map(|(layer, _)| layer.size).sum();
        Self { layers, total: fleet.images.iter().map(|i| i.compressed).sum(), unique }
    }

    /// Bytes of the layers that only this image has.
    pub fn own(&self, image: usize) -> u64 {
        let own = self.layers.iter().filter(|(_, of)| of.len() == 1 && of.contains(&image));
        own.map(|(layer, _)| layer.size).sum()
    }
}

/// Bytes that a node pulls which has some images and gets another.
pub(super) fn pulled(image: &Image, known: &BTreeSet<Digest>) -> u64 {
    let mut seen = known.clone();
    image.layers.iter().filter(|l| seen.insert(l.digest)).map(|l| l.size).sum()
}

/// The digests of all layers of these images.
pub(super) fn digests<'a>(images: impl IntoIterator<Item = &'a Image>) -> BTreeSet<Digest> {
    images.into_iter().flat_map(|i| i.layers.iter().map(|l| l.digest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(name: &str, layers: &[(&str, u64)]) -> Image {
        let layer = |(text, size): &(&str, u64)| Layer {
            digest: Digest::sha256_of(text.as_bytes()),
            size: *size,
            title: (*text).to_owned(),
        };
        let layers: Vec<Layer> = layers.iter().map(layer).collect();
        let compressed = layers.iter().map(|l| l.size).sum();
        Image { name: name.to_owned(), layers, compressed, ..Image::default() }
    }

    #[test]
    fn a_shared_layer_counts_once() {
        let fleet = Fleet::new(
            vec![image("a", &[("base", 100), ("a", 10)]), image("b", &[("base", 100), ("b", 20)])],
            None,
        );
        let sharing = Sharing::of(&fleet);
        assert_eq!((sharing.total, sharing.unique), (230, 130));
        assert_eq!((sharing.own(0), sharing.own(1)), (10, 20));
        let titles: Vec<&str> = sharing.layers.iter().map(|(l, _)| l.title.as_str()).collect();
        assert_eq!(titles, ["base", "b", "a"]);
        assert_eq!(pulled(&fleet.images[1], &digests([&fleet.images[0]])), 20);
    }
}
