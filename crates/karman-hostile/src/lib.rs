//! What hostile bytes may reach, one function each: any bytes in; a panic, a hang or something written outside is a
//! finding. The fuzz targets in `fuzz/` and `tests/replay.rs` call the same functions.

mod archive;
mod bake;
mod dockerfile;
mod documents;
mod ignore;
mod words;

use karman_diag::{Diagnostic, SourceMap, render};

/// A function that takes any bytes, and the name of its seeds below `fuzz/corpus/`.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The name of the fuzz target and of the directory with its seeds.
    pub name: &'static str,
    /// Feeds the bytes; panics where something is wrong.
    pub run: fn(&[u8]),
}

/// All entries.
pub const ENTRIES: &[Entry] = &[
    Entry { name: "dockerfile", run: dockerfile::run },
    Entry { name: "words", run: words::run },
    Entry { name: "ignore", run: ignore::run },
    Entry { name: "bake", run: bake::run },
    Entry { name: "archive", run: archive::run },
    Entry { name: "documents", run: documents::run },
];

/// Feeds one entry by name.
///
/// # Panics
/// When there is no entry of that name, or when it finds something.
pub fn run(name: &str, bytes: &[u8]) {
    let entry = ENTRIES.iter().find(|entry| entry.name == name);
    (entry.unwrap_or_else(|| panic!("there is no entry `{name}`")).run)(bytes);
}

/// Every span lies inside its source, between characters, and every diagnostic can be shown.
fn check_diagnostics(found: &[Diagnostic], sources: &SourceMap) {
    for diagnostic in found {
        if let Some(span) = diagnostic.span {
            assert!(sources.locate(span).is_some(), "{diagnostic:?} is outside its source");
        }
        let shown = render(diagnostic, sources);
        assert!(!shown.trim().is_empty() && shown.len() < 1 << 20, "{} bytes", shown.len());
    }
}
