//! The mounts of a RUN step, and what must be held while it runs: locks, scratch directories.

use std::collections::BTreeMap;
use std::path::PathBuf;

use karman_content::{LockMode, NamedLock};
use karman_control::{Cause, SecretSource, Session, SolveError};
use karman_llb::{CacheSharing, ExecOp, Mount, MountKind, SecretEnv};
use karman_snapshot::Active;
use karman_sys::overlay::OverlayMount;
use karman_sys::sandbox;

use super::ExecInputs;
use super::borrowed::read_limited;
use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::{OrFail as _, store as store_error};

/// The largest secret, as in BuildKit (`maxSecretSize` is 500 KB).
const MAX_SECRET: u64 = 500 * 1024;
/// Directories that concurrent users of one private cache mount may take.
const MAX_PRIVATE: usize = 64;

/// Mounts ready for the sandbox.
pub(super) struct Mounts {
    pub(super) list: Vec<sandbox::Mount>,
    pub(super) held: Held,
}

/// Released when the step has ended.
#[derive(Default)]
pub(super) struct Held {
    _locks: Vec<NamedLock>,
    _scratch: Vec<Active>,
}

impl Mounts {
    /// Prepares every mount of the op; puts secrets into `env` where the op wants them there.
    pub(super) fn prepare(
        engine: &Engine,
        op: &ExecOp,
        inputs: &ExecInputs<'_>,
        session: &Session,
        env: &mut BTreeMap<String, String>,
    ) -> Result<Self, SolveError> {
        let mut maker = Maker { engine, inputs, session, held: Held::default() };
        let mut list = Vec::new();
        for mount in &op.mounts {
            if let Some(kind) = maker.kind(mount)? {
                list.push(sandbox::Mount { dest: mount.target.clone(), kind });
            }
        }
        for secret in &op.secret_env {
            if let Some(value) = secret_env(session, secret)? {
                env.insert(secret.name.clone(), value);
            }
        }
        Ok(Self { list, held: maker.held })
    }
}

struct Maker<'a> {
    engine: &'a Engine,
    inputs: &'a ExecInputs<'a>,
    session: &'a Session,
    held: Held,
}

impl Maker<'_> {
    fn kind(&mut self, mount: &Mount) -> Result<Option<sandbox::MountKind>, SolveError> {
        Ok(match &mount.kind {
            MountKind::Bind { input, source } => Some(self.bind(*input, source, mount.readonly)?),
            MountKind::Cache { .. } => Some(self.cache(mount)?),
            MountKind::Tmpfs { size } => {
                let size = Some(*size).filter(|s| *s > 0);
                Some(sandbox::MountKind::Tmpfs { size, mode: 0o1777 })
            }
            MountKind::Secret { id, mode, uid, gid, optional } => {
                let bytes = secret(self.session, id, *optional)?;
                let (mode, uid, gid) = (*mode, *uid, *gid);
                bytes.map(|bytes| sandbox::MountKind::FileData { bytes, mode, uid, gid })
            }
            MountKind::Ssh { id, optional, .. } => self.ssh(id, *optional)?,
        })
    }

    fn chain(&self, input: Option<usize>) -> Chain {
        input.and_then(|i| self.inputs.views.get(i)).cloned().unwrap_or_default()
    }

    /// A tree of an input. Writes go to a scratch layer that is thrown away.
    fn bind(
        &mut self,
        input: Option<usize>,
        source: &str,
        readonly: bool,
    ) -> Result<sandbox::MountKind, SolveError> {
        let chain = self.chain(input);
        let snapshots = self.engine.snapshots();
        let mut overlay = OverlayMount {
            lowers: snapshots.lowers(&chain).or_fail(Cause::Store, "open the layers of a mount")?,
            ..OverlayMount::default()
        };
        if !readonly || overlay.lowers.is_empty() {
            let scratch = snapshots.prepare(&chain).or_fail(Cause::Store, "prepare a mount")?;
            overlay.upper = Some(scratch.fs().to_path_buf());
            overlay.work = Some(scratch.work().to_path_buf());
            overlay.volatile = true;
            self.held._scratch.push(scratch);
        }
        let selector = Some(source.trim_matches('/').to_owned()).filter(|s| !s.is_empty());
        Ok(sandbox::MountKind::Overlay { overlay, selector, readonly })
    }

    /// A directory that lives on between builds, locked as its sharing mode wants.
    fn cache(&mut self, mount: &Mount) -> Result<sandbox::MountKind, SolveError> {
        let MountKind::Cache { id, sharing, input, source, mode, uid, gid } = &mount.kind else {
            unreachable!("called for cache mounts only");
        };
        let id = match sharing {
            CacheSharing::Shared => self.lock(id, LockMode::Shared)?,
            CacheSharing::Locked => self.lock(id, LockMode::Exclusive)?,
            CacheSharing::Private => self.lock_private(id)?,
        };
        let path = self.engine.store().cache_mount(&id).map_err(store_error)?;
        let seed = crate::files::CacheSeed {
            chain: self.chain(*input),
            source: source.clone(),
            mode: *mode,
            owner: karman_sys::fs::Owner { uid: *uid, gid: *gid },
        };
        crate::files::seed_cache_mount(self.engine, &path, &seed)?;
        let source = path.join("data");
        Ok(sandbox::MountKind::Bind { source, selector: None, readonly: mount.readonly })
    }

    fn lock(&mut self, id: &str, mode: LockMode) -> Result<String, SolveError> {
        let lock = self.engine.store().lock(&lock_name(id), mode).map_err(store_error)?;
        self.held._locks.push(lock);
        Ok(id.to_owned())
    }

    /// The first directory of this id that nobody else uses.
    fn lock_private(&mut self, id: &str) -> Result<String, SolveError> {
        for n in 0..MAX_PRIVATE {
            let name = if n == 0 { id.to_owned() } else { format!("{id}#{n}") };
            let lock = self.engine.store().try_lock(&lock_name(&name), LockMode::Exclusive);
            if let Some(lock) = lock.map_err(store_error)? {
                self.held._locks.push(lock);
                return Ok(name);
            }
        }
        let message = format!("more than {MAX_PRIVATE} users of the private cache mount `{id}`");
        Err(SolveError::new(Cause::Engine, message))
    }

    fn ssh(&self, id: &str, optional: bool) -> Result<Option<sandbox::MountKind>, SolveError> {
        match self.session.ssh.get(id) {
            Some(socket) => Ok(Some(sandbox::MountKind::Bind {
                source: PathBuf::from(socket),
                selector: None,
                readonly: false,
            })),
            None if optional => Ok(None),
            None => Err(SolveError::new(Cause::Input, format!("no SSH agent `{id}` was given"))
                .with_hint(format!("pass `--ssh {id}`"))),
        }
    }
}

/// The lock that steps hold while they use a cache mount.
pub(crate) fn lock_name(id: &str) -> String {
    format!("cache-mount-{}", karman_oci::Digest::sha256_of(id.as_bytes()).hex())
}

/// The value of a secret; `None` where it is optional and absent.
pub(super) fn secret(
    session: &Session,
    id: &str,
    optional: bool,
) -> Result<Option<Vec<u8>>, SolveError> {
    match session.secrets.get(id) {
        Some(SecretSource::Value(bytes)) => Ok(Some(bytes.clone())),
        Some(SecretSource::File(path)) => read_limited(path, MAX_SECRET)
            .map(Some)
            .or_fail(Cause::Input, &format!("read secret `{id}`")),
        None if optional => Ok(None),
        None => Err(SolveError::new(Cause::Input, format!("secret {id}: not found"))
            .with_hint(format!("pass `--secret id={id},src=FILE` or `--secret id={id},env=NAME`"))),
    }
}

fn secret_env(session: &Session, wanted: &SecretEnv) -> Result<Option<String>, SolveError> {
    let Some(bytes) = secret(session, &wanted.id, wanted.optional)? else { return Ok(None) };
    let value = String::from_utf8(bytes).map_err(|_| {
        let message =
            format!("secret `{}` is not UTF-8 and cannot be put in a variable", wanted.id);
        SolveError::new(Cause::Input, message)
    })?;
    Ok(Some(value))
}
