//! The inventory as data. JSON in this form is what is stored and what `karman inventory --format json` prints.

use std::collections::BTreeMap;

use karman_oci::Digest;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The version of the form; a stored inventory of another one is made again.
pub const VERSION: u32 = 2;

/// What is in an image and where it came from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Inventory {
    /// [`VERSION`].
    pub version: u32,
    /// What it runs on, such as `linux/amd64`.
    pub platform: String,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// Which system it is; nothing where it has no `os-release`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub system: Option<System>,
    /// The directories that the dynamic linker is told to look in, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub library_path: Vec<String>,
    /// The users that `/etc/passwd` names.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub users: Vec<User>,
    /// The stages that files were copied from.
    pub stages: Vec<Stage>,
    /// The installed Debian packages, by name.
    pub packages: Vec<Package>,
    /// The installed Python distributions, by place.
    pub distributions: Vec<Distribution>,
    /// Every path below the root, by path.
    pub entries: Vec<Entry>,
}

impl Inventory {
    /// The entry of a path.
    pub fn entry(&self, path: &str) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|e| e.path.as_str().cmp(path)).ok()?;
        self.entries.get(at)
    }

    /// The instruction that wrote an entry.
    pub fn step(&self, entry: &Entry) -> Option<&Step> {
        Some(&self.layers.get(entry.layer)?.step)
    }
}

/// Which system a root filesystem is (`os-release(5)`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct System {
    /// `ID`, such as `debian`.
    pub id: String,
    /// `VERSION_ID`, such as `13`.
    pub version: String,
    /// `VERSION_CODENAME`, such as `trixie`.
    pub codename: String,
}

/// A user of the root filesystem (`passwd(5)`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name.
    pub name: String,
    /// The number.
    pub uid: u32,
    /// The number of the first group.
    pub gid: u32,
    /// The home directory.
    pub home: String,
    /// The shell.
    pub shell: String,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// The digest of its uncompressed bytes; none for layers of stages, which are never written out.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub diff_id: Option<Digest>,
    /// How it came to be.
    pub step: Step,
}

/// How a layer came to be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Step {
    /// What kind of instruction.
    pub kind: StepKind,
    /// The instruction as the history or the build has it.
    pub text: String,
    /// The target and the stage it stood in, where the build is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub place: Option<String>,
    /// The stage, context or image that a copy read, where it is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub from: Option<String>,
}

/// The kind of an instruction that makes a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// A layer of the base: an image, a layout, an archive's packages.
    Base,
    /// `RUN`.
    Run,
    /// `COPY`.
    Copy,
    /// `ADD`.
    Add,
    /// `WORKDIR`.
    Workdir,
    /// Nothing tells.
    #[default]
    Unknown,
}

/// A stage that files of the image were copied from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stage {
    /// Its name as `COPY --from=` has it.
    pub name: String,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
    /// Its Debian packages.
    pub packages: Vec<Package>,
    /// File names of its shared libraries → the package that has them.
    pub libraries: BTreeMap<String, String>,
}

/// An installed Debian package.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its architecture, such as `amd64` or `all`.
    pub architecture: String,
    /// The source package it was built from; its own name where the database names no other.
    pub source: String,
    /// The version of the source package.
    pub source_version: String,
    /// The section of the archive, such as `libdevel`.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub section: String,
    /// Who maintains it.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub maintainer: String,
    /// The licences that its machine-readable `copyright` file names, sorted; empty where it is prose.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub licences: Vec<String>,
    /// Names of packages it depends on, alternatives included, sorted.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub depends: Vec<String>,
}

/// An installed Python distribution.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Distribution {
    /// Its name as its metadata has it.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The path of its `*.dist-info` or `*.egg-info`.
    pub location: String,
    /// The Debian package that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub package: Option<String>,
    /// `License-Expression`, else the classifiers, else `License`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub licence: Option<String>,
    /// What installed it, such as `uv`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub installer: Option<String>,
    /// `Requires-Dist`, as it is.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub requires: Vec<String>,
    /// Its entry points, in the order of the file.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub entry_points: Vec<EntryPoint>,
    /// What policies of the build did to it, in the order of the file.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub policies: Vec<Policy>,
}

/// What one policy of the build did to a distribution: a line of `POLICIES` beside its `RECORD`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its name, such as `slim:tests` or `bytecode:unchecked-hash`.
    pub name: String,
    /// How many files it took out, wrote or linked.
    pub files: u64,
    /// Bytes of these files.
    pub bytes: u64,
}

/// An entry point of a distribution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryPoint {
    /// The group, such as `console_scripts`.
    pub group: String,
    /// Its name.
    pub name: String,
    /// `module:attribute`.
    pub target: String,
}

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A regular file.
    #[default]
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// One path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The path, with a leading `/`; bytes that are not UTF-8 are written `\xNN`.
    pub path: String,
    /// What it is.
    pub kind: Kind,
    /// Permission, set-id and sticky bits, in JSON as octal text.
    #[serde(serialize_with = "write_octal", deserialize_with = "read_octal")]
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a regular file.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub size: u64,
    /// The digest of a regular file.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub digest: Option<Digest>,
    /// The text of a symbolic link.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<String>,
    /// Major and minor number of a device.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub device: Option<(u32, u32)>,
    /// The attribute `security.capability` in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub capability: Option<String>,
    /// Index of the layer it is from.
    pub layer: usize,
    /// Where it came from.
    pub origin: Origin,
    /// Whether its bytes differ from what its Debian package delivered.
    #[serde(skip_serializing_if = "is_false", default)]
    pub altered: bool,
    /// For a copied path: what the stages it came through say of it, the nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub upstream: Vec<Upstream>,
    /// The interpreter that the first line of a script names.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interpreter: Option<String>,
    /// Whether it is a library archive (`ar`), as static libraries are.
    #[serde(skip_serializing_if = "is_false", default)]
    pub archive: bool,
    /// What an ELF file tells.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub elf: Option<Box<ElfFacts>>,
}

/// Where a path came from: the most precise owner known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Origin {
    /// A Debian package.
    Dpkg {
        /// Its name.
        package: String,
        /// How it has the path.
        #[serde(skip_serializing_if = "Role::is_listed", default)]
        role: Role,
    },
    /// A Python distribution.
    Python {
        /// Its name.
        distribution: String,
        /// How it has the path.
        #[serde(skip_serializing_if = "Role::is_listed", default)]
        role: Role,
    },
    /// A `COPY` or `ADD`.
    Copy {
        /// The stage, context or image; absent where nothing tells.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        from: Option<String>,
    },
    /// A command, or another instruction that wrote it.
    Run,
    /// The base.
    Base,
    /// Nothing tells.
    Unknown,
}

/// How an owner has a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Its list names the path.
    #[default]
    Listed,
    /// A configuration file that people may change.
    Conffile,
    /// Its list names a path that another package diverted here.
    Diverted,
    /// Bytecode of a source file it has, or the directory of such.
    Bytecode,
    /// The record of the installation itself.
    Metadata,
    /// A link of the alternatives system to a path it has.
    Alternative,
}

impl Role {
    fn is_listed(&self) -> bool {
        *self == Self::Listed
    }
}

/// What a stage says of a path that was copied out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Index of the stage.
    pub stage: usize,
    /// Index of the layer in that stage.
    pub layer: usize,
    /// Its path there, where it was another one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub path: Option<String>,
    /// Where it came from there.
    pub origin: Origin,
}

/// What kind of ELF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ElfKind {
    /// An object file for a linker.
    Relocatable,
    /// An executable at a fixed address.
    Executable,
    /// A shared library, or an executable at any address.
    #[default]
    Shared,
    /// A core dump.
    Core,
    /// Another number.
    Other,
}

/// What an ELF file tells (System V ABI, chapters 4 and 5; symbol versions by the Linux Standard Base).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ElfFacts {
    /// 32 or 64.
    pub class: u8,
    /// The machine, such as `x86-64`, or its number.
    pub machine: String,
    /// What kind of file.
    pub kind: ElfKind,
    /// The program interpreter.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub interpreter: Option<String>,
    /// Its own name as a library.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub soname: Option<String>,
    /// The libraries it needs, in order.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub needed: Vec<String>,
    /// `DT_RPATH`, split at colons.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub rpath: Vec<String>,
    /// `DT_RUNPATH`, split at colons.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub runpath: Vec<String>,
    /// Library → the symbol versions needed of it; those of weak references left out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub needs_versions: BTreeMap<String, Vec<String>>,
    /// The symbol versions it defines.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub defines_versions: Vec<String>,
    /// What is wrong with it; the rest is what could be read before.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub problem: Option<String>,
}

fn is_zero(value: &u64) -> bool {
    *value == 0
}

fn is_false(value: &bool) -> bool {
    !value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands in a reference")]
fn write_octal<S: Serializer>(mode: &u32, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(&format_args!("{mode:04o}"))
}

fn read_octal<'de, D: Deserializer<'de>>(d: D) -> Result<u32, D::Error> {
    let text = String::deserialize(d)?;
    u32::from_str_radix(&text, 8).map_err(serde::de::Error::custom)
}
