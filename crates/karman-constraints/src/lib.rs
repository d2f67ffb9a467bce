//! Python constraints of a series: from the file people write to the file that pins the fleet.
//!
//! 1. [`parse`] reads `constraints/<series>.toml` into a [`Series`].
//! 2. [`Series::lock_script`] says which files and commands resolve the whole fleet in one go; the
//!    caller runs them where uv is. This crate does no I/O.
//! 3. [`parse_compiled`] reads what `uv pip compile` answered, [`verify`] holds it against the series.
//! 4. [`render`] writes `upper-constraints.txt`; [`diff`] compares two of them.
//!
//! # The file
//!
//! ```toml
//! series = "2026.1"
//! python = ["3.13"]            # more than one give lines with markers where they differ
//! cutoff = "2026-04-15"        # the last day of which uploads are taken
//! base = ["cryptography"]      # what every virtual environment begins with
//!
//! [services.nova]
//! version = "33.0.2"           # pins the service's distribution, whenever it was uploaded
//! requirements = ["nova", "storpool"]
//! distribution = "nova"        # optional: which of them `version` is of
//!
//! [[caps]]
//! package = "setuptools"
//! version = "<82"
//! reason = "setuptools 82 removed pkg_resources"
//!
//! [[overrides]]
//! package = "urllib3"
//! version = ">=2.6.3"
//! advisories = ["CVE-2026-21441"]
//! reason = "the body of a redirect is decompressed without a limit"
//! cutoff = "2026-05-02"        # optional: a later cut-off for this package
//! expires = "2026-12-31"       # optional: a warning reminds from then on
//! force = true                 # optional: also against what other packages ask for
//! ```
//!
//! The same file gives the same answer on any day. So a version that is named exactly is taken
//! whenever it was uploaded, while a range is resolved among the uploads up to a cut-off: the
//! series's, or a later one that the override names.

mod compiled;
mod date;
mod diff;
mod inputs;
mod name;
mod read;
mod render;
mod requirement;
mod series;
mod table;
mod verify;
mod version;

pub use compiled::{MAX_COMPILED_BYTES, Pin, Pins, PinsError, parse_compiled};
pub use date::{Date, DateError};
pub use diff::{Change, diff, render_diff};
pub use inputs::{LockCommand, LockFile, LockScript, ResolverInputs};
pub use name::{NameError, PackageName};
pub use read::{MAX_SERIES_BYTES, parse};
pub use render::render;
pub use requirement::{Requirement, RequirementError};
pub use series::{Cap, Override, Series, Service};
pub use verify::{Resolution, failure_hints, verify};
pub use version::{PythonVersion, Specifiers, VersionError};
