//! The solver's subject: keys, cache records, and which op does what.

use std::collections::BTreeMap;

use karman_control::{Cause, SolveError, VertexStatus};
use karman_llb::{ExecOp, Op, Vertex, VertexDigest, VertexMeta};
use karman_oci::Digest;
use karman_solver::{Cancel, Outcome, Subject, VertexId};

use super::{Output, Scene, is_silent};
use crate::cache::{Chain, RunNote, content_key, definition_key, op_digest, source_key};
use crate::exec::{ExecInputs, StepEvents};
use crate::export::Compressor;
use crate::made_by::{self, Ran};

/// One vertex with its keys.
struct Node<'a> {
    digest: VertexDigest,
    vertex: &'a Vertex,
    meta: &'a VertexMeta,
    inputs: Vec<VertexId>,
    op: Digest,
    key: Digest,
    /// Whether a cached result may not be used without looking at the inputs: the vertex itself
    /// or one below it passes the cache over.
    fresh: bool,
}

/// A build as the solver sees it.
pub(super) struct Build<'a> {
    scene: &'a Scene<'a>,
    nodes: Vec<Node<'a>>,
    compressor: Option<&'a Compressor>,
}

impl<'a> Build<'a> {
    pub(super) fn new(
        scene: &'a Scene<'a>,
        needed: &[VertexDigest],
        identities: &BTreeMap<VertexDigest, Digest>,
        compressor: Option<&'a Compressor>,
    ) -> Self {
        let at: BTreeMap<VertexDigest, VertexId> =
            needed.iter().enumerate().map(|(n, d)| (*d, n)).collect();
        let mut nodes: Vec<Node<'a>> = Vec::with_capacity(needed.len());
        for digest in needed {
            let (Some(vertex), Some(meta)) = (scene.graph.vertex(digest), scene.graph.meta(digest))
            else {
                unreachable!("needed vertices are of the graph");
            };
            let inputs: Vec<VertexId> = vertex.inputs.iter().map(|i| at[i]).collect();
            let op = op_digest(vertex);
            let key = match identities.get(digest) {
                Some(identity) => source_key(vertex, identity),
                None => definition_key(&op, inputs.iter().map(|i| nodes[*i].key)),
            };
            let fresh = meta.ignore_cache || inputs.iter().any(|i| nodes[*i].fresh);
            nodes.push(Node { digest: *digest, vertex, meta, inputs, op, key, fresh });
        }
        Self { scene, nodes, compressor }
    }

    fn step_events(&self, node: &Node<'_>) -> StepEvents {
        StepEvents {
            sink: std::sync::Arc::clone(self.scene.events),
            vertex: node.digest,
            begun: self.scene.begun,
        }
    }

    /// Does the work of an op that makes layers.
    fn work(
        &self,
        node: &Node<'_>,
        inputs: &[Output],
        cancel: &Cancel,
    ) -> Result<Output, SolveError> {
        let engine = self.scene.engine;
        let events = self.step_events(node);
        match &node.vertex.op {
            Op::Source(source) => crate::sources::run(
                engine,
                node.vertex,
                source,
                self.scene.session,
                &events,
                cancel,
            ),
            Op::File(file) => crate::files::run(engine, file, inputs).map(Output::Layers),
            Op::Exec(exec) => self.exec(node, exec, inputs, &events, cancel).map(Output::Layers),
            Op::Merge(merge) => {
                let chains = merge.inputs.iter().filter_map(|i| inputs.get(*i)?.chain());
                Ok(Output::Layers(chains.flatten().cloned().collect()))
            }
            Op::Diff(diff) => {
                let chain = |i: Option<usize>| i.and_then(|i| inputs.get(i)?.chain().cloned());
                let lower = chain(diff.lower).unwrap_or_default();
                let upper = chain(diff.upper).unwrap_or_default();
                match upper.strip_prefix(lower.as_slice()) {
                    Some(rest) => Ok(Output::Layers(rest.to_vec())),
                    None => Err(SolveError::new(Cause::Engine, "a difference of unrelated trees")),
                }
            }
        }
    }

    fn exec(
        &self,
        node: &Node<'_>,
        exec: &ExecOp,
        inputs: &[Output],
        events: &StepEvents,
        cancel: &Cancel,
    ) -> Result<Chain, SolveError> {
        let engine = self.scene.engine;
        crate::exec::check_platform(&node.vertex.platform)?;
        let views: Result<Vec<Chain>, SolveError> = inputs
            .iter()
            .map(|input| match input {
                Output::Layers(chain) => Ok(chain.clone()),
                Output::Context(context) => crate::files::materialise(engine, context),
            })
            .collect();
        let views = views?;
        let root = exec.root.and_then(|i| views.get(i)).cloned().unwrap_or_default();
        let inputs = ExecInputs { root, views: &views };
        crate::exec::run(engine, exec, &inputs, self.scene.session, events, cancel)
    }

    /// The digests of what the op reads of each input.
    fn contents(&self, node: &Node<'_>, inputs: &[Output]) -> Result<Vec<Digest>, SolveError> {
        let engine = self.scene.engine;
        let hash = |(at, input): (usize, &Output)| {
            crate::files::content_of(engine, &node.vertex.op, at, &input.view(engine)?)
        };
        inputs.iter().enumerate().map(hash).collect()
    }

    /// The digests of what an earlier run of the op read, where they can still be known.
    fn old_contents(
        &self,
        node: &Node<'_>,
        note: &RunNote,
    ) -> Result<Option<Vec<Digest>>, SolveError> {
        let engine = self.scene.engine;
        let mut digests = Vec::new();
        for (at, chain) in note.inputs.iter().enumerate() {
            let known = note.contents.get(at).copied().flatten();
            let digest = match (known, chain) {
                (Some(digest), _) => digest,
                (None, Some(chain)) if engine.records().exists(chain) => {
                    let view = Output::Layers(chain.clone()).view(engine)?;
                    crate::files::content_of(engine, &node.vertex.op, at, &view)?
                }
                _ => return Ok(None),
            };
            digests.push(digest);
        }
        Ok(Some(digests))
    }

    /// Remembers a run.
    fn save(&self, node: &Node<'_>, inputs: &[Output], chain: &Chain) -> Result<(), SolveError> {
        let engine = self.scene.engine;
        let mut contents = Vec::new();
        for (at, input) in inputs.iter().enumerate() {
            contents.push(match input {
                Output::Layers(_) => None,
                // The directory may change: what was read of it is hashed now, from the stat cache.
                Output::Context(_) => {
                    let view = input.view(engine)?;
                    Some(crate::files::content_of(engine, &node.vertex.op, at, &view)?)
                }
            });
        }
        let chains = inputs.iter().map(|i| i.chain().cloned()).collect();
        let note = RunNote { inputs: chains, contents, chain: chain.clone() };
        engine.records().save(&node.op, &node.key, &note)?;
        let Some(layer) = chain.last() else { return Ok(()) };
        let input_names = node.inputs.iter().map(|i| self.nodes[*i].meta.name.as_str());
        let step = Ran {
            name: &node.meta.name,
            op: &node.vertex.op,
            inputs: input_names.zip(inputs.iter().map(Output::chain)).collect(),
            session: self.scene.session,
        };
        made_by::remember(engine.store(), layer, &step)
    }
}

/// Whether results of the op are kept in the cache. Merges cost nothing; images, layouts and
/// contexts have their own records.
fn is_cached(op: &Op) -> bool {
    use karman_llb::SourceOp;
    match op {
        Op::Exec(_) | Op::File(_) => true,
        Op::Source(source) => {
            matches!(source, SourceOp::Git(_) | SourceOp::Http(_) | SourceOp::Debootstrap(_))
        }
        Op::Merge(_) | Op::Diff(_) => false,
    }
}

impl Subject for Build<'_> {
    type Output = Output;
    type Error = SolveError;

    fn inputs(&self, vertex: VertexId) -> &[VertexId] {
        &self.nodes[vertex].inputs
    }

    fn by_definition(&self, vertex: VertexId) -> Result<Option<Output>, SolveError> {
        let node = &self.nodes[vertex];
        if node.fresh || !is_cached(&node.vertex.op) {
            return Ok(None);
        }
        let chain = self.scene.engine.records().by_definition(&node.key)?;
        Ok(chain.map(Output::Layers))
    }

    fn by_content(
        &self,
        vertex: VertexId,
        inputs: &[Output],
    ) -> Result<Option<Output>, SolveError> {
        let node = &self.nodes[vertex];
        if node.meta.ignore_cache || !matches!(node.vertex.op, Op::Exec(_) | Op::File(_)) {
            return Ok(None);
        }
        let records = self.scene.engine.records();
        let notes = records.notes(&node.op)?;
        if notes.is_empty() {
            return Ok(None);
        }
        let wanted = content_key(&node.op, self.contents(node, inputs)?);
        if let Some(chain) = records.by_content(&wanted)? {
            records.alias(&node.key, &rebase(node, inputs, &chain))?;
            return Ok(Some(Output::Layers(rebase(node, inputs, &chain))));
        }
        for (definition, mut note) in notes {
            let Some(contents) = self.old_contents(node, &note)? else { continue };
            note.contents = contents.iter().copied().map(Some).collect();
            records.amend(&node.op, &definition, &note)?;
            let key = content_key(&node.op, contents);
            records.put_content(&key, &note.chain)?;
            if key == wanted {
                let chain = rebase(node, inputs, &note.chain);
                records.alias(&node.key, &chain)?;
                return Ok(Some(Output::Layers(chain)));
            }
        }
        Ok(None)
    }

    fn run(
        &self,
        vertex: VertexId,
        inputs: &[Output],
        cancel: &Cancel,
    ) -> Result<Output, SolveError> {
        let node = &self.nodes[vertex];
        if !is_silent(&node.vertex.op) {
            self.scene.started(node.digest, &node.meta.name);
        }
        let done = self.work(node, inputs, cancel).and_then(|output| {
            if let (true, Some(chain)) = (is_cached(&node.vertex.op), output.chain()) {
                self.save(node, inputs, chain)?;
            }
            Ok(output)
        });
        if let Err(error) = &done {
            let status = if error.cause == Cause::Interrupted {
                VertexStatus::Canceled
            } else {
                VertexStatus::Failed(error.message.clone())
            };
            self.scene.ended(node.digest, status);
        }
        done
    }

    fn finished(&self, vertex: VertexId, outcome: Outcome, output: &Output) {
        let node = &self.nodes[vertex];
        if let (Some(compressor), Some(chain)) = (self.compressor, output.chain()) {
            compressor.offer(node.digest, chain);
        }
        if is_silent(&node.vertex.op) {
            return;
        }
        let status = if outcome == Outcome::Ran {
            VertexStatus::Done
        } else {
            self.scene.started(node.digest, &node.meta.name);
            VertexStatus::Cached
        };
        self.scene.ended(node.digest, status);
    }
}

/// A result found by content belongs on the layers that this build has below it: the same bytes,
/// perhaps under other snapshots.
fn rebase(node: &Node<'_>, inputs: &[Output], found: &Chain) -> Chain {
    let base = match &node.vertex.op {
        Op::Exec(exec) => exec.root,
        Op::File(file) => file.base,
        _ => None,
    };
    let mut chain = base.and_then(|i| inputs.get(i)?.chain().cloned()).unwrap_or_default();
    chain.extend(found.last().cloned());
    chain
}
