//! `karman completions`.

use clap::CommandFactory as _;

use crate::cli::Cli;
use crate::failure::Done;
use crate::out;

/// Arguments.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Prints the completions.
pub(crate) fn run(args: &Args) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "karman", &mut script);
    out::data(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
