//! `karman constraints`: the constraints of an OpenStack series. `docs/constraints.md` describes them.

pub(crate) mod advisories;
mod check;
mod diff;
mod fix;
mod import;
mod lock;
mod place;
mod render;
mod resolver;
mod shown;
mod vex;
mod why;

pub(crate) use place::today;

use crate::failure::Done;
use crate::setup::Context;

/// Commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Resolve the whole fleet at once and write constraints/SERIES/upper-constraints.txt
    Lock(lock::Args),
    /// Start from somebody else's constraints file instead of a free resolution
    Import(import::Args),
    /// Put the bounds of a series on the imported or locked pins, without resolving
    Render(render::Args),
    /// Compare two constraints files
    Diff(diff::Args),
    /// Tell who asks for a package, what bounds it, and who overrode it for what
    Why(why::Args),
    /// Hold the pins against advisories
    Check(check::Args),
    /// Raise what advisories name, as little as possible, shown to resolve for every image
    Fix(fix::Args),
    /// Export accepted risks as VEX
    Vex(vex::Args),
}

/// Runs a command; gives the exit code.
pub(crate) fn run(command: Command, context: &Context) -> Done {
    match command {
        Command::Lock(args) => lock::run(&args, context),
        Command::Import(args) => import::run(&args, context),
        Command::Render(args) => render::run(&args, context),
        Command::Diff(args) => diff::run(&args, context),
        Command::Why(args) => why::run(&args, context),
        Command::Check(args) => check::run(&args, context),
        Command::Fix(args) => fix::run(&args, context),
        Command::Vex(args) => vex::run(&args, context),
    }
}
