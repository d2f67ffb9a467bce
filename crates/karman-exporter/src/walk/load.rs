//! Reading what an item needs besides its name: data, attributes, link texts.

use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::sync::mpsc::Receiver;
use std::sync::{Mutex, PoisonError};

use karman_sys::fs::{Dir, FileKind, fd_xattrs, stat_fd};

use super::{Batch, Data, INLINE, Item, Job, WalkError, What, file_error, os, show};

/// Serves jobs until the walker has no more.
pub(super) fn serve(jobs: &Mutex<Receiver<Job>>) {
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((items, reply)) = job else { return };
        // The consumer may have given up.
        let _ = reply.send(load_all(items));
    }
}

fn load_all(items: Vec<Item>) -> Batch {
    items.into_iter().map(load).collect()
}

fn load(mut item: Item) -> Result<Item, WalkError> {
    let What::File(Data::Later(dir)) = &item.what else { return Ok(item) };
    let dir = std::sync::Arc::clone(dir);
    if item.stat.kind() == FileKind::Symlink {
        let text = dir.read_link(os(item.name())).map_err(file_error(&item.path))?;
        item.what = What::Symlink(text.into_vec());
        return Ok(item);
    }
    let data = open(&dir, &mut item)?;
    item.what = What::File(data);
    Ok(item)
}

fn open(dir: &Dir, item: &mut Item) -> Result<Data, WalkError> {
    let mut file = dir.open_file(os(item.name())).map_err(file_error(&item.path))?;
    let stat = stat_fd(&file).map_err(file_error(&item.path))?;
    if !stat.is_file() || (stat.dev, stat.ino) != (item.stat.dev, item.stat.ino) {
        return Err(WalkError::Changed { path: show(&item.path) });
    }
    item.stat = stat;
    item.xattrs = fd_xattrs(&file).map_err(file_error(&item.path))?;
    if stat.size > INLINE {
        return Ok(Data::Open(file));
    }
    read(&mut file, stat.size)
        .map_err(|source| WalkError::Read { path: show(&item.path), source })
        .and_then(|bytes| match bytes.len() as u64 == stat.size {
            true => Ok(Data::Bytes(bytes)),
            false => Err(WalkError::Changed { path: show(&item.path) }),
        })
}

/// Reads `size` bytes and one more, if there is one.
fn read(file: &mut File, size: u64) -> std::io::Result<Vec<u8>> {
    if size == 0 {
        return Ok(Vec::new());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    file.take(size + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
