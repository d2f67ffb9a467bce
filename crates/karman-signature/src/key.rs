//! ECDSA keys on P-256.

use p256::SecretKey;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use p256::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _};
use p256::pkcs8::{EncodePublicKey as _, LineEnding};

use crate::pem;
use crate::sealed::{self, Random, SealError};

const PKCS8: &str = "PRIVATE KEY";
const SEC1: &str = "EC PRIVATE KEY";

/// A key that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is no PEM block.
    #[error("it has no PEM block")]
    NoPem,
    /// The block is something else.
    #[error("it is a `{0}`, not an ECDSA key on P-256")]
    Label(String),
    /// The block is no key on P-256.
    #[error("it is no ECDSA key on P-256")]
    NotP256,
    /// The key is encrypted.
    #[error(transparent)]
    Sealed(#[from] SealError),
}

/// A key that signs. Equal keys make equal signatures of equal bytes (RFC 6979).
pub struct PrivateKey(SigningKey);

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PrivateKey(…)")
    }
}

impl PrivateKey {
    /// A key of 32 random bytes; nothing for the few that are no key.
    pub fn from_random(bytes: &[u8; 32]) -> Option<Self> {
        SecretKey::from_slice(bytes).ok().map(|key| Self(key.into()))
    }

    /// Whether a text is a private key that needs a password.
    pub fn is_sealed(text: &str) -> bool {
        pem::read(text).is_some_and(|(label, _)| sealed::is_label(&label))
    }

    /// Reads a private key: one that cosign or [`PrivateKey::sealed`] wrote, with its password, or a plain one in
    /// PKCS #8 or SEC 1.
    ///
    /// # Errors
    /// When it is no such key, or the password is wrong.
    pub fn parse(text: &str, password: &[u8]) -> Result<Self, KeyError> {
        let (label, bytes) = pem::read(text).ok_or(KeyError::NoPem)?;
        let key = match label.as_str() {
            PKCS8 => SecretKey::from_pkcs8_der(&bytes).map_err(|_| KeyError::NotP256),
            SEC1 => SecretKey::from_sec1_der(&bytes).map_err(|_| KeyError::NotP256),
            _ if sealed::is_label(&label) => {
                let der = sealed::open(&bytes, password)?;
                SecretKey::from_pkcs8_der(&der).map_err(|_| KeyError::NotP256)
            }
            _ => Err(KeyError::Label(label)),
        };
        key.map(|key| Self(key.into()))
    }

    /// The key under a password, as cosign keeps it.
    ///
    /// # Errors
    /// When the key cannot be encrypted.
    pub fn sealed(&self, password: &[u8], random: &Random) -> Result<String, KeyError> {
        let key = SecretKey::from(&self.0);
        let der = key.to_pkcs8_der().map_err(|_| KeyError::NotP256)?;
        let sealed = sealed::seal(der.as_bytes(), password, random)?;
        Ok(pem::write(sealed::LABEL, &sealed))
    }

    /// The key that verifies what this one signs.
    pub fn public(&self) -> PublicKey {
        PublicKey(*self.0.verifying_key())
    }

    /// Signs the SHA-256 of bytes; the signature is in DER, as `openssl dgst` wants it.
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let signature: Signature = self.0.sign(bytes);
        signature.to_der().as_bytes().to_vec()
    }
}

/// A key that verifies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Reads a public key in PEM.
    ///
    /// # Errors
    /// When it is no key on P-256.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let (label, bytes) = pem::read(text).ok_or(KeyError::NoPem)?;
        if label != "PUBLIC KEY" {
            return Err(KeyError::Label(label));
        }
        VerifyingKey::from_public_key_der(&bytes).map(Self).map_err(|_| KeyError::NotP256)
    }

    /// The key in PEM.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn pem(&self) -> Result<String, KeyError> {
        self.0.to_public_key_pem(LineEnding::LF).map_err(|_| KeyError::NotP256)
    }

    /// Whether a signature in DER is one of the bytes by this key's owner.
    pub fn verifies(&self, bytes: &[u8], signature: &[u8]) -> bool {
        Signature::from_der(signature).is_ok_and(|s| self.0.verify(bytes, &s).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANDOM: Random = Random { salt: [7; 32], nonce: [9; 24] };

    fn key() -> PrivateKey {
        PrivateKey::from_random(&[3; 32]).expect("a key")
    }

    #[test]
    fn a_signature_is_of_these_bytes_by_this_key() {
        let signature = key().sign(b"bytes");
        assert_eq!(signature, key().sign(b"bytes"));
        assert!(key().public().verifies(b"bytes", &signature));
        assert!(!key().public().verifies(b"other", &signature));
        let other = PrivateKey::from_random(&[4; 32]).expect("a key");
        assert!(!other.public().verifies(b"bytes", &signature));
        assert!(!key().public().verifies(b"bytes", &signature[1..]));
        assert!(PrivateKey::from_random(&[0xff; 32]).is_none());
    }

    #[test]
    fn keys_are_read_back() {
        let sealed = key().sealed(b"word", &RANDOM).expect("sealed");
        assert!(PrivateKey::is_sealed(&sealed));
        let read = PrivateKey::parse(&sealed, b"word").expect("the right password");
        assert_eq!(read.public(), key().public());
        let wrong = PrivateKey::parse(&sealed, b"sword");
        assert!(matches!(wrong, Err(KeyError::Sealed(SealError::Password))), "{wrong:?}");
        let public = key().public().pem().expect("PEM");
        assert_eq!(PublicKey::parse(&public).expect("a key"), key().public());
    }

    #[test]
    fn what_is_no_key_is_refused() {
        assert!(matches!(PublicKey::parse("text"), Err(KeyError::NoPem)));
        let other = pem::write("CERTIFICATE", b"x");
        assert!(matches!(PublicKey::parse(&other), Err(KeyError::Label(_))));
        assert!(matches!(PrivateKey::parse(&other, b""), Err(KeyError::Label(_))));
        let junk = pem::write(PKCS8, b"junk");
        assert!(matches!(PrivateKey::parse(&junk, b""), Err(KeyError::NotP256)));
    }
}
