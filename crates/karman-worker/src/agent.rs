//! SSH agents for steps and for git: the caller's own, or this process with the caller's key files.
//!
//! The protocol is draft-ietf-sshm-ssh-agent's, of which two requests are answered: which keys
//! there are, and a signature by one of them. Everything else fails, as it does in buildx.

use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use karman_content::TempDir;
use karman_control::{Cause, SolveError, SshSource};
use karman_sys::relay::{Access, Connection, Relay};
use rsa::pkcs1v15::SigningKey;
use rsa::sha2::{Sha256, Sha512};
use rsa::{BigUint, RsaPrivateKey};
use signature::{SignatureEncoding as _, Signer as _};
use ssh_key::private::{KeypairData, RsaKeypair};
use ssh_key::{Algorithm, HashAlg, PrivateKey, Signature};

use crate::engine::Engine;
use crate::error::{OrFail as _, store as store_error};
use crate::exec::borrowed::read_limited;

/// The largest key file, as in buildx.
const MAX_KEY: u64 = 100 * 1024;
/// The longest request, OpenSSH's own limit.
const MAX_REQUEST: usize = 256 * 1024;

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// Flags of a request for a signature of an RSA key, over SHA-256 and SHA-512.
const RSA_SHA2_256: u32 = 2;
const RSA_SHA2_512: u32 = 4;

/// A socket on which an agent answers, as long as this lives.
#[derive(Debug)]
pub(crate) struct AgentSocket {
    path: PathBuf,
    /// The relay ends before its directory goes.
    _own: Option<(Relay, TempDir)>,
}

impl AgentSocket {
    /// The socket of an agent, for a program of this user.
    pub(crate) fn open(engine: &Engine, id: &str, source: &SshSource) -> Result<Self, SolveError> {
        match source {
            SshSource::Agent(path) => Ok(Self { path: path.clone(), _own: None }),
            SshSource::Keys(_) => {
                let access = Access {
                    mode: 0o600,
                    uid: rustix::process::geteuid().as_raw(),
                    gid: rustix::process::getegid().as_raw(),
                };
                Self::relayed(engine, id, source, access)
            }
        }
    }

    /// A socket of its own, that others may use too.
    pub(crate) fn relayed(
        engine: &Engine,
        id: &str,
        source: &SshSource,
        access: Access,
    ) -> Result<Self, SolveError> {
        let dir = engine.store().temp_dir("ssh").map_err(store_error)?;
        let relay = match source {
            SshSource::Agent(target) => Relay::start(dir.path(), target, access),
            SshSource::Keys(paths) => {
                let keys = paths.iter().map(|path| read(path, id)).collect::<Result<_, _>>()?;
                let keys = Keys(keys);
                // Whatever fails here is seen by the program as a closed connection.
                Relay::serve(dir.path(), access, move |near| drop(keys.answer_all(near)))
            }
        };
        let relay = relay.or_fail(Cause::Host, &format!("forward the SSH agent `{id}`"))?;
        Ok(Self { path: relay.path().to_owned(), _own: Some((relay, dir)) })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn read(path: &Path, id: &str) -> Result<PrivateKey, SolveError> {
    let shown = path.display();
    let refused =
        |why: String| SolveError::new(Cause::Input, format!("ssh `{id}`: `{shown}`{why}"));
    let text = read_limited(path, MAX_KEY).map_err(|e| refused(format!(" cannot be read: {e}")))?;
    let key = PrivateKey::from_openssh(&text).map_err(|_| {
        refused(" is not a private key in OpenSSH's format".to_owned())
            .with_hint(format!("`ssh-keygen -p -f {shown}` rewrites an older key in that format"))
    })?;
    if key.is_encrypted() {
        return Err(refused(" needs a passphrase".to_owned())
            .with_hint("add it to an agent with `ssh-add` and pass the agent: `--ssh default`"));
    }
    Ok(key)
}

/// The keys of an agent.
struct Keys(Vec<PrivateKey>);

impl Keys {
    /// Answers until the other side closes.
    fn answer_all(&self, mut near: Connection<'_>) -> io::Result<()> {
        loop {
            let mut length = [0; 4];
            near.read_exact(&mut length)?;
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            if length > MAX_REQUEST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            let mut request = vec![0; length];
            near.read_exact(&mut request)?;
            let answer = self.answer(&request).unwrap_or_else(|| vec![FAILURE]);
            let mut message = Vec::new();
            put(&mut message, &answer);
            near.write_all(&message)?;
        }
    }

    /// The answer to one request; `None` is a failure.
    fn answer(&self, request: &[u8]) -> Option<Vec<u8>> {
        match request.split_first()? {
            (&REQUEST_IDENTITIES, _) => self.identities(),
            (&SIGN_REQUEST, rest) => self.sign(rest),
            _ => None,
        }
    }

    fn identities(&self) -> Option<Vec<u8>> {
        let mut answer = vec![IDENTITIES_ANSWER];
        answer.extend(u32::try_from(self.0.len()).ok()?.to_be_bytes());
        for key in &self.0 {
            put(&mut answer, &key.public_key().to_bytes().ok()?);
            put(&mut answer, key.comment().as_bytes());
        }
        Some(answer)
    }

    fn sign(&self, request: &[u8]) -> Option<Vec<u8>> {
        let (wanted, rest) = take(request)?;
        let (data, rest) = take(rest)?;
        let flags = u32::from_be_bytes(rest.try_into().ok()?);
        let is_wanted = |key: &&PrivateKey| key.public_key().to_bytes().is_ok_and(|b| b == wanted);
        let key = self.0.iter().find(is_wanted)?;
        let signature = match key.key_data() {
            KeypairData::Rsa(pair) => sign_rsa(pair, data, flags)?,
            _ => key.try_sign(data).ok()?,
        };
        let mut answer = vec![SIGN_RESPONSE];
        put(&mut answer, &Vec::<u8>::try_from(signature).ok()?);
        Some(answer)
    }
}

/// `ssh-key` 0.6 takes one prime of an RSA key twice, so that its own signing always fails.
fn sign_rsa(pair: &RsaKeypair, data: &[u8], flags: u32) -> Option<Signature> {
    let number = |n| BigUint::try_from(n).ok();
    let (public, private) = (&pair.public, &pair.private);
    let primes = vec![number(&private.p)?, number(&private.q)?];
    let (n, e, d) = (number(&public.n)?, number(&public.e)?, number(&private.d)?);
    let key = RsaPrivateKey::from_components(n, e, d, primes).ok()?;
    let (hash, bytes) = if flags & RSA_SHA2_512 != 0 {
        (HashAlg::Sha512, SigningKey::<Sha512>::new(key).try_sign(data).ok()?.to_vec())
    } else if flags & RSA_SHA2_256 != 0 {
        (HashAlg::Sha256, SigningKey::<Sha256>::new(key).try_sign(data).ok()?.to_vec())
    } else {
        // SHA-1, which nobody should ask for.
        return None;
    };
    Signature::new(Algorithm::Rsa { hash: Some(hash) }, bytes).ok()
}

/// Appends a string of the protocol: four bytes of length, then the bytes.
fn put(message: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    message.extend(length.to_be_bytes());
    message.extend(bytes);
}

/// Takes a string of the protocol off the front.
fn take(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = message.split_first_chunk()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}
