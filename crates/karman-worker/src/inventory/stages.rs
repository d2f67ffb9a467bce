//! The stages that files of an image were copied from, as far as their layers are still in the
//! store.

use karman_control::SolveError;
use karman_inventory::{Kind, Layer, Node, Sources, Stage, Step, StepKind, Survey, Upstream};

use super::survey;
use crate::cache::Chain;
use crate::engine::Engine;
use crate::made_by::{MadeBy, recall};

/// Stages looked at for one image, and copies followed for one path: real builds have about three.
const MAX_STAGES: usize = 32;

/// What is known of an image's layers and of the stages behind them.
pub(super) struct Stages {
    /// Copies of each layer of the image, lowest layer first.
    copies: Vec<Vec<Copy>>,
    known: Vec<Known>,
}

struct Known {
    name: String,
    chain: Chain,
    survey: Survey,
    copies: Vec<Vec<Copy>>,
}

/// One copy: from where in which stage to where.
struct Copy {
    stage: usize,
    src: String,
    dest: String,
}

/// How the layers of a chain came to be; `None` for those nobody wrote down.
pub(super) fn steps(engine: &Engine, chain: &Chain) -> Result<Vec<Option<MadeBy>>, SolveError> {
    chain.iter().map(|id| recall(engine.store(), id)).collect()
}

/// The layers of a stage: one that nobody wrote down is of its base.
fn layers(made: &[Option<MadeBy>]) -> Vec<Layer> {
    let base = || Step { kind: StepKind::Base, text: "base image".to_owned(), ..Step::default() };
    let step = |m: &Option<MadeBy>| m.as_ref().map_or_else(base, |m| m.step.clone());
    made.iter().map(|m| Layer { diff_id: None, step: step(m) }).collect()
}

impl Stages {
    /// Surveys the stages behind the copies of an image's layers.
    pub(super) fn find(engine: &Engine, made: &[Option<MadeBy>]) -> Result<Self, SolveError> {
        let mut stages = Self { copies: Vec::new(), known: Vec::new() };
        stages.copies = stages.copies_of(engine, made)?;
        // Each stage may name more; those come behind it and are looked at in turn.
        let mut at = 0;
        while at < stages.known.len() {
            let made = steps(engine, &stages.known[at].chain)?;
            stages.known[at].copies = stages.copies_of(engine, &made)?;
            at += 1;
        }
        Ok(stages)
    }

    /// How many stages are known.
    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    fn copies_of(
        &mut self,
        engine: &Engine,
        made: &[Option<MadeBy>],
    ) -> Result<Vec<Vec<Copy>>, SolveError> {
        let mut all = Vec::with_capacity(made.len());
        for made in made {
            let mut copies = Vec::new();
            for copied in made.iter().flat_map(|m| &m.copies) {
                let Some(chain) = &copied.chain else { continue };
                let name = made.as_ref().and_then(|m| m.step.from.clone()).unwrap_or_default();
                if let Some(stage) = self.stage(engine, name, chain)? {
                    let (src, dest) = (copied.src.clone(), copied.dest.clone());
                    copies.push(Copy { stage, src, dest });
                }
            }
            all.push(copies);
        }
        Ok(all)
    }

    fn stage(
        &mut self,
        engine: &Engine,
        name: String,
        chain: &Chain,
    ) -> Result<Option<usize>, SolveError> {
        if let Some(at) = self.known.iter().position(|k| &k.chain == chain) {
            return Ok(Some(at));
        }
        if self.known.len() >= MAX_STAGES || !engine.records().exists(chain) {
            return Ok(None);
        }
        let (_, survey) = survey(engine, chain, layers(&steps(engine, chain)?))?;
        self.known.push(Known { name, chain: chain.clone(), survey, copies: Vec::new() });
        Ok(Some(self.known.len() - 1))
    }
}

impl Sources for Stages {
    fn trace(&self, node: &Node) -> Vec<Upstream> {
        let mut found = Vec::new();
        let (mut copies, mut at) = (self.copies.get(node.layer), node);
        while let Some((copy, source)) = copies.and_then(|c| self.source(c, at)) {
            let survey = &self.known[copy.stage].survey;
            found.push(Upstream {
                stage: copy.stage,
                layer: source.layer,
                path: (source.path != node.path).then(|| source.path.clone()),
                origin: survey.origin(source),
            });
            if found.len() >= MAX_STAGES {
                break;
            }
            (copies, at) = (self.known[copy.stage].copies.get(source.layer), source);
        }
        found
    }

    fn stages(&self) -> Vec<Stage> {
        self.known.iter().map(|k| k.survey.stage(&k.name)).collect()
    }
}

impl Stages {
    /// The last copy that made a node, and what it was made of.
    fn source<'a>(&'a self, copies: &'a [Copy], node: &Node) -> Option<(&'a Copy, &'a Node)> {
        copies.iter().rev().find_map(|copy| {
            let survey = &self.known[copy.stage].survey;
            let same = |source: &&Node| {
                source.kind == node.kind && (node.kind != Kind::File || source.size == node.size)
            };
            let found = candidates(copy, &node.path).into_iter();
            let found = found.map(|path| survey.follow(&path));
            let node = found.filter_map(|path| survey.node(&path)).find(same)?;
            Some((copy, node))
        })
    }
}

/// Where a copied path may have come from: the rules of `COPY` depend on what the source and the
/// destination were, so all are tried.
fn candidates(copy: &Copy, path: &str) -> Vec<String> {
    let (src, dest) = (copy.src.trim_end_matches('/'), copy.dest.trim_end_matches('/'));
    if path == dest {
        return vec![copy.src.clone()];
    }
    let Some(rest) = path.strip_prefix(dest).and_then(|r| r.strip_prefix('/')) else {
        return Vec::new();
    };
    let parent = src.rsplit_once('/').map_or("", |(parent, _)| parent);
    vec![format!("{src}/{rest}"), format!("{parent}/{rest}"), format!("/{rest}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copied_paths_lead_back() {
        let copy = |src: &str, dest: &str| Copy { stage: 0, src: src.into(), dest: dest.into() };
        let first = |src, dest, path| candidates(&copy(src, dest), path).into_iter().next();
        assert_eq!(first("/a", "/b", "/b").as_deref(), Some("/a"));
        assert_eq!(first("/a/", "/b/", "/b/c/d").as_deref(), Some("/a/c/d"));
        assert_eq!(first("/", "/", "/c").as_deref(), Some("/c"));
        assert_eq!(first("/a", "/b", "/bc"), None);
        assert!(candidates(&copy("/a/f*", "/b/"), "/b/f1").contains(&"/a/f1".to_owned()));
    }
}
