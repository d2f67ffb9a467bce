//! Events and failures as people and programs read them: terminal, plain text, JSON lines, tables.
//!
//! [`Reporter`] turns the events of one build into output; [`render_solve_error`] shows why it
//! failed; [`Table`] and the `human_*` functions serve the listing commands; [`fleet`] looks at finished images. Nothing here reads the
//! environment: width, colour and secrets are handed in. Nothing here decides whether a build succeeded.

mod failure;
pub mod fleet;
mod human;
mod json;
mod lines;
mod plain;
mod redact;
mod reporter;
mod sanitize;
mod screen;
mod steps;
mod table;
mod tty;

pub use failure::render_solve_error;
pub use human::{human_age, human_duration, human_size};
pub use redact::Redactor;
pub use reporter::{Options, Progress, Reporter, SizeFn};
pub use sanitize::sanitize;
pub use table::{ImageRow, Table, images_json, images_table};
