//! A registry on 127.0.0.1 with one small image, whose answers tests can replace.

pub(crate) mod http;
pub(crate) mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use http::{Reply, Seen, Server};
use karman_net::{Client, Retry};
use karman_oci::{Descriptor, Digest, Index, Manifest, Platform, Reference, media_type};
use karman_registry::{Config, Registry};

/// An image `a/b:1` (index of amd64 and arm64) and all its blobs by path.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) layer: Vec<u8>,
    pub(crate) layer_descriptor: Descriptor,
    pub(crate) manifest: Vec<u8>,
    pub(crate) index: Vec<u8>,
    files: BTreeMap<String, (String, Vec<u8>)>,
}

impl Image {
    pub(crate) fn new() -> Self {
        let layer: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        let config = b"{}".to_vec();
        let layer_descriptor = describe(media_type::OCI_LAYER_GZIP, &layer);
        let manifest = Manifest::oci(
            describe(media_type::OCI_CONFIG, &config),
            vec![layer_descriptor.clone()],
        );
        // Odd spacing: whoever serialises again changes the digest.
        let manifest = serde_json::to_string_pretty(&manifest).unwrap().replace(": ", " :\t");
        let mut amd64 = describe(media_type::OCI_MANIFEST, manifest.as_bytes());
        amd64.platform = Some(Platform::new("linux", "amd64"));
        let mut arm64 = describe(media_type::OCI_MANIFEST, b"absent");
        arm64.platform = Some(Platform::new("linux", "arm64"));
        let index = serde_json::to_vec(&Index::oci(vec![arm64, amd64.clone()])).unwrap();
        let index_digest = Digest::sha256_of(&index);
        let mut files = BTreeMap::new();
        let mut put = |path: String, kind: &str, bytes: &[u8]| {
            files.insert(path, (kind.to_owned(), bytes.to_vec()));
        };
        put("/v2/a/b/manifests/1".to_owned(), media_type::OCI_INDEX, &index);
        put(format!("/v2/a/b/manifests/{index_digest}"), media_type::OCI_INDEX, &index);
        let path = format!("/v2/a/b/manifests/{}", amd64.digest);
        put(path, media_type::OCI_MANIFEST, manifest.as_bytes());
        for bytes in [&layer, &config] {
            let path = format!("/v2/a/b/blobs/{}", Digest::sha256_of(bytes));
            put(path, "application/octet-stream", bytes);
        }
        let manifest = manifest.into_bytes();
        Self { layer, layer_descriptor, manifest, index, files }
    }

    /// What a well-behaved registry answers.
    pub(crate) fn serve(&self, seen: &Seen) -> Reply {
        let Some((kind, bytes)) = self.files.get(&seen.target) else {
            return Reply::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#);
        };
        let reply = match seen.range_start() {
            Some(start) => Reply::new(206, &bytes[start..]).with(
                "content-range",
                &format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()),
            ),
            None => Reply::ok(bytes.clone()),
        };
        reply.with("content-type", kind)
    }
}

/// A descriptor of `bytes`.
pub(crate) fn describe(media_type: &str, bytes: &[u8]) -> Descriptor {
    Descriptor::new(media_type, Digest::sha256_of(bytes), bytes.len() as u64)
}

/// `a/b:1` on a server.
pub(crate) fn reference(server: &Server) -> Reference {
    Reference::parse(&format!("{}/a/b:1", server.host())).unwrap()
}

/// A registry client that does not wait long.
pub(crate) fn registry(config: Config) -> Registry {
    let retry = Retry { base_delay: Duration::from_millis(1), ..Retry::default() };
    let net = karman_net::Config { retry, ..karman_net::Config::default() };
    Registry::new(Client::new(net).unwrap(), config)
}

/// The same account for whoever asks.
struct Account;

impl karman_registry::CredentialSource for Account {
    fn lookup(
        &self,
        _host: &str,
        _repository: &str,
    ) -> Result<Option<karman_registry::Credential>, karman_registry::CredentialError> {
        let (user, password) = ("us".to_owned(), "geheim".to_owned());
        Ok(Some(karman_registry::Credential::Basic { user, password }))
    }
}

/// A configuration with a user and a password.
pub(crate) fn as_user() -> Config {
    Config { credentials: std::sync::Arc::new(Account), ..Config::default() }
}

/// A configuration with files of rules, which are read at once.
pub(crate) fn ruled(files: &[(&str, &str)]) -> Config {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    let files = karman_registry::RuleFiles {
        host_dirs: vec![dir.path().join("certs.d")],
        registries_conf: vec![dir.path().join("registries.conf")],
    };
    Config { rules: karman_registry::Rules::load(&files).unwrap(), ..Config::default() }
}
