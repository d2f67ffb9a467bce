//! The solver's subject: keys, cache records, and which op does what.

mod results;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, OnceLock};

use karman_control::{Cause, SolveError, VertexStatus};
use karman_llb::{DiffOp, ExecOp, Op, SourceOp, Vertex, VertexDigest, VertexMeta};
use karman_oci::Digest;
use karman_solver::{Cancel, Outcome, Subject, VertexId};
use karman_sys::fs::Time;

use super::{Output, Scene, is_silent, locked};
use crate::cache::{
    Chain, RunNote, content_key, definition_key, layers_key, op_digest, portable_key, source_key,
};
use crate::engine::Engine;
use crate::exec::{ExecInputs, StepEvents};
use crate::export::{Compressor, shipped};
use crate::layers::file_clock;
use crate::made_by::{self, Ran};
use crate::remote::Link;
use crate::why::Happened;

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
    /// Whether some step that is not a mere arrangement of layers has it below it.
    is_read: bool,
    /// The key that other machines compute too; `None` where it has none.
    portable: OnceLock<Option<Digest>>,
}

/// A build as the solver sees it.
pub(crate) struct Build<'a> {
    scene: &'a Scene<'a>,
    nodes: Vec<Node<'a>>,
    at: BTreeMap<VertexDigest, VertexId>,
    compressor: Option<&'a Compressor>,
    /// The results of vertices that were looked at.
    seen: Mutex<BTreeMap<VertexId, Output>>,
    /// What happened to them.
    happened: Mutex<BTreeMap<VertexId, Happened>>,
    identities: BTreeMap<VertexDigest, Digest>,
    /// The portable keys of vertices whose results are written to caches.
    sure: Mutex<BTreeMap<VertexId, Option<Digest>>>,
}

/// What a step made, and the digests of what it read of directories of the caller, where they are certain.
struct Made {
    output: Output,
    contents: Vec<Option<Digest>>,
}

/// What is known of a vertex after a solve.
pub(crate) struct Traced<'b> {
    pub(crate) digest: VertexDigest,
    pub(crate) name: &'b str,
    pub(crate) vertex: &'b Vertex,
    pub(crate) op: Digest,
    pub(crate) key: Digest,
    /// What a source rests on.
    pub(crate) identity: Option<Digest>,
    pub(crate) happened: Happened,
    /// Whether it was to run again whatever is cached.
    pub(crate) passed_over: bool,
    /// Whether results of its kind are cached.
    pub(crate) is_cached: bool,
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
            let portable = OnceLock::new();
            let (is_read, digest) = (false, *digest);
            nodes.push(Node { digest, vertex, meta, inputs, op, key, fresh, is_read, portable });
        }
        mark_read(&mut nodes);
        let (seen, happened) = (Mutex::default(), Mutex::default());
        let identities = identities.clone();
        let sure = Mutex::default();
        Self { scene, nodes, at, compressor, seen, happened, identities, sure }
    }

    pub(crate) fn engine(&self) -> &'a Engine {
        self.scene.engine
    }

    /// The numbers of vertices for the solver.
    pub(super) fn numbers(&self, vertices: &[VertexDigest]) -> Vec<VertexId> {
        vertices.iter().filter_map(|v| self.at.get(v).copied()).collect()
    }

    /// The result of a vertex that was looked at.
    pub(crate) fn output(&self, vertex: &VertexDigest) -> Option<Output> {
        locked(&self.seen).get(self.at.get(vertex)?).cloned()
    }

    /// What is known of a vertex; after the solve.
    pub(crate) fn traced(&self, vertex: &VertexDigest) -> Option<Traced<'_>> {
        let number = *self.at.get(vertex)?;
        let node = &self.nodes[number];
        Some(Traced {
            digest: node.digest,
            name: &node.meta.name,
            vertex: node.vertex,
            op: node.op,
            key: node.key,
            identity: self.identities.get(vertex).copied(),
            happened: locked(&self.happened).get(&number).copied().unwrap_or_default(),
            passed_over: node.meta.ignore_cache,
            is_cached: is_cached(&node.vertex.op),
        })
    }

    /// The digest of the layers of a vertex that was looked at.
    pub(crate) fn result_digest(&self, vertex: &VertexDigest) -> Option<Digest> {
        let output = self.output(vertex)?;
        let chain = output.chain()?;
        let names: Vec<String> = chain.iter().map(ToString::to_string).collect();
        Some(Digest::sha256_of(names.join(" ").as_bytes()))
    }

    /// The vertices whose layers make up those of the roots.
    pub(crate) fn shipped(&self, roots: &[VertexDigest]) -> BTreeSet<VertexDigest> {
        let mut found = BTreeSet::new();
        roots.iter().for_each(|root| shipped(self.scene.graph, *root, &mut found));
        found
    }

    /// The portable key of a vertex; a directory of the caller has none.
    fn portable(&self, number: VertexId) -> Result<Option<Digest>, SolveError> {
        let node = &self.nodes[number];
        if let Some(known) = node.portable.get() {
            return Ok(*known);
        }
        let key = match &node.vertex.op {
            Op::Source(SourceOp::Local(_)) => None,
            Op::Source(_) => Some(portable_key(&node.key, [])),
            op => {
                let mut parts = Vec::with_capacity(node.inputs.len());
                for (at, &input) in node.inputs.iter().enumerate() {
                    parts.push(match self.portable(input)? {
                        Some(key) => key,
                        None => self.context_content(op, at, input)?,
                    });
                }
                Some(portable_key(&node.op, parts))
            }
        };
        Ok(*node.portable.get_or_init(|| key))
    }

    /// The digest of what an op reads of a directory of the caller.
    fn context_content(&self, op: &Op, at: usize, input: VertexId) -> Result<Digest, SolveError> {
        let Op::Source(source @ SourceOp::Local(_)) = &self.nodes[input].vertex.op else {
            return Err(SolveError::new(Cause::Engine, "only directories have no portable key"));
        };
        let (engine, session) = (self.scene.engine, self.scene.session);
        let view = crate::sources::local_view(source, session)?;
        crate::files::content_of(engine, op, at, &view)
    }

    /// The inputs of a vertex, those of a cache fetched.
    fn present(&self, node: &Node<'_>, inputs: &[Output]) -> Result<(), SolveError> {
        let engine = self.scene.engine;
        for (&number, input) in node.inputs.iter().zip(inputs) {
            let Output::Lazy(lazy) = input else { continue };
            let is_news = lazy.known().is_none();
            let from = &self.nodes[number];
            let chain = lazy.chain(engine, &self.step_events(node))?;
            if is_news && is_cached(&from.vertex.op) && !from.fresh {
                engine.records().alias(&from.key, chain)?;
            }
        }
        Ok(())
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
    ) -> Result<Made, SolveError> {
        let engine = self.scene.engine;
        let events = self.step_events(node);
        let plain = |output| Made { output, contents: Vec::new() };
        match &node.vertex.op {
            Op::Source(SourceOp::Image(image)) if !node.is_read => {
                crate::sources::unread(engine, image).map(plain)
            }
            Op::Source(source) => crate::sources::run(
                engine,
                node.vertex,
                source,
                self.scene.session,
                &events,
                cancel,
            )
            .map(plain),
            Op::File(file) => {
                let since = file_clock();
                let chain = crate::files::run(engine, file, inputs)?;
                let contents = self.contents_since(node, inputs, since)?;
                Ok(Made { output: Output::Layers(chain), contents })
            }
            Op::Exec(exec) => self.exec(node, exec, inputs, &events, cancel),
            Op::Merge(merge) => {
                let links = merge.inputs.iter().filter_map(|i| Some(inputs.get(*i)?.links()));
                Ok(plain(Output::of_links(links.flatten().collect())))
            }
            Op::Diff(diff) => difference(diff, inputs).map(plain),
        }
    }

    fn exec(
        &self,
        node: &Node<'_>,
        exec: &ExecOp,
        inputs: &[Output],
        events: &StepEvents,
        cancel: &Cancel,
    ) -> Result<Made, SolveError> {
        let engine = self.scene.engine;
        crate::exec::check_platform(&node.vertex.platform)?;
        let since = file_clock();
        let views: Result<Vec<Chain>, SolveError> = inputs
            .iter()
            .map(|input| match input {
                Output::Context(context) => crate::files::materialise(engine, context),
                layers => Ok(layers.layers(engine, events)?.cloned().unwrap_or_default()),
            })
            .collect();
        let views = views?;
        // The command sees a copy: what happens to the directory while it runs does not matter.
        let contents = self.contents_since(node, inputs, since)?;
        let root = exec.root.and_then(|i| views.get(i)).cloned().unwrap_or_default();
        let inputs = ExecInputs { root, platform: &node.vertex.platform, views: &views };
        let chain = crate::exec::run(engine, exec, &inputs, self.scene.session, events, cancel)?;
        Ok(Made { output: Output::Layers(chain), contents })
    }

    /// The digests of what the op has read of directories of the caller from `since` on; what it reads of layers can be
    /// hashed later.
    fn contents_since(
        &self,
        node: &Node<'_>,
        inputs: &[Output],
        since: Time,
    ) -> Result<Vec<Option<Digest>>, SolveError> {
        let engine = self.scene.engine;
        let hash = |(at, input): (usize, &Output)| match input {
            Output::Layers(_) | Output::Lazy(_) => Ok(None),
            Output::Context(_) => {
                let view = input.view(engine)?;
                crate::files::content_since(engine, &node.vertex.op, at, &view, since)
            }
        };
        inputs.iter().enumerate().map(hash).collect()
    }

    /// The digests of what the op reads of each input; of what a command stands on, which layers it is.
    fn contents(&self, node: &Node<'_>, inputs: &[Output]) -> Result<Vec<Digest>, SolveError> {
        let engine = self.scene.engine;
        let hash = |(at, input): (usize, &Output)| match input.chain() {
            Some(chain) if stands_on(node, at) => Ok(layers_key(chain)),
            _ => crate::files::content_of(engine, &node.vertex.op, at, &input.view(engine)?),
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
                (_, Some(chain)) if stands_on(node, at) => layers_key(chain),
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
    fn save(
        &self,
        node: &Node<'_>,
        inputs: &[Output],
        contents: Vec<Option<Digest>>,
        chain: &Chain,
    ) -> Result<(), SolveError> {
        let engine = self.scene.engine;
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

/// Marks what commands and copies read, through merges and differences too.
fn mark_read(nodes: &mut [Node<'_>]) {
    for at in (0..nodes.len()).rev() {
        let reads = matches!(nodes[at].vertex.op, Op::Exec(_) | Op::File(_));
        if reads || nodes[at].is_read {
            for input in nodes[at].inputs.clone() {
                nodes[input].is_read = true;
            }
        }
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
        if chain.is_some() || self.scene.imports.is_empty() {
            return Ok(chain.map(Output::Layers));
        }
        let Some(key) = self.portable(vertex)? else { return Ok(None) };
        Ok(self.scene.imports.find(&key).map(Output::of_links))
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
        let imports = &self.scene.imports;
        let is_remote = !imports.is_empty() && imports.knows_content(&node.op);
        if notes.is_empty() && !is_remote {
            return Ok(None);
        }
        self.present(node, inputs)?;
        let wanted = content_key(&node.op, self.contents(node, inputs)?);
        if let Some(chain) = records.by_content(&wanted)? {
            records.alias(&node.key, &rebase(node, inputs, &chain))?;
            return Ok(Some(Output::Layers(rebase(node, inputs, &chain))));
        }
        if let Some(found) = imports.find(&wanted).filter(|_| is_remote) {
            return Ok(Some(Output::of_links(rebase_links(node, inputs, &found))));
        }
        for (definition, mut note) in notes {
            let Some(contents) = self.old_contents(node, &note)? else { continue };
            let hashed = contents.iter().enumerate();
            note.contents = hashed.map(|(at, d)| (!stands_on(node, at)).then_some(*d)).collect();
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
        // Merges and differences only rearrange layers, wherever these are.
        let ready = match &node.vertex.op {
            Op::Exec(_) | Op::File(_) => self.present(node, inputs),
            _ => Ok(()),
        };
        let done = ready.and_then(|()| self.work(node, inputs, cancel)).and_then(|made| {
            let Made { output, contents } = made;
            if let (true, Some(chain)) = (is_cached(&node.vertex.op), output.chain()) {
                self.save(node, inputs, contents, chain)?;
            }
            Ok(output)
        });
        if let Err(error) = &done {
            let status = if error.cause == Cause::Interrupted {
                VertexStatus::Canceled
            } else {
                locked(&self.happened).insert(vertex, Happened::Failed);
                VertexStatus::Failed(error.message.clone())
            };
            self.scene.ended(node.digest, status);
        }
        done
    }

    fn finished(&self, vertex: VertexId, outcome: Outcome, output: &Output) {
        let node = &self.nodes[vertex];
        locked(&self.seen).insert(vertex, output.clone());
        let happened = if outcome == Outcome::Ran { Happened::Ran } else { Happened::Cached };
        locked(&self.happened).insert(vertex, happened);
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

/// The layers that the upper tree has above the lower one.
fn difference(diff: &DiffOp, inputs: &[Output]) -> Result<Output, SolveError> {
    let links = |i: Option<usize>| i.and_then(|i| Some(inputs.get(i)?.links())).unwrap_or_default();
    let (lower, mut upper) = (links(diff.lower), links(diff.upper));
    let is_prefix = lower.len() <= upper.len()
        && lower.iter().zip(&upper).all(|(below, above)| below.is(above));
    match is_prefix {
        true => Ok(Output::of_links(upper.split_off(lower.len()))),
        false => Err(SolveError::new(Cause::Engine, "a difference of unrelated trees")),
    }
}

/// A result found by content belongs on the layers that this build has below it: the same bytes,
/// perhaps under other snapshots.
fn rebase(node: &Node<'_>, inputs: &[Output], found: &Chain) -> Chain {
    let mut chain = base_of(node, inputs).and_then(Output::chain).cloned().unwrap_or_default();
    chain.extend(found.last().cloned());
    chain
}

/// The same for layers of a cache.
fn rebase_links(node: &Node<'_>, inputs: &[Output], found: &[Link]) -> Vec<Link> {
    let mut links = base_of(node, inputs).map(Output::links).unwrap_or_default();
    links.extend(found.last().cloned());
    links
}

/// Whether the input is what a command stands on. Its content is no reason to keep the result: a command does more than
/// its files say, so one that follows a step that ran again runs again too, as in BuildKit (`NoContentBasedHash` of
/// `ExecOp`). Copies have no such side, and are found by content on anything.
fn stands_on(node: &Node<'_>, at: usize) -> bool {
    matches!(&node.vertex.op, Op::Exec(exec) if exec.root == Some(at))
}

/// What the layer of an op lies on.
fn base_of<'i>(node: &Node<'_>, inputs: &'i [Output]) -> Option<&'i Output> {
    let base = match &node.vertex.op {
        Op::Exec(exec) => exec.root,
        Op::File(file) => file.base,
        _ => None,
    };
    base.and_then(|i| inputs.get(i))
}
