//! Credentials as `docker login` (`config.json`) and podman (`auth.json`) store them.
//!
//! The crate `docker_credential` reads the same files, but finds them through the environment and
//! runs helpers itself, which Karman leaves to its command line.

use std::collections::BTreeMap;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use crate::credentials::{Credential, CredentialError, CredentialSource};

/// The largest credentials file read, in bytes.
const MAX_FILE: u64 = 4 * 1024 * 1024;
/// The key under which Docker keeps its own registry.
pub(crate) const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";
/// The user name by which a helper marks an identity token.
pub(crate) const TOKEN_USER: &str = "<token>";
/// Base64 as old writers left it, with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a credential helper answered.
#[derive(Clone)]
pub struct HelperOutput {
    /// Whether it exited with 0.
    pub success: bool,
    /// Its standard output.
    pub stdout: Vec<u8>,
}

/// Runs `program get` with the given text on standard input. `program` is `docker-credential-NAME`.
pub type HelperRunner = Arc<dyn Fn(&str, &str) -> io::Result<HelperOutput> + Send + Sync>;

/// The credentials of one or more files, the first that knows a registry wins.
#[derive(Clone)]
pub struct DockerConfig {
    files: Vec<File>,
    runner: HelperRunner,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

impl DockerConfig {
    /// Reads the files that exist, in order of preference.
    ///
    /// # Errors
    /// When a file exists but cannot be read or understood.
    pub fn load(paths: &[PathBuf], runner: HelperRunner) -> Result<Self, CredentialError> {
        let mut files = Vec::new();
        for path in paths {
            files.extend(read(path)?);
        }
        Ok(Self { files, runner })
    }

    fn ask_helper(&self, name: &str, key: &str) -> Result<Option<Credential>, CredentialError> {
        let helper = helper_program(name)?;
        let output = (self.runner)(&helper, key)
            .map_err(|source| CredentialError::RunHelper { helper: helper.clone(), source })?;
        if !output.success {
            // The protocol has no code for "none stored", only this text.
            let text = String::from_utf8_lossy(&output.stdout);
            if text.contains("credentials not found") {
                return Ok(None);
            }
            return Err(CredentialError::HelperAnswer { helper, host: key.to_owned() });
        }
        // The parser's error is not kept: it could quote the secret.
        let answer: HelperAnswer = serde_json::from_slice(&output.stdout)
            .map_err(|_| CredentialError::HelperAnswer { helper, host: key.to_owned() })?;
        Ok(Some(if answer.username == TOKEN_USER {
            Credential::IdentityToken(answer.secret)
        } else {
            Credential::Basic { user: answer.username, password: answer.secret }
        }))
    }
}

impl CredentialSource for DockerConfig {
    fn lookup(&self, host: &str, repository: &str) -> Result<Option<Credential>, CredentialError> {
        for file in &self.files {
            if let Some((key, helper)) = best(&file.cred_helpers, host, repository)
                && let Some(found) = self.ask_helper(helper, key)?
            {
                return Ok(Some(found));
            }
            if let Some((_, entry)) = best(&file.auths, host, repository)
                && let Some(found) = entry.credential(host)?
            {
                return Ok(Some(found));
            }
            if let Some(store) = &file.creds_store {
                let key = if host == "docker.io" { DOCKER_HUB_KEY } else { host };
                if let Some(found) = self.ask_helper(store, key)? {
                    return Ok(Some(found));
                }
            }
        }
        Ok(None)
    }
}

impl std::fmt::Debug for DockerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DockerConfig").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

impl Entry {
    /// What the entry holds; an empty one is left by `docker login` with a credentials store.
    fn credential(&self, host: &str) -> Result<Option<Credential>, CredentialError> {
        let given = |text: &Option<String>| text.clone().filter(|t| !t.is_empty());
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Credential::IdentityToken(token)));
        }
        if let Some(token) = given(&self.registrytoken) {
            return Ok(Some(Credential::RegistryToken(token)));
        }
        if let Some(auth) = given(&self.auth) {
            let bad = || CredentialError::MalformedEntry { host: host.to_owned() };
            let bytes = BASE64.decode(auth.trim()).map_err(|_| bad())?;
            let text = String::from_utf8(bytes).map_err(|_| bad())?;
            let (user, password) = text.split_once(':').ok_or_else(bad)?;
            let password = password.trim_end_matches('\0').to_owned();
            return Ok(Some(Credential::Basic { user: user.to_owned(), password }));
        }
        let pair = given(&self.username).zip(given(&self.password));
        Ok(pair.map(|(user, password)| Credential::Basic { user, password }))
    }
}

/// The program of a credential helper.
pub(crate) fn helper_program(name: &str) -> Result<String, CredentialError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(plain) {
        return Err(CredentialError::HelperName { helper: name.to_owned() });
    }
    Ok(format!("docker-credential-{name}"))
}

/// The entry with the longest key that covers `host/repository` (containers-auth.json(5)); Docker's
/// keys with a scheme and a path `/v1/` or `/v2/` cover the whole host.
fn best<'a, T>(
    map: &'a BTreeMap<String, T>,
    host: &str,
    repository: &str,
) -> Option<(&'a str, &'a T)> {
    let wanted = format!("{host}/{repository}/");
    let matching = map.iter().filter_map(|(key, value)| {
        let place = place_of(key);
        wanted.starts_with(&format!("{place}/")).then_some((place.len(), key.as_str(), value))
    });
    matching.max_by_key(|(length, ..)| *length).map(|(_, key, value)| (key, value))
}

fn place_of(key: &str) -> String {
    let bare = key.trim_start_matches("https://").trim_start_matches("http://");
    let had_scheme = bare.len() != key.len();
    let bare = bare.trim_end_matches('/');
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let host = match host {
        "index.docker.io" | "registry-1.docker.io" => "docker.io",
        host => host,
    };
    if path.is_empty() || had_scheme || matches!(path, "v1" | "v2") {
        host.to_owned()
    } else {
        format!("{host}/{path}")
    }
}

fn read(path: &Path) -> Result<Option<File>, CredentialError> {
    let fail = |source| CredentialError::Read { path: path.to_owned(), source };
    let file = match fs_err::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(CredentialError::TooLarge { path: path.to_owned(), limit: MAX_FILE });
    }
    if bytes.trim_ascii().is_empty() {
        return Ok(None);
    }
    let parsed = serde_json::from_slice(&bytes);
    parsed.map(Some).map_err(|source| CredentialError::Malformed { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> DockerConfig {
        let runner: HelperRunner = Arc::new(|program, key| {
            let known = program == "docker-credential-vault";
            let stdout = match key {
                "token.example" => r#"{"ServerURL":"x","Username":"<token>","Secret":"refresh"}"#,
                "none.example" => "credentials not found in native keychain\n",
                _ => r#"{"ServerURL":"x","Username":"u","Secret":"s"}"#,
            };
            Ok(HelperOutput { success: known && key != "none.example", stdout: stdout.into() })
        });
        DockerConfig { files: vec![serde_json::from_str(json).unwrap()], runner }
    }

    fn basic(user: &str, password: &str) -> Option<Credential> {
        Some(Credential::Basic { user: user.to_owned(), password: password.to_owned() })
    }

    #[test]
    fn the_longest_key_wins() {
        let c = config(
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"aHViOnB3"},
                "quay.io":{"auth":"YTox"},"quay.io/team":{"auth":"Yjoy"},"reg:5000":{"auth":"Yzoz=="}}}"#,
        );
        assert_eq!(c.lookup("docker.io", "library/x").unwrap(), basic("hub", "pw"));
        assert_eq!(c.lookup("quay.io", "team/x").unwrap(), basic("b", "2"));
        assert_eq!(c.lookup("quay.io", "teams/x").unwrap(), basic("a", "1"));
        assert_eq!(c.lookup("quay.io.evil", "x").unwrap(), None);
        assert_eq!(c.lookup("reg", "x").unwrap(), None);
    }

    #[test]
    fn helpers_are_asked() {
        let c = config(
            r#"{"auths":{"token.example":{}},"credsStore":"vault","credHelpers":{"h.example":"vault"}}"#,
        );
        assert_eq!(c.lookup("h.example", "x").unwrap(), basic("u", "s"));
        assert_eq!(c.lookup("none.example", "x").unwrap(), None);
        let token = c.lookup("token.example", "x").unwrap();
        assert_eq!(token, Some(Credential::IdentityToken("refresh".to_owned())));
        assert!(!format!("{token:?}").contains("refresh"));
    }

    #[test]
    fn a_helper_name_cannot_be_a_path() {
        let c = config(r#"{"credsStore":"../../evil"}"#);
        assert!(matches!(c.lookup("h", "x"), Err(CredentialError::HelperName { .. })));
    }

    #[test]
    fn missing_files_are_no_error_and_broken_ones_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let runner: HelperRunner = Arc::new(|_, _| Err(io::ErrorKind::NotFound.into()));
        let missing = dir.path().join("none.json");
        assert!(DockerConfig::load(&[missing], Arc::clone(&runner)).is_ok());
        let broken = dir.path().join("config.json");
        fs_err::write(&broken, "{").unwrap();
        let error = DockerConfig::load(&[broken], runner).unwrap_err();
        assert!(error.to_string().contains("config.json"));
    }
}
