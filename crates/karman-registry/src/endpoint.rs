//! Where a registry is really spoken to.

use std::fmt;
use std::sync::Arc;

use karman_net::Url;
use karman_oci::Reference;

use crate::credentials::{Anonymous, CredentialSource};
use crate::error::RegistryError;
use crate::rules::{Need, Place, Root, Rules, Verdict};

/// The path of the API.
const API: &str = "/v2";
/// The name of Docker's registry, and the host that serves it.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// How registries are reached, and as whom.
#[derive(Clone)]
pub struct Config {
    /// Hosts (`host`, `host:port`) spoken to without TLS, chosen on purpose. Others are spoken to without
    /// where they are this machine, as Docker does.
    pub plain: Vec<String>,
    /// Mirrors and rules for single hosts.
    pub rules: Rules,
    /// Who we are.
    pub credentials: Arc<dyn CredentialSource>,
}

impl Default for Config {
    fn default() -> Self {
        Self { plain: Vec::new(), rules: Rules::default(), credentials: Arc::new(Anonymous) }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plain, rules, .. } = self;
        f.debug_struct("Config").field("plain", plain).field("rules", rules).finish_non_exhaustive()
    }
}

/// One place that may serve a repository.
#[derive(Clone, Debug)]
pub(crate) struct Endpoint {
    /// `scheme://host[:port]`.
    pub(crate) origin: String,
    /// The path of the API below it, `/v2` mostly.
    api: String,
    /// The name credentials are stored under.
    pub(crate) host: String,
    /// The repository there.
    pub(crate) repository: String,
    /// Whether the traffic is not encrypted.
    pub(crate) plain: bool,
    /// Whether it is still to be found out if it speaks TLS.
    pub(crate) is_unsure: bool,
    /// The host that it stands for, which containerd's mirrors are told.
    stands_for: Option<String>,
    /// Sent with every request to this origin.
    pub(crate) headers: Vec<(String, String)>,
}

impl Endpoint {
    /// The scope a token for reading needs.
    pub(crate) fn pull_scope(&self) -> String {
        format!("repository:{}:pull", self.repository)
    }

    /// Where it is seen whether the API is there and lets us in.
    pub(crate) fn api_url(&self) -> String {
        format!("{}{}/", self.origin, self.api)
    }

    pub(crate) fn manifest_url(&self, tag_or_digest: &str) -> String {
        self.url(&format!("manifests/{tag_or_digest}"), "")
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
        let query = mount.map(|(digest, from)| format!("mount={digest}&from={from}"));
        self.url("blobs/uploads/", &query.unwrap_or_default())
    }

    pub(crate) fn referrers_url(&self, digest: &str) -> String {
        self.url(&format!("referrers/{digest}"), "")
    }

    pub(crate) fn blob_url(&self, digest: &str) -> String {
        self.url(&format!("blobs/{digest}"), "")
    }

    fn url(&self, path: &str, query: &str) -> String {
        let mut url = format!("{}{}/{}/{path}", self.origin, self.api, self.repository);
        let stands_for = self.stands_for.as_ref().map(|host| format!("ns={host}"));
        let parts = [query, stands_for.as_deref().unwrap_or_default()];
        for (at, part) in parts.into_iter().filter(|part| !part.is_empty()).enumerate() {
            url.push(if at == 0 { '?' } else { '&' });
            url.push_str(part);
        }
        url
    }

    /// From now on without TLS.
    pub(crate) fn without_tls(&mut self) {
        self.origin = self.origin.replacen("https://", "http://", 1);
        self.plain = true;
    }
}

impl Config {
    /// Every place to ask for a reference, in this order. The registry itself is the last.
    pub(crate) fn endpoints(
        &self,
        reference: &Reference,
        need: Need,
    ) -> Result<Vec<Endpoint>, RegistryError> {
        let bad = || RegistryError::BadReference { reference: reference.to_string() };
        if !is_path(&reference.repository)
            || reference.tag.as_deref().is_some_and(|t| !is_segment(t))
        {
            return Err(bad());
        }
        let places = match self.rules.places(reference, need) {
            Verdict::Blocked => {
                return Err(RegistryError::Blocked { reference: reference.to_string() });
            }
            Verdict::Silent => vec![Place::Host {
                host: reference.host.clone(),
                repository: reference.repository.clone(),
                insecure: false,
            }],
            Verdict::Places(places) => places,
        };
        if places.is_empty() {
            return Err(RegistryError::NoPlace { reference: reference.to_string() });
        }
        let last = places.len() - 1;
        let mut out = Vec::new();
        for (at, place) in places.into_iter().enumerate() {
            match self.endpoint(place, reference) {
                Some(endpoint) => out.push(endpoint),
                None if at == last => return Err(bad()),
                // A mirror is an aid: one that is spelled wrongly must not keep the registry from us.
                None => {}
            }
        }
        Ok(out)
    }

    fn endpoint(&self, place: Place, reference: &Reference) -> Option<Endpoint> {
        let (host, repository, insecure) = match place {
            Place::Root(root) => return rooted(root, reference),
            Place::Host { host, repository, insecure } => (host, repository, insecure),
        };
        let probe = dialled(&host)?;
        // Where verifying was given up, it is found out whether there is TLS, on this machine too.
        let plain = self.plain.contains(&host) || (probe.is_loopback() && !insecure);
        let origin = format!("{}://{}", if plain { "http" } else { "https" }, probe.authority());
        is_path(&repository).then(|| Endpoint {
            origin,
            api: API.to_owned(),
            host,
            repository,
            plain,
            is_unsure: insecure && !plain,
            stands_for: None,
            headers: Vec::new(),
        })
    }
}

/// An endpoint whose URL a rule gives.
fn rooted(root: Root, reference: &Reference) -> Option<Endpoint> {
    let url = Url::parse(&root.origin).ok()?;
    // The account of a registry is for that registry alone, wherever its rules lead.
    let is_itself = dialled(&reference.host).is_some_and(|own| {
        own.host() == url.host() && (own.port() == url.port() || !url.is_https())
    });
    Some(Endpoint {
        api: root.api,
        host: if is_itself { reference.host.clone() } else { url.authority() },
        repository: reference.repository.clone(),
        plain: !url.is_https(),
        is_unsure: false,
        stands_for: root.is_mirror.then(|| reference.host.clone()),
        headers: root.headers,
        origin: root.origin,
    })
}

/// The host that a name stands for, as an https URL.
fn dialled(host: &str) -> Option<Url> {
    let host = if host == DOCKER_HUB.0 { DOCKER_HUB.1 } else { host };
    Url::parse(&format!("https://{host}")).ok()
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
    use crate::rules::RuleFiles;

    fn urls(config: &Config, reference: &str) -> Vec<String> {
        let reference = Reference::parse(reference).unwrap();
        let endpoints = config.endpoints(&reference, Need::Resolve).unwrap();
        endpoints.iter().map(|e| e.manifest_url("t")).collect()
    }

    #[test]
    fn well_known_places() {
        let plain = vec!["plain.example".to_owned()];
        let config = Config { plain, ..Config::default() };
        let one = |name: &str| urls(&config, name).remove(0);
        assert_eq!(one("ubuntu"), "https://registry-1.docker.io/v2/library/ubuntu/manifests/t");
        assert_eq!(one("localhost:5000/a"), "http://localhost:5000/v2/a/manifests/t");
        assert_eq!(one("127.0.0.1:5000/a"), "http://127.0.0.1:5000/v2/a/manifests/t");
        assert_eq!(one("quay.io/a/b"), "https://quay.io/v2/a/b/manifests/t");
        assert_eq!(one("plain.example/a"), "http://plain.example/v2/a/manifests/t");
    }

    #[test]
    fn rules_of_files_lead_elsewhere_but_accounts_stay() {
        let dir = tempfile::tempdir().unwrap();
        let hub = dir.path().join("certs.d/docker.io");
        fs_err::create_dir_all(&hub).unwrap();
        let text = "[host.\"https://m.example/v2/hub\"]\noverride_path = true\n\
                    [host.\"http://m.example:5000\"]\n";
        fs_err::write(hub.join("hosts.toml"), text).unwrap();
        let files =
            RuleFiles { host_dirs: vec![dir.path().join("certs.d")], ..RuleFiles::default() };
        let config = Config { rules: Rules::load(&files).unwrap(), ..Config::default() };
        assert_eq!(
            urls(&config, "ubuntu"),
            [
                "https://m.example/v2/hub/library/ubuntu/manifests/t?ns=docker.io",
                "http://m.example:5000/v2/library/ubuntu/manifests/t?ns=docker.io",
                "https://registry-1.docker.io/v2/library/ubuntu/manifests/t",
            ]
        );
        let reference = Reference::parse("ubuntu").unwrap();
        let endpoints = config.endpoints(&reference, Need::Pull).unwrap();
        let names: Vec<&str> = endpoints.iter().map(|e| e.host.as_str()).collect();
        assert_eq!(names, ["m.example", "m.example:5000", "docker.io"]);
        assert_eq!(
            endpoints[0].uploads_url(Some(("d", "f"))).split('?').nth(1),
            Some("mount=d&from=f&ns=docker.io")
        );
    }

    #[test]
    fn a_host_may_be_spoken_to_without_verifying_it() {
        let hosts = ["odd.example:5000".to_owned(), "localhost:5000".to_owned()];
        let rules = Rules::default().without_verifying(&hosts);
        assert!(rules.tls().iter().all(|tls| tls.insecure) && rules.tls().len() == 2);
        let config = Config { rules, ..Config::default() };
        let unsure = |name: &str| {
            let reference = Reference::parse(name).unwrap();
            let all = config.endpoints(&reference, Need::Push).unwrap();
            (all[0].is_unsure, all[0].plain)
        };
        assert_eq!(unsure("odd.example:5000/a"), (true, false));
        assert_eq!(unsure("localhost:5000/a"), (true, false));
        assert_eq!(unsure("odd.example/a"), (false, false));
        assert_eq!(unsure("localhost:5001/a"), (false, true));
    }

    #[test]
    fn a_repository_cannot_climb() {
        let mut reference = Reference::parse("h.example/a").unwrap();
        reference.repository = "a/../../v1".to_owned();
        assert!(matches!(
            Config::default().endpoints(&reference, Need::Pull),
            Err(RegistryError::BadReference { .. })
        ));
    }
}
