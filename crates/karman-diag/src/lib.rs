//! Spans, source maps, diagnostics, hints and exit codes.
//!
//! Parsers return a tree *and* a list of [`Diagnostic`]s; each points into a [`SourceMap`].
//! Rendering here is plain text; colour is the business of `karman-report`.

mod diagnostic;
mod exit;
mod render;
mod source;
mod suggest;

pub use diagnostic::{Diagnostic, Hint, Severity};
pub use exit::ExitCode;
pub use render::render;
pub use source::{FileId, LineColumn, SourceFile, SourceMap, Span};
pub use suggest::nearest;
