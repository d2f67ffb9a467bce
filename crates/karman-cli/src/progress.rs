//! `--progress` and `--quiet`.

use std::io::{IsTerminal as _, stderr};

use clap::ValueEnum as _;
use karman_report::{Options, Progress, Redactor, Reporter};

use crate::env::Environment;
use crate::failure::{Done, Failure};

/// How a build is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Style {
    /// `tty` on a terminal, else `plain`
    Auto,
    /// A live view
    Tty,
    /// Lines for a log
    Plain,
    /// One JSON object per line
    Rawjson,
    /// Errors only
    #[value(alias = "none")]
    Quiet,
}

/// Flags of builds about their output.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct ProgressArgs {
    /// How the build is shown on standard error [env: BUILDKIT_PROGRESS] [default: auto]
    #[arg(long, value_enum, hide_default_value = true)]
    progress: Option<Style>,
    /// Show warnings of build checks in full
    #[arg(short = 'D', long)]
    debug: bool,
}

impl ProgressArgs {
    /// Whether warnings are shown in full.
    pub(crate) fn debug(&self) -> bool {
        self.debug
    }

    /// What is to be shown.
    pub(crate) fn choose(&self, env: &Environment, quiet: bool) -> Done<Progress> {
        if quiet {
            return Ok(Progress::Quiet);
        }
        let from_env = || match env.get("BUILDKIT_PROGRESS") {
            None => Ok(Style::Auto),
            Some(text) => Style::from_str(text, true).map_err(|_| {
                Failure::usage_hint(
                    format!("invalid `BUILDKIT_PROGRESS`: `{text}`"),
                    "want auto, tty, plain, rawjson or quiet",
                )
            }),
        };
        let live = stderr().is_terminal() && env.get("TERM") != Some("dumb");
        match self.progress.map_or_else(from_env, Ok)? {
            Style::Auto if live => Ok(Progress::Tty),
            Style::Auto | Style::Plain => Ok(Progress::Plain),
            Style::Tty if live => Ok(Progress::Tty),
            Style::Tty => Err(Failure::usage_hint(
                "`--progress=tty` needs a terminal as standard error",
                "use `--progress=plain`",
            )),
            Style::Rawjson => Ok(Progress::RawJson),
            Style::Quiet => Ok(Progress::Quiet),
        }
    }
}

/// Starts showing on standard error.
pub(crate) fn start(progress: Progress, env: &Environment, redactor: Redactor) -> Reporter {
    let options = Options {
        progress,
        colour: env.get("NO_COLOR").is_none() && stderr().is_terminal(),
        redactor,
        size: Box::new(|| karman_sys::term::size(stderr())),
    };
    Reporter::start(options, Box::new(stderr()))
}
