//! `bcrypt` and `rsadecrypt`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blowfish::Blowfish;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::{Pkcs1v15Encrypt, RsaPrivateKey};

use super::{Args, Fault, Out, fault};
use crate::value::Value;

/// Cost of a hash where none is asked for, as in Go.
pub(crate) const DEFAULT_COST: u32 = 10;
/// A higher cost would take minutes.
const MAX_COST: u32 = 15;
/// Longest password: the algorithm sees no more.
const MAX_PASSWORD: usize = 72;
const ALPHABET: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const MAGIC: &[u8; 24] = b"OrpheanBeholderScryDoubt";

/// The cost that a call asks for: the second argument, or the default.
pub(crate) fn bcrypt_cost(a: &Args) -> Result<u32, Fault> {
    if a.len() < 2 {
        return Ok(DEFAULT_COST);
    }
    match u32::try_from(a.int(1)?) {
        Ok(cost) if cost < 4 => Ok(DEFAULT_COST),
        Ok(cost) if cost <= MAX_COST => Ok(cost),
        _ => fault(format!("the cost must be a whole number of at most {MAX_COST}")),
    }
}

/// The `$2a$` hash of a password.
pub(crate) fn bcrypt(password: &str, cost: u32, salt: &[u8; 16]) -> Result<String, Fault> {
    if password.len() > MAX_PASSWORD {
        return fault(format!("the text is longer than {MAX_PASSWORD} bytes"));
    }
    let key: Vec<u8> = password.bytes().chain([0]).collect();
    let mut state: Blowfish = Blowfish::bc_init_state();
    state.salted_expand_key(salt, &key);
    for _ in 0..1u64 << cost {
        state.bc_expand_key(&key);
        state.bc_expand_key(salt);
    }
    let mut hash = Vec::with_capacity(MAGIC.len());
    for block in MAGIC.chunks_exact(8) {
        let word = |at: usize| {
            block[at..at + 4].iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte))
        };
        let mut pair = [word(0), word(4)];
        for _ in 0..64 {
            pair = state.bc_encrypt(pair);
        }
        hash.extend(pair.iter().flat_map(|word| word.to_be_bytes()));
    }
    hash.truncate(23);
    Ok(format!("$2a${cost:02}${}{}", encode(salt), encode(&hash)))
}

/// bcrypt's own base64, without padding.
fn encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        let word = word << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            let index = (word >> (18 - 6 * digit)) & 63;
            out.push(char::from(ALPHABET[index as usize]));
        }
    }
    out
}

/// `rsadecrypt(ciphertext, key)`: base64 of a PKCS #1 v1.5 ciphertext, and a private key as PEM.
pub(super) fn rsadecrypt(a: Args) -> Out {
    let (text, pem) = (a.text(0)?, a.text(1)?);
    let Ok(bytes) = STANDARD.decode(text) else { return fault("the ciphertext is not base64") };
    let key = RsaPrivateKey::from_pkcs1_pem(pem.trim())
        .or_else(|_| RsaPrivateKey::from_pkcs8_pem(pem.trim()))
        .map_err(|_| Fault("the key is not an RSA private key in PEM".to_owned()))?;
    // What is wrong with a ciphertext is not told: it would help who guesses at plain texts.
    let plain = key.decrypt(Pkcs1v15Encrypt, &bytes);
    let plain = plain.map_err(|_| Fault("the ciphertext does not fit the key".to_owned()))?;
    match String::from_utf8(plain) {
        Ok(text) => Ok(Value::text(text)),
        Err(_) => fault("the decrypted bytes are not UTF-8"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_other_implementations() {
        // A vector of the original implementation: salt `DCq7YPn5Rq63x1Lad4cll.` and no password.
        let salt = [
            0x14, 0x4b, 0x3d, 0x69, 0x1a, 0x7b, 0x4e, 0xcf, 0x39, 0xcf, 0x73, 0x5c, 0x7f, 0xa7,
            0xa7, 0x9c,
        ];
        let hash = bcrypt("", 6, &salt).unwrap_or_default();
        assert_eq!(hash, "$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.");
        assert!(bcrypt(&"x".repeat(73), 4, &salt).is_err());
    }
}
