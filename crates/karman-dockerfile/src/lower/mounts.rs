//! `RUN --mount`.

use karman_diag::{Diagnostic, Span};
use karman_llb::{CacheSharing, Mount, MountKind, SecretEnv, VertexDigest};

use super::Lowering;
use super::state::{StateId, Step};
use crate::instruction::{MountOption, RawMount, Run};

/// Default permission bits (BuildKit's).
const CACHE_MODE: u32 = 0o755;
const SECRET_MODE: u32 = 0o400;
const SSH_MODE: u32 = 0o600;

/// The kinds of mounts, as they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

impl Type {
    const ALL: [(&'static str, Type); 5] = [
        ("bind", Type::Bind),
        ("cache", Type::Cache),
        ("tmpfs", Type::Tmpfs),
        ("secret", Type::Secret),
        ("ssh", Type::Ssh),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, t)| *t == self).map_or("", |(name, _)| name)
    }
}

/// One mount with its values expanded.
#[derive(Debug)]
struct Fields {
    kind: Type,
    from: String,
    source: String,
    target: String,
    id: String,
    env: Option<String>,
    readonly: Option<bool>,
    required: bool,
    size: u64,
    sharing: Option<CacheSharing>,
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

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
        let mut mounts = Mounts::default();
        mounts.inputs.extend(self.states[id].root);
        for (at, raw) in run.mounts.iter().enumerate() {
            let fields = self.mount_fields(id, raw)?;
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
        Ok(mounts)
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
        let input = root.map(|vertex| mounts.input(vertex));
        let source = karman_pattern::clean(&format!("/{}", fields.source));
        let kind = match fields.kind {
            Type::Tmpfs => MountKind::Tmpfs { size: fields.size },
            Type::Cache => MountKind::Cache {
                id: if fields.id.is_empty() {
                    karman_pattern::clean(&fields.target)
                } else {
                    fields.id
                },
                sharing: fields.sharing.unwrap_or(CacheSharing::Shared),
                input,
                source,
                mode: fields.mode.unwrap_or(CACHE_MODE),
                uid: fields.uid.unwrap_or(0),
                gid: fields.gid.unwrap_or(0),
            },
            _ => MountKind::Bind { input, source },
        };
        let readonly = fields.readonly.unwrap_or(fields.kind == Type::Bind);
        mounts.add(Mount { target, kind, readonly });
        Ok(())
    }

    fn mount_fields(&self, id: StateId, raw: &RawMount) -> Step<Fields> {
        let mut fields = Fields {
            kind: Type::Bind,
            from: String::new(),
            source: String::new(),
            target: String::new(),
            id: String::new(),
            env: None,
            readonly: None,
            required: false,
            size: 0,
            sharing: None,
            mode: None,
            uid: None,
            gid: None,
        };
        for option in &raw.options {
            let problem = |message: String| Diagnostic::error(message, option.span);
            match &option.value {
                None => set_flag(&mut fields, option).map_err(problem)?,
                Some(value) => {
                    let value = self.stage_text(id, value, option.span)?;
                    set_value(&mut fields, &option.key, &value).map_err(problem)?;
                }
            }
        }
        check(&fields).map_err(|message| Diagnostic::error(message, raw.span))?;
        Ok(fields)
    }
}

fn set_flag(fields: &mut Fields, option: &MountOption) -> Result<(), String> {
    match option.key.as_str() {
        "readonly" | "ro" => fields.readonly = Some(true),
        "readwrite" | "rw" => fields.readonly = Some(false),
        "required" if matches!(fields.kind, Type::Secret | Type::Ssh) => fields.required = true,
        "required" => return Err(unexpected_key("required", fields.kind)),
        other => return Err(format!("invalid field '{other}' must be a key=value pair")),
    }
    Ok(())
}

fn set_value(fields: &mut Fields, key: &str, value: &str) -> Result<(), String> {
    let text = || value.to_owned();
    let flag = || go_bool(value).ok_or_else(|| format!("invalid value for {key}: {value}"));
    let number = |radix| {
        let bad = |_| format!("invalid value {value} for {key}");
        u32::from_str_radix(value, radix).map_err(bad)
    };
    match key {
        "type" => {
            let lower = value.to_lowercase();
            let known = Type::ALL.iter().find(|(name, _)| *name == lower);
            fields.kind = known.ok_or_else(|| format!("unsupported mount type {value:?}"))?.1;
        }
        "from" => fields.from = text(),
        "source" | "src" => fields.source = text(),
        "target" | "dst" | "destination" => fields.target = text(),
        "readonly" | "ro" => fields.readonly = Some(flag()?),
        "readwrite" | "rw" => fields.readonly = Some(!flag()?),
        "required" if matches!(fields.kind, Type::Secret | Type::Ssh) => fields.required = flag()?,
        "size" if fields.kind == Type::Tmpfs => {
            let bad = || format!("invalid value for {key}: {value}");
            fields.size = ram_in_bytes(value).ok_or_else(bad)?;
        }
        "required" | "size" => return Err(unexpected_key(key, fields.kind)),
        "id" => fields.id = text(),
        "env" => fields.env = Some(text()),
        "sharing" => {
            fields.sharing = Some(match value.to_lowercase().as_str() {
                "shared" => CacheSharing::Shared,
                "private" => CacheSharing::Private,
                "locked" => CacheSharing::Locked,
                _ => return Err(format!("unsupported sharing value {value:?}")),
            });
        }
        "mode" => fields.mode = Some(number(8)?),
        "uid" => fields.uid = Some(number(10)?),
        "gid" => fields.gid = Some(number(10)?),
        _ => return Err(format!("unexpected key '{key}' in '{key}={value}'")),
    }
    Ok(())
}

fn unexpected_key(key: &str, kind: Type) -> String {
    format!("unexpected key '{key}' for mount type '{}'", kind.name())
}

fn check(fields: &Fields) -> Result<(), String> {
    let kind = fields.kind.name();
    if matches!(fields.kind, Type::Bind | Type::Tmpfs) {
        for (key, is_set) in [
            ("mode", fields.mode.is_some()),
            ("uid", fields.uid.is_some()),
            ("gid", fields.gid.is_some()),
        ] {
            if is_set {
                return Err(format!("{key} not allowed for {kind:?} type mounts"));
            }
        }
    }
    if fields.kind == Type::Secret {
        if !fields.from.is_empty() {
            return Err("secret mount should not have a from".to_owned());
        }
        if fields.sharing.is_some() {
            return Err("secret mount should not define sharing".to_owned());
        }
        if fields.source.is_empty() && fields.target.is_empty() && fields.id.is_empty() {
            return Err("invalid secret mount. one of source, target required".to_owned());
        }
        if !fields.source.is_empty() && !fields.id.is_empty() {
            return Err("both source and id can't be set".to_owned());
        }
    } else if fields.env.is_some() {
        return Err(unexpected_key("env", fields.kind));
    }
    if fields.sharing.is_some() && fields.kind != Type::Cache {
        return Err(format!("invalid cache sharing set for {kind} mount"));
    }
    Ok(())
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
        return Err("ssh mount should not have a source".to_owned());
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

/// Go's `strconv.ParseBool`.
pub(crate) fn go_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// docker/go-units' `RAMInBytes`: a number with a binary unit (`64m`, `1.5GiB`).
fn ram_in_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !(c.is_ascii_digit() || c == '.'));
    let unit = text[digits.len()..].trim().to_lowercase();
    let stem = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit);
    let shift = match stem {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(1 << shift);
    }
    let number: f64 = digits.parse().ok().filter(|n: &f64| n.is_finite() && *n >= 0.0)?;
    let bytes = number * 2f64.powi(shift);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the value is checked to be a non-negative number below 2^63"
    )]
    let bytes = (bytes < 2f64.powi(63)).then_some(bytes as u64);
    bytes
}

#[cfg(test)]
mod tests {
    use super::ram_in_bytes;

    #[test]
    fn sizes_have_binary_units() {
        for (text, want) in [
            ("64", Some(64)),
            ("64m", Some(64 << 20)),
            ("1g", Some(1 << 30)),
            ("1.5KiB", Some(1536)),
            ("2 MB", Some(2 << 20)),
            ("", None),
            ("x", None),
            ("-1", None),
            ("3q", None),
        ] {
            assert_eq!(ram_in_bytes(text), want, "{text}");
        }
    }
}
