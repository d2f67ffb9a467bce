//! What the program was started with: the only place that reads environment and working directory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use karman_control::Proxies;

/// Variables that name proxies, as programs look for them.
const PROXY_NAMES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

/// Where programs that people have look for rules and certificates of registries, below `/etc` and the user's
/// configuration.
const HOST_DIRS: [&str; 3] = ["containerd/certs.d", "containers/certs.d", "docker/certs.d"];

/// The environment as it was at the start.
#[derive(Clone, Default)]
pub(crate) struct Environment {
    /// All variables, for programs of the host.
    pub(crate) all: Vec<(OsString, OsString)>,
    /// Those that are UTF-8.
    pub(crate) texts: BTreeMap<String, String>,
    /// The working directory; `.` where it is gone.
    pub(crate) cwd: PathBuf,
}

impl Environment {
    /// Reads it.
    pub(crate) fn read() -> Self {
        let all: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        let text = |(name, value): &(OsString, OsString)| {
            Some((name.to_str()?.to_owned(), value.to_str()?.to_owned()))
        };
        let texts = all.iter().filter_map(text).collect();
        Self { texts, all, cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")) }
    }

    /// A variable that is set to something.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// A variable as an absolute path.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        let value = self.all.iter().find(|(n, v)| n == name && !v.is_empty());
        value.map(|(_, v)| self.absolute(Path::new(v)))
    }

    /// A path relative to the working directory.
    pub(crate) fn absolute(&self, path: &Path) -> PathBuf {
        self.cwd.join(path)
    }

    /// A directory of the XDG base directory specification, or its default below the home.
    pub(crate) fn xdg(&self, name: &str, default: &str) -> Option<PathBuf> {
        self.path(name).or_else(|| Some(self.path("HOME")?.join(default)))
    }

    /// Proxies for steps, both cases as they are set.
    pub(crate) fn proxies(&self) -> Proxies {
        let is_proxy = |name: &str| PROXY_NAMES.contains(&name.to_uppercase().as_str());
        let set = self.texts.iter().filter(|(n, v)| is_proxy(n) && !v.is_empty());
        Proxies { variables: set.map(|(n, v)| (n.clone(), v.clone())).collect() }
    }

    /// Proxies for our own requests; lower case wins, as in curl.
    pub(crate) fn net_proxies(&self) -> karman_net::Proxies {
        let find = |name: &str| {
            let value = self.get(name).or_else(|| self.get(&name.to_uppercase()));
            value.map(str::to_owned)
        };
        karman_net::Proxies {
            http: find("http_proxy"),
            https: find("https_proxy"),
            all: find("all_proxy"),
            no_proxy: find("no_proxy"),
        }
    }

    /// Passwords in proxy URLs.
    pub(crate) fn proxy_passwords(&self) -> Vec<Vec<u8>> {
        let password = |url: &String| {
            let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
            let (user, _) = rest.rsplit_once('@')?;
            let (_, password) = user.split_once(':')?;
            Some(password.as_bytes().to_vec())
        };
        self.proxies().variables.values().filter_map(password).collect()
    }

    /// Directories with a directory for each registry, the user's first.
    pub(crate) fn host_dirs(&self) -> Vec<PathBuf> {
        let config = self.xdg("XDG_CONFIG_HOME", ".config");
        let places = [config, Some(PathBuf::from("/etc"))].into_iter().flatten();
        let below = |dir: PathBuf| HOST_DIRS.map(|name| dir.join(name));
        places.flat_map(below).collect()
    }

    /// podman's rules about registries, the user's first.
    pub(crate) fn registries_conf(&self) -> Vec<PathBuf> {
        let config = self.xdg("XDG_CONFIG_HOME", ".config");
        let places = [config, Some(PathBuf::from("/etc"))].into_iter().flatten();
        places.map(|dir| dir.join("containers/registries.conf")).collect()
    }

    /// Files with registry credentials, the preferred one first; they need not exist.
    pub(crate) fn credential_files(&self) -> Vec<PathBuf> {
        let docker =
            self.path("DOCKER_CONFIG").or_else(|| Some(self.path("HOME")?.join(".docker")));
        let runtime = self.path("XDG_RUNTIME_DIR").map(|d| d.join("containers/auth.json"));
        let config = self.xdg("XDG_CONFIG_HOME", ".config").map(|d| d.join("containers/auth.json"));
        let files = [
            self.path("REGISTRY_AUTH_FILE"),
            docker.map(|d| d.join("config.json")),
            runtime,
            config,
        ];
        files.into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(vars: &[(&str, &str)]) -> Environment {
        let texts: BTreeMap<String, String> =
            vars.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let all = texts.iter().map(|(n, v)| (n.into(), v.into())).collect();
        Environment { all, texts, cwd: PathBuf::from("/w") }
    }

    #[test]
    fn proxies_are_found_in_both_cases_and_their_passwords_are_known() {
        let env = environment(&[
            ("HTTP_PROXY", "http://u:hunter2@p:3128"),
            ("http_proxy", "http://q:1"),
            ("no_proxy", "localhost"),
            ("OTHER", "x"),
        ]);
        let names: Vec<String> = env.proxies().variables.into_keys().collect();
        assert_eq!(names, ["HTTP_PROXY", "http_proxy", "no_proxy"]);
        assert_eq!(env.net_proxies().http.as_deref(), Some("http://q:1"));
        assert_eq!(env.proxy_passwords(), [b"hunter2"]);
    }

    #[test]
    fn directories_fall_back_to_the_home() {
        let env = environment(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "c")]);
        assert_eq!(env.xdg("XDG_DATA_HOME", ".local/share"), Some("/h/.local/share".into()));
        assert_eq!(env.xdg("XDG_CONFIG_HOME", ".config"), Some("/w/c".into()));
        assert_eq!(environment(&[]).xdg("XDG_DATA_HOME", "x"), None);
    }
}
