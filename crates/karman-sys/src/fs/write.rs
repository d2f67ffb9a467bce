//! Replacing a file in one step.

use std::io::Write;
use std::path::Path;

use super::dir::Dir;
use super::draft::Draft;
use super::error::{FsError, Result};

/// Whether a write must survive a power failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// It must survive the end of the process, not of the machine.
    Process,
    /// File and directory are synced before the call returns.
    Machine,
}

/// Writes `data` to `name` in `dir` so that a reader sees the old content or the new, never a part.
pub fn atomic_write(
    dir: &Dir,
    name: impl AsRef<Path>,
    data: &[u8],
    mode: u32,
    durability: Durability,
) -> Result<()> {
    let name = name.as_ref();
    let (draft, mut file) = Draft::file(dir, name, mode)?;
    file.write_all(data).map_err(|error| FsError::io("write", name, error))?;
    if durability == Durability::Machine {
        file.sync_data().map_err(|error| FsError::io("sync", name, error))?;
    }
    draft.place(name)?;
    if durability == Durability::Machine { dir.sync() } else { Ok(()) }
}
