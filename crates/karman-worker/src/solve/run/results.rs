//! What a build knows of its steps when it is over, for caches of other places.

use std::collections::BTreeSet;

use karman_control::SolveError;
use karman_llb::{Op, SourceOp, VertexDigest};
use karman_oci::Digest;
use karman_solver::VertexId;

use super::{Build, Node, is_cached};
use crate::cache::{content_key, portable_key};
use crate::remote::{Link, StepResult};
use crate::solve::{Scene, locked};

impl Build<'_> {
    /// The results of the steps among `vertices`, as far as they are known here or in a cache that is
    /// read, with their portable keys. Steps that rest on files that were changed while they were read are left
    /// out: which content gave their results is not known.
    pub(crate) fn results(
        &self,
        vertices: &BTreeSet<VertexDigest>,
    ) -> Result<Vec<StepResult>, SolveError> {
        let mut results = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            if !vertices.contains(&node.digest) || !is_cached(&node.vertex.op) {
                continue;
            }
            let Some(key) = self.sure(number)? else { continue };
            let Some(links) = self.known(number, &key)? else { continue };
            let inputs = node.vertex.inputs.clone();
            let content = self.known_content(node)?.map(|content| (node.op, content));
            results.push(StepResult { vertex: node.digest, inputs, key, content, links });
        }
        Ok(results)
    }

    /// The portable key of a vertex by what it has read; `None` for a directory of the caller, and where what was read
    /// is not certain.
    fn sure(&self, number: VertexId) -> Result<Option<Digest>, SolveError> {
        if let Some(known) = locked(&self.sure).get(&number) {
            return Ok(*known);
        }
        let node = &self.nodes[number];
        let key = match &node.vertex.op {
            Op::Source(SourceOp::Local(_)) => None,
            Op::Source(_) => Some(portable_key(&node.key, [])),
            _ => self.parts(node)?.map(|parts| portable_key(&node.op, parts)),
        };
        locked(&self.sure).insert(number, key);
        Ok(key)
    }

    fn parts(&self, node: &Node<'_>) -> Result<Option<Vec<Digest>>, SolveError> {
        let mut parts = Vec::with_capacity(node.inputs.len());
        for (at, &input) in node.inputs.iter().enumerate() {
            let part = match &self.nodes[input].vertex.op {
                Op::Source(source @ SourceOp::Local(_)) => self.was_read(node, at, source)?,
                _ => self.sure(input)?,
            };
            let Some(part) = part else { return Ok(None) };
            parts.push(part);
        }
        Ok(Some(parts))
    }

    /// The digest of what a step has read of a directory of the caller: what its run noted, or what is there if it was
    /// not changed since the build began.
    fn was_read(
        &self,
        node: &Node<'_>,
        at: usize,
        source: &SourceOp,
    ) -> Result<Option<Digest>, SolveError> {
        let Scene { engine, session, clock, .. } = self.scene;
        let note = engine.records().note(&node.op, &node.key)?;
        if let Some(noted) = note.and_then(|note| note.contents.get(at).copied().flatten()) {
            return Ok(Some(noted));
        }
        let view = crate::sources::local_view(source, session)?;
        let read = crate::files::content_since(engine, &node.vertex.op, at, &view, *clock)?;
        if read.is_none() {
            self.step_events(node).warn(
                "files that this step reads were changed during the build: \
                 what rests on it is not written to the cache"
                    .to_owned(),
            );
        }
        Ok(read)
    }

    /// The layers of a step, if nothing has to be done for them.
    fn known(&self, number: VertexId, key: &Digest) -> Result<Option<Vec<Link>>, SolveError> {
        if let Some(output) = locked(&self.seen).get(&number) {
            return Ok(Some(output.links()));
        }
        let local = self.scene.engine.records().by_definition(&self.nodes[number].key)?;
        if let Some(chain) = local {
            return Ok(Some(chain.into_iter().map(Link::Here).collect()));
        }
        Ok(if self.scene.imports.is_empty() { None } else { self.scene.imports.find(key) })
    }

    /// The content key of a step, where everything it read was hashed.
    fn known_content(&self, node: &Node<'_>) -> Result<Option<Digest>, SolveError> {
        let note = self.scene.engine.records().note(&node.op, &node.key)?;
        let contents: Option<Vec<Digest>> = note.and_then(|n| n.contents.into_iter().collect());
        Ok(contents.map(|contents| content_key(&node.op, contents)))
    }
}
