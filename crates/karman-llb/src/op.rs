//! What a vertex does.

use serde::{Deserialize, Serialize};

use crate::{ExecOp, FileOp, SourceOp};

/// One operation of the build graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// Files from outside the graph. No inputs.
    Source(SourceOp),
    /// A command in a root filesystem.
    Exec(ExecOp),
    /// Changes to a filesystem without running anything in it.
    File(FileOp),
    /// All inputs laid over each other.
    Merge(MergeOp),
    /// What the second input changed of the first.
    Diff(DiffOp),
}

/// Lays inputs over each other, the first at the bottom; layers are kept apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MergeOp {
    /// Input indexes, lowest first.
    pub inputs: Vec<usize>,
}

/// The changes that lead from `lower` to `upper`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffOp {
    /// Input index of the state before; `None` is scratch.
    pub lower: Option<usize>,
    /// Input index of the state after; `None` is scratch.
    pub upper: Option<usize>,
}
