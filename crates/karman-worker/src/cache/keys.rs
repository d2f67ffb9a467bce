//! Keys from ops and digests.

use karman_llb::{LocalSource, OciLayoutSource, Op, SourceOp, Vertex};
use karman_oci::{Digest, Hasher};
use karman_snapshot::SnapshotId;

/// Changes whenever the same op would leave other files behind than before.
const KEY_DOMAIN: &[u8] = b"karman-cache-1";

/// The digest of what an op does, without its inputs and without the session's names.
pub(crate) fn op_digest(vertex: &Vertex) -> Digest {
    let mut hasher = Hasher::new();
    hasher.field(KEY_DOMAIN);
    hasher.field(&nameless(vertex).op_bytes());
    hasher.finish()
}

/// The definition key of a source with this identity.
pub(crate) fn source_key(vertex: &Vertex, identity: &Digest) -> Digest {
    let mut hasher = Hasher::new();
    hasher.field(b"source");
    hasher.field(op_digest(vertex).as_bytes());
    hasher.field(identity.as_bytes());
    hasher.finish()
}

/// The definition key of any other vertex.
pub(crate) fn definition_key(op: &Digest, inputs: impl IntoIterator<Item = Digest>) -> Digest {
    keyed(b"definition", op, inputs)
}

/// The content key, given the digest of what is read of each input.
pub(crate) fn content_key(op: &Digest, contents: impl IntoIterator<Item = Digest>) -> Digest {
    keyed(b"content", op, contents)
}

/// The key that other machines compute too, given for each input its portable key, or the digest of
/// what is read of it where it is a directory of the caller.
pub(crate) fn portable_key(op: &Digest, inputs: impl IntoIterator<Item = Digest>) -> Digest {
    keyed(b"portable", op, inputs)
}

/// The layers themselves, whatever is in them: ids of snapshots are never used again, so what was made once more is
/// something else.
pub(crate) fn layers_key(chain: &[SnapshotId]) -> Digest {
    let mut hasher = Hasher::new();
    hasher.field(b"layers");
    for layer in chain {
        hasher.field(layer.as_str().as_bytes());
    }
    hasher.finish()
}

fn keyed(domain: &[u8], op: &Digest, parts: impl IntoIterator<Item = Digest>) -> Digest {
    let mut hasher = Hasher::new();
    hasher.field(domain);
    hasher.field(op.as_bytes());
    for part in parts {
        hasher.field(part.as_bytes());
    }
    hasher.finish()
}

/// The vertex without what only this session or this moment calls it: names of directories, and
/// references that a manifest digest already pins.
fn nameless(vertex: &Vertex) -> Vertex {
    let mut vertex = vertex.clone();
    match &mut vertex.op {
        Op::Source(SourceOp::Local(local)) => {
            *local = LocalSource { name: String::new(), exclude: Vec::new() };
        }
        Op::Source(SourceOp::OciLayout(layout)) => {
            *layout = OciLayoutSource { name: String::new(), manifest: None };
        }
        Op::Source(SourceOp::Image(image)) => {
            image.reference.clear();
            image.manifest = None;
        }
        _ => {}
    }
    vertex
}

#[cfg(test)]
mod tests {
    use karman_llb::ImageSource;
    use karman_oci::Platform;

    use super::*;

    fn local(name: &str) -> Vertex {
        let op = Op::Source(SourceOp::Local(LocalSource { name: name.into(), exclude: vec![] }));
        Vertex { op, inputs: vec![], platform: Platform::new("linux", "amd64") }
    }

    #[test]
    fn the_name_of_a_context_is_not_part_of_a_key() {
        let id = Digest::sha256_of(b"id");
        assert_eq!(source_key(&local("a"), &id), source_key(&local("b"), &id));
        assert_ne!(source_key(&local("a"), &id), source_key(&local("a"), &Digest::sha256_of(b"")));
    }

    #[test]
    fn definition_and_content_keys_never_meet() {
        let d = Digest::sha256_of(b"x");
        assert_ne!(definition_key(&d, [d]), content_key(&d, [d]));
        let image = ImageSource { reference: "a".into(), manifest: Some(d) };
        let op = Op::Source(SourceOp::Image(image));
        let vertex = Vertex { op, inputs: vec![], platform: Platform::new("linux", "amd64") };
        assert_ne!(op_digest(&vertex), op_digest(&local("a")));
    }
}
