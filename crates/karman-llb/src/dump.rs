//! A text dump for people and tests: vertices numbered in order.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::Graph;

/// One line for each vertex: number, inputs, name, and the op as JSON.
pub fn dump(graph: &Graph) -> String {
    let numbers: BTreeMap<_, _> = graph.iter().enumerate().map(|(n, (d, _))| (*d, n)).collect();
    let mut out = String::new();
    for (digest, vertex) in graph.iter() {
        let inputs: Vec<String> =
            vertex.inputs.iter().map(|i| format!("#{}", numbers[i])).collect();
        let name = graph.meta(digest).map_or("", |m| m.name.as_str());
        let op = serde_json::to_string(&vertex.op)
            .unwrap_or_else(|e| unreachable!("ops are plain data and always encode: {e}"));
        let _ = writeln!(out, "#{} <- [{}] {name}\n    {op}", numbers[digest], inputs.join(" "));
    }
    out
}

#[cfg(test)]
mod tests {
    use karman_oci::Platform;

    use super::*;
    use crate::{FileAction, FileOp, LocalSource, Op, Remove, SourceOp, Vertex, VertexMeta};

    fn local(name: &str) -> Vertex {
        let op = Op::Source(SourceOp::Local(LocalSource { name: name.into(), exclude: vec![] }));
        Vertex { op, inputs: vec![], platform: Platform::new("linux", "amd64") }
    }

    #[test]
    fn names_are_not_part_of_the_digest_and_equal_vertices_are_one() {
        let mut graph = Graph::new();
        let named = |name: &str| VertexMeta { name: name.into(), ..VertexMeta::default() };
        let a = graph.add(local("context"), named("one"));
        let b = graph.add(local("context"), named("two"));
        assert_eq!(a, b);
        assert_eq!(graph.len(), 1);
        let remove = Remove { path: "/x".into(), allow_missing: true, allow_wildcard: false };
        let op = Op::File(FileOp { base: Some(0), actions: vec![FileAction::Remove(remove)] });
        let vertex = Vertex { op, inputs: vec![a], platform: Platform::new("linux", "amd64") };
        let c = graph.add(vertex, named("rm"));
        assert_eq!(graph.needed_by([c]), [a, c]);
        assert!(dump(&graph).contains("#1 <- [#0] rm"));
    }
}
