//! Dockerfile text to AST, typed instructions, LLB and image config.

pub mod call;
pub mod check;
pub mod expand;
pub mod instruction;
pub mod lower;
mod parser;
mod text;

pub use parser::{MAX_INSTRUCTIONS, MAX_STAGES, parse, parse_onbuild};
pub use text::{MAX_LINE_BYTES, MAX_SOURCE_BYTES};
