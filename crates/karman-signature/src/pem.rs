//! PEM armour (RFC 7468), as far as keys need it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Characters of a line.
const WIDTH: usize = 64;
const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// The label and the bytes of the first block of a text.
pub(crate) fn read(text: &str) -> Option<(String, Vec<u8>)> {
    let mut lines = text.lines().map(str::trim).skip_while(|line| !line.starts_with(BEGIN));
    let label = lines.next()?.strip_prefix(BEGIN)?.strip_suffix(DASHES)?.to_owned();
    let body: String = lines.take_while(|line| !line.starts_with(END)).collect();
    Some((label, STANDARD.decode(body).ok()?))
}

/// Bytes as a block.
pub(crate) fn write(label: &str, bytes: &[u8]) -> String {
    let body = STANDARD.encode(bytes);
    let mut out = format!("{BEGIN}{label}{DASHES}\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(WIDTH.min(rest.len()));
        out.push_str(line);
        out.push('\n');
        rest = more;
    }
    out.push_str(&format!("{END}{label}{DASHES}\n"));
    out
}
