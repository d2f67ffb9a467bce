//! `karman generate-key-pair`, `karman sign`, and the signatures of `karman verify --key`: cosign's words,
//! with keys of one's own and without a network.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{IsTerminal as _, Write as _, stdin};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use karman_diag::ExitCode;
use karman_oci::Digest;
use karman_signature::{Claim, KeyError, PrivateKey, PublicKey, Random, payload};
use karman_worker::{Engine, ImageSpec, SignedPayload};

use crate::ask::ask;
use crate::driver::watched;
use crate::env::Environment;
use crate::failure::{Done, Failure};
use crate::image_spec::parse;
use crate::out;
use crate::random::random;
use crate::setup::Context;
use crate::units::parse_pair;

/// The variable that holds the password of a key, as in cosign; it may be empty.
const PASSWORD: &str = "COSIGN_PASSWORD";
/// The largest key file read.
const MAX_KEY: u64 = 64 * 1024;

/// Arguments of `generate-key-pair`.
#[derive(Debug, clap::Args)]
pub(crate) struct GenerateArgs {
    /// Names of the files: PREFIX.key and PREFIX.pub
    #[arg(long, value_name = "PREFIX", default_value = "cosign")]
    output_key_prefix: PathBuf,
}

/// Arguments of `sign`.
#[derive(Debug, clap::Args)]
pub(crate) struct SignArgs {
    /// Names or digests in the local store, paths of OCI layouts, oci-layout://… or docker-image://…
    #[arg(required = true)]
    images: Vec<String>,
    /// Private key: one of cosign (password in COSIGN_PASSWORD, or asked for), or PEM in PKCS #8 or SEC 1
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Annotation that is signed too
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse_pair)]
    annotations: Vec<(String, String)>,
    /// Sign the images of an index too, each by itself
    #[arg(short, long)]
    recursive: bool,
    /// Write the signature in base64 to a file too; of one image
    #[arg(long, value_name = "FILE")]
    output_signature: Option<PathBuf>,
    /// Write what was signed to a file too; of one image
    #[arg(long, value_name = "FILE")]
    output_payload: Option<PathBuf>,
    /// Whether the signature is kept with the image
    #[arg(long, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_name = "BOOL")]
    upload: bool,
}

/// Makes a key pair.
pub(crate) fn generate(args: &GenerateArgs, env: &Environment) -> Done {
    let prefix = env.absolute(&args.output_key_prefix);
    let named = |end: &str| {
        let mut name = prefix.clone().into_os_string();
        name.push(end);
        PathBuf::from(name)
    };
    let (private, public) = (named(".key"), named(".pub"));
    if let Some(there) = [&private, &public].into_iter().find(|path| path.exists()) {
        return Err(Failure::usage_hint(
            format!("`{}` exists", there.display()),
            "name other files with `--output-key-prefix`",
        ));
    }
    let password = password(env, "Enter password for private key: ")?;
    let key = loop {
        if let Some(key) = PrivateKey::from_random(&random()?) {
            break key;
        }
    };
    let seal = Random { salt: random()?, nonce: random()? };
    let failed = |e: KeyError| Failure::host("make a key", e);
    let sealed = key.sealed(password.as_bytes(), &seal).map_err(failed)?;
    write_new(&private, &sealed, 0o600)?;
    write_new(&public, &key.public().pem().map_err(failed)?, 0o644)?;
    for path in [&private, &public] {
        out::note(&format!("wrote {}\n", path.display()));
    }
    Ok(0)
}

/// Signs images.
pub(crate) fn sign(args: &SignArgs, context: &Context) -> Done {
    let has_files = args.output_signature.is_some() || args.output_payload.is_some();
    if has_files && (args.images.len() > 1 || args.recursive) {
        return Err(Failure::usage("files are written for one image only"));
    }
    let env = &context.env;
    let key = private_key(&env.absolute(&args.key), env)?;
    let annotations: BTreeMap<String, String> = args.annotations.iter().cloned().collect();
    let engine = context.open(false)?;
    for image in &args.images {
        let spec = parse(image, env);
        let signable = watched(&engine, || {}, || engine.signable(&spec))??;
        let below = signable.images.iter().filter(|_| args.recursive);
        for digest in std::iter::once(&signable.digest).chain(below) {
            let payload = payload(&signable.repository, digest, &annotations);
            let signature = key.sign(&payload);
            let signed = SignedPayload { payload, signature };
            if args.upload {
                watched(&engine, || {}, || engine.add_signature(&spec, digest, &signed))??;
            }
            write_files(args, env, &signed)?;
            out::data(&format!("{}@{digest}\n", signable.repository))?;
        }
    }
    Ok(0)
}

fn write_files(args: &SignArgs, env: &Environment, signed: &SignedPayload) -> Done<()> {
    let text = karman_signature::base64(&signed.signature);
    let files = [
        (&args.output_signature, text.as_bytes()),
        (&args.output_payload, signed.payload.as_slice()),
    ];
    for (path, bytes) in files {
        let Some(path) = path.as_deref().map(|p| env.absolute(p)) else { continue };
        std::fs::write(&path, bytes).map_err(|source| Failure::File {
            doing: "write",
            path,
            source,
        })?;
    }
    Ok(())
}

/// Whether somebody with the key signed an image: what was signed, as JSON, as cosign prints it.
pub(crate) fn check(
    engine: &Engine,
    spec: &ImageSpec,
    key: &PublicKey,
    annotations: &BTreeMap<String, String>,
) -> Done<Vec<Claim>> {
    let signable = watched(engine, || {}, || engine.signable(spec))??;
    let digest = &signable.digest;
    let all = watched(engine, || {}, || engine.signatures(spec, digest))??;
    let name = spec.name();
    if all.is_empty() {
        return Err(refused(format!("`{name}` ({digest}) has no signature")));
    }
    let good = all.iter().filter(|s| key.verifies(&s.payload, &s.signature));
    let claims: Vec<Claim> = good.filter_map(|s| Claim::parse(&s.payload)).collect();
    if claims.is_empty() {
        let count = all.len();
        return Err(refused(format!("none of the {count} signatures of `{name}` is by this key")));
    }
    let about = about(claims, digest, annotations);
    match about.is_empty() {
        true => Err(refused(format!(
            "what is signed by this key is another image or has other annotations than `{name}`"
        ))),
        false => Ok(about),
    }
}

fn about(
    claims: Vec<Claim>,
    digest: &Digest,
    annotations: &BTreeMap<String, String>,
) -> Vec<Claim> {
    claims.into_iter().filter(|claim| claim.is_about(digest, annotations)).collect()
}

fn refused(text: String) -> Failure {
    Failure::Rendered { text: format!("ERROR: {text}\n"), exit: ExitCode::Unverified }
}

/// Reads a public key.
pub(crate) fn public_key(path: &Path) -> Done<PublicKey> {
    PublicKey::parse(&read(path)?).map_err(|e| wrong(path, &e))
}

fn private_key(path: &Path, env: &Environment) -> Done<PrivateKey> {
    let text = read(path)?;
    let password = match PrivateKey::is_sealed(&text) {
        true => password(env, "Enter password for private key: ")?,
        false => String::new(),
    };
    PrivateKey::parse(&text, password.as_bytes()).map_err(|e| wrong(path, &e))
}

fn wrong(path: &Path, error: &KeyError) -> Failure {
    let text = format!("ERROR: {}: {error}\n", path.display());
    Failure::Rendered { text, exit: ExitCode::Input }
}

fn read(path: &Path) -> Done<String> {
    use std::io::Read as _;
    let failed = |source| Failure::File { doing: "read", path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_KEY).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// The password from the environment, or asked for.
fn password(env: &Environment, prompt: &str) -> Done<String> {
    if let Some(password) = env.texts.get(PASSWORD) {
        return Ok(password.clone());
    }
    if !stdin().is_terminal() {
        return Err(Failure::usage_hint(
            "the key has a password, and standard input is no terminal to ask on",
            format!("set `{PASSWORD}`; it may be empty"),
        ));
    }
    ask(prompt, true)
}

fn write_new(path: &Path, text: &str, mode: u32) -> Done<()> {
    let failed = |source| Failure::File { doing: "write", path: path.to_owned(), source };
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).map_err(failed)
}
