//! Rules about registries in the formats that people have: containerd's `hosts.toml`, the certificate directories of
//! docker, podman and containerd, and podman's `registries.conf`.
//!
//! A `hosts.toml` for the host of a reference decides; without one `registries.conf` does. Whatever they say of TLS
//! holds for the host that it is said of.

mod certs;
mod hosts_toml;
mod registries_conf;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use karman_net::{HostTls, Url};
use karman_oci::Reference;

use hosts_toml::HostRules;
use registries_conf::Registries;

/// The largest file of rules, in bytes.
const MAX_FILE: u64 = 1024 * 1024;
/// The directory of a `hosts.toml` for hosts without one.
const DEFAULT: &str = "_default";

/// Where rules are looked for, the preferred place first. Nothing of it need exist.
#[derive(Clone, Debug, Default)]
pub struct RuleFiles {
    /// Directories with a directory for each host, which has a `hosts.toml` or certificates.
    pub host_dirs: Vec<PathBuf>,
    /// `registries.conf` files; the first that exists counts. What is in the directories `FILE.d` beside them is
    /// added, the preferred last.
    pub registries_conf: Vec<PathBuf>,
}

/// A file of rules that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RulesError {
    /// It cannot be read.
    #[error("read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It says something that is not understood.
    #[error("`{}` is not valid: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its line where that is known.
        problem: String,
    },
}

/// All rules.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    hosts: BTreeMap<String, HostRules>,
    registries: Registries,
    tls: Vec<HostTls>,
    /// Hosts that somebody said need not be verified, besides all files.
    unverified: BTreeSet<String>,
}

/// What a reference is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// To find out what a tag stands for.
    Resolve,
    /// To read what a digest names.
    Pull,
    /// To write.
    Push,
}

/// A place by rule, before anybody is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A URL under which the API is, as `hosts.toml` says it.
    Root(Root),
    /// A host, spoken to by its own rules.
    Host {
        host: String,
        repository: String,
        /// Its certificate is not verified, and where it speaks no TLS it is spoken to without.
        insecure: bool,
    },
}

/// The API of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root {
    /// `scheme://host[:port]`.
    pub(crate) origin: String,
    /// The path of the API, `/v2` mostly.
    pub(crate) api: String,
    /// Sent with every request to this origin.
    pub(crate) headers: Vec<(String, String)>,
    /// Whether it stands for another host, which it is told.
    pub(crate) is_mirror: bool,
}

/// What the rules say about a reference.
pub(crate) enum Verdict {
    /// Nothing.
    Silent,
    /// These are asked, in this order.
    Places(Vec<Place>),
    /// It is not to be used.
    Blocked,
}

impl Rules {
    /// Reads all files.
    ///
    /// # Errors
    /// When one exists and cannot be read or understood.
    pub fn load(files: &RuleFiles) -> Result<Self, RulesError> {
        let mut rules = Self::default();
        for dir in &files.host_dirs {
            for (host, path) in subdirectories(dir)? {
                let file = path.join("hosts.toml");
                match read(&file)? {
                    // The preferred one was read before.
                    Some(_) if rules.hosts.contains_key(&host) => {}
                    Some(text) => {
                        let (host_rules, tls) = hosts_toml::parse(&host, &file, &text)?;
                        rules.hosts.insert(host, host_rules);
                        rules.tls.extend(tls);
                    }
                    None => rules.tls.extend(certs::of(&host, &path)?),
                }
            }
        }
        rules.registries = registries_conf::load(&files.registries_conf)?;
        rules.tls.extend(rules.registries.tls());
        rules.tls = merged(std::mem::take(&mut rules.tls));
        Ok(rules)
    }

    /// Lets hosts (`host`, `host:port`) be spoken to without verifying them, and without TLS where they speak none.
    #[must_use]
    pub fn without_verifying(mut self, hosts: &[String]) -> Self {
        let open =
            |host: &String| HostTls { host: host.clone(), insecure: true, ..HostTls::default() };
        self.tls = merged(self.tls.into_iter().chain(hosts.iter().map(open)).collect());
        self.unverified.extend(hosts.iter().cloned());
        self
    }

    /// How TLS is spoken with hosts that have rules.
    #[must_use]
    pub fn tls(&self) -> Vec<HostTls> {
        self.tls.clone()
    }

    pub(crate) fn places(&self, reference: &Reference, need: Need) -> Verdict {
        if let Some(rules) = self.hosts.get(&reference.host).or_else(|| self.hosts.get(DEFAULT)) {
            return Verdict::Places(rules.places(reference, need));
        }
        match self.registries.places(reference, need) {
            Verdict::Silent if self.unverified.contains(&reference.host) => {
                Verdict::Places(vec![Place::Host {
                    host: reference.host.clone(),
                    repository: reference.repository.clone(),
                    insecure: true,
                }])
            }
            Verdict::Places(mut places) => {
                for place in &mut places {
                    if let Place::Host { host, insecure, .. } = place {
                        *insecure |= self.unverified.contains(host);
                    }
                }
                Verdict::Places(places)
            }
            other => other,
        }
    }
}

/// The directories for hosts in a directory, by host. containerd writes `host_port_` where a file system cannot
/// have colons.
fn subdirectories(dir: &Path) -> Result<Vec<(String, PathBuf)>, RulesError> {
    let mut found = Vec::new();
    for path in entries(dir)? {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        if path.is_dir() {
            let bare = name.strip_suffix('_').and_then(|name| name.rsplit_once('_'));
            let with_port = bare.filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
            let host = with_port.map_or(name.to_owned(), |(host, port)| format!("{host}:{port}"));
            found.push((host, path));
        }
    }
    found.sort();
    Ok(found)
}

/// What is in a directory, by name; nothing where there is no such directory.
fn entries(dir: &Path) -> Result<Vec<PathBuf>, RulesError> {
    let failed = |source| RulesError::Read { path: dir.to_owned(), source };
    let entries = match fs_err::read_dir(dir) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        found.push(entry.map_err(failed)?.path());
    }
    found.sort();
    Ok(found)
}

/// A file's text; `None` where there is no such file.
fn read(path: &Path) -> Result<Option<String>, RulesError> {
    let failed = |source| RulesError::Read { path: path.to_owned(), source };
    let file = match fs_err::File::open(path) {
        Err(error) if is_absent(&error) => return Ok(None),
        file => file.map_err(failed)?,
    };
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_FILE {
        let problem = format!("it is larger than {MAX_FILE} bytes");
        return Err(RulesError::Invalid { path: path.to_owned(), problem });
    }
    Ok(Some(text))
}

/// A place that an ordinary user may not look into has no rules for them.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
}

/// One entry for each host.
fn merged(all: Vec<HostTls>) -> Vec<HostTls> {
    let mut out: Vec<HostTls> = Vec::new();
    for one in all {
        match out.iter_mut().find(|known| known.host == one.host) {
            None => out.push(one),
            Some(known) => {
                known.insecure |= one.insecure;
                known.roots.extend(one.roots);
                known.identity = known.identity.take().or(one.identity);
            }
        }
    }
    out
}

/// `host[:port]` of a URL, with the port that TLS is spoken on.
fn authority(url: &Url) -> String {
    format!("{}:{}", url.host(), url.port())
}
