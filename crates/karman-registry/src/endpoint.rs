//! Where a registry is really spoken to.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use karman_net::Url;
use karman_oci::Reference;

use crate::credentials::{Anonymous, CredentialSource};
use crate::error::RegistryError;

/// The name of Docker's registry, and the host that serves it.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// How registries are reached, and as whom.
#[derive(Clone)]
pub struct Config {
    /// Rules by registry host (`docker.io`, `host`, `host:port`), also for hosts of mirrors.
    pub hosts: BTreeMap<String, HostConfig>,
    /// Who we are.
    pub credentials: Arc<dyn CredentialSource>,
}

impl Default for Config {
    fn default() -> Self {
        Self { hosts: BTreeMap::new(), credentials: Arc::new(Anonymous) }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

/// Rules for one registry host.
///
/// To skip the verification of a certificate, name the host in
/// [`karman_net::Config::insecure_hosts`].
#[derive(Clone, Debug, Default)]
pub struct HostConfig {
    /// How to speak to it.
    pub scheme: Scheme,
    /// Mirrors (`host[:port][/prefix]`), asked in this order before the host itself.
    pub mirrors: Vec<String>,
}

/// How to speak to a registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheme {
    /// Plain http for `localhost` and loopback addresses, https for all others, as Docker does.
    #[default]
    Auto,
    /// Plain http, chosen on purpose.
    Http,
    /// Always https.
    Https,
}

/// One place that may serve a repository.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// `scheme://host[:port]`.
    pub(crate) origin: String,
    /// The name credentials are stored under.
    pub(crate) host: String,
    /// The repository there.
    pub(crate) repository: String,
    /// Whether the traffic is not encrypted.
    pub(crate) plain: bool,
}

impl Endpoint {
    /// The scope a token for reading needs.
    pub(crate) fn pull_scope(&self) -> String {
        format!("repository:{}:pull", self.repository)
    }

    pub(crate) fn manifest_url(&self, tag_or_digest: &str) -> String {
        format!("{}/v2/{}/manifests/{tag_or_digest}", self.origin, self.repository)
    }

    /// Whether a URL is of this very registry: scheme, host and port.
    pub(crate) fn is_origin_of(&self, url: &str) -> bool {
        match (Url::parse(&self.origin), Url::parse(url)) {
            (Ok(own), Ok(other)) => own.same_origin(&other),
            _ => false,
        }
    }

    /// Where uploads begin; `mount` names a blob of another repository of the same registry.
    pub(crate) fn uploads_url(&self, mount: Option<(&str, &str)>) -> String {
        let base = format!("{}/v2/{}/blobs/uploads/", self.origin, self.repository);
        match mount {
            Some((digest, from)) => format!("{base}?mount={digest}&from={from}"),
            None => base,
        }
    }

    pub(crate) fn blob_url(&self, digest: &str) -> String {
        format!("{}/v2/{}/blobs/{digest}", self.origin, self.repository)
    }
}

impl Config {
    /// The registry itself, which is the only place that is written to.
    pub(crate) fn registry(&self, reference: &Reference) -> Result<Endpoint, RegistryError> {
        self.endpoints(reference)?
            .pop()
            .ok_or_else(|| RegistryError::BadReference { reference: reference.to_string() })
    }

    /// Every place to ask for a reference, mirrors first.
    pub(crate) fn endpoints(&self, reference: &Reference) -> Result<Vec<Endpoint>, RegistryError> {
        let bad = || RegistryError::BadReference { reference: reference.to_string() };
        if !is_path(&reference.repository)
            || reference.tag.as_deref().is_some_and(|t| !is_segment(t))
        {
            return Err(bad());
        }
        let mirrors = self.hosts.get(&reference.host).map_or(&[][..], |h| &h.mirrors);
        let mut out = Vec::new();
        for mirror in mirrors {
            // A mirror is an aid: one that is spelled wrongly must not keep the registry from us.
            let (host, prefix) = mirror
                .trim_end_matches('/')
                .split_once('/')
                .unwrap_or((mirror.trim_end_matches('/'), ""));
            let repository = if prefix.is_empty() {
                reference.repository.clone()
            } else {
                format!("{prefix}/{}", reference.repository)
            };
            if is_path(&repository) {
                out.extend(self.endpoint(host, repository));
            }
        }
        out.push(self.endpoint(&reference.host, reference.repository.clone()).ok_or_else(bad)?);
        Ok(out)
    }

    fn endpoint(&self, host: &str, repository: String) -> Option<Endpoint> {
        let dialled = if host == DOCKER_HUB.0 { DOCKER_HUB.1 } else { host };
        let probe = Url::parse(&format!("https://{dialled}")).ok()?;
        let scheme = self.hosts.get(host).map_or(Scheme::Auto, |h| h.scheme);
        let plain = match scheme {
            Scheme::Auto => probe.is_loopback(),
            Scheme::Http => true,
            Scheme::Https => false,
        };
        let origin = format!("{}://{}", if plain { "http" } else { "https" }, probe.authority());
        Some(Endpoint { origin, host: host.to_owned(), repository, plain })
    }
}

fn is_path(path: &str) -> bool {
    !path.is_empty() && path.split('/').all(is_segment)
}

fn is_segment(segment: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !segment.is_empty() && segment != "." && segment != ".." && segment.chars().all(fine)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origins(config: &Config, reference: &str) -> Vec<String> {
        let endpoints = config.endpoints(&Reference::parse(reference).unwrap()).unwrap();
        endpoints.iter().map(|e| e.manifest_url("t")).collect()
    }

    #[test]
    fn well_known_places() {
        let config = Config::default();
        assert_eq!(
            origins(&config, "ubuntu"),
            ["https://registry-1.docker.io/v2/library/ubuntu/manifests/t"]
        );
        assert_eq!(
            origins(&config, "localhost:5000/a"),
            ["http://localhost:5000/v2/a/manifests/t"]
        );
        assert_eq!(
            origins(&config, "127.0.0.1:5000/a"),
            ["http://127.0.0.1:5000/v2/a/manifests/t"]
        );
        assert_eq!(origins(&config, "quay.io/a/b"), ["https://quay.io/v2/a/b/manifests/t"]);
    }

    #[test]
    fn mirrors_come_first_and_may_have_a_prefix() {
        let mut config = Config::default();
        let mirrors =
            vec!["m.example/hub/".to_owned(), "bad host".to_owned(), "localhost:1".to_owned()];
        config
            .hosts
            .insert("docker.io".to_owned(), HostConfig { mirrors, ..HostConfig::default() });
        assert_eq!(
            origins(&config, "ubuntu"),
            [
                "https://m.example/v2/hub/library/ubuntu/manifests/t",
                "http://localhost:1/v2/library/ubuntu/manifests/t",
                "https://registry-1.docker.io/v2/library/ubuntu/manifests/t"
            ]
        );
    }

    #[test]
    fn a_repository_cannot_climb() {
        let mut reference = Reference::parse("h.example/a").unwrap();
        reference.repository = "a/../../v1".to_owned();
        assert!(matches!(
            Config::default().endpoints(&reference),
            Err(RegistryError::BadReference { .. })
        ));
    }
}
