//! The mounts of a RUN step, and what must be held while it runs: locks, scratch directories.

use std::path::Path;

use karman_control::{Cause, SecretSource, Session, SolveError};
use karman_llb::{ExecOp, Mount, MountKind, SecretEnv};
use karman_snapshot::Active;
use karman_sys::overlay::OverlayMount;
use karman_sys::relay::Access;
use karman_sys::sandbox;

use super::borrowed::read_limited;
use super::caches::Caches;
use super::variables::Variables;
use super::{ExecInputs, Waiting};
use crate::agent::AgentSocket;
use crate::cache::Chain;
use crate::engine::Engine;
use crate::error::OrFail as _;

/// The largest secret, as in BuildKit (`maxSecretSize` is 500 KB).
const MAX_SECRET: u64 = 500 * 1024;

/// Mounts ready for the sandbox.
pub(super) struct Mounts {
    pub(super) list: Vec<sandbox::Mount>,
    pub(super) held: Held,
}

/// Released when the step has ended.
#[derive(Default)]
pub(super) struct Held {
    caches: Caches,
    agents: Vec<AgentSocket>,
    _scratch: Vec<Active>,
}

impl Mounts {
    /// Prepares every mount of the op; puts secrets into `env` where the op wants them there.
    pub(super) fn prepare(
        engine: &Engine,
        op: &ExecOp,
        inputs: &ExecInputs<'_>,
        session: &Session,
        env: &mut Variables,
        waiting: &Waiting<'_>,
    ) -> Result<Self, SolveError> {
        let caches = Caches::hold(engine, op, inputs, waiting)?;
        let held = Held { caches, ..Held::default() };
        let mut maker = Maker { engine, inputs, session, held };
        let mut list = Vec::new();
        for mount in &op.mounts {
            if let Some(kind) = maker.kind(mount)? {
                list.push(sandbox::Mount { dest: mount.target.clone(), kind });
            }
        }
        for secret in &op.secret_env {
            if let Some(value) = secret_env(session, secret)? {
                env.set(&secret.name, &value);
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
                let readonly = mount.readonly;
                Some(sandbox::MountKind::Tmpfs { size, mode: 0o1777, readonly })
            }
            MountKind::Secret { id, mode, uid, gid, optional } => {
                let bytes = secret(self.session, id, *optional)?;
                let (mode, uid, gid) = (*mode, *uid, *gid);
                bytes.map(|bytes| sandbox::MountKind::FileData { bytes, mode, uid, gid })
            }
            MountKind::Ssh { id, mode, uid, gid, optional } => {
                let access = Access { mode: *mode, uid: *uid, gid: *gid };
                self.ssh(id, access, *optional)?
            }
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
        if !source.trim_matches('/').is_empty() {
            let view = snapshots.view(&chain).or_fail(Cause::Store, "open a mount")?;
            let found =
                view.lookup(Path::new(source), true).or_fail(Cause::Input, "open a mount")?;
            if found.is_none() {
                return Err(SolveError::new(Cause::Input, format!("{source}: not found"))
                    .with_hint("`source` is a path in the context, or in what `from` names"));
            }
        }
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

    /// A directory that lives on between builds.
    fn cache(&self, mount: &Mount) -> Result<sandbox::MountKind, SolveError> {
        let source = self
            .held
            .caches
            .directory(&mount.target)
            .ok_or_else(|| SolveError::new(Cause::Engine, "a cache mount was not prepared"))?;
        Ok(sandbox::MountKind::Bind { source, selector: None, readonly: mount.readonly })
    }

    /// An agent of the caller, through a socket that the step's user may open.
    fn ssh(
        &mut self,
        id: &str,
        access: Access,
        optional: bool,
    ) -> Result<Option<sandbox::MountKind>, SolveError> {
        let Some(agent) = self.session.ssh.get(id) else {
            return if optional { Ok(None) } else { Err(no_agent(self.session, id)) };
        };
        let socket = AgentSocket::relayed(self.engine, id, agent, access)?;
        let source = socket.path().to_owned();
        self.held.agents.push(socket);
        Ok(Some(sandbox::MountKind::Bind { source, selector: None, readonly: false }))
    }
}

fn no_agent(session: &Session, id: &str) -> SolveError {
    let message = match session.ssh.is_empty() {
        true => format!("no SSH key {id:?} forwarded from the client"),
        false => format!("unset ssh forward key {id}"),
    };
    SolveError::new(Cause::Input, message).with_hint(format!("pass `--ssh {id}`"))
}

/// The value of a secret; `None` where it is optional and absent.
pub(crate) fn secret(
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
