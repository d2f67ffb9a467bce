//! What to run, and in which container.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::overlay::OverlayMount;

/// Docker's default size of `/dev/shm` in bytes.
pub const DEFAULT_SHM_SIZE: u64 = 64 << 20;

/// One command and its container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The root filesystem.
    pub rootfs: Rootfs,
    /// Makes the root mount read-only; mounts on it keep their own modes.
    pub readonly_root: bool,
    /// Mounts besides `/proc`, `/dev` and `/sys`; applied in path order, parents first.
    pub mounts: Vec<Mount>,
    /// Program and arguments; a program without `/` is searched in the `PATH` of `env` inside the root.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Absolute working directory; it must exist.
    pub cwd: String,
    /// User id inside the container.
    pub uid: u32,
    /// Group id inside the container.
    pub gid: u32,
    /// Supplementary groups, all of them.
    pub groups: Vec<u32>,
    /// Host name inside the container.
    pub hostname: String,
    /// Which network the command sees.
    pub network: Network,
    /// How much the command may do.
    pub security: Security,
    /// Size of `/dev/shm` in bytes.
    pub shm_size: u64,
    /// Resource limits, set before privileges are dropped.
    pub ulimits: Vec<Ulimit>,
    /// Host device nodes that appear at the same path under `/dev`.
    pub devices: Vec<PathBuf>,
    /// cgroup v2 limits, in a delegated cgroup.
    pub cgroup: Option<CgroupLimits>,
    /// Sets `no_new_privs`. Off by default, as in Docker: `sudo` must work in builds.
    pub no_new_privs: bool,
}

impl Spec {
    /// Docker's defaults: root, `/`, host network, sandboxed, nothing mounted besides the basics.
    pub fn new(rootfs: Rootfs, args: Vec<String>) -> Self {
        Self {
            rootfs,
            readonly_root: false,
            mounts: Vec::new(),
            args,
            env: Vec::new(),
            cwd: "/".to_owned(),
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            hostname: "karman".to_owned(),
            network: Network::Host,
            security: Security::Sandbox,
            shm_size: DEFAULT_SHM_SIZE,
            ulimits: Vec::new(),
            devices: Vec::new(),
            cgroup: None,
            no_new_privs: false,
        }
    }
}

/// Where the root filesystem comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rootfs {
    /// Merged directories.
    Overlay(OverlayMount),
    /// One directory, bound as it is.
    Directory {
        /// The directory.
        path: PathBuf,
        /// Whether it is mounted read-only.
        readonly: bool,
    },
}

/// One mount on the root filesystem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside the container; symbolic links are followed inside the root only, missing
    /// directories are made.
    pub dest: String,
    /// What is mounted.
    pub kind: MountKind,
}

/// What a [`Mount`] shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MountKind {
    /// A host file or directory, with the mounts below it.
    Bind {
        /// Host path.
        source: PathBuf,
        /// Path inside `source`, resolved with `source` as its root; none for `source` itself.
        selector: Option<String>,
        /// Whether it is mounted read-only.
        readonly: bool,
    },
    /// Merged directories: read-only without an upper; writes to a throw-away upper are discarded by the caller.
    Overlay {
        /// The directories.
        overlay: OverlayMount,
        /// Path inside the merged tree; none for its root.
        selector: Option<String>,
        /// Whether it is mounted read-only even though there is an upper.
        readonly: bool,
    },
    /// Memory.
    Tmpfs {
        /// Limit in bytes; none for the kernel's default.
        size: Option<u64>,
        /// Mode of its root directory.
        mode: u32,
        /// Whether it is mounted read-only.
        readonly: bool,
    },
    /// A read-only file that exists in memory only: secrets, `resolv.conf`, `hosts`, CA bundles.
    FileData {
        /// The content.
        #[serde(with = "text_or_bytes")]
        bytes: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// Which network a command sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The host's (of the process that spawns).
    Host,
    /// A loopback interface only.
    None,
}

/// How much a command may do; BuildKit's `--security`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Security {
    /// Docker's default capabilities, seccomp policy, masked and read-only paths.
    Sandbox,
    /// All our capabilities, no seccomp, nothing masked.
    Insecure,
}

/// A resource limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    /// Docker's name: `nofile`, `nproc`, `core`, …
    pub name: String,
    /// Soft limit; none is unlimited.
    pub soft: Option<u64>,
    /// Hard limit; none is unlimited.
    pub hard: Option<u64>,
}

/// cgroup v2 limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CgroupLimits {
    /// A cgroup directory delegated to us, with the controllers enabled for its children.
    pub parent: PathBuf,
    /// `memory.max` in bytes.
    pub memory_max: Option<u64>,
    /// `pids.max`.
    pub pids_max: Option<u64>,
    /// `cpu.max`: quota and period in microseconds.
    pub cpu_max: Option<(u64, u64)>,
}

/// Text stays a JSON string; a JSON array of numbers is four times as large and only needed for other bytes.
mod text_or_bytes {
    use super::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Content {
        Text(String),
        Bytes(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(bytes) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Content::Bytes(bytes.to_vec()).serialize(serializer),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        Ok(match Content::deserialize(deserializer)? {
            Content::Text(text) => text.into_bytes(),
            Content::Bytes(bytes) => bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_data_survives_the_wire() {
        for bytes in [b"text\n".to_vec(), vec![0xff, 0, 0x80], Vec::new()] {
            let kind = MountKind::FileData { bytes, mode: 0o400, uid: 1, gid: 2 };
            let wire = serde_json::to_string(&kind).expect("serialises");
            assert_eq!(serde_json::from_str::<MountKind>(&wire).expect("parses"), kind);
        }
    }
}
