//! What a RUN step borrows from the caller: certificate authorities, proxies, name resolution.
//!
//! Everything here is mounted from memory or put in the environment for the time of the command.
//! The CA bundle appears below `/dev`, which is the sandbox's own tmpfs: not even a mount point
//! is made in the image's root filesystem.

use std::path::Path;

use karman_control::{Cause, Session, SolveError};
use karman_llb::{ExecOp, ExtraHost, Network};
use karman_snapshot::View;
use karman_sys::sandbox::{Mount, MountKind};

use super::variables::Variables;
use crate::error::OrFail as _;

/// Where the CA bundle is mounted.
pub(crate) const CA_PATH: &str = "/dev/karman/ca-certificates.crt";
/// The variables that announce it, each read by the tools named.
const CA_VARIABLES: &[&str] = &[
    "SSL_CERT_FILE",       // OpenSSL, Go, rustls, uv
    "REQUESTS_CA_BUNDLE",  // Python requests
    "PIP_CERT",            // pip
    "CURL_CA_BUNDLE",      // curl
    "GIT_SSL_CAINFO",      // git
    "NODE_EXTRA_CA_CERTS", // Node.js
    "CARGO_HTTP_CAINFO",   // cargo
    "AWS_CA_BUNDLE",       // AWS tools
];
/// Where an image has shared libraries or certificates. One that has none of them has nothing that would read the
/// variables, and its steps see the environment that BuildKit gives them.
const CA_READERS: &[&str] = &["/lib", "/lib64", "/etc/ssl", "/etc/pki", "/usr/lib/ssl", "/nix"];
/// A bundle larger than this is not one.
const MAX_CA_BUNDLE: u64 = 16 << 20;
/// Where name servers are listed.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The host name a sandbox has when nothing else is asked for.
pub(crate) const HOSTNAME: &str = "buildkitsandbox";

/// The mounts and variables that carry the caller's CA; variables that the step sets win.
pub(crate) fn lend_ca(
    session: &Session,
    env: &mut Variables,
    mounts: &mut Vec<Mount>,
) -> Result<(), SolveError> {
    let Some(bundle) = &session.ca_bundle else { return Ok(()) };
    let bytes = read_limited(bundle, MAX_CA_BUNDLE)
        .or_fail(Cause::Input, &format!("read the CA bundle `{}`", bundle.display()))?;
    let kind = MountKind::FileData { bytes, mode: 0o444, uid: 0, gid: 0 };
    mounts.push(Mount { dest: CA_PATH.to_owned(), kind });
    for name in CA_VARIABLES {
        env.set_default(name, CA_PATH);
    }
    Ok(())
}

/// Whether an image may hold a program that reads what [`lend_ca`] lends.
pub(crate) fn reads_ca(view: &View) -> Result<bool, SolveError> {
    for path in CA_READERS {
        if view
            .lookup(Path::new(path), false)
            .or_fail(Cause::Store, "look for libraries")?
            .is_some()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Puts the caller's proxies into the environment where the step does not set them.
pub(crate) fn lend_proxies(session: &Session, env: &mut Variables) {
    for (name, value) in &session.proxies.variables {
        env.set_default(name, value);
    }
}

/// `/etc/resolv.conf` and `/etc/hosts` for the time of the command.
pub(crate) fn name_resolution(op: &ExecOp, resolv_conf: &Path) -> Vec<Mount> {
    let host = if op.hostname.is_empty() { HOSTNAME } else { &op.hostname };
    let mut mounts = name_files(resolv_conf, host, &op.extra_hosts);
    if op.network == Network::None {
        mounts.retain(|m| m.dest != RESOLV_CONF);
    }
    mounts
}

/// The two files with that host name and those additional lines.
pub(crate) fn name_files(resolv_conf: &Path, host: &str, extra: &[ExtraHost]) -> Vec<Mount> {
    let mut mounts = Vec::new();
    if let Ok(bytes) = read_limited(resolv_conf, MAX_CA_BUNDLE) {
        mounts.push(file(RESOLV_CONF, bytes));
    }
    let mut hosts =
        format!("127.0.0.1\tlocalhost {host}\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    for extra in extra {
        hosts.push_str(&format!("{}\t{}\n", extra.address, extra.host));
    }
    mounts.push(file("/etc/hosts", hosts.into_bytes()));
    mounts
}

fn file(dest: &str, bytes: Vec<u8>) -> Mount {
    let kind = MountKind::FileData { bytes, mode: 0o644, uid: 0, gid: 0 };
    Mount { dest: dest.to_owned(), kind }
}

/// Reads a host file of at most `limit` bytes.
pub(crate) fn read_limited(path: &Path, limit: u64) -> std::io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    let read = file.take(limit + 1).read_to_end(&mut bytes)? as u64;
    if read > limit {
        let message = format!("larger than {limit} bytes");
        return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_step_win_over_borrowed_ones() {
        let mut session = Session::default();
        session.proxies.variables.insert("http_proxy".into(), "http://p".into());
        let mut env = Variables::of_lines(&["http_proxy=mine".to_owned()]);
        lend_proxies(&session, &mut env);
        assert_eq!(env.get("http_proxy"), Some("mine"));
    }

    #[test]
    fn the_ca_lives_below_dev_only() {
        assert!(CA_PATH.starts_with("/dev/"));
        let dir = std::env::temp_dir().join(format!("karman-ca-{}", std::process::id()));
        std::fs::write(&dir, "pem").expect("a file");
        let session = Session { ca_bundle: Some(dir.clone()), ..Session::default() };
        let (mut env, mut mounts) = (Variables::default(), Vec::new());
        lend_ca(&session, &mut env, &mut mounts).expect("a readable bundle");
        assert_eq!(env.get("PIP_CERT"), Some(CA_PATH));
        assert_eq!(mounts.len(), 1);
        std::fs::remove_file(dir).expect("cleaned");
    }
}
