//! Signatures of images as cosign makes and finds them, with keys of one's own and without a network.
//!
//! | module | what it has |
//! |---|---|
//! | `key` | ECDSA keys on P-256: generated, read, kept encrypted |
//! | `sealed` | cosign's encrypted private keys: scrypt and NaCl's secretbox |
//! | `payload` | what is signed: the simple-signing document that names a digest |
//! | `manifest` | where signatures are kept: a manifest beside the image |
//!
//! Absent: keyless signing, transparency logs, other curves. Random bytes are handed in.

mod key;
mod manifest;
mod payload;
mod pem;
mod sealed;

pub use key::{KeyError, PrivateKey, PublicKey};
pub use manifest::{
    Entry, MAX_PAYLOAD, PAYLOAD_TYPE, SIGNATURE, Signatures, SignaturesError, is_signature_tag,
    tag_of,
};
pub use payload::{Claim, payload};
pub use sealed::{Random, SealError};

/// Bytes in base64, as signatures are written.
pub fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
