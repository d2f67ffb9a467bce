//! COPY, ADD, WORKDIR and their like: file actions that become one new layer, without a mount.

mod copying;
mod mode;
mod seed;
mod selection;
mod unpack;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use karman_control::{Cause, SolveError};
use karman_llb::{
    FileAction, FileOp, Mkdir, Mkfile, Owner as LlbOwner, Principal, Remove, Symlink,
};
use karman_snapshot::digest::{Selection, stat_identity};
use karman_snapshot::{Attrs, CopiedFile, CopyOptions, LayerWriter, View, copy};
use karman_sys::fs::{Owner, Time};

pub(crate) use seed::{CacheSeed, DATA as MOUNT_DATA, seed_cache_mount};
pub(crate) use selection::{content_of, content_since, listing_of};

use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::OrFail as _;
use crate::exec::{read_database, users};
use crate::layers::{Windows, commit, commit_dated, windows_of};
use crate::solve::{ContextDir, Output};
use crate::sources::context_view;

/// Runs the actions in order; gives the base's chain with the new layer on top.
pub(crate) fn run(engine: &Engine, op: &FileOp, inputs: &[Output]) -> Result<Chain, SolveError> {
    let base = match op.base.and_then(|i| inputs.get(i)) {
        Some(base) => {
            let wrong =
                || SolveError::new(Cause::Engine, "only layers that are here can be a base");
            base.chain().cloned().ok_or_else(wrong)?
        }
        None => Chain::new(),
    };
    let snapshots = engine.snapshots();
    let lower = snapshots.view(&base).or_fail(Cause::Store, "open the root filesystem")?;
    let active = snapshots.prepare(&base).or_fail(Cause::Store, "prepare a layer")?;
    let writer = active.writer(&lower).or_fail(Cause::Store, "prepare a layer")?;
    let mut windows = windows_of(snapshots, &base)?;
    let base_view = op.base.map(|_| &lower);
    let (digests, windows_of_sources) = (BTreeMap::new(), &mut windows);
    let mut actor =
        Actor { engine, inputs, writer, base: base_view, windows: windows_of_sources, digests };
    for action in &op.actions {
        actor.act(action)?;
    }
    actor.remember_digests()?;
    actor.writer.finish().or_fail(Cause::Store, "finish a layer")?;
    let mut chain = base;
    chain.push(commit(active, &windows, "file")?);
    Ok(chain)
}

/// A directory of the caller as a layer, for mounts: what is ignored must not be seen, and
/// everything belongs to root. Remembered by what `stat` says of the files.
pub(crate) fn materialise(engine: &Engine, context: &ContextDir) -> Result<Chain, SolveError> {
    let doing = "copy the context for a mount";
    let view = context_view(context)?;
    let all = Selection::default();
    let identity = stat_identity(&view, Path::new("/"), &all).or_fail(Cause::Input, doing)?;
    let key = karman_oci::Digest::sha256_of(format!("context-layer {identity}").as_bytes());
    if let Some(chain) = engine.records().by_definition(&key)? {
        return Ok(chain);
    }
    let active = engine.snapshots().prepare(&[]).or_fail(Cause::Store, doing)?;
    let empty = View::of_layers(&[]).or_fail(Cause::Engine, doing)?;
    let mut writer = active.writer(&empty).or_fail(Cause::Store, doing)?;
    let options =
        CopyOptions { dir_contents: true, create_dest_path: true, ..CopyOptions::default() };
    copy(&view, Path::new("/"), &mut writer, Path::new("/"), &options)
        .and_then(|_| writer.finish())
        .or_fail(Cause::Input, doing)?;
    let chain = vec![commit_dated(active, "context")?];
    engine.records().alias(&key, &chain)?;
    Ok(chain)
}

/// Actions on one layer.
struct Actor<'a> {
    engine: &'a Engine,
    inputs: &'a [Output],
    writer: LayerWriter,
    /// The filesystem before the first action; `None` in scratch.
    base: Option<&'a View>,
    windows: &'a mut Windows,
    /// The context files that were read, by input.
    digests: BTreeMap<usize, Vec<CopiedFile>>,
}

impl Actor<'_> {
    fn act(&mut self, action: &FileAction) -> Result<(), SolveError> {
        match action {
            FileAction::Copy(copy) => self.copy(copy),
            FileAction::Mkdir(mkdir) => self.mkdir(mkdir),
            FileAction::Mkfile(mkfile) => self.mkfile(mkfile),
            FileAction::Remove(remove) => self.remove(remove),
            FileAction::Symlink(link) => self.symlink(link),
        }
    }

    fn mkdir(&mut self, mkdir: &Mkdir) -> Result<(), SolveError> {
        let attrs = self.attrs(mkdir.mode, mkdir.owner.as_ref(), mkdir.created)?;
        let path = Path::new(&mkdir.path);
        let made = if mkdir.parents {
            self.writer.ensure_dir(path, attrs)
        } else {
            self.writer.make_dir(path, attrs)
        };
        made.or_fail(Cause::Input, &format!("make directory `{}`", mkdir.path))
    }

    fn mkfile(&mut self, mkfile: &Mkfile) -> Result<(), SolveError> {
        let attrs = self.attrs(mkfile.mode, mkfile.owner.as_ref(), mkfile.created)?;
        let made = self.writer.put_file(Path::new(&mkfile.path), &mkfile.data.0, attrs);
        made.or_fail(Cause::Input, &format!("make file `{}`", mkfile.path))
    }

    fn symlink(&mut self, link: &Symlink) -> Result<(), SolveError> {
        let attrs = self.attrs(0o777, link.owner.as_ref(), link.created)?;
        let made = self.writer.put_symlink(Path::new(&link.path), OsStr::new(&link.target), attrs);
        made.or_fail(Cause::Input, &format!("make link `{}`", link.path))
    }

    fn remove(&mut self, remove: &Remove) -> Result<(), SolveError> {
        let doing = format!("remove `{}`", remove.path);
        let paths = if remove.allow_wildcard {
            copying::resolve_wildcards(self.writer.view(), &remove.path, false)?
        } else {
            vec![PathBuf::from(&remove.path)]
        };
        for path in &paths {
            let was_there = self.writer.remove(path).or_fail(Cause::Input, &doing)?;
            if !was_there && !remove.allow_missing {
                return Err(SolveError::new(Cause::Input, format!("`{}` not found", remove.path)));
            }
        }
        Ok(())
    }

    /// Permissions, owner and time of something the engine itself makes.
    fn attrs(
        &self,
        mode: u32,
        owner: Option<&LlbOwner>,
        created: Option<i64>,
    ) -> Result<Attrs, SolveError> {
        let owner = match owner {
            Some(owner) => find_owner(owner, self.base)?,
            None => Owner::default(),
        };
        Ok(Attrs { mode, owner, mtime: self.time(created) })
    }

    fn time(&self, created: Option<i64>) -> Time {
        created.map_or_else(|| self.engine.epoch_time(), Time::from_secs)
    }
}

/// The numbers behind an owner. Names are looked up in the filesystem as it is before the instruction; one that it does
/// not know is root, as in BuildKit.
///
/// # Errors
/// A name where there is no filesystem to look it up in: in `FROM scratch`, and for what `--link` copies.
fn find_owner(owner: &LlbOwner, base: Option<&View>) -> Result<Owner, SolveError> {
    let read = |path: &str, name: &str| {
        let no_base = || {
            let message = format!("cannot look up `{name}`: there is no base with `{path}`");
            SolveError::new(Cause::Input, message)
                .with_hint("use a number: neither `FROM scratch` nor `--link` has names")
        };
        read_database(base.ok_or_else(no_base)?, path)
    };
    let (uid, own_gid) = match &owner.user {
        None => (0, 0),
        Some(Principal::Id(uid)) => (*uid, *uid),
        Some(Principal::Name(name)) => {
            users::ids_of(name, &read("/etc/passwd", name)?).unwrap_or((0, 0))
        }
    };
    let gid = match &owner.group {
        None => own_gid,
        Some(Principal::Id(gid)) => *gid,
        Some(Principal::Name(name)) => {
            users::gid_of(name, &read("/etc/group", name)?).unwrap_or(own_gid)
        }
    };
    Ok(Owner { uid, gid })
}

/// The path without `.`, `..` and doubled slashes, absolute; `..` stops at the root.
fn clean(path: &str) -> PathBuf {
    let mut out = PathBuf::from("/");
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stop_at_the_root() {
        assert_eq!(clean("a/../../b//./c/"), PathBuf::from("/b/c"));
        assert_eq!(clean("/"), PathBuf::from("/"));
        assert_eq!(clean("../.."), PathBuf::from("/"));
    }
}
