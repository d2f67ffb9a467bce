//! Questions on the terminal.

use std::io::{BufRead as _, stdin};

use crate::failure::{Done, Failure};
use crate::out;

/// Asks for one line; that standard input is a terminal is for the caller to know. A secret is not shown.
pub(crate) fn ask(prompt: &str, is_secret: bool) -> Done<String> {
    out::note(prompt);
    let hidden = if is_secret { karman_sys::term::hide_input(stdin()) } else { None };
    let mut line = String::new();
    let read = stdin().lock().read_line(&mut line);
    if hidden.is_some() {
        drop(hidden);
        out::note("\n");
    }
    read.map_err(|e| Failure::host("read from the terminal", e))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
