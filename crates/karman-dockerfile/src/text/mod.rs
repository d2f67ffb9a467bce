//! Physical lines, directives and logical lines: the layer below instructions.

mod directive;
mod limits;
mod logical;
mod physical;

pub(crate) use directive::{DirectiveName, DirectiveReader, FoundDirective};
pub use limits::{MAX_LINE_BYTES, MAX_SOURCE_BYTES};
pub(crate) use logical::{LogicalItem, LogicalLine, LogicalReader, ReadError};
pub(crate) use physical::{PhysicalLine, PhysicalLines};
