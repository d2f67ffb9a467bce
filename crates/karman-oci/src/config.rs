//! The image config (image-spec v1.1 `config.md`) with Docker's extensions
//! (`Healthcheck`, `OnBuild`, `Shell`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Digest, Platform};

/// An image config.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// CPU architecture in Go's words.
    #[serde(default)]
    pub architecture: String,
    /// CPU variant, such as `v7`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub variant: Option<String>,
    /// Operating system in Go's words.
    #[serde(default)]
    pub os: String,
    /// OS version (Windows).
    #[serde(rename = "os.version", skip_serializing_if = "Option::is_none", default)]
    pub os_version: Option<String>,
    /// When the image was made, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created: Option<String>,
    /// Who made it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub author: Option<String>,
    /// How to run it.
    #[serde(default)]
    pub config: ContainerConfig,
    /// The layers by their uncompressed digests.
    #[serde(default)]
    pub rootfs: RootFs,
    /// How the layers came to be.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub history: Vec<History>,
    /// A build cache for the layers of the image (BuildKit's inline cache), base64.
    #[serde(rename = "moby.buildkit.cache.v0", skip_serializing_if = "Option::is_none", default)]
    pub inline_cache: Option<String>,
}

impl ImageConfig {
    /// An empty config for a platform, as `FROM scratch` begins with.
    pub fn scratch(platform: &Platform) -> Self {
        Self {
            architecture: platform.architecture.clone(),
            variant: platform.variant.clone(),
            os: platform.os.clone(),
            ..Self::default()
        }
    }

    /// The platform that the config names.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.os.clone(),
            architecture: self.architecture.clone(),
            variant: self.variant.clone(),
            os_version: self.os_version.clone(),
        }
        .normalized()
    }
}

/// How to run an image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerConfig {
    /// `user[:group]`.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub user: String,
    /// `port/protocol` → `{}`.
    #[serde(skip_serializing_if = "is_empty_map", default)]
    pub exposed_ports: Option<BTreeMap<String, Value>>,
    /// `NAME=value`, in order.
    #[serde(skip_serializing_if = "is_empty_vec", default)]
    pub env: Option<Vec<String>>,
    /// Entry point.
    #[serde(skip_serializing_if = "is_empty_vec", default)]
    pub entrypoint: Option<Vec<String>>,
    /// Default arguments.
    #[serde(skip_serializing_if = "is_empty_vec", default)]
    pub cmd: Option<Vec<String>>,
    /// How to tell whether a container is well (Docker).
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub healthcheck: Option<HealthConfig>,
    /// Whether the arguments are already escaped (Windows).
    #[serde(skip_serializing_if = "is_false", default)]
    pub args_escaped: bool,
    /// Path → `{}`.
    #[serde(skip_serializing_if = "is_empty_map", default)]
    pub volumes: Option<BTreeMap<String, Value>>,
    /// Working directory.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub working_dir: String,
    /// Triggers for images built on this one (Docker).
    #[serde(skip_serializing_if = "is_empty_vec", default)]
    pub on_build: Option<Vec<String>>,
    /// Labels.
    #[serde(skip_serializing_if = "is_empty_labels", default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// Signal that stops a container.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub stop_signal: String,
    /// The shell of shell forms (Docker).
    #[serde(skip_serializing_if = "is_empty_vec", default)]
    pub shell: Option<Vec<String>>,
}

/// A health check (Docker). Durations are nanoseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HealthConfig {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", "…"]`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub test: Vec<String>,
    /// Time between two checks.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub interval: i64,
    /// Time after which a check counts as failed.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub timeout: i64,
    /// Time in which failures do not count.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub start_period: i64,
    /// Time between two checks in the start period.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub start_interval: i64,
    /// Failures in a row that make a container unhealthy.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub retries: i64,
}

/// The layers of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Digests of the uncompressed layers, lowest first.
    #[serde(default)]
    pub diff_ids: Vec<Digest>,
}

impl Default for RootFs {
    fn default() -> Self {
        Self { kind: "layers".to_owned(), diff_ids: Vec::new() }
    }
}

/// How one layer, or one change of the config, came to be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// When, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created: Option<String>,
    /// By which instruction.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub created_by: Option<String>,
    /// By whom.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub author: Option<String>,
    /// Which builder.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub comment: Option<String>,
    /// Whether the entry has no layer.
    #[serde(skip_serializing_if = "is_false", default)]
    pub empty_layer: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_zero(value: &i64) -> bool {
    *value == 0
}

fn is_empty_vec(value: &Option<Vec<String>>) -> bool {
    value.as_ref().is_none_or(Vec::is_empty)
}

fn is_empty_map(value: &Option<BTreeMap<String, Value>>) -> bool {
    value.as_ref().is_none_or(BTreeMap::is_empty)
}

fn is_empty_labels(value: &Option<BTreeMap<String, String>>) -> bool {
    value.as_ref().is_none_or(BTreeMap::is_empty)
}
