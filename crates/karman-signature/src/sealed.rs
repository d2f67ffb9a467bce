//! cosign's encrypted private keys: a JSON document with a key derived by scrypt and NaCl's secretbox
//! (`github.com/secure-systems-lab/go-securesystemslib/encrypted`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crypto_secretbox::aead::Aead as _;
use crypto_secretbox::{KeyInit as _, XSalsa20Poly1305};
use serde::{Deserialize, Serialize};

/// What is written.
pub(crate) const LABEL: &str = "ENCRYPTED SIGSTORE PRIVATE KEY";
/// What cosign wrote before version 2.
const OLD_LABEL: &str = "ENCRYPTED COSIGN PRIVATE KEY";
const KDF: &str = "scrypt";
const CIPHER: &str = "nacl/secretbox";
/// The cost that every version of cosign reads.
const COST: u32 = 32_768;
/// The most that a key file may cost: 1 GiB of memory.
const MAX_COST: u32 = 1 << 20;
const BLOCK: u32 = 8;
const PARALLEL: u32 = 1;

/// A private key that cannot be opened or sealed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The document is malformed.
    #[error("the encrypted key is malformed: {0}")]
    Malformed(String),
    /// The document names an algorithm that we do not know.
    #[error("the key is encrypted with `{0}`, which is not known here")]
    Algorithm(String),
    /// The password does not open it.
    #[error("the password does not open the key")]
    Password,
    /// The key cannot be encrypted.
    #[error("the key cannot be encrypted")]
    Seal,
}

/// Random bytes for one sealed key.
#[derive(Clone)]
pub struct Random {
    /// For the derivation.
    pub salt: [u8; 32],
    /// For the cipher.
    pub nonce: [u8; 24],
}

#[derive(Serialize, Deserialize)]
struct Document {
    kdf: Kdf,
    cipher: Cipher,
    ciphertext: String,
}

#[derive(Serialize, Deserialize)]
struct Kdf {
    name: String,
    params: Params,
    salt: String,
}

#[derive(Serialize, Deserialize)]
struct Params {
    #[serde(rename = "N")]
    n: u32,
    r: u32,
    p: u32,
}

#[derive(Serialize, Deserialize)]
struct Cipher {
    name: String,
    nonce: String,
}

pub(crate) fn is_label(label: &str) -> bool {
    label == LABEL || label == OLD_LABEL
}

/// Encrypts.
pub(crate) fn seal(plain: &[u8], password: &[u8], random: &Random) -> Result<Vec<u8>, SealError> {
    let params = Params { n: COST, r: BLOCK, p: PARALLEL };
    let key = derive(password, &random.salt, &params)?;
    let cipher = XSalsa20Poly1305::new(&key.into());
    let ciphertext = cipher.encrypt(&random.nonce.into(), plain).map_err(|_| SealError::Seal)?;
    let document = Document {
        kdf: Kdf { name: KDF.to_owned(), params, salt: STANDARD.encode(random.salt) },
        cipher: Cipher { name: CIPHER.to_owned(), nonce: STANDARD.encode(random.nonce) },
        ciphertext: STANDARD.encode(ciphertext),
    };
    serde_json::to_vec(&document).map_err(|_| SealError::Seal)
}

/// Decrypts.
pub(crate) fn open(bytes: &[u8], password: &[u8]) -> Result<Vec<u8>, SealError> {
    let malformed = |why: &str| SealError::Malformed(why.to_owned());
    let document: Document =
        serde_json::from_slice(bytes).map_err(|e| SealError::Malformed(e.to_string()))?;
    for (name, known) in [(&document.kdf.name, KDF), (&document.cipher.name, CIPHER)] {
        if name != known {
            return Err(SealError::Algorithm(name.clone()));
        }
    }
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| malformed("no base64"));
    let salt = decode(&document.kdf.salt)?;
    let nonce: [u8; 24] =
        decode(&document.cipher.nonce)?.try_into().map_err(|_| malformed("no nonce"))?;
    let ciphertext = decode(&document.ciphertext)?;
    let key = derive(password, &salt, &document.kdf.params)?;
    let cipher = XSalsa20Poly1305::new(&key.into());
    cipher.decrypt(&nonce.into(), ciphertext.as_slice()).map_err(|_| SealError::Password)
}

fn derive(password: &[u8], salt: &[u8], params: &Params) -> Result<[u8; 32], SealError> {
    let wrong = || SealError::Malformed("its parameters of scrypt are out of bounds".to_owned());
    let is_fine = params.n.is_power_of_two()
        && (2..=MAX_COST).contains(&params.n)
        && params.r == BLOCK
        && params.p == PARALLEL;
    if !is_fine {
        return Err(wrong());
    }
    let log_n = u8::try_from(params.n.trailing_zeros()).map_err(|_| wrong())?;
    let settings = scrypt::Params::new(log_n, params.r, params.p, 32).map_err(|_| wrong())?;
    let mut key = [0; 32];
    scrypt::scrypt(password, salt, &settings, &mut key).map_err(|_| wrong())?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_out_of_bounds_are_refused_before_they_are_paid() {
        for (n, r, p) in [(1 << 30, 8, 1), (32_768, 64, 1), (32_768, 8, 9), (3, 8, 1), (0, 8, 1)] {
            let found = derive(b"", b"salt", &Params { n, r, p });
            assert!(matches!(found, Err(SealError::Malformed(_))), "{n} {r} {p}");
        }
    }

    #[test]
    fn other_algorithms_are_named() {
        let text = r#"{"kdf":{"name":"argon2","params":{"N":32768,"r":8,"p":1},"salt":""},
            "cipher":{"name":"nacl/secretbox","nonce":""},"ciphertext":""}"#;
        assert_eq!(open(text.as_bytes(), b""), Err(SealError::Algorithm("argon2".into())));
    }
}
