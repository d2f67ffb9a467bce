//! Bake files (HCL, JSON and compose) to resolved targets, as `docker buildx bake` understands them.
//!
//! [`parse`] reads texts handed in, [`resolve`] evaluates them for a [`Request`] and [`print_json`] shows the result
//! as `bake --print` does. The crate does no I/O: environment, time and home directory come with the request.
//!
//! The way of a file: `syntax` (text to one tree for all formats) → `file` (blocks sorted out) → `scope`, `eval`,
//! `variables`, `func`, `matrix` (names to values) → `decode`, `config` (blocks to targets) → `overrides`, `resolve`.
//! Compose files (`compose`) are targets once they are parsed; they join at `config`, before the HCL and JSON files
//! are merged in.
//!
//! Reference: <https://docs.docker.com/build/bake/reference/>. Knowingly different from buildx: fractions are `f64`
//! (printed with 15 digits); cycles of groups and of `inherits` are errors; axes of a matrix vary in name order.

mod compose;
mod config;
mod csv;
mod decode;
mod entry;
mod eval;
mod file;
mod func;
mod functions;
pub mod limits;
mod list;
mod matrix;
mod overrides;
mod pattern;
mod print;
mod request;
mod resolve;
mod scope;
mod syntax;
mod target;
mod types;
mod value;
mod variables;

pub use self::entry::{Attest, CacheEntry, Output, Secret, Ssh, parse_caches};
pub use self::file::{BakeFile, DEFAULT_FILES, parse};
pub use self::list::{
    ListedTarget, ListedVariable, list_targets, list_variables, targets_json, targets_table,
    variables_json, variables_table,
};
pub use self::overrides::Granted;
pub use self::print::print_json;
pub use self::request::{Facts, Files, Request, parse_var};
pub use self::resolve::{Resolved, resolve};
pub use self::target::{Target, linked_targets};
