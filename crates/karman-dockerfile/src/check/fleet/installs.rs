//! Package managers: what a command installs, removes, and leaves lying about.

use super::shell::Command;

/// A package manager as its command line shows it.
struct Manager {
    names: &'static [&'static str],
    install: &'static [&'static str],
    remove: &'static [&'static str],
    /// Options that take a word of their own.
    valued: &'static [&'static str],
}

const MANAGERS: &[Manager] = &[
    Manager {
        names: &["apt-get", "apt", "aptitude"],
        install: &["install"],
        remove: &["remove", "purge", "autoremove"],
        valued: &["-o", "-t", "--option", "--target-release"],
    },
    Manager { names: &["apk"], install: &["add"], remove: &["del"], valued: APK_VALUED },
    Manager {
        names: &["dnf", "yum", "microdnf", "tdnf"],
        install: &["install"],
        remove: &["remove", "erase", "autoremove"],
        valued: &["-c", "--enablerepo", "--disablerepo", "--setopt"],
    },
    Manager {
        names: &["zypper"],
        install: &["install", "in"],
        remove: &["remove", "rm"],
        valued: &[],
    },
];

const APK_VALUED: &[&str] = &["-t", "--virtual", "-X", "--repository"];

/// What a command does with packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Installs these.
    Installed(Vec<String>),
    /// Removes these; a group that `apk add --virtual` named is one of them.
    Removed(Vec<String>),
}

/// What a command does with packages; `None` where it is no package manager, or does something
/// else.
pub(super) fn change(command: &Command) -> Option<Change> {
    let manager = MANAGERS.iter().find(|m| m.names.contains(&command.name()))?;
    let mut words = Vec::new();
    let mut arguments = command.arguments().iter();
    while let Some(argument) = arguments.next() {
        if manager.valued.contains(&argument.as_str()) {
            arguments.next();
        } else if !argument.starts_with(['-', '>', '<', '&']) {
            words.push(argument.as_str());
        }
    }
    let (verb, packages) = words.split_first()?;
    let packages = || packages.iter().map(|p| plain_name(p)).collect();
    if manager.install.contains(verb) {
        Some(Change::Installed(packages()))
    } else if manager.remove.contains(verb) {
        Some(Change::Removed(packages()))
    } else {
        None
    }
}

/// The name of the group that `apk add --virtual NAME` makes.
pub(super) fn virtual_group(command: &Command) -> Option<&str> {
    if command.name() != "apk" {
        return None;
    }
    let mut arguments = command.arguments().iter();
    while let Some(argument) = arguments.next() {
        if let Some(name) = argument.strip_prefix("--virtual=") {
            return Some(name);
        }
        if matches!(argument.as_str(), "-t" | "--virtual") {
            return arguments.next().map(String::as_str);
        }
    }
    None
}

/// The package without version, release and architecture.
fn plain_name(word: &str) -> String {
    let end = word.find(['=', '/', ':', '<', '>', '~']).unwrap_or(word.len());
    word[..end].to_owned()
}
