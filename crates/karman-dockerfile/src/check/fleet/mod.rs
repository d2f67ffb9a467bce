//! Our own rules: what costs a fleet of images money or sleep.
//!
//! | file | content |
//! |---|---|
//! | `pins` | downloads and bases that may change |
//! | `shell` | a script as commands |
//! | `script` | what a `RUN` does, as far as it shows |
//! | `installs` | package managers: what is installed and removed |
//! | `layers` | deleting what an earlier layer holds |
//! | `packages` | build tools in the final stage |

mod installs;
pub(crate) mod layers;
pub(crate) mod packages;
pub(crate) mod pins;
mod script;
mod shell;

pub(crate) use script::Script;
