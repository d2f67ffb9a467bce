//! How the images of a build came to be, and what is attested of them.
//!
//! Bucket `provenance`: manifest → [`Provenance`] in full (JSON), of every image that a build made, so
//! that it can be rebuilt although nothing is attached to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use karman_content::Store;
use karman_control::provenance::{
    Asked, BUILD_TYPE, BuildConfig, BuildDefinition, BuildStep, Builder, BuildkitMetadata,
    Completeness, Dependency, ExternalParameters, INLINE_CACHE, InternalParameters, Lent,
    PREDICATE_TYPE, Provenance, RunDetails, RunMetadata, Source,
};
use karman_control::{
    AnnotationScope, Cause, Export, ImageResult, Layering, SolveError, TargetResult,
};
use karman_exporter::attestation::{Statement, assemble_attestation};
use karman_exporter::image::StoredImage;
use karman_llb::{HttpSource, MountKind, Network, Op, SourceOp, VertexDigest, shown_remote};
use karman_oci::{Descriptor, Digest, Platform, Reference};

use super::documents::{annotations, is_oci};
use super::layers::has_inline_cache;
use crate::cache::Chain;
use crate::error::{OrFail as _, store as store_error};
use crate::solve::Scene;
use crate::sources::{encoded, materials};

/// Manifest → how it came to be.
pub(crate) const PROVENANCE: &str = "provenance";
/// Who builds, where nobody says another name.
const BUILDER: &str = "urn:karman";
/// The type of an SPDX document.
const SPDX: &str = "https://spdx.dev/Document";

/// One image of a target on its way to one output.
pub(super) struct Made<'a> {
    pub(super) target: &'a TargetResult,
    pub(super) export: &'a Export,
    pub(super) image: &'a ImageResult,
    pub(super) chain: &'a Chain,
    pub(super) stored: &'a StoredImage,
}

impl Made<'_> {
    /// How it came to be; nothing where nobody says how it was asked for.
    pub(super) fn provenance(&self, scene: &Scene<'_>) -> Result<Option<Provenance>, SolveError> {
        let Some(asked) = &self.target.asked else { return Ok(None) };
        let needed = scene.graph.needed_by(self.image.root);
        let mut provenance = Provenance {
            build_definition: BuildDefinition {
                build_type: BUILD_TYPE.to_owned(),
                external_parameters: external(scene, asked, &needed),
                internal_parameters: InternalParameters {
                    builder_platform: Platform::host().to_string(),
                    platform: self.image.platform.to_string(),
                    output: self.output(),
                    build_config: Some(steps(scene, &needed)),
                },
                resolved_dependencies: dependencies(scene, &needed)?,
            },
            run_details: RunDetails::default(),
        };
        let is_hermetic = is_hermetic(scene, &needed);
        let is_complete = is_hermetic && !ops(scene, &needed).any(is_local);
        let version = env!("CARGO_PKG_VERSION").to_owned();
        provenance.run_details = RunDetails {
            builder: Builder {
                id: BUILDER.to_owned(),
                version: BTreeMap::from([("karman".to_owned(), version)]),
            },
            metadata: RunMetadata {
                buildkit: Some(BuildkitMetadata {
                    source: Source { infos: asked.sources.clone() },
                }),
                hermetic: is_hermetic,
                completeness: Completeness { request: true, resolved_dependencies: is_complete },
                reproducible: false,
            },
        };
        Ok(Some(provenance))
    }

    /// Attributes of the output on which the bytes of the image depend.
    fn output(&self) -> BTreeMap<String, String> {
        let Self { target, export, image, .. } = self;
        let mut attributes = export.image_attributes();
        let platform = Some(&image.platform);
        let own = annotations(export, target, AnnotationScope::Manifest, platform);
        attributes.extend(own.into_iter().map(|(key, value)| (format!("annotation.{key}"), value)));
        if let (Layering::Packages(layers), Some(asked)) = (&export.layering, &target.asked)
            && let Some(plan) = layers.plan.as_deref()
            && let Some(plan) = plan.strip_prefix(&asked.cwd).ok().and_then(Path::to_str)
        {
            attributes.insert("layer-plan".to_owned(), plan.to_owned());
        }
        if has_inline_cache(target) {
            attributes.insert(INLINE_CACHE.to_owned(), true.to_string());
        }
        if is_oci(export, target) {
            attributes.remove("oci-mediatypes");
        }
        attributes
    }

    /// The entry of the index that says what is attested; nothing where nothing is.
    pub(super) fn attestation(
        &self,
        scene: &Scene<'_>,
        names: &[Reference],
        provenance: Option<&Provenance>,
    ) -> Result<Option<Descriptor>, SolveError> {
        let (target, store) = (self.target, scene.engine.store());
        let mut statements = Vec::new();
        if target.attest.sbom {
            let name = names.first().map_or_else(|| target.name.clone(), Reference::familiar);
            let manifest = self.stored.manifest.digest;
            let config = self.stored.config.digest;
            let bill = crate::inventory::spdx(scene.engine, &name, manifest, config, self.chain)?;
            statements.push(Statement { predicate_type: SPDX, predicate: bill });
        }
        if let (Some(spec), Some(provenance)) = (&target.attest.provenance, provenance) {
            let mut provenance = provenance.clone().reduced(spec.mode);
            provenance.run_details.metadata.reproducible = spec.reproducible;
            if !spec.builder_id.is_empty() {
                provenance.run_details.builder.id.clone_from(&spec.builder_id);
            }
            let predicate =
                serde_json::to_value(&provenance).or_fail(Cause::Engine, "write the provenance")?;
            statements.push(Statement { predicate_type: PREDICATE_TYPE, predicate });
        }
        if statements.is_empty() {
            return Ok(None);
        }
        let platform = encoded(&self.image.platform.to_string());
        let url = |name: &Reference| {
            let tag = name.tag.as_deref().unwrap_or("latest");
            let familiar = name.familiar();
            let bare = familiar.strip_suffix(&format!(":{tag}")).unwrap_or(&familiar);
            format!("pkg:docker/{bare}@{}?platform={platform}", encoded(tag))
        };
        let names: Vec<String> = names.iter().map(url).collect();
        assemble_attestation(&self.stored.manifest, &names, &statements, store)
            .or_fail(Cause::Engine, "store the attestations")
            .map(Some)
    }
}

/// Remembers how an image came to be.
pub(super) fn remember(
    store: &Store,
    manifest: &Digest,
    provenance: &Provenance,
) -> Result<(), SolveError> {
    let bytes = serde_json::to_vec(provenance).or_fail(Cause::Engine, "write the provenance")?;
    store.put(PROVENANCE, manifest.as_bytes(), &bytes).map_err(store_error)
}

/// How an image of this store came to be, where it was built here.
pub(crate) fn recall(store: &Store, manifest: &Digest) -> Result<Option<Provenance>, SolveError> {
    let bytes = store.get(PROVENANCE, manifest.as_bytes()).map_err(store_error)?;
    // A record of another version has another form: it counts as none.
    Ok(bytes.and_then(|b| serde_json::from_slice(&b).ok()))
}

fn external(scene: &Scene<'_>, asked: &Asked, needed: &[VertexDigest]) -> ExternalParameters {
    let mut request = asked.request.clone();
    let (mut secrets, mut ssh) = (BTreeSet::new(), BTreeSet::new());
    for exec in ops(scene, needed).filter_map(|op| match op {
        Op::Exec(exec) => Some(exec),
        _ => None,
    }) {
        for mount in &exec.mounts {
            match &mount.kind {
                MountKind::Secret { id, optional, .. } => {
                    secrets.insert(Lent { id: id.clone(), optional: *optional });
                }
                MountKind::Ssh { id, optional, .. } => {
                    ssh.insert(Lent { id: id.clone(), optional: *optional });
                }
                _ => {}
            }
        }
        let env = exec.secret_env.iter();
        secrets.extend(env.map(|s| Lent { id: s.id.clone(), optional: s.optional }));
    }
    request.secrets = secrets.into_iter().collect();
    request.ssh = ssh.into_iter().collect();
    ExternalParameters { config_source: asked.config_source.clone(), request }
}

fn ops<'s>(scene: &'s Scene<'_>, needed: &'s [VertexDigest]) -> impl Iterator<Item = &'s Op> {
    needed.iter().filter_map(|digest| scene.graph.vertex(digest)).map(|vertex| &vertex.op)
}

fn steps(scene: &Scene<'_>, needed: &[VertexDigest]) -> BuildConfig {
    let mut config = BuildConfig::default();
    for (number, digest) in needed.iter().enumerate() {
        let Some(vertex) = scene.graph.vertex(digest) else { continue };
        let id = format!("step{number}");
        let name = |input: &VertexDigest| config.digest_mapping.get(&input.to_string()).cloned();
        let inputs = vertex.inputs.iter().filter_map(name).collect();
        config.llb_definition.push(BuildStep { id: id.clone(), op: shown(&vertex.op), inputs });
        config.digest_mapping.insert(digest.to_string(), id);
    }
    config
}

/// An op as strangers may see it: an address may have a token in it.
fn shown(op: &Op) -> Op {
    match op {
        Op::Source(SourceOp::Http(http)) => {
            let url = shown_remote(&http.url);
            Op::Source(SourceOp::Http(HttpSource { url, ..http.clone() }))
        }
        other => other.clone(),
    }
}

/// What came from outside, each thing once.
fn dependencies(scene: &Scene<'_>, needed: &[VertexDigest]) -> Result<Vec<Dependency>, SolveError> {
    let mut all = BTreeSet::new();
    for digest in needed {
        let Some(vertex) = scene.graph.vertex(digest) else { continue };
        if let Op::Source(source) = &vertex.op {
            all.extend(materials(scene.engine, source, &vertex.platform, scene.session)?);
        }
    }
    Ok(all.into_iter().collect())
}

/// Whether it is a directory of the caller, which has no name outside.
fn is_local(op: &Op) -> bool {
    matches!(op, Op::Source(SourceOp::Local(_)))
}

/// Whether no command had a network.
fn is_hermetic(scene: &Scene<'_>, needed: &[VertexDigest]) -> bool {
    ops(scene, needed).all(|op| match op {
        Op::Exec(exec) => exec.network == Network::None,
        _ => true,
    })
}
