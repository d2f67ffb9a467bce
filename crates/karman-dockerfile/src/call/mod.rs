//! Answers to `--call=check|outline|targets|subrequests.describe`, in the words and JSON shapes of
//! BuildKit's subrequests (`frontend/subrequests`).
//!
//! Two members are ours: a check has `advice`, what our own rules say that were not asked for;
//! and `definition`, the graph that a source came from, is absent from `sources`.
//!
//! | file | content |
//! |---|---|
//! | `check` | warnings |
//! | `outline` | what a target takes |
//! | `targets` | the stages there are |
//! | `describe` | the methods there are |
//! | `place` | lines in JSON, excerpts |
//! | `table` | columns |

mod check;
mod describe;
mod outline;
mod place;
mod table;
mod targets;

pub use check::{CheckReport, ErrorKind, short, summary};
pub use describe::describe;
pub use outline::outline;
pub use targets::targets;

/// An answer in both forms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// For people; ends with a newline where there is anything.
    pub text: String,
    /// For programs: pretty-printed, with a final newline.
    pub json: String,
}

fn pretty(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}
