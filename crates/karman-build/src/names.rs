//! Progress names of builds with several targets: `[nova build 2/5] RUN make`.

use karman_llb::{Graph, VertexDigest};

/// Puts the target's name into the names of all vertices after the first `known` ones. A vertex
/// shared with an earlier target keeps that one's.
pub(crate) fn prefix(graph: &mut Graph, known: usize, target: &str) {
    let added: Vec<VertexDigest> = graph.iter().skip(known).map(|(digest, _)| *digest).collect();
    for digest in added {
        if let Some(meta) = graph.meta_mut(&digest) {
            meta.name = prefixed(&meta.name, target);
        }
    }
}

fn prefixed(name: &str, target: &str) -> String {
    match name.strip_prefix('[') {
        Some(rest) => format!("[{target} {rest}"),
        None => format!("[{target}] {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::prefixed;

    #[test]
    fn the_target_comes_first_in_the_brackets() {
        assert_eq!(prefixed("[build 2/5] RUN make", "nova"), "[nova build 2/5] RUN make");
        assert_eq!(prefixed("[internal] load", "nova"), "[nova internal] load");
        assert_eq!(prefixed("exporting", "nova"), "[nova] exporting");
    }
}
