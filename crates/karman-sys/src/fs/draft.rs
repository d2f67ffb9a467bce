//! Files and directories that are made under another name beside their place, so that they are there whole or not at all.
//!
//! A draft of `NAME` is called `.NAME.PID.N.tmp` and is locked (`flock`) as long as somebody works on it. What a killed
//! process left is not locked any more and goes when the next draft of `NAME` is made. The lock decides, not the process
//! id, which says nothing in another container, on another host or a while later. What cannot be locked is left alone.

use std::ffi::{OsStr, OsString};
use std::fs::{File, TryLockError};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::dir::Dir;
use super::error::{At, FsError, Result};
use super::meta::process_owner;
use super::remove::remove_tree;
use super::stat::{FileKind, stat_fd};

/// How often another name is tried: names are taken by killed processes with our process id, and by sweeps that see a
/// draft before it is locked.
const MAX_TRIES: usize = 100;

/// A file or directory that is being made. Dropped before it is placed it leaves nothing.
#[derive(Debug)]
pub struct Draft {
    dir: Dir,
    name: OsString,
    /// Holds the lock.
    open: File,
    placed: bool,
}

impl Draft {
    /// An empty file that is to become `name` in `dir`, and its description for writing. The umask applies to `mode`.
    pub fn file(dir: &Dir, name: impl AsRef<OsStr>, mode: u32) -> Result<(Self, File)> {
        let draft = Self::make(dir, name.as_ref(), &|temp| dir.create_file(temp, mode))?;
        let file = draft.open.try_clone().map_err(|e| FsError::io("open", &draft.name, e))?;
        Ok((draft, file))
    }

    /// An empty directory that is to become `name` in `dir`. The umask applies to `mode`.
    pub fn dir(dir: &Dir, name: impl AsRef<OsStr>, mode: u32) -> Result<Self> {
        Self::make(dir, name.as_ref(), &|temp| {
            dir.mkdir(temp, mode)?;
            dir.open_file(temp)
        })
    }

    /// Its name until it is placed.
    #[must_use]
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// Gives it its name, in place of what has it.
    pub fn place(mut self, name: impl AsRef<Path>) -> Result<()> {
        self.dir.rename(&self.name, &self.dir, name)?;
        self.placed = true;
        Ok(())
    }

    fn make(dir: &Dir, name: &OsStr, create: &dyn Fn(&OsStr) -> Result<File>) -> Result<Self> {
        sweep_drafts(dir, name);
        let mut last = FsError::new("create", name, Errno::EXIST);
        for _ in 0..MAX_TRIES {
            let name = fresh(name);
            let open = match create(&name) {
                // A sweep may see a directory before it is opened.
                Err(error) if error.is_exists() || error.is_not_found() => {
                    last = error;
                    continue;
                }
                open => open?,
            };
            let draft = Self { dir: dir.reopen()?, name, open, placed: false };
            let is_taken = matches!(draft.open.try_lock(), Err(TryLockError::WouldBlock));
            if !is_taken && is_named(dir, &draft.name, &draft.open) {
                return Ok(draft);
            }
        }
        Err(last)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.placed {
            // Nobody can be told; the next draft of that name removes it.
            let _ = remove_tree(&self.dir, &self.name);
        }
    }
}

/// Removes the drafts of `name` that nobody works on. What cannot be removed, and what is not ours, stays.
pub fn sweep_drafts(dir: &Dir, name: impl AsRef<OsStr>) {
    let name = name.as_ref();
    // A directory that may be written but not read is nobody's mistake.
    for entry in dir.read_dir().unwrap_or_default() {
        if is_draft_of(name, &entry.name) {
            remove_abandoned(dir, &entry.name);
        }
    }
}

fn remove_abandoned(dir: &Dir, name: &OsStr) {
    let Ok(stat) = dir.stat(name) else { return };
    let how = match stat.kind() {
        // Some network file systems lock only what is open for writing.
        FileKind::File => OFlags::RDWR,
        FileKind::Dir => OFlags::RDONLY | OFlags::DIRECTORY,
        _ => return,
    };
    if stat.uid != process_owner().uid {
        return;
    }
    let flags = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened =
        rustix::fs::openat(&dir.fd, name, flags, Mode::empty()).at("open", Path::new(name));
    let Ok(open) = opened.map(File::from) else { return };
    if open.try_lock().is_ok() && is_named(dir, name, &open) {
        // Whoever wanted the name free gets another one.
        let _ = remove_tree(dir, name);
    }
}

/// Whether the name is still that of the open file.
fn is_named(dir: &Dir, name: &OsStr, open: &File) -> bool {
    let (Ok(named), Ok(opened)) = (dir.stat(name), stat_fd(open)) else { return false };
    (named.dev, named.ino) == (opened.dev, opened.ino)
}

fn fresh(name: &OsStr) -> OsString {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut temp = OsString::from(".");
    temp.push(name);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    temp.push(format!(".{}.{count}.tmp", std::process::id()));
    temp
}

/// Whether `found` is what [`fresh`] makes of `name`, in any process. Two numbers, so that a draft of `a.1` is none of `a`.
fn is_draft_of(name: &OsStr, found: &OsStr) -> bool {
    let middle = found.as_bytes().strip_prefix(b".").and_then(|rest| {
        rest.strip_prefix(name.as_bytes())?.strip_prefix(b".")?.strip_suffix(b".tmp")
    });
    let numbers = middle.map(|middle| middle.split(|byte| *byte == b'.').collect::<Vec<_>>());
    let is_number = |text: &&[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    numbers.is_some_and(|numbers| numbers.len() == 2 && numbers.iter().all(is_number))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn names(dir: &Dir) -> Vec<String> {
        let entries = dir.read_dir().unwrap();
        let mut names: Vec<String> =
            entries.iter().map(|e| e.name.to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn room() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        (temp, dir)
    }

    #[test]
    fn a_draft_is_placed_or_leaves_nothing() {
        let (temp, dir) = room();
        let (draft, mut file) = Draft::file(&dir, "a", 0o644).unwrap();
        file.write_all(b"whole").unwrap();
        assert_eq!(names(&dir), [draft.name().to_str().unwrap()]);
        draft.place("a").unwrap();
        let draft = Draft::dir(&dir, "d", 0o755).unwrap();
        std::fs::write(temp.path().join(draft.name()).join("f"), "f").unwrap();
        draft.place("d").unwrap();
        let dropped = Draft::dir(&dir, "e", 0o755).unwrap();
        std::fs::write(temp.path().join(dropped.name()).join("f"), "f").unwrap();
        drop(dropped);
        drop(Draft::file(&dir, "a", 0o644).unwrap());
        assert_eq!(names(&dir), ["a", "d"]);
        assert_eq!(std::fs::read(temp.path().join("a")).unwrap(), b"whole");
        assert!(temp.path().join("d/f").exists());
    }

    #[test]
    fn what_nobody_works_on_goes_with_the_next_draft_of_its_name() {
        let (temp, dir) = room();
        let path = |name: &str| temp.path().join(name);
        // Process 1 lives; the lock counts.
        std::fs::write(path(".a.1.0.tmp"), "half").unwrap();
        std::fs::create_dir_all(path(".a.4194304.7.tmp/below")).unwrap();
        std::fs::write(path(".a.4194304.7.tmp/below/f"), "half").unwrap();
        let stay =
            [".a.1.tmp", ".a.1.2.3.tmp", ".a.x.1.tmp", ".a..1.tmp", ".b.1.0.tmp", "a.1.0.tmp"];
        for name in stay {
            std::fs::write(path(name), "another's").unwrap();
        }
        std::os::unix::fs::symlink("b", path(".a.5.5.tmp")).unwrap();
        let (other, _file) = Draft::file(&dir, "a", 0o644).unwrap();
        let (draft, _file) = Draft::file(&dir, "a", 0o644).unwrap();
        let mut want: Vec<&str> = stay.to_vec();
        want.extend([".a.5.5.tmp", other.name().to_str().unwrap(), draft.name().to_str().unwrap()]);
        want.sort_unstable();
        assert_eq!(names(&dir), want);
    }

    #[test]
    fn drafts_of_many_at_once_stay_apart() {
        let (temp, _) = room();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for round in 0..100_u32 {
                        let dir = Dir::open(temp.path()).unwrap();
                        let (draft, mut file) = Draft::file(&dir, "a", 0o644).unwrap();
                        file.write_all(&round.to_le_bytes()).unwrap();
                        draft.place("a").unwrap();
                        drop(Draft::dir(&dir, "a", 0o755).unwrap());
                    }
                });
            }
        });
        let dir = Dir::open(temp.path()).unwrap();
        assert_eq!(names(&dir), ["a"]);
        assert_eq!(std::fs::read(temp.path().join("a")).unwrap().len(), 4);
    }
}
