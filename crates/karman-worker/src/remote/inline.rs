//! The cache inside an image: keys of the steps whose layers the image has.

use base64::Engine as _;
use karman_control::SolveError;
use karman_llb::VertexDigest;

use super::export::Collector;
use super::lazy::Link;
use crate::export::{Blob, LayerRecipe};
use crate::solve::Build;

/// The text for the config of an image, whose layers became these blobs; `None` where layers of the
/// image are not those of the steps.
pub(crate) fn inline_config(
    build: &Build<'_>,
    root: VertexDigest,
    links: &[Link],
    blobs: &[Blob],
    recipe: &LayerRecipe,
) -> Result<Option<String>, SolveError> {
    if links.len() != blobs.len() {
        return Ok(None);
    }
    let mut collector = Collector::new(build, recipe);
    let find = |link: &Link| {
        let at = links.iter().position(|known| known.is(link));
        Ok(at.map(|at| blobs[at].clone()))
    };
    collector.collect(&build.shipped(&[root]), &find)?;
    let json = serde_json::to_vec(&collector.config())
        .unwrap_or_else(|e| unreachable!("a cache config is plain data: {e}"));
    Ok(Some(base64::engine::general_purpose::STANDARD.encode(json)))
}
