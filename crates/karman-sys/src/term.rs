//! The terminal.

use std::os::fd::AsFd;

/// Columns and rows of the terminal at `fd`; none when it is not a terminal or does not know.
pub fn size(fd: impl AsFd) -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(fd).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}
