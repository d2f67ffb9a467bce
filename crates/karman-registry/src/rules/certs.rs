//! Certificates in a directory for a host, as docker, podman and containerd read them: authorities in `*.crt`, and who
//! we are in `NAME.cert` with `NAME.key`.

use std::path::{Path, PathBuf};

use karman_net::HostTls;

use super::{RulesError, entries};

/// What the directory `dir` says of `host`.
pub(super) fn of(host: &str, dir: &Path) -> Result<Option<HostTls>, RulesError> {
    let files = entries(dir)?;
    let with = |suffix: &str| {
        files.iter().filter(|f| f.extension().is_some_and(|e| e == suffix)).cloned().collect()
    };
    let roots: Vec<PathBuf> = with("crt");
    let certs: Vec<PathBuf> = with("cert");
    let identity = match certs.into_iter().next() {
        None => None,
        Some(cert) => {
            let key = cert.with_extension("key");
            if !files.contains(&key) {
                let problem = format!("there is no `{}` beside it", key.display());
                return Err(RulesError::Invalid { path: cert, problem });
            }
            Some((cert, key))
        }
    };
    let has_any = !roots.is_empty() || identity.is_some();
    let has_port = host
        .rsplit(':')
        .next()
        .is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let host = if host.contains(':') && has_port { host.to_owned() } else { format!("{host}:443") };
    Ok(has_any.then_some(HostTls { host, roots, identity, insecure: false }))
}
