//! What a build may borrow from its caller. Nothing of it is ever part of a cache key, a layer,
//! a config, a history or a log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

/// What a build may borrow from its caller.
#[derive(Debug, Clone, Default)]
pub struct Session {
    /// Directories by the names that `LocalSource` uses.
    pub locals: BTreeMap<String, LocalDir>,
    /// OCI layout directories or archives by the names that `OciLayoutSource` uses.
    pub layouts: BTreeMap<String, PathBuf>,
    /// Secrets by id.
    pub secrets: BTreeMap<String, SecretSource>,
    /// SSH agents by id.
    pub ssh: BTreeMap<String, SshSource>,
    /// The bundle that RUN steps see as their certificate authorities: the traceless CA.
    pub ca_bundle: Option<PathBuf>,
    /// Proxies that RUN steps see in their environment.
    pub proxies: Proxies,
    /// Whether `RUN --security=insecure` is allowed.
    pub allow_insecure: bool,
    /// Whether `RUN --network=host` is allowed.
    pub allow_host_network: bool,
    /// Devices that `RUN --device` may use: CDI names, kinds (`vendor/class`), or `*` for all.
    pub allow_devices: BTreeSet<String>,
    /// The cgroup v2 directory below which every step gets a cgroup of its own.
    pub cgroup_parent: Option<PathBuf>,
}

/// A directory of the caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalDir {
    /// Where it is on the host.
    pub path: PathBuf,
}

/// Who answers as an SSH agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SshSource {
    /// The agent of the caller that listens on this socket.
    Agent(PathBuf),
    /// The engine itself, with the private keys in these files; they are read when a step needs them.
    Keys(Vec<PathBuf>),
}

/// Where a secret's value comes from. The value itself is read when a step needs it.
#[derive(Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A file of the caller.
    File(PathBuf),
    /// A value taken from the caller's environment.
    Value(Vec<u8>),
}

impl fmt::Debug for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Value(_) => f.write_str("Value(…)"),
        }
    }
}

/// Proxies for RUN steps and for fetching. URLs may hold credentials: never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    /// `NAME` → value for every proxy variable that is set, both cases as the caller has them.
    pub variables: BTreeMap<String, String>,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}
