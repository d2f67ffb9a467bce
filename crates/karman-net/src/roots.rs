//! The certificates we trust, and those that we show.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::config::{Config, ConfigError, HostTls};

/// The largest bundle read, in bytes. Mozilla's is a quarter of a megabyte.
const MAX_BUNDLE: u64 = 16 * 1024 * 1024;

/// Where distributions keep their bundle, in the order Go's `crypto/x509` looks.
const HOST_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// How TLS is spoken with one host: the roots of all, its own, and who we are to it.
pub(crate) fn host(config: &Config, host: &HostTls) -> Result<TlsConfig, ConfigError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = TlsConfig::builder()
        .client_cert(host.identity.as_ref().map(|(cert, key)| identity(cert, key)).transpose()?)
        .unversioned_rustls_crypto_provider(provider);
    if host.insecure {
        tls = tls.disable_verification(true);
    } else {
        let extra = config.extra_roots.iter().chain(&host.roots).cloned().collect();
        tls = tls.root_certs(load(&Config { extra_roots: extra, ..config.clone() })?);
    }
    Ok(tls.build())
}

fn identity(cert: &Path, key: &Path) -> Result<ClientCert, ConfigError> {
    let wrong = |problem: String| ConfigError::Identity {
        cert: cert.to_owned(),
        key: key.to_owned(),
        problem,
    };
    let chain = read_bundle(cert)?;
    let pem = read_pem(key)?;
    let private = PrivateKey::from_pem(&pem).map_err(|_| wrong("has no private key".to_owned()))?;
    let ders = chain.iter().map(|c| CertificateDer::from(c.der().to_vec())).collect();
    let der =
        PrivateKeyDer::from_pem_slice(&pem).map_err(|e| wrong(format!("cannot be read: {e}")))?;
    // Whether they belong together is told now, not in the middle of a pull.
    let signer = rustls::crypto::ring::default_provider().key_provider.load_private_key(der);
    let signer = signer.map_err(|e| wrong(format!("cannot be used: {e}")))?;
    match rustls::sign::CertifiedKey::new(ders, signer).keys_match() {
        Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch)) => {
            Err(wrong("do not belong together".to_owned()))
        }
        _ => Ok(ClientCert::new_with_certs(&chain, private)),
    }
}

/// The roots `config` asks for: its bundle, or else the host's, or else Mozilla's as compiled in;
/// and always the extra ones.
pub(crate) fn load(config: &Config) -> Result<RootCerts, ConfigError> {
    let mut roots = match &config.ca_bundle {
        Some(path) => read_bundle(path)?,
        None => default_roots(),
    };
    for path in &config.extra_roots {
        roots.extend(read_bundle(path)?);
    }
    Ok(roots.into_iter().collect::<Vec<_>>().into())
}

fn default_roots() -> Vec<Certificate<'static>> {
    // A host bundle nobody asked for may be broken without harm: the next one is tried.
    let host = HOST_BUNDLES.iter().find_map(|path| read_bundle(Path::new(path)).ok());
    host.unwrap_or_else(|| {
        webpki_root_certs::TLS_SERVER_ROOT_CERTS
            .iter()
            .map(|der| Certificate::from_der(der.as_ref()).to_owned())
            .collect()
    })
}

fn read_pem(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let fail = |source| ConfigError::ReadBundle { path: path.to_owned(), source };
    let mut pem = Vec::new();
    let file = fs_err::File::open(path).map_err(fail)?;
    file.take(MAX_BUNDLE + 1).read_to_end(&mut pem).map_err(fail)?;
    if pem.len() as u64 > MAX_BUNDLE {
        return Err(ConfigError::BundleTooLarge { path: path.to_owned(), limit: MAX_BUNDLE });
    }
    Ok(pem)
}

fn read_bundle(path: &Path) -> Result<Vec<Certificate<'static>>, ConfigError> {
    let pem = read_pem(path)?;
    // Like OpenSSL, skip what is no certificate; but a bundle without any is a mistake to name.
    let certs: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect();
    let (usable, _) = RootCertStore::empty().add_parsable_certificates(certs.iter().cloned());
    if usable == 0 {
        return Err(ConfigError::EmptyBundle { path: path.to_owned() });
    }
    Ok(certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_bundle(path: &Path) -> Result<RootCerts, ConfigError> {
        load(&Config { ca_bundle: Some(path.to_owned()), ..Config::default() })
    }

    #[test]
    fn a_missing_or_empty_bundle_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("none.pem");
        assert!(with_bundle(&missing).unwrap_err().to_string().contains("none.pem"));
        let empty = dir.path().join("empty.pem");
        fs_err::write(&empty, "not a certificate\n").unwrap();
        assert!(matches!(with_bundle(&empty), Err(ConfigError::EmptyBundle { .. })));
        let junk = dir.path().join("junk.pem");
        fs_err::write(&junk, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
            .unwrap();
        assert!(matches!(with_bundle(&junk), Err(ConfigError::EmptyBundle { .. })));
    }

    #[test]
    fn default_roots_are_never_empty() {
        assert!(default_roots().len() > 10);
    }
}
