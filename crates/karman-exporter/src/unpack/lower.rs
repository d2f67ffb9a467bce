//! Looking up files in the layers below the one being unpacked.

use std::ffi::OsString;

use karman_sys::fs::{Dir, FsError, Stat};

use crate::walk::{is_opaque, os};

/// The layers below. A layer may hold a hard link to a file of theirs, or a file in a directory that only they have.
pub trait Lower {
    /// Finds what a container would see at `path` (cleaned, relative, `/` between components) in the layers below;
    /// symbolic links on the way are not followed.
    ///
    /// # Errors
    /// When a layer cannot be read.
    fn find(&self, path: &[u8]) -> Result<Option<Found>, FsError>;
}

/// A file or directory in a lower layer.
#[derive(Debug)]
pub struct Found {
    /// The directory it is in.
    pub dir: Dir,
    /// Its name there.
    pub name: OsString,
    /// Its facts.
    pub stat: Stat,
}

/// Layer snapshots, topmost first.
#[derive(Debug, Clone, Copy)]
pub struct LowerLayers<'a>(pub &'a [&'a Dir]);

impl Lower for LowerLayers<'_> {
    fn find(&self, path: &[u8]) -> Result<Option<Found>, FsError> {
        let mut parts = path.split(|byte| *byte == b'/').peekable();
        let mut levels = Vec::new();
        for layer in self.0 {
            levels.push(layer.reopen()?);
            if is_opaque(layer)? {
                break;
            }
        }
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return last(levels, part);
            }
            levels = below(&levels, part)?;
        }
        Ok(None)
    }
}

fn last(levels: Vec<Dir>, name: &[u8]) -> Result<Option<Found>, FsError> {
    for dir in levels {
        match dir.try_stat(os(name))? {
            None => {}
            Some(stat) if stat.is_whiteout() => return Ok(None),
            Some(stat) => return Ok(Some(Found { dir, name: os(name).to_owned(), stat })),
        }
    }
    Ok(None)
}

/// The directories `name` in `levels` that are merged.
fn below(levels: &[Dir], name: &[u8]) -> Result<Vec<Dir>, FsError> {
    let mut out = Vec::new();
    for dir in levels {
        match dir.try_stat(os(name))? {
            None => {}
            Some(stat) if stat.is_dir() => {
                let dir = dir.open_dir(os(name))?;
                let opaque = is_opaque(&dir)?;
                out.push(dir);
                if opaque {
                    break;
                }
            }
            Some(_) => break,
        }
    }
    Ok(out)
}
