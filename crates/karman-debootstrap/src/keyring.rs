//! The keys of an archive, and whether one of them signed a file.
//!
//! Rules, those of apt with `gpgv`: at least one signature must verify with a key of the keyring; a
//! signature that names a key of the keyring and does not verify spoils the file; signatures by
//! strangers are ignored. Digests below SHA-256 do not count, nor do expired or revoked keys.

use std::io::Read as _;

use pgp::armor::Dearmor;
use pgp::composed::{CleartextSignedMessage, Deserializable, DetachedSignature, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Packet, PacketParser, PublicKey, PublicSubkey, Signature, SignatureType};
use pgp::types::{KeyDetails, Tag};

use crate::source::Distribution;

const DEBIAN: &[u8] = include_bytes!("../keys/debian-archive-keyring.pgp");
const UBUNTU: &[u8] = include_bytes!("../keys/ubuntu-archive-keyring.gpg");
/// Certificates in a keyring; Debian's has about ten.
const MAX_CERTIFICATES: usize = 1000;
/// Signatures under one file; Debian uses up to three.
const MAX_SIGNATURES: usize = 32;

/// Keys that may sign a Release file.
#[derive(Debug)]
pub struct Keyring {
    keys: Vec<Key>,
}

#[derive(Debug)]
struct Key {
    material: Material,
    fingerprint: String,
    expires: Option<u64>,
}

#[derive(Debug)]
enum Material {
    Primary(PublicKey),
    Sub(PublicSubkey),
}

/// A text and the keys that signed it.
#[derive(Debug)]
pub struct Signed {
    /// What was signed, with `\n` line ends.
    pub text: String,
    /// Fingerprints of the keys whose signatures verified, in lower-case hexadecimal digits.
    pub signers: Vec<String>,
}

/// A keyring that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyringError {
    /// The bytes are not OpenPGP certificates.
    #[error("keyring is not a list of OpenPGP certificates")]
    Parse(#[source] Box<pgp::errors::Error>),
    /// Too many certificates.
    #[error("keyring has more than {limit} certificates")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// No certificate in it can sign.
    #[error("keyring has no usable signing key")]
    Empty,
}

/// A file no key of the keyring vouches for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// Neither a clear-signed message nor a signature.
    #[error("signature cannot be read")]
    Parse(#[source] Box<pgp::errors::Error>),
    /// The text is not UTF-8.
    #[error("signed text is not UTF-8")]
    Text,
    /// Too many signatures.
    #[error("more than {limit} signatures")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// A known key did not make its signature.
    #[error("signature by key `{fingerprint}` is wrong")]
    Bad {
        /// The key.
        fingerprint: String,
        /// What rPGP says.
        #[source]
        source: Box<pgp::errors::Error>,
    },
    /// The only known signers have expired.
    #[error("key `{fingerprint}` expired")]
    KeyExpired {
        /// The key.
        fingerprint: String,
    },
    /// The signature has expired or its digest is too weak.
    #[error("signature by key `{fingerprint}` is expired or uses a weak digest")]
    Unacceptable {
        /// The key.
        fingerprint: String,
    },
    /// Nobody known signed it.
    #[error("signed by {}, none of which is in the keyring", list(issuers))]
    UnknownKey {
        /// Key ids or fingerprints named by the signatures.
        issuers: Vec<String>,
    },
}

fn list(issuers: &[String]) -> String {
    let quoted: Vec<String> = issuers.iter().map(|issuer| format!("`{issuer}`")).collect();
    if quoted.is_empty() { "nobody".to_owned() } else { quoted.join(", ") }
}

impl Keyring {
    /// The keys that came with Karman (`keys/README.md`).
    pub fn bundled(distribution: Distribution) -> Result<Self, KeyringError> {
        Self::from_bytes(match distribution {
            Distribution::Debian => DEBIAN,
            Distribution::Ubuntu => UBUNTU,
        })
    }

    /// Certificates in binary or armored form, as in `/usr/share/keyrings`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeyringError> {
        let mut keys = Vec::new();
        let packets = packets(bytes)?.into_iter().map(Ok).peekable();
        for (count, certificate) in SignedPublicKey::from_packets(packets).enumerate() {
            if count >= MAX_CERTIFICATES {
                return Err(KeyringError::TooMany { limit: MAX_CERTIFICATES });
            }
            let certificate = certificate.map_err(keyring_error)?;
            keys.extend(signing_keys(certificate));
        }
        if keys.is_empty() {
            return Err(KeyringError::Empty);
        }
        Ok(Self { keys })
    }

    /// Verifies a clear-signed message (`InRelease`). `now` is in seconds since 1970; without it the
    /// keys must have been valid when the signature was made, as for a snapshot.
    pub fn verify_inline(
        &self,
        message: &[u8],
        now: Option<u64>,
    ) -> Result<Signed, SignatureError> {
        let (message, _) = CleartextSignedMessage::from_armor(message).map_err(parse_error)?;
        let text = message.signed_text();
        let signatures: Vec<&Signature> = message.signatures().iter().collect();
        let signers = self.verify(text.as_bytes(), &signatures, now)?;
        // Only what was hashed is handed on; the message around it proves nothing.
        Ok(Signed { text: text.replace("\r\n", "\n"), signers })
    }

    /// Verifies a detached signature (`Release.gpg`).
    pub fn verify_detached(
        &self,
        content: &[u8],
        signature: &[u8],
        now: Option<u64>,
    ) -> Result<Signed, SignatureError> {
        let (parsed, _) = DetachedSignature::from_reader_many(signature).map_err(parse_error)?;
        let mut signatures = Vec::new();
        for signature in parsed.take(MAX_SIGNATURES + 1) {
            signatures.push(signature.map_err(parse_error)?.signature);
        }
        let signers = self.verify(content, &signatures.iter().collect::<Vec<_>>(), now)?;
        let text = String::from_utf8(content.to_vec()).map_err(|_| SignatureError::Text)?;
        Ok(Signed { text, signers })
    }

    fn verify(
        &self,
        content: &[u8],
        signatures: &[&Signature],
        now: Option<u64>,
    ) -> Result<Vec<String>, SignatureError> {
        if signatures.len() > MAX_SIGNATURES {
            return Err(SignatureError::TooMany { limit: MAX_SIGNATURES });
        }
        let (mut signers, mut unacceptable) = (Vec::new(), None);
        for signature in signatures {
            let Some(key) = self.keys.iter().find(|key| key.is_named_by(signature)) else {
                continue;
            };
            match key.check(signature, content, now) {
                Ok(()) => signers.push(key.fingerprint.clone()),
                Err(bad @ SignatureError::Bad { .. }) => return Err(bad),
                Err(other) => unacceptable = Some(other),
            }
        }
        match (signers.is_empty(), unacceptable) {
            (false, _) => Ok(signers),
            (true, Some(reason)) => Err(reason),
            (true, None) => Err(SignatureError::UnknownKey {
                issuers: signatures.iter().map(|signature| issuer(signature)).collect(),
            }),
        }
    }
}

/// The packets of a keyring. Ubuntu's has trust packets, which belong to GnuPG's own files and which
/// rPGP does not expect; versions and packet types it does not know are passed over.
fn packets(bytes: &[u8]) -> Result<Vec<Packet>, KeyringError> {
    let mut plain = Vec::new();
    let binary = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
        bytes
    } else {
        Dearmor::new(bytes)
            .read_to_end(&mut plain)
            .map_err(|source| keyring_error(source.into()))?;
        &plain
    };
    let mut out = Vec::new();
    for packet in PacketParser::new(binary) {
        match packet {
            Ok(Packet::Trust(_) | Packet::Marker(_) | Packet::Padding(_))
            | Err(pgp::errors::Error::Unsupported { .. }) => {}
            Ok(packet) => out.push(packet),
            Err(source) => return Err(keyring_error(source)),
        }
    }
    Ok(out)
}

impl Key {
    fn is_named_by(&self, signature: &Signature) -> bool {
        let (fingerprint, id) = match &self.material {
            Material::Primary(key) => (key.fingerprint(), key.legacy_key_id()),
            Material::Sub(key) => (key.fingerprint(), key.legacy_key_id()),
        };
        let fingerprints = signature.issuer_fingerprint();
        if fingerprints.is_empty() {
            return signature.issuer_key_id().contains(&&id);
        }
        fingerprints.contains(&&fingerprint)
    }

    fn check(
        &self,
        signature: &Signature,
        content: &[u8],
        now: Option<u64>,
    ) -> Result<(), SignatureError> {
        let fingerprint = || self.fingerprint.clone();
        let verified = match &self.material {
            Material::Primary(key) => signature.verify(key, content),
            Material::Sub(key) => signature.verify(key, content),
        };
        verified.map_err(|source| SignatureError::Bad {
            fingerprint: fingerprint(),
            source: Box::new(source),
        })?;
        let made = signature.created().map_or(0, |time| u64::from(time.as_secs()));
        let moment = now.unwrap_or(made);
        let strong = matches!(
            signature.hash_alg(),
            Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512)
        );
        let kind = matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary));
        let over = signature
            .signature_expiration_time()
            .is_some_and(|time| time.as_secs() != 0 && made + u64::from(time.as_secs()) <= moment);
        if !strong || !kind || over {
            return Err(SignatureError::Unacceptable { fingerprint: fingerprint() });
        }
        if self.expires.is_some_and(|expires| expires <= moment) {
            return Err(SignatureError::KeyExpired { fingerprint: fingerprint() });
        }
        Ok(())
    }
}

/// The keys of a certificate that may sign, if it is bound to itself and not revoked.
///
/// rPGP's own `verify_bindings` is not used for the primary key: it wants every certification to be
/// a self-signature, and archive keys carry certifications by people.
fn signing_keys(certificate: SignedPublicKey) -> Vec<Key> {
    let SignedPublicKey { primary_key, details, public_subkeys } = certificate;
    let revoked = details
        .revocation_signatures
        .iter()
        .any(|signature| signature.verify_key(&primary_key).is_ok());
    let mut own: Vec<&Signature> = details
        .direct_signatures
        .iter()
        .filter(|signature| {
            signature.typ() == Some(SignatureType::Key)
                && signature.verify_key(&primary_key).is_ok()
        })
        .collect();
    for user in &details.users {
        own.extend(user.signatures.iter().filter(|signature| {
            signature.typ() != Some(SignatureType::CertRevocation)
                && signature.verify_certification(&primary_key, Tag::UserId, &user.id).is_ok()
        }));
    }
    let Some(newest) =
        own.into_iter().max_by_key(|signature| signature.created()).filter(|_| !revoked)
    else {
        return Vec::new();
    };
    let mut out = Vec::new();
    let expires = expiry(&primary_key, newest);
    for subkey in public_subkeys {
        let revoked = subkey
            .signatures
            .iter()
            .any(|signature| signature.typ() == Some(SignatureType::SubkeyRevocation));
        let binding = subkey.signatures.iter().max_by_key(|signature| signature.created());
        if let Some(binding) = binding
            && !revoked
            && binding.key_flags().sign()
            && subkey.verify_bindings(&primary_key).is_ok()
        {
            let until = [expires, expiry(&subkey.key, binding)].into_iter().flatten().min();
            out.push(Key {
                fingerprint: hex(&subkey.key),
                expires: until,
                material: Material::Sub(subkey.key),
            });
        }
    }
    if newest.key_flags().sign() {
        out.push(Key {
            fingerprint: hex(&primary_key),
            expires,
            material: Material::Primary(primary_key),
        });
    }
    out
}

fn expiry(key: &impl KeyDetails, binding: &Signature) -> Option<u64> {
    let lifetime = u64::from(binding.key_expiration_time()?.as_secs());
    (lifetime != 0).then(|| u64::from(key.created_at().as_secs()) + lifetime)
}

fn hex(key: &impl KeyDetails) -> String {
    format!("{:x}", key.fingerprint())
}

fn issuer(signature: &Signature) -> String {
    let fingerprints = signature.issuer_fingerprint();
    if let Some(fingerprint) = fingerprints.first() {
        return format!("{fingerprint:x}");
    }
    signature.issuer_key_id().first().map_or_else(|| "unnamed".to_owned(), ToString::to_string)
}

fn keyring_error(source: pgp::errors::Error) -> KeyringError {
    KeyringError::Parse(Box::new(source))
}

fn parse_error(source: pgp::errors::Error) -> SignatureError {
    SignatureError::Parse(Box::new(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprints(distribution: Distribution) -> Vec<String> {
        let keyring = Keyring::bundled(distribution).expect("bundled keyring");
        keyring.keys.into_iter().map(|key| key.fingerprint).collect()
    }

    #[test]
    fn bundled_keyrings_hold_the_keys_that_sign_today() {
        let debian = fingerprints(Distribution::Debian);
        for known in [
            "4cb50190207b4758a3f73a796ed0e7b82643e131",
            "b8e5f13176d2a7a75220028078dba3bc47ef2265",
            "41587f7db8c774bccf131416762f67a0b2c39de4",
        ] {
            assert!(debian.iter().any(|key| key == known), "{known} not in {debian:?}");
        }
        let ubuntu = fingerprints(Distribution::Ubuntu);
        assert!(ubuntu.iter().any(|key| key == "f6ecb3762474eda9d21b7022871920d1991bc93c"));
    }

    #[test]
    fn rubbish_is_no_keyring() {
        assert!(Keyring::from_bytes(b"").is_err());
        assert!(Keyring::from_bytes(b"hello").is_err());
    }
}
