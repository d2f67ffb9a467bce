//! The options of `RUN --mount`, in BuildKit's words (`instructions/commands_runmount.go`).
//!
//! Options are read from left to right: whether `required` or `size` is allowed depends on the
//! `type` before it.

use karman_diag::{Diagnostic, nearest};
use karman_llb::CacheSharing;

use crate::instruction::{MountOption, RawMount};

/// The kinds of mounts, as they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
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

    /// Whether `required` means something.
    fn may_be_absent(self) -> bool {
        matches!(self, Type::Secret | Type::Ssh)
    }
}

const SHARING: [(&str, CacheSharing); 3] = [
    ("shared", CacheSharing::Shared),
    ("private", CacheSharing::Private),
    ("locked", CacheSharing::Locked),
];

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

/// One mount with its values expanded.
#[derive(Debug)]
pub(super) struct Fields {
    pub(super) kind: Type,
    pub(super) from: String,
    pub(super) source: String,
    pub(super) target: String,
    pub(super) id: String,
    pub(super) env: Option<String>,
    pub(super) readonly: Option<bool>,
    pub(super) required: bool,
    pub(super) size: u64,
    pub(super) sharing: Option<CacheSharing>,
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// What is wrong with an option, and the nearest right word.
struct Flaw {
    message: String,
    meant: Option<String>,
}

impl From<String> for Flaw {
    fn from(message: String) -> Self {
        Self { message, meant: None }
    }
}

impl Flaw {
    fn with_nearest<'c>(
        message: String,
        word: &str,
        known: impl IntoIterator<Item = &'c str>,
    ) -> Self {
        Self { message, meant: nearest(word, known).map(str::to_owned) }
    }
}

/// Reads the options of a mount; `expand` resolves variables in values.
pub(super) fn read(
    raw: &RawMount,
    expand: impl Fn(&str) -> Result<String, Diagnostic>,
) -> Result<Fields, Diagnostic> {
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
        let done = match &option.value {
            None => set_flag(&mut fields, &option.key),
            Some(value) => set_value(&mut fields, option, &expand(value)?),
        };
        done.map_err(|flaw| {
            let problem = Diagnostic::error(flaw.message, option.span);
            match flaw.meant {
                Some(word) => problem.with_hint(format!("did you mean `{word}`?")),
                None => problem,
            }
        })?;
    }
    check(&fields).map_err(|message| Diagnostic::error(message, raw.span))?;
    Ok(fields)
}

fn set_flag(fields: &mut Fields, key: &str) -> Result<(), Flaw> {
    match key {
        "readonly" | "ro" => fields.readonly = Some(true),
        "readwrite" | "rw" => fields.readonly = Some(false),
        "required" if fields.kind.may_be_absent() => fields.required = true,
        "required" => return Err(unexpected_key("required", fields.kind)),
        other => return Err(format!("invalid field '{other}' must be a key=value pair").into()),
    }
    Ok(())
}

fn set_value(fields: &mut Fields, option: &MountOption, value: &str) -> Result<(), Flaw> {
    let key = option.key.as_str();
    let text = || value.to_owned();
    let invalid = || Flaw::from(format!("invalid value for {key}: {value}"));
    let flag = || go_bool(value).ok_or_else(invalid);
    let number =
        |radix| number(value, radix).ok_or_else(|| format!("invalid value {value} for {key}"));
    match key {
        "type" => fields.kind = kind(value)?,
        "from" => fields.from = text(),
        "source" | "src" => fields.source = text(),
        "target" | "dst" | "destination" => fields.target = text(),
        "readonly" | "ro" => fields.readonly = Some(flag()?),
        "readwrite" | "rw" => fields.readonly = Some(!flag()?),
        "required" if fields.kind.may_be_absent() => fields.required = flag()?,
        "size" if fields.kind == Type::Tmpfs => {
            fields.size = ram_in_bytes(value).ok_or_else(invalid)?;
        }
        "required" | "size" => return Err(unexpected_key(key, fields.kind)),
        "id" => fields.id = text(),
        // Read with every type, as in BuildKit; only secrets have a use for it.
        "env" => fields.env = Some(text()),
        "sharing" => fields.sharing = Some(sharing(value)?),
        "mode" => fields.mode = Some(number(8)?),
        "uid" => fields.uid = Some(number(10)?),
        "gid" => fields.gid = Some(number(10)?),
        _ => {
            let written = option.value.as_deref().unwrap_or_default();
            let message = format!("unexpected key '{key}' in '{key}={written}'");
            return Err(Flaw::with_nearest(message, key, KEYS));
        }
    }
    Ok(())
}

fn kind(value: &str) -> Result<Type, Flaw> {
    let lower = value.to_lowercase();
    let known = Type::ALL.iter().find(|(name, _)| *name == lower);
    let unknown = || {
        let names = Type::ALL.iter().map(|(name, _)| *name);
        Flaw::with_nearest(format!("unsupported mount type {value:?}"), &lower, names)
    };
    Ok(known.ok_or_else(unknown)?.1)
}

fn sharing(value: &str) -> Result<CacheSharing, Flaw> {
    let lower = value.to_lowercase();
    let known = SHARING.iter().find(|(name, _)| *name == lower);
    let unknown = || {
        let names = SHARING.iter().map(|(name, _)| *name);
        Flaw::with_nearest(format!("unsupported sharing value {value:?}"), &lower, names)
    };
    Ok(known.ok_or_else(unknown)?.1)
}

/// Go's `strconv.ParseUint`, which takes no sign.
fn number(text: &str, radix: u32) -> Option<u32> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| u32::from_str_radix(text, radix).ok()).flatten()
}

fn unexpected_key(key: &str, kind: Type) -> Flaw {
    format!("unexpected key '{key}' for mount type '{}'", kind.name()).into()
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
    }
    if fields.sharing.is_some() && fields.kind != Type::Cache {
        return Err(format!("invalid cache sharing set for {kind} mount"));
    }
    Ok(())
}

/// Go's `strconv.ParseBool`, with which BuildKit reads every boolean that is not a flag of an
/// instruction.
pub fn go_bool(text: &str) -> Option<bool> {
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
    use super::{number, ram_in_bytes};

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

    #[test]
    fn numbers_have_no_sign() {
        assert_eq!((number("0750", 8), number("12", 10)), (Some(0o750), Some(12)));
        for wrong in ["+1", "-1", "", "0o7", "8"] {
            assert_eq!(number(wrong, 8), None, "{wrong}");
        }
    }
}
