//! Python constraints of a series: from the file people write to the file that pins the fleet.
//!
//! 1. [`parse`] reads `constraints/<series>.toml` into a [`Series`].
//! 2. [`Series::lock_script`] says which files and commands resolve the whole fleet in one go,
//!    [`Series::image_script`] one image alone; the caller runs them where uv is. This crate does no
//!    I/O.
//! 3. [`parse_compiled`] reads what `uv pip compile` answered, [`verify`] holds it against the series,
//!    [`record()`] takes the requirement graph from what uv told.
//! 4. [`render`] writes `upper-constraints.txt`; [`diff`] compares two of them; [`apply`] puts the
//!    bounds of a series on somebody else's file.
//! 5. [`Advisories`] are what is known about flaws; [`check()`] holds pins against them, [`plan`] says
//!    which bumps would clear what it finds, [`blockers`] what forbids them, [`write_override`] puts
//!    them into the text of a series.
//! 6. [`why()`] explains one pin, [`render_vex`] exports accepted risks.
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
//!
//! [[accepted]]                 # a risk the fleet lives with until a day
//! advisory = "CVE-2024-0001"
//! package = "pyasn1"
//! justification = "vulnerable_code_not_in_execute_path"   # or `action`: what is done about it
//! statement = "nothing decodes BER of strangers"
//! decided = "2026-05-02"
//! expires = "2026-12-31"
//! ```
//!
//! `imported = { from, sha256 }` names the constraints file that the pins start from, where
//! `karman constraints import` was used.
//!
//! The same file gives the same answer on any day. So a version that is named exactly is taken
//! whenever it was uploaded, while a range is resolved among the uploads up to a cut-off: the
//! series's, or a later one that the override names.

mod accepted;
mod check;
mod compiled;
mod date;
mod diff;
mod edit;
mod fix;
mod graph;
mod imported;
mod inputs;
mod name;
mod osv;
mod read;
mod record;
mod render;
mod requirement;
mod series;
mod table;
mod verify;
mod version;
mod vex;
mod why;

pub use accepted::{Accepted, Justification, JustificationError, Stance};
pub use check::{
    FailOn, Finding, Fix, Report, State, check, check_installed, clear_version,
    render_json as render_report_json, render_sarif as render_report_sarif,
    render_text as render_report,
};
pub use compiled::{MAX_COMPILED_BYTES, Pin, Pins, PinsError, parse_compiled};
pub use date::{Date, DateError};
pub use diff::{Change, diff, render_diff};
pub use edit::{EditError, NewOverride, write_imported, write_override};
pub use fix::{Blocker, Bump, Plan, Target, Unfixed, blockers, explain, plan};
pub use graph::{
    Chain, EVERY_IMAGE, GraphError, MAX_REQUIREMENTS_BYTES, Node, REQUIREMENTS_VERSION,
    Requirements, Requirer, Step,
};
pub use imported::{Applied, apply, render_pins};
pub use inputs::{LockCommand, LockFile, LockScript, ResolverInputs};
pub use name::{NameError, PackageName};
pub use osv::{
    Advisories, Advisory, AdvisoryError, Affected, ArchiveError, Bound, Event, Level,
    MAX_ADVISORIES, MAX_ADVISORY_BYTES, MAX_ARCHIVE_BYTES, MAX_ARCHIVE_ENTRIES, MAX_UNPACKED_BYTES,
    Severity,
};
pub use read::{MAX_SERIES_BYTES, parse};
pub use record::{Recorded, Told, record};
pub use render::render;
pub use requirement::{Requirement, RequirementError};
pub use series::{Cap, Imported, Override, Series, Service};
pub use verify::{Resolution, failure_hints, mentioned, verify};
pub use version::{PythonVersion, Specifiers, VersionError};
pub use vex::{VexFormat, render_vex};
pub use why::{Asked, Why, why};
