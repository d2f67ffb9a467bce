//! The look from inside the namespaces that builds run in, by a second process.

use karman_sys::identity::{ProbeInput, probe};
use karman_sys::program::Program;
use serde::{Deserialize, Serialize};

use super::Check;
use crate::failure::{Done, chain};
use crate::out;
use crate::setup::Context;

/// What the second process tells.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Told {
    identity: Option<String>,
    identity_hint: Option<String>,
    problem: Option<String>,
    overlay: Option<String>,
}

/// Runs in the second process.
pub(crate) fn report(context: &Context) -> Done {
    let mut told = Told::default();
    match context.enter() {
        Ok(identity) => {
            told.identity = Some(format!("{identity:?}"));
            told.overlay = overlay(context).err();
        }
        Err(failure) => {
            told.problem = Some(chain(&failure));
            let text = failure.render();
            let hint = text.lines().find_map(|l| l.strip_prefix("hint: "));
            told.identity_hint = hint.map(str::to_owned);
        }
    }
    // Texts always serialise.
    out::data(&serde_json::to_string(&told).unwrap_or_default())?;
    Ok(0)
}

fn overlay(context: &Context) -> Result<(), String> {
    let root = context.store_root(true).map_err(|e| chain(&e))?;
    std::fs::create_dir_all(&root).map_err(|e| format!("failed to make the store: {e}"))?;
    let input = ProbeInput { search_path: std::ffi::OsString::new(), store: Some(root) };
    match probe(&input).overlay {
        Some(Err(error)) => Err(chain(&error)),
        _ => Ok(()),
    }
}

/// Starts the second process and judges what it tells.
pub(crate) fn checks(context: &Context, root: &std::path::Path) -> Vec<Check> {
    let told = match ask(context, root) {
        Ok(told) => told,
        Err(why) => {
            let fix = "run `karman doctor --inside` to see why";
            return vec![Check::fail("namespaces", why, fix)];
        }
    };
    if let Some(problem) = told.problem {
        let fix = told.identity_hint.unwrap_or_else(|| "see the checks above".to_owned());
        return vec![Check::fail("namespaces", problem, fix)];
    }
    let how = match told.identity.as_deref() {
        Some("Root") => "as root, in a private mount namespace",
        Some("UserNamespace") => "as an ordinary user, with a full range of ids",
        _ => "with a single id",
    };
    let overlay = match told.overlay {
        None => Check::ok("overlay", "mounts work in the store"),
        Some(why) => Check::fail(
            "overlay",
            why,
            "put the store on ext4, xfs, btrfs or tmpfs with `--root`, not on an overlay or a network share",
        ),
    };
    vec![Check::ok("namespaces", how), overlay]
}

fn ask(context: &Context, root: &std::path::Path) -> Result<Told, String> {
    let output = Program::new("/proc/self/exe")
        .args(["doctor", "--inside", "--root"])
        .arg(root)
        .env_all(&context.env.all)
        .output()
        .map_err(|e| format!("failed to start `karman` again: {e}"))?;
    serde_json::from_slice(&output.stdout).map_err(|_| {
        let words = String::from_utf8_lossy(&output.stderr);
        format!("the look from inside failed: {}", words.lines().next().unwrap_or("no answer"))
    })
}
