//! containerd's `hosts.toml` (its `docs/hosts.md`).
//!
//! ```toml
//! server = "https://registry-1.docker.io"     # by default https:// and the name of the directory
//! [host."https://mirror.example/hub"]         # asked in this order before the server
//!   capabilities = ["pull", "resolve"]
//!   ca = "mirror.pem"                         # relative to the directory
//!   client = [["client.pem", "client.key"]]
//!   skip_verify = false
//!   override_path = true                      # the path is the API's, nothing is added
//!   [host."https://mirror.example/hub".header]
//!     x-team = "blue"
//! ```
//!
//! The keys of a host also stand at the top, for the server. In one thing we are stricter: a host is pushed to only
//! where its capabilities say so; without any it may be read from.

use std::path::{Path, PathBuf};

use karman_net::{HostTls, Url};
use karman_oci::Reference;
use toml_edit::{DocumentMut, Item, TableLike, Value};

use super::{Need, Place, Root, RulesError, authority};

/// The path of the API.
const API: &str = "/v2";
const KEYS: [&str; 7] =
    ["capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout"];

/// What the file of a host says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HostRules {
    hosts: Vec<Host>,
    server: Option<Host>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Host {
    root: Root,
    resolve: bool,
    pull: bool,
    push: bool,
}

impl Host {
    fn can(&self, need: Need) -> bool {
        match need {
            Need::Resolve => self.resolve,
            Need::Pull => self.pull,
            Need::Push => self.push,
        }
    }
}

impl HostRules {
    pub(super) fn places(&self, reference: &Reference, need: Need) -> Vec<Place> {
        // In the directory `_default` the server is the host of the reference itself.
        let own = || {
            let (host, repository) = (reference.host.clone(), reference.repository.clone());
            Place::Host { host, repository, insecure: false }
        };
        let hosts = self.hosts.iter().filter(|host| host.can(need));
        let mut places: Vec<Place> = hosts.map(|host| Place::Root(host.root.clone())).collect();
        match &self.server {
            Some(server) if server.can(need) => places.push(Place::Root(server.root.clone())),
            Some(_) => {}
            None => places.push(own()),
        }
        places
    }
}

/// Reads the file at `path` for the host `name`.
pub(super) fn parse(
    name: &str,
    path: &Path,
    text: &str,
) -> Result<(HostRules, Vec<HostTls>), RulesError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let read = || -> Result<(HostRules, Vec<HostTls>), String> {
        let document: DocumentMut = text
            .parse()
            .map_err(|e: toml_edit::TomlError| e.to_string().trim_end().replace('\n', " "))?;
        let mut tls = Vec::new();
        let mut hosts = Vec::new();
        if let Some(table) = document.get("host") {
            let table = table.as_table_like().ok_or("`host` is not a table")?;
            for (url, item) in table.iter() {
                let keys = item.as_table_like().ok_or_else(|| format!("`{url}` is not a table"))?;
                unknown(keys, &[]).map_err(|key| format!("unknown key `{key}` of host `{url}`"))?;
                hosts.push(host(url, keys, dir, name, &mut tls)?);
            }
        }
        unknown(document.as_table(), &["server", "host"])
            .map_err(|key| format!("unknown key `{key}`"))?;
        let given = document.get("server").map(|item| text_of(item, "server")).transpose()?;
        let server = match given {
            Some(url) => Some(host(&url, document.as_table(), dir, name, &mut tls)?),
            None if name == super::DEFAULT => None,
            None => Some(host(own_url(name), document.as_table(), dir, name, &mut tls)?),
        };
        let server = server.map(|mut server| {
            // Unless it says otherwise, the server can do everything.
            server.push |= document.get("capabilities").is_none();
            server
        });
        Ok((HostRules { hosts, server }, tls))
    };
    read().map_err(|problem| RulesError::Invalid { path: path.to_owned(), problem })
}

/// Where the registry of that name is by itself.
fn own_url(name: &str) -> &str {
    if name == "docker.io" { "https://registry-1.docker.io" } else { name }
}

/// The first key that a table should not have.
fn unknown(table: &dyn TableLike, more: &[&str]) -> Result<(), String> {
    let mut keys = table.iter().map(|(key, _)| key);
    keys.find(|key| !KEYS.contains(key) && !more.contains(key))
        .map_or(Ok(()), |key| Err(key.to_owned()))
}

fn host(
    url: &str,
    keys: &dyn TableLike,
    dir: &Path,
    name: &str,
    tls: &mut Vec<HostTls>,
) -> Result<Host, String> {
    let full = if url.contains("://") { url.to_owned() } else { scheme_for(url) };
    let parsed = Url::parse(&full).map_err(|e| format!("`{url}`: {e}"))?;
    let flag = |key: &str| match keys.get(key) {
        None => Ok(false),
        Some(item) => item.as_bool().ok_or_else(|| format!("`{key}` is neither true nor false")),
    };
    let path = parsed.path().trim_end_matches('/');
    let api = match (flag("override_path")?, path) {
        (true, path) => path.to_owned(),
        (false, path) if path.ends_with(API) => path.to_owned(),
        (false, path) => format!("{path}{API}"),
    };
    let file = |text: String| dir.join(text);
    let roots = match keys.get("ca") {
        None => Vec::new(),
        Some(item) => texts_of(item, "ca")?.into_iter().map(file).collect(),
    };
    let identity = keys.get("client").map(|item| client(item, dir)).transpose()?.flatten();
    let insecure = flag("skip_verify")?;
    if parsed.is_https() && (insecure || identity.is_some() || !roots.is_empty()) {
        tls.push(HostTls { host: authority(&parsed), roots, identity, insecure });
    }
    let all = ["pull", "resolve"].map(str::to_owned).to_vec();
    let capabilities =
        keys.get("capabilities").map_or(Ok(all), |item| texts_of(item, "capabilities"))?;
    if let Some(odd) =
        capabilities.iter().find(|c| !["pull", "resolve", "push"].contains(&c.as_str()))
    {
        return Err(format!("unknown capability `{odd}`"));
    }
    let can = |what: &str| capabilities.iter().any(|c| c == what);
    let own = Url::parse(&scheme_for(own_url(name)));
    let is_mirror =
        name != super::DEFAULT && own.is_ok_and(|own| authority(&own) != authority(&parsed));
    let root =
        Root { origin: parsed.origin(), api, headers: headers(keys.get("header"))?, is_mirror };
    Ok(Host { root, resolve: can("resolve"), pull: can("pull"), push: can("push") })
}

/// https, but for this machine, as Docker does.
fn scheme_for(host: &str) -> String {
    if host.contains("://") {
        return host.to_owned();
    }
    let is_local = Url::parse(&format!("https://{host}")).is_ok_and(|url| url.is_loopback());
    format!("{}://{host}", if is_local { "http" } else { "https" })
}

fn text_of(item: &Item, key: &str) -> Result<String, String> {
    item.as_str().map(str::to_owned).ok_or_else(|| format!("`{key}` is not a text"))
}

/// A text or a list of them.
fn texts_of(item: &Item, key: &str) -> Result<Vec<String>, String> {
    if let Some(text) = item.as_str() {
        return Ok(vec![text.to_owned()]);
    }
    let wrong = || format!("`{key}` is neither a text nor a list of texts");
    let list = item.as_array().ok_or_else(wrong)?;
    list.iter().map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
}

/// `"both.pem"`, `["both.pem"]` or `[["cert.pem", "key.pem"]]`; the first counts.
fn client(item: &Item, dir: &Path) -> Result<Option<(PathBuf, PathBuf)>, String> {
    let wrong = || "`client` is neither a file nor a list of files or of pairs of files".to_owned();
    let both = |file: &str| (dir.join(file), dir.join(file));
    if let Some(file) = item.as_str() {
        return Ok(Some(both(file)));
    }
    match item.as_array().ok_or_else(wrong)?.get(0) {
        None => Ok(None),
        Some(Value::String(file)) => Ok(Some(both(file.value()))),
        Some(Value::Array(pair)) => {
            let names: Vec<&str> = pair.iter().filter_map(Value::as_str).collect();
            match (names.as_slice(), pair.len()) {
                ([cert, key], 2) => match key.is_empty() {
                    true => Ok(Some(both(cert))),
                    false => Ok(Some((dir.join(cert), dir.join(key)))),
                },
                ([file], 1) => Ok(Some(both(file))),
                _ => Err(wrong()),
            }
        }
        Some(_) => Err(wrong()),
    }
}

fn headers(item: Option<&Item>) -> Result<Vec<(String, String)>, String> {
    let Some(item) = item else { return Ok(Vec::new()) };
    let table = item.as_table_like().ok_or("`header` is not a table")?;
    let mut all = Vec::new();
    for (name, value) in table.iter() {
        for text in texts_of(value, name)? {
            all.push((name.to_owned(), text));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(name: &str, text: &str) -> Result<(HostRules, Vec<HostTls>), String> {
        parse(name, Path::new("/c/hosts.toml"), text).map_err(|e| e.to_string())
    }

    /// The API roots that are asked for a need.
    fn asked(rules: &HostRules, need: Need) -> Vec<String> {
        let reference = Reference::parse("r.example/a/b").unwrap();
        let text = |place| match place {
            Place::Root(root) => format!("{}{}", root.origin, root.api),
            Place::Host { host, .. } => format!("={host}"),
        };
        rules.places(&reference, need).into_iter().map(text).collect()
    }

    #[test]
    fn hosts_come_in_the_order_of_the_file_and_the_server_last() {
        let text = "server = \"https://real.example\"\n\
            [host.\"https://z.example\"]\n capabilities = [\"pull\"]\n\
            [host.\"http://a.example:5000/hub\"]\n capabilities = [\"pull\", \"resolve\"]\n\
            [host.\"https://m.example/v2/proxy\"]\n override_path = true\n\
            [host.\"https://p.example\"]\n capabilities = [\"push\"]\n";
        let (rules, tls) = rules("r.example", text).unwrap();
        let (z, a, m) =
            ("https://z.example/v2", "http://a.example:5000/hub/v2", "https://m.example/v2/proxy");
        let server = "https://real.example/v2";
        assert_eq!(asked(&rules, Need::Pull), [z, a, m, server]);
        assert_eq!(asked(&rules, Need::Resolve), [a, m, server]);
        assert_eq!(asked(&rules, Need::Push), ["https://p.example/v2", server]);
        assert!(tls.is_empty());
    }

    #[test]
    fn the_server_is_the_host_itself_by_default() {
        let (own, _) = rules("r.example:5000", "").unwrap();
        assert_eq!(asked(&own, Need::Push), ["https://r.example:5000/v2"]);
        let (local, _) = rules("localhost:5000", "").unwrap();
        assert_eq!(asked(&local, Need::Pull), ["http://localhost:5000/v2"]);
        let (hub, _) = rules("docker.io", "[host.\"https://m.example\"]\n").unwrap();
        assert_eq!(asked(&hub, Need::Push), ["https://registry-1.docker.io/v2"]);
        let Some(Place::Root(mirror)) =
            hub.places(&Reference::parse("a").unwrap(), Need::Pull).into_iter().next()
        else {
            panic!("a mirror")
        };
        assert!(mirror.is_mirror);
        let (any, _) = rules("_default", "[host.\"https://m.example\"]\n").unwrap();
        assert_eq!(asked(&any, Need::Pull), ["https://m.example/v2", "=r.example"]);
        let (read_only, _) =
            rules("r.example", "capabilities = [\"pull\", \"resolve\"]\n").unwrap();
        assert!(asked(&read_only, Need::Push).is_empty());
    }

    #[test]
    fn certificates_are_beside_the_file_and_for_their_host() {
        let text = "ca = \"server.pem\"\n\
            [host.\"https://a.example\"]\n ca = [\"/abs.pem\", \"rel.pem\"]\n client = [[\"c.pem\", \"k.pem\"]]\n\
            [host.\"https://b.example:8443\"]\n skip_verify = true\n client = \"both.pem\"\n";
        let (_, tls) = rules("r.example", text).unwrap();
        let file = |name: &str| PathBuf::from("/c").join(name);
        let a = HostTls {
            host: "a.example:443".to_owned(),
            roots: vec!["/abs.pem".into(), file("rel.pem")],
            identity: Some((file("c.pem"), file("k.pem"))),
            insecure: false,
        };
        let b = HostTls {
            host: "b.example:8443".to_owned(),
            roots: Vec::new(),
            identity: Some((file("both.pem"), file("both.pem"))),
            insecure: true,
        };
        let server = HostTls {
            host: "r.example:443".to_owned(),
            roots: vec![file("server.pem")],
            ..HostTls::default()
        };
        assert_eq!(tls, [a, b, server]);
    }

    #[test]
    fn headers_may_have_several_values() {
        let text = "[host.\"https://a.example\".header]\n x-a = \"1\"\n x-b = [\"2\", \"3\"]\n";
        let (rules, _) = rules("r.example", text).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            rules.hosts[0].root.headers,
            [pair("x-a", "1"), pair("x-b", "2"), pair("x-b", "3")]
        );
    }

    #[test]
    fn what_is_not_understood_is_told_with_its_place() {
        let told = |text: &str| rules("r.example", text).unwrap_err();
        assert!(
            told("server = ").contains("`/c/hosts.toml` is not valid: TOML parse error at line 1")
        );
        assert!(
            told("[host.\"https://a\"]\nskip_verfy = true\n")
                .contains("unknown key `skip_verfy` of host `https://a`")
        );
        assert!(told("sever = \"x\"\n").contains("unknown key `sever`"));
        assert!(told("capabilities = [\"fly\"]\n").contains("unknown capability `fly`"));
        assert!(told("server = \"ftp://x\"\n").contains("`ftp://x`"));
    }
}
