//! Checking an account, and keeping it in the file that `docker login` writes.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use karman_net::Request;
use karman_oci::Reference;
use serde_json::{Map, Value, json};

use crate::access::Access;
use crate::credentials::{Credential, CredentialError, CredentialSource};
use crate::docker_config::{DOCKER_HUB_KEY, HelperOutput, TOKEN_USER, helper_program};
use crate::endpoint::Config;
use crate::error::RegistryError;
use crate::pull::Registry;

/// Who may read and write the file: its owner.
const PRIVATE: u32 = 0o600;
const PRIVATE_DIR: u32 = 0o700;

/// Runs `docker-credential-NAME ACTION` with the given text on standard input.
pub type HelperAction<'a> = &'a dyn Fn(&str, &str, &str) -> io::Result<HelperOutput>;

/// A credential on trial.
struct Trial(Credential);

impl CredentialSource for Trial {
    fn lookup(&self, _: &str, _: &str) -> Result<Option<Credential>, CredentialError> {
        Ok(Some(self.0.clone()))
    }
}

impl Registry {
    /// Whether a registry lets an account in: asks for the API's root as `docker login` does.
    ///
    /// # Errors
    /// [`RegistryError::WrongAccount`] when it does not; otherwise when it cannot be reached.
    pub fn check_login(&self, host: &str, credential: Credential) -> Result<(), RegistryError> {
        let config =
            Config { credentials: Arc::new(Trial(credential)), ..self.inner.config.clone() };
        let trial = Self::new(self.inner.client.clone(), config);
        let reference = Reference {
            host: host.to_owned(),
            repository: "login".to_owned(),
            tag: None,
            digest: None,
        };
        let endpoint = trial.registry_of(&reference)?;
        let url = endpoint.api_url();
        let mut access = Access::login(&trial, &endpoint, &reference);
        access.send(&|| Request::get(&url)).map(drop).map_err(|error| match error {
            RegistryError::Denied { source, .. } => {
                RegistryError::WrongAccount { host: host.to_owned(), source }
            }
            RegistryError::Pull { source, .. } | RegistryError::NotFound { source, .. } => {
                RegistryError::Login { host: host.to_owned(), source }
            }
            error => error,
        })
    }
}

/// Docker's `config.json` as it is, so that what others keep in it stays.
#[derive(Debug)]
pub struct LoginFile {
    path: PathBuf,
    root: Map<String, Value>,
}

impl LoginFile {
    /// Reads the file; one that does not exist is empty.
    ///
    /// # Errors
    /// When it cannot be read or is not a JSON object.
    pub fn load(path: &Path) -> Result<Self, CredentialError> {
        let read = |source| CredentialError::Read { path: path.to_owned(), source };
        let bytes = match fs_err::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(read(error)),
        };
        let bad = |source| CredentialError::Malformed { path: path.to_owned(), source };
        let root = match bytes.trim_ascii() {
            b"" => Map::new(),
            text => serde_json::from_slice(text).map_err(bad)?,
        };
        Ok(Self { path: path.to_owned(), root })
    }

    /// Keeps an account: with the credential helper that the file names for the registry, else in the
    /// file itself, where anybody who can read it can read the password. Gives whether it is in the
    /// file.
    ///
    /// # Errors
    /// When the helper refuses or the file cannot be written.
    pub fn store(
        &mut self,
        host: &str,
        user: &str,
        secret: &str,
        run: HelperAction<'_>,
    ) -> Result<bool, CredentialError> {
        let key = key_of(host);
        if let Some(name) = self.helper(host) {
            let input = json!({ "ServerURL": key, "Username": user, "Secret": secret }).to_string();
            act(&name, "store", &input, host, run)?;
            self.auths().insert(key, json!({}));
            self.save()?;
            return Ok(false);
        }
        let entry = if user == TOKEN_USER {
            json!({ "identitytoken": secret })
        } else {
            json!({ "auth": STANDARD.encode(format!("{user}:{secret}")) })
        };
        self.auths().insert(key, entry);
        self.save()?;
        Ok(true)
    }

    /// Forgets an account. Gives whether there was one.
    ///
    /// # Errors
    /// When the helper refuses or the file cannot be written.
    pub fn erase(&mut self, host: &str, run: HelperAction<'_>) -> Result<bool, CredentialError> {
        let key = key_of(host);
        let was_there = self.root.get("auths").and_then(|a| a.get(&key)).is_some();
        if let Some(name) = self.helper(host) {
            act(&name, "erase", &key, host, run)?;
        }
        if was_there {
            self.auths().remove(&key);
            self.save()?;
        }
        Ok(was_there)
    }

    fn helper(&self, host: &str) -> Option<String> {
        let helpers = self.root.get("credHelpers").and_then(Value::as_object);
        let own = helpers.and_then(|h| h.get(host)).or_else(|| self.root.get("credsStore"));
        own.and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned)
    }

    fn auths(&mut self) -> &mut Map<String, Value> {
        let entry = self.root.entry("auths").or_insert_with(|| json!({}));
        if !entry.is_object() {
            *entry = json!({});
        }
        entry.as_object_mut().unwrap_or_else(|| unreachable!("it was made an object"))
    }

    /// Writes the file beside itself and renames it, so that it is whole at any moment.
    fn save(&self) -> Result<(), CredentialError> {
        let fail = |source| CredentialError::Write { path: self.path.clone(), source };
        // A link is followed: people keep the file elsewhere and expect it to stay there.
        let path = fs_err::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let dir = path.parent().unwrap_or(Path::new("."));
        std::fs::DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(dir).map_err(fail)?;
        let temp = path.with_extension(format!("json.{}.tmp", std::process::id()));
        let write = || {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(PRIVATE)
                .open(&temp)?;
            let sorted: BTreeMap<&String, &Value> = self.root.iter().collect();
            let text = serde_json::to_string_pretty(&sorted).map_err(io::Error::other)?;
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs_err::rename(&temp, &path)
        };
        write().map_err(|error| {
            // The first error is the one that matters.
            let _ = std::fs::remove_file(&temp);
            fail(error)
        })
    }
}

fn act(
    name: &str,
    action: &str,
    input: &str,
    host: &str,
    run: HelperAction<'_>,
) -> Result<(), CredentialError> {
    let helper = helper_program(name)?;
    let output = run(&helper, action, input)
        .map_err(|source| CredentialError::RunHelper { helper: helper.clone(), source })?;
    match output.success {
        true => Ok(()),
        false => Err(CredentialError::HelperAnswer { helper, host: host.to_owned() }),
    }
}

/// The key under which Docker keeps a registry.
fn key_of(host: &str) -> String {
    if host == "docker.io" { DOCKER_HUB_KEY.to_owned() } else { host.to_owned() }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn no_helper(program: &str, _: &str, _: &str) -> io::Result<HelperOutput> {
        panic!("{program} was not to be run")
    }

    #[test]
    fn an_account_is_kept_and_forgotten_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/config.json");
        let mut file = LoginFile::load(&path).unwrap();
        assert!(file.store("h.example:5000", "u", "p", &no_helper).unwrap());
        assert!(file.store("docker.io", "<token>", "refresh", &no_helper).unwrap());
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        let mut json: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        assert_eq!(json["auths"]["h.example:5000"]["auth"], "dTpw");
        assert_eq!(json["auths"][DOCKER_HUB_KEY]["identitytoken"], "refresh");
        json["HttpHeaders"] = json!({"a": "b"});
        fs_err::write(&path, json.to_string()).unwrap();

        let mut file = LoginFile::load(&path).unwrap();
        assert!(file.erase("h.example:5000", &no_helper).unwrap());
        assert!(!file.erase("h.example:5000", &no_helper).unwrap());
        let json: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        assert_eq!(json["HttpHeaders"]["a"], "b");
        assert!(json["auths"].get("h.example:5000").is_none());
    }

    #[test]
    fn a_helper_keeps_the_secret_out_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        fs_err::write(&path, r#"{"credHelpers":{"h.example":"vault"}}"#).unwrap();
        let calls = RefCell::new(Vec::new());
        let run = |program: &str, action: &str, input: &str| {
            calls.borrow_mut().push(format!("{program} {action} {input}"));
            Ok(HelperOutput { success: true, stdout: Vec::new() })
        };
        let mut file = LoginFile::load(&path).unwrap();
        assert!(!file.store("h.example", "u", "hunter2", &run).unwrap());
        assert!(!fs_err::read_to_string(&path).unwrap().contains("hunter2"));
        assert!(file.erase("h.example", &run).unwrap());
        let calls = calls.into_inner();
        assert!(calls[0].starts_with("docker-credential-vault store {"), "{calls:?}");
        assert!(calls[0].contains(r#""Secret":"hunter2""#), "{calls:?}");
        assert_eq!(calls[1], "docker-credential-vault erase h.example");
    }

    #[test]
    fn a_file_that_is_no_object_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        fs_err::write(&path, "[1]").unwrap();
        assert!(matches!(LoginFile::load(&path), Err(CredentialError::Malformed { .. })));
    }
}
