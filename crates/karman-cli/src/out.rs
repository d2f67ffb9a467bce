//! Writing to the caller: data to standard output, words for people to standard error.

use std::io::{self, Write as _};

use clap::error::ErrorKind;
use karman_diag::ExitCode;

use crate::failure::{Done, Failure};

/// Writes data to standard output. A reader that has gone away wants no more: no error.
pub(crate) fn data(text: &str) -> Done<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::host("write to standard output", e))
        }
        _ => Ok(()),
    }
}

/// Writes to standard error. What cannot be written there cannot be told anywhere else.
pub(crate) fn note(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Shows what the argument parser has to say; gives the exit code.
pub(crate) fn show_usage(error: &clap::Error) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let _ = error.print();
        return ExitCode::Success.code();
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        let _ = error.print();
        return ExitCode::Usage.code();
    }
    // Our words: `ERROR` and `hint`, as every other message has them.
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    note(&format!("ERROR: {}", text.replace("\n  tip: ", "\nhint: ")));
    ExitCode::Usage.code()
}
