//! The cache config on the wire: BuildKit's `application/vnd.buildkit.cacheconfig.v0`
//! (`cache/remotecache/v1/doc.go`) with what Karman adds under `karman`.

use std::collections::BTreeMap;

use karman_control::{Compression, CompressionKind};
use karman_inventory::Step;
use karman_oci::Digest;
use serde::{Deserialize, Serialize};

use crate::export::LayerRecipe;

/// The media type of the config.
pub(super) const MEDIA_TYPE: &str = "application/vnd.buildkit.cacheconfig.v0";
/// The version of what Karman adds: raised when keys or meanings change.
pub(super) const VERSION: u32 = 1;
/// The most layers of a cache: a fleet has some hundreds.
pub(super) const MAX_LAYERS: usize = 20_000;
/// The most records of a cache.
pub(super) const MAX_RECORDS: usize = 100_000;
/// The most layers of one result; overlayfs takes 500.
pub(super) const MAX_CHAIN: usize = 500;

/// A cache config.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    pub(super) layers: Vec<Layer>,
    #[serde(default)]
    pub(super) records: Vec<Record>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) karman: Option<About>,
}

/// Says that the keys are Karman's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) version: u32,
}

/// A layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layer {
    pub(super) blob: Digest,
    /// BuildKit's parent; ours are ordered by the chains, so it is always -1.
    #[serde(default = "no_parent")]
    pub(super) parent: i64,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) annotations: Option<Annotations>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) karman: Option<Made>,
}

fn no_parent() -> i64 {
    -1
}

/// BuildKit's description of a layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Annotations {
    #[serde(rename = "mediaType")]
    pub(super) media_type: String,
    #[serde(rename = "diffID")]
    pub(super) diff_id: Digest,
    pub(super) size: u64,
}

/// How a layer was made; a layer that came with an image has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    compression: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    level: Option<i32>,
    /// The time that the build's own files have, in seconds since 1970.
    epoch: i64,
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    clamped: bool,
    /// Which step made it, for inventories.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) step: Option<Step>,
}

impl Made {
    pub(super) fn new(recipe: &LayerRecipe, step: Option<Step>) -> Self {
        Self {
            compression: recipe.compression.kind.name().to_owned(),
            level: recipe.compression.level,
            epoch: recipe.epoch,
            clamped: recipe.clamp_later,
            step,
        }
    }

    /// The recipe, where we know its compression.
    pub(super) fn recipe(&self) -> Option<LayerRecipe> {
        let kind = CompressionKind::parse(&self.compression)?;
        let compression = Compression { kind, level: self.level };
        let (epoch, clamp_later) = (self.epoch, self.clamped);
        Some(LayerRecipe { compression, force: false, epoch, clamp_later })
    }
}

/// A key with its results.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The whole key, not only the op's part of it as in BuildKit.
    pub(super) digest: Digest,
    /// The records of the inputs, where these have any; for readers, not for the lookup.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) inputs: Vec<Vec<Input>>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(super) chains: Vec<Chained>,
    /// Of a content key: the op it is of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) karman: Option<OfOp>,
}

/// The op of a content key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct OfOp {
    pub(super) op: Digest,
}

/// A record that is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Input {
    pub(super) link: usize,
}

/// A result: layers by their index, lowest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chained {
    pub(super) layers: Vec<usize>,
}

/// A config that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum FormatError {
    /// Another builder's.
    #[error("it is a cache of another builder")]
    Foreign,
    /// Of a newer version.
    #[error("it has version {0}, which is newer than the {VERSION} this program knows")]
    Newer(u32),
    /// More than there can be.
    #[error("it is larger than any real one")]
    TooLarge,
    /// It contradicts itself.
    #[error("a record names a layer that does not exist")]
    Dangling,
}

impl Config {
    /// Refuses what is not ours or not sane.
    pub(super) fn check(&self) -> Result<(), FormatError> {
        match &self.karman {
            None => return Err(FormatError::Foreign),
            Some(about) if about.version > VERSION => {
                return Err(FormatError::Newer(about.version));
            }
            Some(_) => {}
        }
        if self.layers.len() > MAX_LAYERS || self.records.len() > MAX_RECORDS {
            return Err(FormatError::TooLarge);
        }
        for chain in self.records.iter().flat_map(|record| &record.chains) {
            if chain.layers.len() > MAX_CHAIN {
                return Err(FormatError::TooLarge);
            }
            if chain.layers.iter().any(|at| *at >= self.layers.len()) {
                return Err(FormatError::Dangling);
            }
        }
        Ok(())
    }

    /// The first result of each key.
    pub(super) fn by_key(&self) -> BTreeMap<Digest, &[usize]> {
        let mut found = BTreeMap::new();
        for record in &self.records {
            if let Some(chain) = record.chains.first() {
                found.entry(record.digest).or_insert(chain.layers.as_slice());
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(chain: Vec<usize>) -> Config {
        let digest = Digest::sha256_of(b"key");
        let layer = Layer { blob: digest, parent: -1, annotations: None, karman: None };
        let chains = vec![Chained { layers: chain }];
        let record = Record { digest, inputs: vec![], chains, karman: None };
        let karman = Some(About { version: VERSION });
        Config { layers: vec![layer], records: vec![record], karman }
    }

    #[test]
    fn a_config_that_makes_no_sense_is_refused() {
        assert!(config(vec![0]).check().is_ok());
        assert!(matches!(config(vec![1]).check(), Err(FormatError::Dangling)));
        assert!(matches!(config(vec![0; 501]).check(), Err(FormatError::TooLarge)));
        let foreign = Config { karman: None, ..config(vec![0]) };
        assert!(matches!(foreign.check(), Err(FormatError::Foreign)));
        let newer = Config { karman: Some(About { version: 9 }), ..config(vec![0]) };
        assert!(matches!(newer.check(), Err(FormatError::Newer(9))));
    }

    #[test]
    fn buildkits_config_is_read_and_ours_reads_as_one() {
        let text = r#"{"layers":[{"blob":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "parent":-1,"annotations":{"mediaType":"x","diffID":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855","size":3,"createdAt":"2020-01-01T00:00:00Z"}}],
            "records":[{"digest":"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "layers":[{"layer":0,"createdAt":"2020-01-01T00:00:00Z"}],"inputs":[[{"link":0,"selector":"sha256:x"}]]}]}"#;
        let read: Config = serde_json::from_str(text).expect("BuildKit's layout");
        assert!(matches!(read.check(), Err(FormatError::Foreign)));
        let ours = serde_json::to_value(config(vec![0])).expect("plain data");
        assert_eq!(ours["records"][0]["chains"][0]["layers"][0], 0);
        assert_eq!(ours["layers"][0]["parent"], -1);
    }
}
