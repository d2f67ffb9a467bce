//! Commands in a root filesystem.

use serde::{Deserialize, Serialize};

/// Runs a command; the output is the root filesystem after it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecOp {
    /// Input index of the root filesystem; `None` is scratch.
    pub root: Option<usize>,
    /// The command.
    pub args: Vec<String>,
    /// `NAME=value`, in order.
    pub env: Vec<String>,
    /// Working directory, absolute.
    pub cwd: String,
    /// `user[:group]` by name or number; empty for root.
    pub user: String,
    /// Host name; empty for the default.
    #[serde(default)]
    pub hostname: String,
    /// What is mounted besides the root.
    pub mounts: Vec<Mount>,
    /// Secrets that are put in the environment.
    #[serde(default)]
    pub secret_env: Vec<SecretEnv>,
    /// The network.
    pub network: Network,
    /// The confinement.
    pub security: Security,
    /// Additional lines of `/etc/hosts`.
    #[serde(default)]
    pub extra_hosts: Vec<ExtraHost>,
    /// Resource limits.
    #[serde(default)]
    pub ulimits: Vec<Ulimit>,
    /// Size of `/dev/shm` in bytes; 0 for the default.
    #[serde(default)]
    pub shm_size: u64,
    /// Devices by CDI name.
    #[serde(default)]
    pub devices: Vec<Device>,
}

/// Something mounted for the time of one command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Where, absolute.
    pub target: String,
    /// What.
    pub kind: MountKind,
    /// Whether writing is refused.
    pub readonly: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountKind {
    /// A path of an input; writes, where allowed, are thrown away.
    Bind {
        /// Input index; `None` is scratch.
        input: Option<usize>,
        /// Path inside the input.
        source: String,
    },
    /// A directory that lives on between builds; never part of a layer or a key.
    Cache {
        /// Its name.
        id: String,
        /// Who may use it at once.
        sharing: CacheSharing,
        /// What it begins with: an input and a path in it.
        input: Option<usize>,
        /// Path inside that input.
        source: String,
        /// Permission bits of a new directory.
        mode: u32,
        /// Owner of a new directory.
        uid: u32,
        /// Group of a new directory.
        gid: u32,
        /// Who shares it. Never part of a digest: a cache changes no result.
        #[serde(skip)]
        scope: CacheScope,
    },
    /// Memory.
    Tmpfs {
        /// Size limit in bytes; 0 for none.
        size: u64,
    },
    /// A secret of the session as a file; its value is never part of a key.
    Secret {
        /// Its name in the session.
        id: String,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Whether its absence is fine.
        optional: bool,
    },
    /// An SSH agent of the session as a socket.
    Ssh {
        /// Its name in the session.
        id: String,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Whether its absence is fine.
        optional: bool,
    },
}

/// Which steps share cache mounts of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheScope {
    /// Those of one platform, one release of one distribution and one Python ABI.
    #[default]
    Abi,
    /// All of them.
    Id,
}

/// Who may use a cache mount at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CacheSharing {
    /// Everybody.
    Shared,
    /// One at a time; a second user gets a new directory.
    Private,
    /// One at a time; a second user waits.
    Locked,
}

/// A secret in the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretEnv {
    /// Its name in the session.
    pub id: String,
    /// The variable.
    pub name: String,
    /// Whether its absence is fine.
    pub optional: bool,
}

/// The network a command sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// What the builder is set to: the host's.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The host's, asked for by name.
    Host,
}

/// How far a command is confined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "kebab-case")]
pub enum Security {
    /// Docker's default capabilities and system calls.
    #[default]
    Sandbox,
    /// All capabilities and system calls of the builder.
    Insecure,
}

/// A line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraHost {
    /// Name.
    pub host: String,
    /// Address.
    pub address: String,
}

/// A resource limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Name as in Docker (`nofile`).
    pub name: String,
    /// Soft limit.
    pub soft: i64,
    /// Hard limit.
    pub hard: i64,
}

/// A device by CDI name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// `vendor/class=name`.
    pub name: String,
    /// Whether it must exist.
    pub required: bool,
}
