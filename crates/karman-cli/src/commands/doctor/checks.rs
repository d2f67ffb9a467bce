//! The checks.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use karman_report::human_size;
use karman_sys::identity::{HostFacts, ProbeInput, probe};

use super::{Check, inside};
use crate::failure::{Failure, chain};
use crate::setup::Context;

/// `mount_setattr` is there; `userxattr` overlays, which everybody gets, are one release older.
const OLDEST_KERNEL: (u32, u32) = (5, 12);
/// One image of an OpenStack service with its build stages takes about this much.
const COMFORTABLE_SPACE: u64 = 10_000_000_000;
/// Not even a base image fits.
const LEAST_SPACE: u64 = 500_000_000;
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Everything worth knowing; `broken` is why the configuration cannot be used.
pub(crate) fn all(context: &Context, broken: Option<Failure>) -> Vec<Check> {
    let search_path = search_path(context);
    let facts = probe(&ProbeInput { search_path: search_path.clone(), store: None });
    let root_user = facts.euid == 0;
    let mut checks = vec![kernel(&facts), configuration(broken)];
    if root_user {
        checks.push(Check::ok("user", "root"));
    } else {
        checks.extend(rootless(&facts));
    }
    checks.push(seccomp(&facts));
    match context.store_root(root_user) {
        Ok(root) => {
            checks.push(store(&root));
            checks.extend(inside::checks(context, &root));
        }
        Err(failure) => checks.push(Check::fail("store", chain(&failure), "give `--root DIR`")),
    }
    checks.push(cgroup(&facts));
    checks.push(authorities(context));
    checks.push(proxies(context));
    checks.push(credentials(context));
    checks.push(resolver());
    checks.push(git(&search_path));
    checks
}

fn search_path(context: &Context) -> OsString {
    let path = context.env.all.iter().find(|(name, _)| name == "PATH");
    path.map(|(_, value)| value.clone()).unwrap_or_default()
}

fn kernel(facts: &HostFacts) -> Check {
    let release = &facts.kernel;
    match version(release) {
        Some(found) if found < OLDEST_KERNEL => Check::fail(
            "kernel",
            format!("{release} is too old"),
            format!("Linux {}.{} or newer is needed", OLDEST_KERNEL.0, OLDEST_KERNEL.1),
        ),
        _ => Check::ok("kernel", release.clone()),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn configuration(broken: Option<Failure>) -> Check {
    match broken {
        None => Check::ok("configuration", "readable, or none"),
        Some(failure) => {
            let text = failure.render().replace('\n', " ");
            Check::fail("configuration", text.trim(), "mend or remove the file")
        }
    }
}

fn rootless(facts: &HostFacts) -> Vec<Check> {
    let user = facts.user.display();
    let namespaces = if !facts.user_namespaces {
        Check::fail(
            "user namespaces",
            "the kernel's settings forbid them",
            "`sudo sysctl -w kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000`",
        )
    } else if facts.apparmor_restricts_user_namespaces {
        Check::warn(
            "user namespaces",
            "AppArmor restricts them for unconfined programs",
            "`sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or a profile for `karman`",
        )
    } else {
        Check::ok("user namespaces", "allowed")
    };
    let subids = if facts.subids.is_complete() {
        Check::ok("subordinate ids", format!("`{user}` has ranges"))
    } else {
        Check::fail(
            "subordinate ids",
            format!("`{user}` has none in `/etc/subuid` and `/etc/subgid`"),
            format!(
                "`sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}`"
            ),
        )
    };
    let tools = match (&facts.newuidmap, &facts.newgidmap) {
        (Some(_), Some(_)) => Check::ok("id mapping", "`newuidmap` and `newgidmap` are installed"),
        _ => Check::fail(
            "id mapping",
            "`newuidmap` and `newgidmap` are not installed",
            "install the package `uidmap` (Debian, Ubuntu) or `shadow-utils` (Fedora)",
        ),
    };
    vec![Check::ok("user", user), namespaces, subids, tools]
}

fn seccomp(facts: &HostFacts) -> Check {
    if facts.seccomp {
        Check::ok("seccomp", "the kernel filters system calls")
    } else {
        Check::warn(
            "seccomp",
            "the kernel does not filter system calls",
            "use a kernel with CONFIG_SECCOMP_FILTER",
        )
    }
}

fn store(root: &Path) -> Check {
    let shown = root.display();
    let Some(existing) = root.ancestors().find(|p| p.is_dir()) else {
        return Check::fail("store", format!("`{shown}` cannot be made"), "give `--root DIR`");
    };
    let statvfs = match rustix::fs::statvfs(existing) {
        Ok(statvfs) => statvfs,
        Err(e) => return Check::fail("store", format!("`{shown}`: {e}"), "give `--root DIR`"),
    };
    if rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).is_err() {
        let message = format!("`{}` is not writable", existing.display());
        return Check::fail("store", message, "give `--root DIR`, or change the owner");
    }
    let free = statvfs.f_bavail.saturating_mul(statvfs.f_frsize);
    let message = format!("`{shown}`, {} free", human_size(free));
    let fix = "run `karman cache prune`, or put the store on a larger disk with `--root`";
    match free {
        free if free < LEAST_SPACE => Check::fail("store", message, fix),
        free if free < COMFORTABLE_SPACE => Check::warn("store", message, fix),
        _ => Check::ok("store", message),
    }
}

fn cgroup(facts: &HostFacts) -> Check {
    match &facts.delegated_cgroup {
        Some(_) => Check::ok("cgroup", "delegated to us"),
        None => Check::ok("cgroup", "not delegated; builds work without"),
    }
}

fn authorities(context: &Context) -> Check {
    let name = "certificates";
    let Some(path) = context.ca_bundle() else {
        return Check::ok(name, "no bundle named: the usual authorities are trusted");
    };
    let fix = "let `SSL_CERT_FILE` or `ca` name a readable PEM file";
    match std::fs::read(&path) {
        Err(e) => Check::fail(name, format!("`{}`: {e}", path.display()), fix),
        Ok(bytes) => {
            let marker = b"-----BEGIN CERTIFICATE-----";
            let count = bytes.windows(marker.len()).filter(|w| w == marker).count();
            let message = format!("`{}`, {count} certificates", path.display());
            if count == 0 { Check::fail(name, message, fix) } else { Check::ok(name, message) }
        }
    }
}

/// Names only: values may hold passwords.
fn proxies(context: &Context) -> Check {
    let names: Vec<String> = context.env.proxies().variables.into_keys().collect();
    match names.is_empty() {
        true => Check::ok("proxies", "none"),
        false => Check::ok("proxies", names.join(", ")),
    }
}

fn credentials(context: &Context) -> Check {
    let name = "registry credentials";
    let files: Vec<PathBuf> =
        context.env.credential_files().into_iter().filter(|f| f.exists()).collect();
    for file in &files {
        let parsed = std::fs::read(file)
            .map_err(|e| e.to_string())
            // The parser's message is not shown: it could quote a secret.
            .and_then(|b| {
                serde_json::from_slice::<serde_json::Value>(&b).map_err(|_| "no valid JSON".into())
            });
        if let Err(why) = parsed {
            let message = format!("`{}`: {why}", file.display());
            return Check::fail(name, message, "mend or remove the file");
        }
    }
    let shown: Vec<String> = files.iter().map(|f| format!("`{}`", f.display())).collect();
    match shown.is_empty() {
        true => Check::ok(name, "none; public images can be pulled"),
        false => Check::ok(name, shown.join(", ")),
    }
}

fn resolver() -> Check {
    if Path::new(RESOLV_CONF).exists() {
        Check::ok("name resolution", format!("`{RESOLV_CONF}`"))
    } else {
        let message = format!("`{RESOLV_CONF}` does not exist");
        Check::warn("name resolution", message, "steps cannot look up names without it")
    }
}

fn git(search_path: &OsString) -> Check {
    if std::env::split_paths(search_path).any(|dir| dir.join("git").is_file()) {
        Check::ok("git", "installed")
    } else {
        Check::warn("git", "not installed", "install `git` to build from git URLs")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_read() {
        assert_eq!(version("6.8.0-45-generic"), Some((6, 8)));
        assert_eq!(version("5.11"), Some((5, 11)));
        assert_eq!(version("x"), None);
        assert!(version("5.11.22") < Some(OLDEST_KERNEL));
        assert!(version("5.12.0-rc1") >= Some(OLDEST_KERNEL));
    }
}
