//! What a backend tells of layers along packages.

use karman_oci::{Digest, Platform};

/// The layers of all images of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LayerPlan {
    /// The plan as a file that `layer-plan=` names.
    pub json: String,
    /// The images, in the order of the request.
    pub images: Vec<PlannedImage>,
}

/// The layers of one image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedImage {
    /// The name of its target or its reference.
    pub name: String,
    /// Its platform.
    pub platform: Platform,
    /// Its layers, lowest first.
    pub layers: Vec<PlannedLayer>,
}

/// One layer before it is compressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedLayer {
    /// Equal in two images where the layer is.
    pub key: Digest,
    /// Uncompressed bytes, about.
    pub size: u64,
    /// What it holds, for people.
    pub title: String,
    /// Its units: `deb:NAME`, `py:NAME`, `step:N`, `file:PATH`.
    pub units: Vec<String>,
}
