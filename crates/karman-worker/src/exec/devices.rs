//! `RUN --device`: devices by their CDI names (Container Device Interface 0.5 and later), found in
//! the specs of the host.
//!
//! Specs are read where they are JSON. Of a device's edits `env`, `deviceNodes` and `mounts` are
//! applied; hooks are programs that would run outside of the sandbox, and are refused.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use karman_control::{Cause, Session, SolveError};
use karman_llb::Device;
use karman_sys::sandbox::{Mount, MountKind};
use serde::Deserialize;

use super::StepEvents;
use super::borrowed::read_limited;
use super::variables::Variables;

/// Where specs are; a later directory wins (CDI `SPEC.md`, "priority").
const SPEC_DIRS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];
/// The largest spec read.
const MAX_SPEC: u64 = 4 << 20;
/// Specs read of one directory.
const MAX_SPECS: usize = 1000;
/// The annotations of BuildKit: a class that names several devices, and leave without `--allow`.
const CLASS: &str = "org.mobyproject.buildkit.device.class";
const AUTO_ALLOW: &str = "org.mobyproject.buildkit.device.autoallow";

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpecFile {
    kind: String,
    annotations: BTreeMap<String, String>,
    devices: Vec<SpecDevice>,
    container_edits: Edits,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpecDevice {
    name: String,
    annotations: BTreeMap<String, String>,
    container_edits: Edits,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Edits {
    env: Vec<String>,
    device_nodes: Vec<Node>,
    mounts: Vec<SpecMount>,
    hooks: Vec<serde_json::Value>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Node {
    path: String,
    host_path: Option<PathBuf>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SpecMount {
    host_path: PathBuf,
    container_path: String,
    options: Vec<String>,
}

/// A device with everything its spec says of it.
#[derive(Debug, Clone)]
struct Registered {
    name: String,
    annotations: BTreeMap<String, String>,
    edits: Vec<Edits>,
}

/// Puts the devices a step asks for into its environment and mounts.
pub(super) fn lend(
    wanted: &[Device],
    session: &Session,
    events: &StepEvents,
    env: &mut Variables,
    mounts: &mut Vec<Mount>,
) -> Result<(), SolveError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let all = registered(&SPEC_DIRS.map(Path::new));
    for device in wanted {
        let found = choose(&all, &device.name)?;
        if found.is_empty() {
            if device.required {
                return Err(not_registered(&device.name));
            }
            events.warn(format!("optional device {:?} is not registered", device.name));
        }
        for one in found {
            check_allowed(one, session)?;
            one.edits.iter().try_for_each(|edits| apply(edits, &one.name, env, mounts))?;
        }
    }
    Ok(())
}

fn not_registered(name: &str) -> SolveError {
    SolveError::new(Cause::Host, format!("required device {name:?} is not registered"))
        .with_hint("devices are CDI specs in JSON, in `/etc/cdi` or `/var/run/cdi`")
}

fn check_allowed(device: &Registered, session: &Session) -> Result<(), SolveError> {
    let allowed = &session.allow_devices;
    let kind = device.name.split_once('=').map_or(device.name.as_str(), |(kind, _)| kind);
    let is_named = allowed.iter().any(|a| a == "*" || *a == device.name || a == kind);
    let is_open =
        device.annotations.get(AUTO_ALLOW).is_some_and(|v| matches!(v.as_str(), "true" | "1"));
    if is_named || is_open {
        return Ok(());
    }
    let name = &device.name;
    let message = format!("requested device {name:?} is not allowed by build settings");
    Err(SolveError::new(Cause::Input, message)
        .with_hint(format!("pass `--allow device={name}` when you trust this Dockerfile")))
}

/// The devices a name stands for: one, the first of a kind, all of a kind (`*`), or those of a
/// class.
fn choose<'a>(all: &'a [Registered], wanted: &str) -> Result<Vec<&'a Registered>, SolveError> {
    let (kind, name) = wanted.split_once('=').unwrap_or((wanted, ""));
    if !is_kind(kind) {
        return Err(SolveError::new(Cause::Input, format!("invalid device {wanted:?}")));
    }
    let of_kind = || {
        all.iter()
            .filter(move |d| d.name.strip_prefix(kind).is_some_and(|rest| rest.starts_with('=')))
    };
    Ok(match name {
        "" => of_kind().take(1).collect(),
        "*" => of_kind().collect(),
        name => match of_kind().find(|d| d.name == wanted) {
            Some(one) => vec![one],
            None => of_kind()
                .filter(|d| d.annotations.get(CLASS).is_some_and(|class| class == name))
                .collect(),
        },
    })
}

/// `vendor.com/class`.
fn is_kind(text: &str) -> bool {
    let fine = |part: &str| {
        let mut chars = part.chars();
        chars.next().is_some_and(|c| c.is_ascii_alphabetic())
            && chars.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
    };
    text.split_once('/').is_some_and(|(vendor, class)| fine(vendor) && fine(class))
}

fn apply(
    edits: &Edits,
    device: &str,
    env: &mut Variables,
    mounts: &mut Vec<Mount>,
) -> Result<(), SolveError> {
    if !edits.hooks.is_empty() {
        let message = format!("device {device:?} wants hooks, which are not run");
        return Err(SolveError::new(Cause::Host, message));
    }
    for pair in &edits.env {
        if let Some((name, value)) = pair.split_once('=') {
            env.set(name, value);
        }
    }
    for node in &edits.device_nodes {
        let source = node.host_path.clone().unwrap_or_else(|| PathBuf::from(&node.path));
        let kind = MountKind::Bind { source, selector: None, readonly: false };
        mounts.push(Mount { dest: node.path.clone(), kind });
    }
    for mount in &edits.mounts {
        let readonly = mount.options.iter().any(|option| option == "ro");
        let source = mount.host_path.clone();
        let kind = MountKind::Bind { source, selector: None, readonly };
        mounts.push(Mount { dest: mount.container_path.clone(), kind });
    }
    Ok(())
}

/// All devices by name; a file that is no spec is passed over, as in BuildKit.
fn registered(dirs: &[&Path]) -> Vec<Registered> {
    let mut all: BTreeMap<String, Registered> = BTreeMap::new();
    for dir in dirs {
        let Ok(entries) = std::fs::read_dir(dir) else { continue };
        let mut paths: Vec<PathBuf> = entries.flatten().take(MAX_SPECS).map(|e| e.path()).collect();
        paths.sort();
        for path in paths.iter().filter(|p| p.extension().is_some_and(|e| e == "json")) {
            let Ok(bytes) = read_limited(path, MAX_SPEC) else { continue };
            let Ok(spec) = serde_json::from_slice::<SpecFile>(&bytes) else { continue };
            for device in of_spec(spec) {
                all.insert(device.name.clone(), device);
            }
        }
    }
    all.into_values().collect()
}

fn of_spec(spec: SpecFile) -> impl Iterator<Item = Registered> {
    let SpecFile { kind, annotations, devices, container_edits } = spec;
    devices.into_iter().map(move |device| {
        let mut all = annotations.clone();
        all.extend(device.annotations);
        Registered {
            name: format!("{kind}={}", device.name),
            annotations: all,
            edits: vec![container_edits.clone(), device.container_edits],
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const SPEC: &str = r#"{
        "cdiVersion": "0.6.0", "kind": "vendor.com/gpu",
        "containerEdits": {"env": ["ALL=1"]},
        "devices": [
            {"name": "0", "containerEdits": {"env": ["GPU=0"],
                "deviceNodes": [{"path": "/dev/gpu0", "hostPath": "/dev/null"}]}},
            {"name": "1", "annotations": {"org.mobyproject.buildkit.device.class": "big",
                "org.mobyproject.buildkit.device.autoallow": "true"}}
        ]}"#;

    fn all() -> Vec<Registered> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let nth = COUNT.fetch_add(1, Ordering::SeqCst);
        let dir = std::env::temp_dir().join(format!("karman-cdi-{}-{nth}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        std::fs::write(dir.join("a.json"), SPEC).expect("written");
        std::fs::write(dir.join("b.json"), "no spec").expect("written");
        let all = registered(&[&dir, Path::new("/does/not/exist")]);
        std::fs::remove_dir_all(dir).expect("cleaned");
        all
    }

    #[test]
    fn names_stand_for_devices() {
        let all = all();
        let names = |wanted: &str| -> Vec<String> {
            let found = choose(&all, wanted).unwrap_or_else(|e| panic!("{e}"));
            found.iter().map(|d| d.name.clone()).collect()
        };
        assert_eq!(names("vendor.com/gpu=1"), ["vendor.com/gpu=1"]);
        assert_eq!(names("vendor.com/gpu"), ["vendor.com/gpu=0"]);
        assert_eq!(names("vendor.com/gpu=*").len(), 2);
        assert_eq!(names("vendor.com/gpu=big"), ["vendor.com/gpu=1"]);
        assert!(names("vendor.com/gpu=7").is_empty());
        for wrong in ["", "gpu", "gpu=0", "/gpu=0", "vendor.com/=0"] {
            assert!(choose(&all, wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn devices_need_leave_unless_they_say_otherwise() {
        let all = all();
        let mut session = Session::default();
        assert!(check_allowed(&all[0], &session).is_err());
        assert!(check_allowed(&all[1], &session).is_ok());
        session.allow_devices.insert("vendor.com/gpu".to_owned());
        assert!(check_allowed(&all[0], &session).is_ok());
    }

    #[test]
    fn edits_of_spec_and_device_are_applied() {
        let (mut env, mut mounts) = (Variables::default(), Vec::new());
        let all = all();
        for edits in &all[0].edits {
            apply(edits, "d", &mut env, &mut mounts).expect("no hooks");
        }
        assert_eq!((env.get("ALL"), env.get("GPU")), (Some("1"), Some("0")));
        assert_eq!(mounts[0].dest, "/dev/gpu0");
    }
}
