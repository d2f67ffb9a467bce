//! `karman constraints diff`.

use std::path::PathBuf;

use karman_constraints::{diff, render_diff};

use super::place::{pins, read};
use crate::failure::Done;
use crate::out;
use crate::setup::Context;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Older file
    old: PathBuf,
    /// Newer file
    new: PathBuf,
}

pub(super) fn run(args: &Args, context: &Context) -> Done {
    let (old, new) = (read(&args.old, context)?, read(&args.new, context)?);
    out::data(&render_diff(&diff(&pins(&args.old, &old)?, &pins(&args.new, &new)?)))?;
    Ok(0)
}
