//! Encodings, digests and identifiers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use karman_diag::FileId;
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

use super::{Args, Fault, Out, fault};
use crate::value::Value;

pub(super) fn base64encode(a: Args) -> Out {
    Ok(Value::text(STANDARD.encode(a.text(0)?)))
}

pub(super) fn base64decode(a: Args) -> Out {
    let bytes = STANDARD.decode(a.text(0)?);
    let bytes = bytes.map_err(|_| Fault("the string is not base64".to_owned()))?;
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Value::String(text)),
        Err(_) => fault("the decoded bytes are not UTF-8"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(super) fn md5(a: Args) -> Out {
    Ok(Value::text(hex(&Md5::digest(a.text(0)?))))
}
pub(super) fn sha1(a: Args) -> Out {
    Ok(Value::text(hex(&Sha1::digest(a.text(0)?))))
}
pub(super) fn sha256(a: Args) -> Out {
    Ok(Value::text(hex(&Sha256::digest(a.text(0)?))))
}
pub(super) fn sha512(a: Args) -> Out {
    Ok(Value::text(hex(&Sha512::digest(a.text(0)?))))
}

pub(super) fn jsonencode(mut a: Args) -> Out {
    Ok(Value::text(a.take(0).to_json()))
}

pub(super) fn jsondecode(a: Args) -> Out {
    let json = crate::syntax::json::parse(FileId::default(), &a.text(0)?);
    json.map(crate::syntax::json::Json::into_value).map_err(|d| Fault(d.message))
}

/// Rows as objects keyed by the header's names.
pub(super) fn csvdecode(a: Args) -> Out {
    let mut rows = crate::csv::rows(&a.text(0)?).map_err(Fault)?.into_iter();
    let header = rows.next().unwrap_or_default();
    let all = rows.map(|row| {
        if row.len() != header.len() {
            return fault(format!("a row has {} fields, the header {}", row.len(), header.len()));
        }
        let entries = header.iter().cloned().zip(row.into_iter().map(Value::String));
        Ok(Value::Object(entries.collect()))
    });
    Ok(Value::List(all.collect::<Result<_, _>>()?))
}

/// Go's `url.QueryEscape`.
pub(super) fn urlencode(a: Args) -> Out {
    let mut out = String::new();
    for b in a.text(0)?.bytes() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(b));
            }
            b' ' => out.push('+'),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    Ok(Value::text(out))
}

/// Sixteen bytes as a UUID of `version`.
pub(crate) fn uuid_text(bytes: &[u8], version: u8) -> String {
    let mut b = [0u8; 16];
    b.copy_from_slice(&bytes[..16]);
    b[6] = (b[6] & 0x0f) | (version << 4);
    b[8] = (b[8] & 0x3f) | 0x80;
    let h = hex(&b);
    format!("{}-{}-{}-{}-{}", &h[..8], &h[8..12], &h[12..16], &h[16..20], &h[20..])
}

/// `uuidv5("dns" | "url" | "oid" | "x500" | UUID, name)`, RFC 4122.
pub(super) fn uuidv5(a: Args) -> Out {
    let (space, name) = (a.text(0)?, a.text(1)?);
    let space = match space.as_str() {
        "dns" => "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "url" => "6ba7b811-9dad-11d1-80b4-00c04fd430c8",
        "oid" => "6ba7b812-9dad-11d1-80b4-00c04fd430c8",
        "x500" => "6ba7b814-9dad-11d1-80b4-00c04fd430c8",
        other => other,
    };
    let digits: Vec<u8> = space.bytes().filter(|b| *b != b'-').collect();
    let nibble = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let bytes: Option<Vec<u8>> = digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
            _ => None,
        })
        .collect();
    let Some(bytes) = bytes.filter(|b| b.len() == 16) else {
        return fault(format!("`{space}` is neither a UUID nor dns, url, oid or x500"));
    };
    let digest = Sha1::new().chain_update(&bytes).chain_update(name.as_bytes()).finalize();
    Ok(Value::text(uuid_text(&digest, 5)))
}
