//! What is in an image and where it came from. No I/O: a [`Tree`] hands in names, facts and bytes.
//!
//! ```text
//! Tree ─► Survey (names, databases) ─► Inventory (digests, ELF facts, origins)
//!           ▲                              ▲
//!         Layers (which instruction)     Sources (what the stages say that files were copied from)
//! ```
//!
//! | module | what it does |
//! |---|---|
//! | [`tree`] | the trait a root filesystem is read through |
//! | [`model`] | [`Inventory`] and its parts: plain data, versioned, the same bytes for the same image |
//! | [`survey`] | names and databases of a root filesystem: who owns which path |
//! | [`take`](mod@take) | the inventory itself: reads every file once |
//! | [`unit`] | which paths belong together in every image |
//! | [`audit`] | findings: leaks, what is missing, promises, surface |
//! | [`sbom`] | bills of materials |
//! | `dpkg`, `python`, `claim` | the two databases of owners, and which owner claims which path |
//! | `elf`, `file` | what the bytes of a file tell |
//! | [`memory`] | a tree without a disk, for tests |
//! | `system` | which system, where libraries are looked for, who the users are |
//! | `glob` | patterns of policies |
//! | `links` | paths through symbolic links, such as `/bin` on a merged `/usr` |
//! | [`print`] | the inventory for people |
//!
//! An *origin* is the most precise owner known of a path: the Debian package or the Python distribution that lists it,
//! else the instruction that wrote it, else the base image. What was copied out of a stage also carries what that stage
//! says of it ([`Entry::upstream`]).

pub mod audit;
mod claim;
mod dpkg;
mod elf;
mod file;
mod glob;
mod links;
pub mod memory;
mod memory_elf;
pub mod model;
pub mod print;
mod python;
pub mod sbom;
pub mod survey;
mod system;
pub mod take;
pub mod tree;
pub mod unit;

pub use model::{
    Distribution, ElfFacts, ElfKind, Entry, EntryPoint, Inventory, Kind, Layer, Origin, Package,
    Policy, Role, Stage, Step, StepKind, System, Upstream, User, VERSION,
};
pub use survey::Survey;
pub use take::{NoSources, Sources, take};
pub use tree::{Content, Node, Tree, TreeError, path_text};
pub use unit::Units;
