//! The `karman` binary: arguments, configuration, environment, exit codes.
//!
//! | file | what it does |
//! |---|---|
//! | `cli` | all commands and the flags they share |
//! | `commands` | one command each |
//! | `driver` | one build: plan, show, solve, cancel |
//! | `flags`, `attest`, `call` | flags that commands share |
//! | `destinations` | what cannot be written is told before the build |
//! | `setup`, `env`, `config` | identity, store, session, from environment and configuration file |
//! | `failure` | errors to text and exit codes |
//! | `image_spec` | which image a command is about |
//! | `layers` | layers along packages, printed |
//! | `metadata`, `progress`, `units`, `out`, `ask`, `random` | small parts |

mod ask;
mod attest;
mod call;
mod cli;
mod commands;
mod config;
mod destinations;
mod driver;
mod env;
mod failure;
mod flags;
mod image_spec;
mod layers;
mod metadata;
mod out;
mod progress;
mod random;
mod setup;
mod units;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    // First of all: an internal stage never returns, and no thread may exist yet.
    karman_sys::reexec::dispatch();
    let parsed = match cli::Cli::try_parse() {
        Ok(parsed) => parsed,
        Err(error) => return ExitCode::from(out::show_usage(&error)),
    };
    match parsed.run() {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            out::note(&failure.render());
            ExitCode::from(failure.exit_code().code())
        }
    }
}
