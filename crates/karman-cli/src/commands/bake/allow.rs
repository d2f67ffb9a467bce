//! `bake --allow`: bake files come from other people, so what they ask for beyond the working directory is allowed by
//! the caller or refused, with the flags that would allow it.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use karman_bake::{Granted, Resolved, Target};
use karman_diag::nearest;

use crate::failure::{Done, Failure};
use crate::flags::Allow;
use crate::setup::Context;

/// Turns the checks of paths and agents on or off; on by default.
const CHECK_FILES: &str = "BUILDX_BAKE_ENTITLEMENTS_FS";
/// The attribute of an output that names a file to read.
const LAYER_PLAN: &str = "layer-plan";
/// Links followed in one path.
const MAX_LINKS: usize = 255;
const KNOWN: [&str; 7] =
    ["device", "fs", "fs.read", "fs.write", "network.host", "security.insecure", "ssh"];

/// What the caller allows.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    network_host: bool,
    insecure: bool,
    ssh: bool,
    devices: bool,
    read: Vec<String>,
    write: Vec<String>,
}

impl Allowed {
    /// Reads all `--allow` values.
    pub(super) fn parse(values: &[String]) -> Done<Self> {
        let mut all = Self::default();
        for value in values {
            // Names may be joined by commas; a path may hold them.
            let parts: Vec<&str> = match value.contains('=') {
                true => vec![value],
                false => value.split(',').collect(),
            };
            for part in parts {
                all.add(part)?;
            }
        }
        Ok(all)
    }

    fn add(&mut self, text: &str) -> Done<()> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        match (name, value) {
            ("network.host", None) => self.network_host = true,
            ("security.insecure", None) => self.insecure = true,
            ("ssh", None) => self.ssh = true,
            ("device", _) => self.devices = true,
            ("fs.read", Some(path)) => self.read.push(path),
            ("fs.write", Some(path)) => self.write.push(path),
            ("fs", Some(path)) => {
                self.read.push(path.clone());
                self.write.push(path);
            }
            ("fs" | "fs.read" | "fs.write", None) => {
                return Err(Failure::usage_hint(
                    format!("`--allow {text}` needs a path"),
                    format!("as in `--allow {text}=/path`; `*` and `/` are everything"),
                ));
            }
            _ => {
                let message = format!("unknown privilege `{name}`");
                return Err(match nearest(name, KNOWN) {
                    Some(near) => Failure::usage_hint(message, format!("did you mean `{near}`?")),
                    None => Failure::usage(message),
                });
            }
        }
        Ok(())
    }

    /// What the driver has to know of it.
    pub(super) fn privileges(&self, granted: &Granted) -> Vec<Allow> {
        let given = |name: &str| granted.privileges.iter().any(|p| p == name);
        let mut all = Vec::new();
        if self.network_host || given("network.host") {
            all.push(Allow::NetworkHost);
        }
        if self.insecure || given("security.insecure") {
            all.push(Allow::SecurityInsecure);
        }
        all
    }

    /// Refuses a build that wants more than is allowed.
    pub(super) fn check(mut self, resolved: &Resolved, context: &Context) -> Done<()> {
        let granted = &resolved.granted;
        let given = |name: &str| granted.privileges.iter().any(|p| p == name);
        self.network_host |= given("network.host");
        self.insecure |= given("security.insecure");
        self.read.extend(granted.read.iter().cloned());
        self.write.extend(granted.write.iter().cloned());
        let cwd = &context.env.cwd;
        let files = check_files(context)?;
        let mut missing = Missing::default();
        let (mut read, mut write) = (BTreeSet::new(), BTreeSet::new());
        for target in resolved.targets.values() {
            self.privileges_of(target, files, &mut missing);
            read.extend(paths_read(target));
            write.extend(paths_written(target));
        }
        if files {
            let read = outside(&read, &self.read, cwd);
            let write = outside(&write, &self.write, cwd);
            for path in read.union(&write) {
                let (what, flag) = match (read.contains(path), write.contains(path)) {
                    (true, true) => ("read and write access to path", "fs"),
                    (true, false) => ("read access to path", "fs.read"),
                    _ => ("write access to path", "fs.write"),
                };
                missing.add(&format!("{what} {path}"), &format!("{flag}={path}"));
            }
        }
        missing.refuse()
    }

    fn privileges_of(&self, target: &Target, files: bool, missing: &mut Missing) {
        for entitlement in &target.entitlements {
            let name = entitlement.split('=').next().unwrap_or(entitlement);
            let allowed = match name {
                "network.host" => self.network_host,
                "security.insecure" => self.insecure,
                "device" => self.devices,
                // The build itself refuses what it does not know.
                _ => true,
            };
            if !allowed {
                let what = match name {
                    "network.host" => "running build containers that can access host network",
                    "device" => "running build containers that can access host devices",
                    _ => "running privileged containers that can make system changes",
                };
                missing.add(what, name);
            }
        }
        if files && !self.ssh && target.ssh.iter().any(|ssh| ssh.paths.is_empty()) {
            missing.add("forwarding the default SSH agent socket", "ssh");
        }
    }
}

fn check_files(context: &Context) -> Done<bool> {
    match context.env.get(CHECK_FILES) {
        None | Some("1" | "t" | "T" | "true" | "True" | "TRUE") => Ok(true),
        Some("0" | "f" | "F" | "false" | "False" | "FALSE") => Ok(false),
        Some(other) => {
            Err(Failure::usage_hint(format!("invalid `{CHECK_FILES}`: `{other}`"), "want 1 or 0"))
        }
    }
}

/// What is asked for and not allowed: in words, and as flags.
#[derive(Default)]
struct Missing(Vec<(String, String)>);

impl Missing {
    fn add(&mut self, what: &str, flag: &str) {
        let one = (what.to_owned(), flag.to_owned());
        if !self.0.contains(&one) {
            self.0.push(one);
        }
    }

    fn refuse(mut self) -> Done<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        self.0.sort_by_key(|(_, flag)| (flag.contains('='), flag.clone()));
        let lines: String = self.0.iter().map(|(what, _)| format!("\n - {what}")).collect();
        let flags: Vec<String> = self.0.iter().map(|(_, flag)| format!("--allow={flag}")).collect();
        Err(Failure::usage_hint(
            format!("the bake files ask for privileges that are not allowed:{lines}"),
            format!("allow them with `{}`", flags.join(" ")),
        ))
    }
}

fn paths_read(target: &Target) -> Vec<String> {
    let secrets = target.secret.iter().map(|s| s.src.clone()).filter(|src| !src.is_empty());
    let keys = target.ssh.iter().flat_map(|s| s.paths.clone());
    let caches = target.cache_from.iter().filter(|c| c.kind == "local");
    let caches = caches.filter_map(|c| c.attrs.get("src").cloned());
    let plans = target.output.iter().filter_map(|o| o.attrs.get(LAYER_PLAN).cloned());
    let plans = plans.filter(|plan| !plan.is_empty());
    secrets.chain(keys).chain(caches).chain(plans).collect()
}

fn paths_written(target: &Target) -> Vec<String> {
    let files = |kind: &str| matches!(kind, "local" | "tar" | "oci" | "docker");
    let outputs = target.output.iter().filter(|o| files(&o.kind));
    let outputs = outputs.map(|o| o.dest.clone()).filter(|d| !d.is_empty() && d != "-");
    let caches = target.cache_to.iter().filter(|c| c.kind == "local");
    let caches = caches.filter_map(|c| c.attrs.get("dest").cloned());
    outputs.chain(caches).collect()
}

/// The paths that are neither below the working directory nor below an allowed path, as existing directories or
/// files, without those below another one of them.
fn outside(paths: &BTreeSet<String>, allowed: &[String], cwd: &Path) -> BTreeSet<String> {
    if allowed.iter().any(|a| a == "*") {
        return BTreeSet::new();
    }
    let mut roots = vec![existing(cwd)];
    roots.extend(allowed.iter().map(|path| existing(&cwd.join(path))));
    let wanted: Vec<PathBuf> = paths.iter().map(|path| existing(&cwd.join(path))).collect();
    let kept = wanted.iter().filter(|path| !roots.iter().any(|root| path.starts_with(root)));
    let kept: Vec<&PathBuf> = kept.collect();
    let below = |path: &Path| kept.iter().any(|other| **other != path && path.starts_with(other));
    kept.iter().filter(|path| !below(path)).map(|path| path.display().to_string()).collect()
}

/// The longest part of a path that exists, links followed: what the path would be made in.
fn existing(path: &Path) -> PathBuf {
    let mut todo: Vec<std::ffi::OsString> =
        path.components().rev().map(|c| c.as_os_str().to_owned()).collect();
    let mut found = PathBuf::new();
    let mut links = 0;
    // Directories below `found` that are not there: they may be made before `..` leaves them again.
    let mut absent = 0usize;
    while let Some(part) = todo.pop() {
        match Path::new(&part).components().next() {
            Some(Component::ParentDir) if absent > 0 => {
                absent -= 1;
                continue;
            }
            Some(Component::ParentDir) => {
                found.pop();
                continue;
            }
            Some(Component::CurDir) | None => continue,
            Some(Component::RootDir | Component::Prefix(_)) => {
                (found, absent) = (PathBuf::from("/"), 0);
                continue;
            }
            Some(Component::Normal(_)) => {}
        }
        let next = found.join(&part);
        let meta = std::fs::symlink_metadata(&next).ok().filter(|_| absent == 0);
        let Some(meta) = meta else {
            absent += 1;
            continue;
        };
        if meta.is_symlink() && links < MAX_LINKS {
            links += 1;
            let Ok(target) = std::fs::read_link(&next) else { return found };
            todo.extend(target.components().rev().map(|c| c.as_os_str().to_owned()));
            continue;
        }
        found = next;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_do_not_hide_where_a_path_leads() {
        let dir = tempfile::tempdir().expect("a directory");
        let dir = existing(dir.path());
        let (work, other) = (dir.join("work"), dir.join("other"));
        std::fs::create_dir_all(&work).expect("mkdir");
        std::fs::create_dir_all(&other).expect("mkdir");
        std::os::unix::fs::symlink("../other", work.join("link")).expect("a link");
        let ask = |path: &str, allowed: &[&str]| {
            let allowed: Vec<String> = allowed.iter().map(|a| (*a).to_owned()).collect();
            outside(&BTreeSet::from([path.to_owned()]), &allowed, &work).into_iter().next()
        };
        let other_text = other.display().to_string();
        assert_eq!(ask("out/deep", &[]), None);
        assert_eq!(ask("link/out", &[]), Some(other_text.clone()));
        assert_eq!(ask("../other/new/dir", &[]), Some(other_text.clone()));
        assert_eq!(ask("../other/new", &["../other"]), None);
        assert_eq!(ask("../other", &["*"]), None);
        assert_eq!(ask("a/../../other", &[]), Some(other_text));
        let both = BTreeSet::from(["..".to_owned(), "../other".to_owned()]);
        assert_eq!(outside(&both, &[], &work).len(), 1);
    }

    #[test]
    fn privileges_are_read_and_near_words_offered() {
        let read = |text: &str| Allowed::parse(&[text.to_owned()]).map_err(|e| e.render());
        assert!(read("network.host,ssh").is_ok_and(|a| a.network_host && a.ssh));
        assert!(read("fs=/a,b").is_ok_and(|a| a.read == ["/a,b"] && a.write == ["/a,b"]));
        assert!(read("fs.raed=/a").is_err_and(|e| e.contains("did you mean `fs.read`?")));
        assert!(read("fs.read").is_err_and(|e| e.contains("needs a path")));
    }
}
