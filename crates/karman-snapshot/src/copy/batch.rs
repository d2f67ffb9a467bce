//! The walk of a copy: directories are made as they are met, files are gathered and written in batches by all
//! processors.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use karman_sys::fs::{Dir, FileKind, Owner, Stat, Time, fd_set_xattr, fd_xattrs};
use rayon::prelude::*;

use super::file::{Done, Job, Task};
use super::{CopyOptions, CopyReport};
use crate::attrs::image_xattrs;
use crate::error::{On, Result, SnapshotError};
use crate::view::{Found, View, Visit, WalkDir, WalkEntry};
use crate::writer::{Attrs, DestDir, DirMeta, LayerWriter};

/// Files per batch.
const BATCH_FILES: usize = 4096;

/// Directories whose descriptors a batch may keep open (two each).
const BATCH_DIRS: usize = 128;

/// Files a thread takes at once.
const CHUNK: usize = 32;

/// A file of a hard link group: layer, device, inode.
type Group = (usize, u64, u64);

pub(super) fn run(
    source: &View,
    found: &Found,
    writer: &mut LayerWriter,
    dst: &Path,
    options: &CopyOptions<'_>,
) -> Result<CopyReport> {
    writer.copies += 1;
    let mut copier = TreeCopier {
        source,
        writer,
        options,
        dst: dst.to_owned(),
        stack: Vec::new(),
        jobs: Vec::new(),
        dirs: 0,
        groups: HashMap::new(),
        linkable: BTreeMap::new(),
        report: CopyReport::default(),
    };
    match &found.dir {
        Some(dir) => source.walk(&found.path, dir, options.filter, &mut copier)?,
        None => copier.single(found)?,
    }
    copier.flush()?;
    Ok(copier.report)
}

struct TreeCopier<'a, 'o> {
    source: &'a View,
    writer: &'a mut LayerWriter,
    options: &'a CopyOptions<'o>,
    dst: PathBuf,
    /// The destination directories from the top of the copy down to the current one.
    stack: Vec<Arc<DestDir>>,
    jobs: Vec<Job>,
    dirs: usize,
    /// Where the first file of each hard link group went.
    groups: HashMap<Group, PathBuf>,
    /// Whether files of a source layer can be linked at all: same file system.
    linkable: BTreeMap<usize, bool>,
    report: CopyReport,
}

impl Visit for TreeCopier<'_, '_> {
    fn enter(&mut self, dir: &WalkDir<'_>) -> Result<()> {
        let dest = match self.stack.last().cloned() {
            Some(parent) => {
                self.writer.make_room_for_dir(&parent, dir.name, self.options.replace)?;
                self.enter_below(&parent, dir)?
            }
            None => self.enter_top(dir)?,
        };
        self.report.dirs += 1;
        self.dirs += 1;
        self.stack.push(Arc::new(dest));
        if self.dirs >= BATCH_DIRS { self.flush() } else { Ok(()) }
    }

    fn entry(&mut self, entry: &WalkEntry<'_>) -> Result<()> {
        let Some(dest) = self.stack.last().map(Arc::clone) else { return Ok(()) };
        let task = self.task(entry.kind, entry.layer, entry.ino);
        self.push(Job {
            from: Arc::clone(entry.parent),
            name: entry.name.to_owned(),
            path: entry.path.to_owned(),
            kind: entry.kind,
            layer: entry.layer,
            dest,
            new_name: entry.name.to_owned(),
            task,
        })
    }

    fn leave(&mut self) -> Result<()> {
        self.stack.pop();
        Ok(())
    }
}

impl TreeCopier<'_, '_> {
    fn single(&mut self, found: &Found) -> Result<()> {
        let new_name: OsString = self.dst.file_name().ok_or(SnapshotError::Root)?.to_owned();
        let parent = self.dst.parent().unwrap_or(Path::new("")).to_owned();
        let dest = Arc::new(self.writer.open_dest(&parent, None)?);
        let kind = found.stat.kind();
        let task = self.task(kind, found.layer, found.stat.ino);
        self.push(Job {
            from: Arc::clone(&found.parent),
            name: found.name.clone(),
            path: found.path.clone(),
            kind,
            layer: found.layer,
            dest,
            new_name,
            task,
        })
    }

    /// The directory the copy goes to: it keeps its metadata if it exists, except for its time.
    fn enter_top(&mut self, dir: &WalkDir<'_>) -> Result<DestDir> {
        let dst = self.dst.clone();
        let exists = match self.writer.view().lookup(&dst, false)? {
            Some(found) if found.dir.is_some() => true,
            None => false,
            Some(_) => {
                let parent = self.writer.open_dest(dst.parent().unwrap_or(Path::new("")), None)?;
                let name = dst.file_name().ok_or(SnapshotError::Root)?;
                self.writer.make_room_for_dir(&parent, name, self.options.replace)?;
                false
            }
        };
        let stat = dir.stat()?;
        let attrs = self.attrs(&stat);
        let dest = self.writer.open_dest(&dst, Some(attrs))?;
        if exists {
            self.set_time(&dest.path, attrs.mtime);
        } else {
            self.copy_xattrs(dir, &dest)?;
        }
        Ok(dest)
    }

    fn enter_below(&mut self, parent: &DestDir, dir: &WalkDir<'_>) -> Result<DestDir> {
        let stat = dir.stat()?;
        let attrs = self.attrs(&stat);
        let dest = self.writer.descend(parent, dir.name, Some(attrs))?;
        let owner_and_mode = if dir.implied && !dest.fresh {
            // A directory that is only on the way gives its mode to one that exists, and nothing else.
            let current = self.writer.pending.get(&dest.path).and_then(|meta| meta.access);
            let owner = match current {
                Some((owner, _)) => owner,
                None => {
                    let stat = dest.dir.stat_self().on(&dest.path)?;
                    Owner { uid: stat.uid, gid: stat.gid }
                }
            };
            Some((owner, stat.permissions()))
        } else {
            self.copy_xattrs(dir, &dest)?;
            Some((attrs.owner, attrs.mode))
        };
        let mtime = match self.writer.pending.get(&dest.path) {
            Some(meta) if dir.implied && !dest.fresh => meta.mtime,
            _ => attrs.mtime,
        };
        self.writer.pending.insert(dest.path.clone(), DirMeta { access: owner_and_mode, mtime });
        Ok(dest)
    }

    fn attrs(&self, stat: &Stat) -> Attrs {
        let mode = stat.permissions();
        Attrs {
            mode: self.options.mode.map_or(mode, |change| change(mode, true)),
            owner: self.options.owner.unwrap_or(Owner { uid: stat.uid, gid: stat.gid }),
            mtime: self.options.mtime.unwrap_or(stat.mtime),
        }
    }

    fn set_time(&mut self, path: &Path, mtime: Time) {
        self.writer
            .pending
            .entry(path.to_owned())
            .or_insert(DirMeta { access: None, mtime })
            .mtime = mtime;
    }

    fn copy_xattrs(&mut self, dir: &WalkDir<'_>, dest: &DestDir) -> Result<()> {
        let Some(from) = dir.dir.top() else { return Ok(()) };
        for (key, value) in image_xattrs(fd_xattrs(from).on(dir.rel)?) {
            if fd_set_xattr(&dest.dir, key, &value).is_err() {
                self.report.lost_xattrs += 1;
            }
        }
        Ok(())
    }

    /// Whether to link or to copy. An inode that another copy has linked into this layer is copied: as a second link it
    /// would be one file with two names in the image.
    fn task(&mut self, kind: FileKind, layer: usize, ino: u64) -> Task {
        let options = self.options;
        let wanted = options.link
            && options.mtime.is_none()
            && self.source.is_immutable()
            && matches!(kind, FileKind::File | FileKind::Symlink);
        if !wanted {
            return Task::Copy;
        }
        let dev = self.source.layers[layer].dev;
        let upper = &self.writer.upper;
        let same = *self
            .linkable
            .entry(layer)
            .or_insert_with(|| upper.stat_self().is_ok_and(|stat| stat.dev == dev));
        let origin = (self.writer.copies, layer);
        if same && *self.writer.linked.entry((dev, ino)).or_insert(origin) == origin {
            Task::Link
        } else {
            Task::Copy
        }
    }

    fn push(&mut self, job: Job) -> Result<()> {
        // Removing what is in the way changes the layer, so it is done here and not by the threads.
        self.writer.make_room(&job.dest, &job.new_name, self.options.replace)?;
        self.jobs.push(job);
        if self.jobs.len() >= BATCH_FILES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let jobs = std::mem::take(&mut self.jobs);
        self.dirs = 0;
        let mut grouped: Vec<(Group, Job)> = Vec::new();
        for (job, done) in self.perform(jobs)? {
            match done {
                Done::Grouped(stat) => grouped.push(((job.layer, stat.dev, stat.ino), job)),
                done => self.count(&job, done),
            }
        }
        self.flush_groups(grouped)
    }

    /// Files with several names: the first of a group is copied, the others become links to it.
    fn flush_groups(&mut self, grouped: Vec<(Group, Job)>) -> Result<()> {
        let (mut leaders, mut followers) = (Vec::new(), Vec::new());
        for (group, mut job) in grouped {
            if let std::collections::hash_map::Entry::Vacant(entry) = self.groups.entry(group) {
                entry.insert(job.dest.path.join(&job.new_name));
                job.task = Task::CopyLeader;
                leaders.push(job);
            } else {
                followers.push((group, job));
            }
        }
        for (job, done) in self.perform(leaders)? {
            self.count(&job, done);
        }
        for (group, job) in followers {
            let first = &self.groups[&group];
            let (dir, name) =
                (first.parent().unwrap_or(Path::new("")), first.file_name().unwrap_or_default());
            let from = self.writer.upper.open_dir_beneath(dir).on(dir)?;
            from.link(name, &job.dest.dir, &job.new_name).on(&job.path)?;
            self.report.files += 1;
        }
        Ok(())
    }

    fn perform(&self, jobs: Vec<Job>) -> Result<Vec<(Job, Done)>> {
        let (view, options, copier) = (self.source, self.options, &self.writer.copier);
        jobs.into_par_iter()
            .with_min_len(CHUNK)
            .map(|job| job.run(view, options, copier).map(|done| (job, done)))
            .collect()
    }

    fn count(&mut self, job: &Job, done: Done) {
        match done {
            Done::Linked if job.kind == FileKind::File => {
                self.report.files += 1;
                self.report.linked += 1;
            }
            Done::Copied { bytes, lost_xattrs, file } => {
                self.report.files += 1;
                self.report.bytes += bytes;
                self.report.lost_xattrs += lost_xattrs;
                self.report.digests.extend(file.map(|file| *file));
            }
            Done::Linked | Done::Other | Done::Grouped(_) => self.report.others += 1,
        }
    }
}

/// `Dir` must be usable from all threads of a batch.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Arc<Dir>>();
};
