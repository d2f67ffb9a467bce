//! The functions buildx ships (go-cty's standard library and some more), as a table by name.
//!
//! Shapes and errors follow <https://docs.docker.com/build/bake/stdlib/>. Nothing here reads a clock, a disk or
//! the environment: what needs one is answered by the scope from facts handed in.

mod args;
mod cidr;
pub(crate) mod collection;
pub(crate) mod crypto;
mod encoding;
mod format;
pub(crate) mod number;
mod semver;
mod sets;
mod table;
mod text;
pub(crate) mod time;

pub(crate) use self::args::Args;
pub(crate) use self::encoding::uuid_text;
pub(crate) use self::table::{TABLE, find};
pub(crate) use self::text::clean;

use crate::value::Value;

/// Why a function failed, a lower-case fragment; the caller adds the place.
#[derive(Debug)]
pub(crate) struct Fault(pub(crate) String);

/// What a function returns.
pub(crate) type Out = Result<Value, Fault>;

/// A failure.
pub(crate) fn fault<T>(message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault(message.into()))
}

/// Names the evaluator or the scope answers itself.
pub(crate) const SPECIAL: [&str; 7] =
    ["bcrypt", "can", "convert", "homedir", "timestamp", "try", "uuidv4"];
