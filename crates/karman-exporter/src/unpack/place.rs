//! The place where a tree is made: a root, and the open directories on the way to the current one.

use std::collections::{BTreeMap, VecDeque};

use karman_sys::fs::{Dir, FsError, Owner, Stat, Time, remove_tree};
use rustix::io::Errno;

use super::{Lower, Missing, Ownership, UnpackError, Warnings, clean};
use crate::walk::{os, show};

/// The most symbolic links on the way to one entry (Linux has the same limit).
pub(super) const MAX_LINKS: usize = 40;

/// The most nested directories: each costs a descriptor, of which a process has 1024 by default.
const MAX_DEPTH: usize = 400;

/// What making files in a directory needs without privilege.
const OWNER_ACCESS: u32 = 0o700;

const OPAQUE: &str = "user.overlay.opaque";

/// What the tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// An overlay upper directory: deletions leave marks.
    Overlay,
    /// Plain files.
    Plain,
}

/// A tree being made.
pub(crate) struct Place<'a> {
    root: &'a Dir,
    form: Form,
    pub(super) ownership: Ownership,
    pub(super) lower: Option<&'a dyn Lower>,
    names: Vec<Vec<u8>>,
    dirs: Vec<Dir>,
    /// Times of directories, set at the end since making a file in one changes them; and modes that would lock an
    /// ordinary user out before that.
    times: BTreeMap<Vec<Vec<u8>>, (Time, Option<u32>)>,
    pub(super) warnings: Warnings,
}

/// What was in the way of a new entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Before {
    Nothing,
    /// A directory, which stays since a directory is wanted.
    Dir,
    /// Something that has been removed.
    Removed,
}

impl<'a> Place<'a> {
    pub(crate) fn new(
        root: &'a Dir,
        form: Form,
        ownership: Ownership,
        lower: Option<&'a dyn Lower>,
    ) -> Self {
        let (names, dirs, times) = (Vec::new(), Vec::new(), BTreeMap::new());
        Self { root, form, ownership, lower, names, dirs, times, warnings: Warnings::default() }
    }

    /// Sets the times of directories, innermost first, and returns the warnings.
    pub(crate) fn finish(mut self) -> Result<Warnings, UnpackError> {
        let mut times: Vec<_> = std::mem::take(&mut self.times).into_iter().collect();
        times.reverse();
        for (path, (time, mode)) in times {
            self.enter(&path)?;
            let dir = self.current();
            let done = mode.map_or(Ok(()), |mode| dir.chmod_self(mode));
            done.and_then(|()| dir.utimens_self(time)).map_err(|source| self.failed(source))?;
        }
        Ok(self.warnings)
    }

    /// The directory that was entered last.
    pub(super) fn current(&self) -> &Dir {
        self.dirs.last().unwrap_or(self.root)
    }

    /// The path of a name in the current directory, for people.
    pub(super) fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut parts = self.names.clone();
        parts.push(name.to_vec());
        parts.join(&b'/')
    }

    /// Notes the time that the directory `name` in the current one shall have, and its mode if that is set late.
    pub(super) fn note(&mut self, name: Option<&[u8]>, time: Time, mode: Option<u32>) {
        let mut path = self.names.clone();
        path.extend(name.map(<[u8]>::to_vec));
        self.times.insert(path, (time, mode));
    }

    /// Sets the mode of a directory; what is returned is left for the end.
    pub(super) fn set_dir_mode(&self, name: &[u8], mode: u32) -> Result<Option<u32>, UnpackError> {
        let now = mode | OWNER_ACCESS;
        self.current().chmod(os(name), now).map_err(self.failed_at(name))?;
        Ok((now != mode).then_some(mode))
    }

    /// Makes the directory with these components the current one. Missing ones are made, files in the way replaced,
    /// symbolic links followed inside the root.
    pub(super) fn enter(&mut self, path: &[Vec<u8>]) -> Result<(), UnpackError> {
        let common = self.names.iter().zip(path).take_while(|(a, b)| a == b).count();
        self.leave_to(common);
        let mut todo: VecDeque<Vec<u8>> = path[common..].iter().cloned().collect();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if name == b".." {
                self.leave_to(self.names.len().saturating_sub(1));
                continue;
            }
            if self.dirs.len() >= MAX_DEPTH {
                let path = show(&self.names.first().cloned().unwrap_or_default());
                return Err(UnpackError::Depth { path, limit: MAX_DEPTH });
            }
            let failed = match self.current().open_dir(os(&name)) {
                Ok(dir) => {
                    self.names.push(name);
                    self.dirs.push(dir);
                    continue;
                }
                Err(failed) => failed,
            };
            match failed.errno() {
                Some(Errno::NOENT) => self.imply(&name, Before::Nothing)?,
                Some(Errno::NOTDIR | Errno::LOOP) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(UnpackError::Links { path: show(&self.path_of(&name)) });
                    }
                    if self.detour(&name, &mut todo)? {
                        continue;
                    }
                }
                _ => return Err(self.failed_at(&name)(failed)),
            }
            todo.push_front(name);
        }
        Ok(())
    }

    /// Puts the target of the symbolic link `name` in front of `todo`. Anything else is replaced by a directory, and
    /// the answer is false.
    fn detour(&mut self, name: &[u8], todo: &mut VecDeque<Vec<u8>>) -> Result<bool, UnpackError> {
        let stat = self.current().stat(os(name)).map_err(self.failed_at(name))?;
        if !stat.is_symlink() {
            let before = self.clear(name, false)?;
            self.imply(name, before)?;
            return Ok(false);
        }
        let text = self.current().read_link(os(name)).map_err(self.failed_at(name))?;
        let text = text.as_encoded_bytes();
        if text.starts_with(b"/") {
            self.leave_to(0);
        }
        for part in text.split(|byte| *byte == b'/').rev() {
            if !part.is_empty() && part != b"." {
                todo.push_front(part.to_vec());
            }
        }
        Ok(true)
    }

    /// Makes a directory that no entry has announced: as the layers below have it, otherwise root's with mode 0755.
    fn imply(&mut self, name: &[u8], before: Before) -> Result<(), UnpackError> {
        self.current().mkdir(os(name), 0o755).map_err(self.failed_at(name))?;
        let path = self.path_of(name);
        let found = match self.lower {
            Some(lower) => lower.find(&path).map_err(self.failed_at(name))?,
            None => None,
        };
        match found.filter(|found| found.stat.is_dir() && before == Before::Nothing) {
            Some(found) => self.copy_dir_facts(name, &found)?,
            None => {
                self.set_owner(name, Owner { uid: 0, gid: 0 })?;
                self.current().chmod(os(name), 0o755).map_err(self.failed_at(name))?;
                if self.form == Form::Overlay {
                    // The time of unpacking must not become part of anything.
                    self.note(Some(name), Time::default(), None);
                }
            }
        }
        self.mark_replaced(name, before)
    }

    fn copy_dir_facts(&mut self, name: &[u8], found: &super::Found) -> Result<(), UnpackError> {
        let Stat { uid, gid, mtime, .. } = found.stat;
        self.set_owner(name, Owner { uid, gid })?;
        let late = self.set_dir_mode(name, found.stat.permissions())?;
        for (key, value) in found.dir.xattrs(&found.name).map_err(self.failed_at(name))? {
            if crate::xattr::travels(&key)
                && self.current().set_xattr(os(name), &key, &value).is_err()
            {
                let path = self.path_of(name);
                self.warnings.add(&path, Missing::Attribute);
            }
        }
        self.note(Some(name), mtime, late);
        Ok(())
    }

    /// Removes what is at `name`, unless it is a directory and one is wanted.
    pub(super) fn clear(&mut self, name: &[u8], want_dir: bool) -> Result<Before, UnpackError> {
        let dir = self.current();
        let Some(stat) = dir.try_stat(os(name)).map_err(self.failed_at(name))? else {
            return Ok(Before::Nothing);
        };
        if !stat.is_dir() {
            dir.unlink(os(name)).map_err(self.failed_at(name))?;
            return Ok(Before::Removed);
        }
        if want_dir {
            return Ok(Before::Dir);
        }
        remove_tree(dir, os(name)).map_err(self.failed_at(name))?;
        let mut gone = self.names.clone();
        gone.push(name.to_vec());
        self.times.retain(|path, _| !path.starts_with(&gone));
        Ok(Before::Removed)
    }

    /// A directory that took the place of something in the same layer hides what lower layers have there.
    pub(super) fn mark_replaced(&self, name: &[u8], before: Before) -> Result<(), UnpackError> {
        if before == Before::Removed && self.form == Form::Overlay {
            self.current().set_xattr(os(name), OPAQUE, b"y").map_err(self.failed_at(name))?;
        }
        Ok(())
    }

    /// Marks that lower layers have nothing at `name`, whatever this layer has there (image-spec `layer.md`: a
    /// whiteout applies to lower layers only, so its place among the entries does not matter).
    pub(super) fn whiteout(&mut self, name: &[u8]) -> Result<(), UnpackError> {
        let dir = self.current();
        match dir.whiteout(os(name)) {
            Err(error) if error.is_exists() => {
                if dir.stat(os(name)).map_err(self.failed_at(name))?.is_dir() {
                    dir.set_xattr(os(name), OPAQUE, b"y").map_err(self.failed_at(name))?;
                }
                Ok(())
            }
            result => result.map_err(self.failed_at(name)),
        }
    }

    /// Marks that lower layers have nothing in the current directory.
    pub(super) fn opaque(&mut self) -> Result<(), UnpackError> {
        self.current().set_xattr(".", OPAQUE, b"y").map_err(|source| self.failed(source))
    }

    /// Sets the owner of a name that was just made in the current directory, as far as the policy asks for.
    pub(super) fn set_owner(&mut self, name: &[u8], owner: Owner) -> Result<(), UnpackError> {
        if owner == karman_sys::fs::process_owner() {
            return Ok(());
        }
        self.change_owner(name, owner)
    }

    /// Sets the owner of a name in the current directory, whoever has it.
    pub(super) fn change_owner(&mut self, name: &[u8], owner: Owner) -> Result<(), UnpackError> {
        if self.ownership == Ownership::Process {
            return Ok(());
        }
        let done = self.current().chown(os(name), owner);
        self.owner_result(name, done)
    }

    pub(super) fn owner_result(
        &mut self,
        name: &[u8],
        done: Result<(), FsError>,
    ) -> Result<(), UnpackError> {
        match done {
            Err(_) if self.ownership == Ownership::BestEffort => {
                let path = self.path_of(name);
                self.warnings.add(&path, Missing::Owner);
                Ok(())
            }
            done => done.map_err(self.failed_at(name)),
        }
    }

    /// An error of the current directory.
    pub(super) fn failed(&self, source: FsError) -> UnpackError {
        UnpackError::File { path: show(&self.names.join(&b'/')), source }
    }

    /// An error of a name in the current directory.
    pub(super) fn failed_at(&self, name: &[u8]) -> impl FnOnce(FsError) -> UnpackError + use<> {
        let path = show(&self.path_of(name));
        move |source| UnpackError::File { path, source }
    }

    fn leave_to(&mut self, depth: usize) {
        self.names.truncate(depth);
        self.dirs.truncate(depth);
    }
}

/// The cleaned directory components and the last one; `None` for the root itself.
pub(super) fn split(path: &[u8]) -> Option<(Vec<Vec<u8>>, Vec<u8>)> {
    let mut parts = clean(path);
    let name = parts.pop()?;
    Some((parts, name))
}
