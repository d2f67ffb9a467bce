//! Copying the content of files: shared extents where the file system can, in the kernel otherwise, by hand at last.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;

use super::error::{FsError, Result};

/// Up to this size a plain read and write is cheaper than asking the kernel to share or to copy.
pub const SMALL_FILE: u64 = 64 * 1024;

const BUFFER: usize = 128 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER]);
}

/// Copies file contents and remembers what the file systems cannot do, so that it is asked once and not per file.
#[derive(Debug, Default)]
pub struct Copier {
    no_clone: AtomicBool,
    no_copy_range: AtomicBool,
}

impl Copier {
    /// A copier that has not asked yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Copies from the position of `from` to its end into the empty file `to`; returns the bytes copied.
    ///
    /// `size` is the expected size and only chooses the method: what is copied is what is there.
    pub fn copy(&self, from: &mut File, to: &mut File, size: u64) -> Result<u64> {
        if size > SMALL_FILE {
            if !self.no_clone.load(Ordering::Relaxed) {
                match rustix::fs::ioctl_ficlone(&*to, &*from) {
                    Ok(()) => return Ok(size),
                    Err(_) => self.no_clone.store(true, Ordering::Relaxed),
                }
            }
            if !self.no_copy_range.load(Ordering::Relaxed)
                && let Some(copied) = self.copy_range(from, to)?
            {
                return Ok(copied);
            }
        }
        self.copy_through(from, to, &mut |_| {})
    }

    /// Copies by reading and writing, showing every piece to `seen`.
    pub fn copy_through(
        &self,
        from: &mut File,
        to: &mut File,
        seen: &mut dyn FnMut(&[u8]),
    ) -> Result<u64> {
        SCRATCH.with_borrow_mut(|buffer| {
            let mut total = 0;
            loop {
                let read = match from.read(buffer) {
                    Ok(0) => return Ok(total),
                    Ok(read) => read,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(FsError::io("read", "", error)),
                };
                seen(&buffer[..read]);
                to.write_all(&buffer[..read]).map_err(|error| FsError::io("write", "", error))?;
                total += read as u64;
            }
        })
    }

    fn copy_range(&self, from: &File, to: &File) -> Result<Option<u64>> {
        let mut total = 0;
        loop {
            match rustix::fs::copy_file_range(from, None, to, None, 1 << 30) {
                Ok(0) => return Ok((total > 0).then_some(total)),
                Ok(copied) => total += copied as u64,
                Err(Errno::INTR) => {}
                Err(_) if total == 0 => {
                    self.no_copy_range.store(true, Ordering::Relaxed);
                    return Ok(None);
                }
                Err(errno) => return Err(FsError::new("copy", Path::new(""), errno)),
            }
        }
    }
}
