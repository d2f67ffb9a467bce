//! `RUN --mount`.

use karman_diag::{Diagnostic, Span};
use karman_llb::{CacheScope, CacheSharing, Mount, MountKind, SecretEnv, VertexDigest};

use super::Lowering;
use super::mount_fields::{self, Fields, Type};
use super::state::{StateId, Step};
use crate::instruction::Run;

/// The build argument that keeps caches of different builds apart.
const CACHE_NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

/// The build argument that says which steps share caches of one name: `abi` (the default) or `id`.
const CACHE_SCOPE: &str = "KARMAN_CACHE_MOUNT_SCOPE";

/// Mounts of one command; the sandbox takes some more for itself.
const MAX_MOUNTS: usize = 1000;

/// Default permission bits (BuildKit's).
const CACHE_MODE: u32 = 0o755;
const SECRET_MODE: u32 = 0o400;
const SSH_MODE: u32 = 0o600;

/// The inputs and mounts of one command.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// Inputs of the vertex; the root is the first where there is one.
    pub(super) inputs: Vec<VertexDigest>,
    pub(super) list: Vec<Mount>,
    pub(super) secret_env: Vec<SecretEnv>,
    /// Where the first SSH agent is.
    pub(super) ssh_socket: Option<String>,
    ssh_count: usize,
}

impl Mounts {
    /// The index of an input, which is added where it is new.
    pub(super) fn input(&mut self, vertex: VertexDigest) -> usize {
        input_index(&mut self.inputs, vertex)
    }

    pub(super) fn add(&mut self, mount: Mount) {
        self.list.push(mount);
    }

    /// By targets, and inputs after the root as the mounts name them, so that the order of the flags is no other
    /// command (BuildKit's `ExecOp.Marshal`). Mounts of one target stay in their order: the last covers the others.
    fn sorted(mut self, root: Option<VertexDigest>) -> Self {
        self.list.sort_by(|a, b| a.target.cmp(&b.target));
        let found = std::mem::replace(&mut self.inputs, root.into_iter().collect());
        for mount in &mut self.list {
            if let MountKind::Bind { input: Some(at), .. }
            | MountKind::Cache { input: Some(at), .. } = &mut mount.kind
            {
                *at = input_index(&mut self.inputs, found[*at]);
            }
        }
        self
    }
}

/// The index of an input, which is added where it is new.
pub(super) fn input_index(inputs: &mut Vec<VertexDigest>, vertex: VertexDigest) -> usize {
    inputs.iter().position(|i| *i == vertex).unwrap_or_else(|| {
        inputs.push(vertex);
        inputs.len() - 1
    })
}

impl Lowering<'_> {
    pub(super) fn lower_mounts(
        &mut self,
        id: StateId,
        run: &Run,
        sources: &[Option<StateId>],
    ) -> Step<Mounts> {
        if let Some(extra) = run.mounts.get(MAX_MOUNTS) {
            let message = format!("more than {MAX_MOUNTS} mounts in one instruction");
            return Err(Diagnostic::error(message, extra.span));
        }
        let root = self.states[id].root;
        let mut mounts = Mounts { inputs: root.into_iter().collect(), ..Mounts::default() };
        for (at, raw) in run.mounts.iter().enumerate() {
            let expand = |value: &str| self.stage_text(id, value, raw.span);
            let fields = mount_fields::read(raw, expand)?;
            let source = sources.get(at).copied().flatten();
            match fields.kind {
                Type::Secret => {
                    secret(&mut mounts, &self.states[id].cwd_join(&fields.target), fields)
                }
                Type::Ssh => ssh(&mut mounts, &self.states[id].cwd_join(&fields.target), fields)
                    .map_err(|message| Diagnostic::error(message, raw.span))?,
                Type::Bind | Type::Cache | Type::Tmpfs => {
                    self.file_mount(id, &mut mounts, fields, source, raw.span)?;
                }
            }
        }
        Ok(mounts.sorted(root))
    }

    fn file_mount(
        &mut self,
        id: StateId,
        mounts: &mut Mounts,
        fields: Fields,
        source: Option<StateId>,
        span: Span,
    ) -> Step<()> {
        let target = self.states[id].cwd_join(&fields.target);
        if target == "/" {
            return Err(Diagnostic::error(format!("invalid mount target {target:?}"), span));
        }
        let root = match source {
            _ if fields.kind == Type::Tmpfs => None,
            Some(source) if !self.states[source].is_dispatched => {
                let message = format!(
                    "cannot mount from stage {:?} to {:?}, stage needs to be defined before current command",
                    fields.from, fields.target
                );
                return Err(Diagnostic::error(message, span));
            }
            Some(source) => self.states[source].root,
            None if fields.kind == Type::Cache => None,
            None => self.main_context(),
        };
        let source = karman_pattern::clean(&format!("/{}", fields.source));
        let readonly = fields.readonly.unwrap_or(fields.kind == Type::Bind);
        let kind = match fields.kind {
            Type::Tmpfs => MountKind::Tmpfs { size: fields.size },
            Type::Cache => {
                let scope = self.cache_scope(span)?;
                cache(mounts, self.cache_id(&fields), scope, fields, root, source)
            }
            _ => MountKind::Bind { input: root.map(|vertex| mounts.input(vertex)), source },
        };
        mounts.add(Mount { target, kind, readonly });
        Ok(())
    }

    fn cache_scope(&self, span: Span) -> Step<CacheScope> {
        match self.options.build_args.get(CACHE_SCOPE).map(String::as_str) {
            None | Some("" | "abi") => Ok(CacheScope::Abi),
            Some("id") => Ok(CacheScope::Id),
            Some(other) => {
                let message = format!("invalid value {other:?} of {CACHE_SCOPE}");
                Err(Diagnostic::error(message, span).with_hint("want `abi` or `id`"))
            }
        }
    }

    /// The name of a cache: its `id`, else its target as written, in the namespace that the build
    /// argument asks for.
    fn cache_id(&self, fields: &Fields) -> String {
        let id = match fields.id.as_str() {
            "" => karman_pattern::clean(&fields.target),
            id => id.to_owned(),
        };
        match self.options.build_args.get(CACHE_NAMESPACE).filter(|ns| !ns.is_empty()) {
            Some(namespace) => format!("{namespace}/{id}"),
            None => id,
        }
    }
}

/// A cache. `mode`, `uid` and `gid` are those of a new, empty directory: BuildKit makes one beside
/// what `from` has, which then is out of sight. Below a `source` they mean nothing: what is there
/// keeps its own.
fn cache(
    mounts: &mut Mounts,
    id: String,
    scope: CacheScope,
    fields: Fields,
    root: Option<VertexDigest>,
    source: String,
) -> MountKind {
    let is_owned = fields.mode.is_some() || fields.uid.is_some() || fields.gid.is_some();
    let is_empty = source == "/" && is_owned;
    MountKind::Cache {
        id,
        sharing: fields.sharing.unwrap_or(CacheSharing::Shared),
        input: root.filter(|_| !is_empty).map(|vertex| mounts.input(vertex)),
        source,
        mode: fields.mode.unwrap_or(CACHE_MODE),
        uid: fields.uid.unwrap_or(0),
        gid: fields.gid.unwrap_or(0),
        scope,
    }
}

/// Adds a secret: a file, a variable, or both where a target is named with a variable.
fn secret(mounts: &mut Mounts, target: &str, fields: Fields) {
    let id = match (fields.source.as_str(), fields.id.as_str()) {
        ("", "") => base_name(&fields.target).to_owned(),
        ("", id) => id.to_owned(),
        (source, _) => source.to_owned(),
    };
    let optional = !fields.required;
    let has_target = !fields.target.is_empty();
    if has_target || fields.env.is_none() {
        let kind = MountKind::Secret {
            id: id.clone(),
            mode: fields.mode.unwrap_or(SECRET_MODE),
            uid: fields.uid.unwrap_or(0),
            gid: fields.gid.unwrap_or(0),
            optional,
        };
        let default = format!("/run/secrets/{}", base_name(&id));
        let target = if has_target { target.to_owned() } else { default };
        mounts.add(Mount { target, kind, readonly: true });
    }
    if let Some(name) = fields.env {
        mounts.secret_env.push(SecretEnv { id, name, optional });
    }
}

fn ssh(mounts: &mut Mounts, target: &str, fields: Fields) -> Result<(), String> {
    if !fields.source.is_empty() {
        return Err("ssh does not support source".to_owned());
    }
    let default = format!("/run/buildkit/ssh_agent.{}", mounts.ssh_count);
    mounts.ssh_count += 1;
    let target = if fields.target.is_empty() { default } else { target.to_owned() };
    mounts.ssh_socket.get_or_insert_with(|| target.clone());
    let kind = MountKind::Ssh {
        id: if fields.id.is_empty() { "default".to_owned() } else { fields.id },
        mode: fields.mode.unwrap_or(SSH_MODE),
        uid: fields.uid.unwrap_or(0),
        gid: fields.gid.unwrap_or(0),
        optional: !fields.required,
    };
    mounts.add(Mount { target, kind, readonly: true });
    Ok(())
}

fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or(path)
}
