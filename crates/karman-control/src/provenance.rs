//! Provenance: how an image came to be, as the predicate of SLSA v1
//! (<https://slsa.dev/spec/v1.1/provenance>) with BuildKit's members.
//!
//! Nothing in it depends on when or where a build ran, or on who ran it: there is no invocation id,
//! no time and no host path. So equal inputs have equal provenance.

use std::collections::BTreeMap;
use std::path::PathBuf;

use karman_llb::Op;
use serde::{Deserialize, Serialize};

use crate::ProvenanceMode;

/// The type of the predicate.
pub const PREDICATE_TYPE: &str = "https://slsa.dev/provenance/v1";
/// What defines the parameters: BuildKit's page, whose members these are.
pub const BUILD_TYPE: &str =
    "https://github.com/moby/buildkit/blob/master/docs/attestations/slsa-definitions.md";
/// Prefix of build arguments among the arguments of a request.
pub const BUILD_ARG: &str = "build-arg:";
/// Prefix of labels.
pub const LABEL: &str = "label:";
/// Prefix of named contexts.
pub const CONTEXT: &str = "context:";
/// Locator of another target among [`BuildRequest::inputs`].
pub const INPUT: &str = "input:";
/// Locator of a directory of the caller.
pub const LOCAL: &str = "local:";
/// Attribute of the output where the configuration holds an inline cache: `true`.
pub const INLINE_CACHE: &str = "inline-cache";

/// Algorithm → digest in hexadecimal digits.
pub type DigestSet = BTreeMap<String, String>;

/// The predicate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// What was built, of what.
    pub build_definition: BuildDefinition,
    /// Who built it.
    pub run_details: RunDetails,
}

/// What was built, of what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    /// [`BUILD_TYPE`].
    pub build_type: String,
    /// What the caller asked for.
    pub external_parameters: ExternalParameters,
    /// What the builder made of it.
    pub internal_parameters: InternalParameters,
    /// What came from outside.
    #[serde(default)]
    pub resolved_dependencies: Vec<Dependency>,
}

/// What the caller asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExternalParameters {
    /// The Dockerfile.
    pub config_source: ConfigSource,
    /// What was asked of it.
    pub request: BuildRequest,
}

/// A Dockerfile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigSource {
    /// Where it is, where that is not a directory of the caller.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub uri: Option<String>,
    /// The digest of its text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub digest: DigestSet,
    /// Its path there; of a directory of the caller, relative to the working directory of the build.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
}

/// What was asked of a Dockerfile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildRequest {
    /// Of a target that another one links: its Dockerfile.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub config_source: Option<ConfigSource>,
    /// Who reads the Dockerfile.
    pub frontend: String,
    /// Arguments in BuildKit's words: `target`, `build-arg:NAME`, `context:NAME` and so on.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub args: BTreeMap<String, String>,
    /// Secrets, without values.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub secrets: Vec<Lent>,
    /// SSH agents.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub ssh: Vec<Lent>,
    /// Directories of the caller.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub locals: Vec<LocalName>,
    /// Targets that the contexts name, by name, with those that these name in turn.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub inputs: BTreeMap<String, BuildRequest>,
}

/// Something that was lent to steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Lent {
    /// Its id.
    pub id: String,
    /// Whether steps do without.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub optional: bool,
}

/// A directory of the caller.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalName {
    /// What the build calls it.
    pub name: String,
    /// Where it is below the working directory of the build; none for one that is elsewhere.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
}

/// What the builder made of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InternalParameters {
    /// What the build ran on.
    pub builder_platform: String,
    /// The platform of the image.
    #[serde(default)]
    pub platform: String,
    /// Attributes of the output on which the bytes of the image depend.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub output: BTreeMap<String, String>,
    /// The steps; in mode `max`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub build_config: Option<BuildConfig>,
}

/// The build graph.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildConfig {
    /// The steps, inputs before their users.
    pub llb_definition: Vec<BuildStep>,
    /// Vertex → step.
    pub digest_mapping: BTreeMap<String, String>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildStep {
    /// `step0`, `step1`, …
    pub id: String,
    /// What it does.
    pub op: Op,
    /// Steps that it reads.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub inputs: Vec<String>,
}

/// Something that came from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dependency {
    /// Package URL or address.
    pub uri: String,
    /// What it was.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub digest: DigestSet,
}

impl Dependency {
    /// Something with one digest.
    pub fn new(uri: impl Into<String>, algorithm: &str, digest: impl Into<String>) -> Self {
        let digest = DigestSet::from([(algorithm.to_owned(), digest.into())]);
        Self { uri: uri.into(), digest }
    }
}

/// Who built.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunDetails {
    /// The builder.
    pub builder: Builder,
    /// What is known of the run.
    pub metadata: RunMetadata,
}

/// The builder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builder {
    /// A URI.
    pub id: String,
    /// Programs and their versions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub version: BTreeMap<String, String>,
}

/// What is known of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMetadata {
    /// The Dockerfiles; in mode `max`.
    #[serde(rename = "buildkit_metadata", skip_serializing_if = "Option::is_none", default)]
    pub buildkit: Option<BuildkitMetadata>,
    /// Whether no step had a network.
    #[serde(rename = "buildkit_hermetic", default)]
    pub hermetic: bool,
    /// What is all there.
    #[serde(rename = "buildkit_completeness")]
    pub completeness: Completeness,
    /// Whether the caller promises the same bytes each time.
    #[serde(rename = "buildkit_reproducible", default)]
    pub reproducible: bool,
}

/// The Dockerfiles.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildkitMetadata {
    /// The Dockerfiles.
    pub source: Source,
}

/// The Dockerfiles.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The Dockerfile of the target, then those of targets it links.
    pub infos: Vec<SourceInfo>,
}

/// A Dockerfile.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceInfo {
    /// Its name.
    pub filename: String,
    /// `Dockerfile`.
    pub language: String,
    /// Its text in base64.
    pub data: String,
    /// The digest of its text, as [`ConfigSource::digest`] has it.
    pub digest: DigestSet,
}

/// What of a provenance is all there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Completeness {
    /// Whether every argument is.
    pub request: bool,
    /// Whether every dependency is: steps with a network may have fetched others.
    pub resolved_dependencies: bool,
}

impl Provenance {
    /// Leaves out what `mode` does not tell.
    #[must_use]
    pub fn reduced(mut self, mode: ProvenanceMode) -> Self {
        if mode == ProvenanceMode::Min {
            let parameters = &mut self.build_definition.external_parameters;
            let is_complete = reduce(&mut parameters.request);
            self.build_definition.internal_parameters.build_config = None;
            self.run_details.metadata.buildkit = None;
            self.run_details.metadata.completeness.request &= is_complete;
        }
        self
    }
}

/// Whether nothing had to be left out.
fn reduce(request: &mut BuildRequest) -> bool {
    let before = request.args.len();
    request.args.retain(|name, _| !name.starts_with(BUILD_ARG) && !name.starts_with(LABEL));
    let mut is_complete = request.args.len() == before;
    is_complete &= request.secrets.is_empty() && request.ssh.is_empty();
    request.secrets.clear();
    request.ssh.clear();
    for input in request.inputs.values_mut() {
        is_complete &= reduce(input);
    }
    is_complete
}

/// How a target was asked for, as its provenance tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    /// Its Dockerfile.
    pub config_source: ConfigSource,
    /// What was asked of it.
    pub request: BuildRequest,
    /// Its Dockerfile, then those of targets it links.
    pub sources: Vec<SourceInfo>,
    /// The working directory, from which paths are written down; never written down itself.
    pub cwd: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_small_form_has_no_values_of_the_caller() {
        let args = ["build-arg:TOKEN", "label:a", "target", "context:base"];
        let request = BuildRequest {
            args: args.into_iter().map(|a| (a.to_owned(), "x".to_owned())).collect(),
            secrets: vec![Lent { id: "key".into(), optional: false }],
            ..BuildRequest::default()
        };
        let inputs = BTreeMap::from([("base".to_owned(), request.clone())]);
        let mut provenance = Provenance::default();
        provenance.build_definition.external_parameters.request =
            BuildRequest { inputs, ..request };
        provenance.build_definition.internal_parameters.build_config = Some(BuildConfig::default());
        provenance.run_details.metadata.completeness.request = true;
        let min = provenance.reduced(ProvenanceMode::Min);
        let request = &min.build_definition.external_parameters.request;
        for one in [request, &request.inputs["base"]] {
            let names: Vec<&str> = one.args.keys().map(String::as_str).collect();
            assert_eq!(names, ["context:base", "target"]);
            assert!(one.secrets.is_empty());
        }
        assert!(min.build_definition.internal_parameters.build_config.is_none());
        assert!(!min.run_details.metadata.completeness.request);
    }
}
