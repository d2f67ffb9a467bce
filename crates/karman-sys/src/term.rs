//! The terminal.

use std::os::fd::{AsFd, OwnedFd};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Columns and rows of the terminal at `fd`; none when it is not a terminal or does not know.
pub fn size(fd: impl AsFd) -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(fd).ok()?;
    (size.ws_col > 0 && size.ws_row > 0).then_some((size.ws_col, size.ws_row))
}

/// A terminal that does not show what is typed, until this is dropped.
#[derive(Debug)]
pub struct HiddenInput {
    terminal: OwnedFd,
    before: Termios,
}

/// Stops the terminal at `fd` from showing what is typed; none when it is no terminal.
pub fn hide_input(fd: impl AsFd) -> Option<HiddenInput> {
    let terminal = fd.as_fd().try_clone_to_owned().ok()?;
    let before = tcgetattr(&terminal).ok()?;
    let mut hidden = before.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&terminal, OptionalActions::Flush, &hidden).ok()?;
    Some(HiddenInput { terminal, before })
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing restored.
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}
