//! `RECORD`: CSV of path, digest and size.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use karman_oci::Digest;

/// The paths of a record with their digests. Digests other than sha256 are left out.
pub(super) fn parse(text: &[u8]) -> Vec<(String, Option<Digest>)> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().filter(|l| !l.is_empty());
    lines.map(fields).map(|(path, rest)| (path, digest(rest))).collect()
}

/// The first field and what follows its comma.
fn fields(line: &str) -> (String, &str) {
    let Some(quoted) = line.strip_prefix('"') else {
        let (path, rest) = line.split_once(',').unwrap_or((line, ""));
        return (path.to_owned(), rest);
    };
    let mut path = String::new();
    let mut rest = quoted;
    while let Some((part, after)) = rest.split_once('"') {
        path.push_str(part);
        rest = after;
        match rest.strip_prefix('"') {
            // A doubled quote stands for one.
            Some(after) => {
                path.push('"');
                rest = after;
            }
            None => break,
        }
    }
    (path, rest.strip_prefix(',').unwrap_or(rest))
}

fn digest(rest: &str) -> Option<Digest> {
    let encoded = rest.split(',').next()?.strip_prefix("sha256=")?;
    let bytes = URL_SAFE_NO_PAD.decode(encoded.trim_end_matches('=')).ok()?;
    Some(Digest::from_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_commas_and_quotes_are_read() {
        let empty = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
        let text = format!("a/b.py,{empty},0\n\"c,\"\"d\"\".py\",{empty},0\nRECORD,,\n");
        let found = parse(text.as_bytes());
        let digest = Some(Digest::sha256_of(b""));
        let wanted = [("a/b.py", digest), ("c,\"d\".py", digest), ("RECORD", None)];
        let wanted: Vec<_> = wanted.map(|(p, d)| (p.to_owned(), d)).into();
        assert_eq!(found, wanted);
        assert_eq!(parse(b"\"open"), [(String::new(), None)]);
    }
}
