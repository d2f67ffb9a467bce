//! Deleting what an earlier layer holds: the files vanish from view, the layer keeps its size.

use std::collections::BTreeSet;

use super::Script;
use super::installs::{Change, change};
use super::shell::Command;
use crate::check::{Checks, rules};
use crate::instruction::{RawMount, Run};

/// What commands leave lying about: the command, a word it must have, a word it must not have,
/// the directory.
const LEFTOVERS: &[(&str, &str, &str, &str)] = &[
    ("apt-get", "update", "", "/var/lib/apt/lists"),
    ("apt", "update", "", "/var/lib/apt/lists"),
    ("apt-get", "install", "", "/var/cache/apt"),
    ("apt", "install", "", "/var/cache/apt"),
    ("apk", "add", "--no-cache", "/var/cache/apk"),
    ("apk", "update", "", "/var/cache/apk"),
    ("dnf", "install", "", "/var/cache/dnf"),
    ("microdnf", "install", "", "/var/cache/yum"),
    ("yum", "install", "", "/var/cache/yum"),
    ("zypper", "install", "", "/var/cache/zypp"),
    ("pip", "install", "--no-cache-dir", "/root/.cache/pip"),
    ("pip3", "install", "--no-cache-dir", "/root/.cache/pip"),
    ("npm", "install", "", "/root/.npm"),
    ("npm", "ci", "", "/root/.npm"),
    ("yarn", "install", "", "/usr/local/share/.cache/yarn"),
];

/// Commands that empty such a directory: the command, a word it must have, the directory.
const CLEANERS: &[(&str, &str, &str)] = &[
    ("apt-get", "clean", "/var/cache/apt"),
    ("apt", "clean", "/var/cache/apt"),
    ("dnf", "clean", "/var/cache/dnf"),
    ("microdnf", "clean", "/var/cache/yum"),
    ("yum", "clean", "/var/cache/yum"),
    ("zypper", "clean", "/var/cache/zypp"),
    ("pip", "purge", "/root/.cache/pip"),
];

/// Commands that write the file that a following word names.
const WRITERS: &[(&str, &[&str])] =
    &[("curl", &["-o", "--output"]), ("wget", &["-O", "--output-document"])];

/// Directories of the base: what is copied to them lies among other things.
const SHARED: &[&str] = &[
    "/",
    "/bin",
    "/etc",
    "/home",
    "/lib",
    "/opt",
    "/root",
    "/sbin",
    "/srv",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/lib",
    "/usr/sbin",
    "/usr/share",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/log",
];

/// So many paths and packages of a stage are remembered: stages inherit them.
const MAX_HELD: usize = 200;

/// What the layers of a stage hold so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Held {
    /// Files and directories that were copied or downloaded. What lies in them is not known.
    paths: BTreeSet<String>,
    /// Directories that a package manager filled.
    leftovers: BTreeSet<String>,
    packages: BTreeSet<String>,
}

/// What one `RUN` does.
#[derive(Default)]
struct Effects {
    made: BTreeSet<String>,
    filled: BTreeSet<String>,
    deleted: BTreeSet<String>,
    installed: BTreeSet<String>,
    removed: BTreeSet<String>,
}

impl Held {
    /// Notes where `COPY` or `ADD` put a source.
    pub(crate) fn copied(&mut self, source: &str, dest: &str) {
        let path = match dest.strip_suffix('/') {
            Some(directory) => {
                let name = source.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
                if matches!(name, "" | "." | "..") || karman_pattern::has_wildcard(name) {
                    return;
                }
                format!("{directory}/{name}")
            }
            None => dest.to_owned(),
        };
        if !SHARED.contains(&path.as_str()) && self.paths.len() < MAX_HELD {
            self.paths.insert(path);
        }
    }

    /// Reports what a `RUN` deletes of earlier layers, and notes what it leaves. `cwd` is where
    /// relative paths lead.
    pub(crate) fn run(&mut self, run: &Run, script: &Script, cwd: &str, checks: &Checks) {
        let effects = Effects::of(script, cwd, &kept_out(&run.mounts));
        for path in &effects.deleted {
            let is_here = effects.made.contains(path) || effects.filled.contains(path);
            if self.holds(path) && !is_here {
                let message = format!(
                    "{path} is deleted here but stays in an earlier layer: delete it in the instruction that makes it"
                );
                checks.found_here(&rules::DELETE_IN_LATER_LAYER, message);
            }
        }
        let gone: Vec<&str> =
            effects.removed.intersection(&self.packages).map(String::as_str).collect();
        if !gone.is_empty() {
            let message = format!(
                "Packages of an earlier layer are removed here but stay in it ({}): remove them in the instruction that installs them",
                gone.join(", ")
            );
            checks.found_here(&rules::DELETE_IN_LATER_LAYER, message);
        }
        self.keep(effects);
    }

    fn holds(&self, path: &str) -> bool {
        self.paths.iter().any(|held| is_within(held, path))
            || self.leftovers.iter().any(|held| is_within(held, path) || is_within(path, held))
    }

    fn keep(&mut self, effects: Effects) {
        let Effects { made, filled, deleted, installed, removed } = effects;
        let is_deleted = |path: &String| deleted.iter().any(|d| is_within(path, d));
        for (held, new) in [(&mut self.paths, made), (&mut self.leftovers, filled)] {
            held.extend(new);
            held.retain(|path| !is_deleted(path));
            truncate(held);
        }
        self.packages.retain(|p| !removed.contains(p));
        self.packages.extend(installed.into_iter().filter(|p| !removed.contains(p)));
        truncate(&mut self.packages);
    }
}

/// Forgets what is too much.
fn truncate(set: &mut BTreeSet<String>) {
    if let Some(first) = set.iter().nth(MAX_HELD).cloned() {
        set.split_off(&first);
    }
}

impl Effects {
    fn of(script: &Script, cwd: &str, kept_out: &[&str]) -> Self {
        let mut effects = Self::default();
        let outside = |path: &str| kept_out.iter().any(|mount| is_within(path, mount));
        for command in script.commands() {
            effects.made.extend(written(command, cwd).into_iter().filter(|p| !outside(p)));
            effects.filled.extend(filled(command).filter(|p| !outside(p)).map(str::to_owned));
            effects.deleted.extend(deleted(command, cwd).into_iter().filter(|p| !outside(p)));
            truncate(&mut effects.made);
            truncate(&mut effects.deleted);
            match change(command) {
                Some(Change::Installed(packages)) => effects.installed.extend(packages),
                Some(Change::Removed(packages)) => effects.removed.extend(packages),
                None => {}
            }
        }
        effects
    }
}

/// Files that a command writes where its options say.
fn written(command: &Command, cwd: &str) -> Vec<String> {
    let Some((_, options)) = WRITERS.iter().find(|(name, _)| command.name() == *name) else {
        return Vec::new();
    };
    let named = command.arguments().windows(2).filter_map(|pair| match pair {
        [option, file] if options.contains(&option.as_str()) => absolute(file, cwd),
        _ => None,
    });
    named.collect()
}

/// Directories that a package manager fills.
fn filled(command: &Command) -> impl Iterator<Item = &'static str> {
    let has = |word: &str| command.arguments().iter().any(|a| a == word);
    let leftovers = LEFTOVERS.iter().filter(move |(name, with, without, _)| {
        command.name() == *name && has(with) && (without.is_empty() || !has(without))
    });
    leftovers.map(|(.., directory)| *directory)
}

fn deleted(command: &Command, cwd: &str) -> Vec<String> {
    let arguments = command.arguments();
    if command.name() == "rm" {
        let paths = arguments.iter().filter(|a| !a.starts_with('-'));
        return paths.filter_map(|path| absolute(path, cwd)).collect();
    }
    let cleaners = CLEANERS
        .iter()
        .filter(|(name, with, _)| command.name() == *name && arguments.iter().any(|a| a == with));
    cleaners.map(|(.., directory)| (*directory).to_owned()).collect()
}

/// The path without a final wildcard; `None` where it cannot be known.
fn absolute(path: &str, cwd: &str) -> Option<String> {
    let path = path.strip_suffix("/*").unwrap_or(path);
    let path = path.strip_prefix("~/").map_or_else(|| path.to_owned(), |p| format!("/root/{p}"));
    if path.is_empty() || path.contains(['$', '*', '?', '[', '{', '>', '<']) {
        return None;
    }
    Some(karman_pattern::clean(&format!("{}/{path}", if path.starts_with('/') { "" } else { cwd })))
}

/// Directories that are no part of the layer: whatever is mounted.
fn kept_out(mounts: &[RawMount]) -> Vec<&str> {
    let is_target = |key: &str| matches!(key, "target" | "dst" | "destination");
    let target = |mount: &'_ RawMount| mount.options.iter().rposition(|o| is_target(&o.key));
    let value = |mount| -> Option<&str> {
        let mount: &RawMount = mount;
        mount.options.get(target(mount)?)?.value.as_deref()
    };
    mounts.iter().filter_map(value).collect()
}

/// Whether `path` is `directory` or lies in it.
fn is_within(path: &str, directory: &str) -> bool {
    let directory = directory.trim_end_matches('/');
    path.strip_prefix(directory).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
