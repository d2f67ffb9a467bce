//! Replacing a file in one step.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::dir::Dir;
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
///
/// The temporary file has the name `.<name>.<pid>.<n>.tmp` in the same directory.
pub fn atomic_write(
    dir: &Dir,
    name: impl AsRef<Path>,
    data: &[u8],
    mode: u32,
    durability: Durability,
) -> Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = name.as_ref();
    let mut temp = OsString::from(".");
    temp.push(name.as_os_str());
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    temp.push(format!(".{}.{count}.tmp", std::process::id()));

    let written =
        write_new(dir, &temp, data, mode, durability).and_then(|()| dir.rename(&temp, dir, name));
    if written.is_err() {
        // The error that matters is the first one.
        let _ = dir.unlink(&temp);
    }
    written?;
    if durability == Durability::Machine { dir.sync() } else { Ok(()) }
}

fn write_new(
    dir: &Dir,
    name: &OsString,
    data: &[u8],
    mode: u32,
    durability: Durability,
) -> Result<()> {
    let mut file = dir.create_file(name, mode)?;
    file.write_all(data).map_err(|error| FsError::io("write", name, error))?;
    if durability == Durability::Machine {
        file.sync_data().map_err(|error| FsError::io("sync", name, error))?;
    }
    Ok(())
}
