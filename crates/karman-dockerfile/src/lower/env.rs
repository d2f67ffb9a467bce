//! Environments: ordered variables.

use karman_oci::Platform;

/// Variables in the order in which they were last set: BuildKit gives them to steps that way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Env(Vec<(String, String)>);

impl Env {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// The names in their order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.0.retain(|(n, _)| n != name);
        self.0.push((name.to_owned(), value.to_owned()));
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| n != name);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Their bytes.
    pub(super) fn bytes(&self) -> usize {
        self.0.iter().map(|(n, v)| n.len() + v.len() + 1).sum()
    }

    /// Sets all of `NAME=value` lines.
    pub(super) fn set_all(&mut self, lines: &[String]) {
        for line in lines {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            self.set(name, value);
        }
    }

    /// As `NAME=value` lines.
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.iter().map(|(n, v)| format!("{n}={v}")).collect()
    }

    /// The platform that the `TARGET…` arguments name, where any is set.
    pub(super) fn target_platform(&self, base: &Platform) -> Option<Platform> {
        if let Some(platform) = self.get("TARGETPLATFORM").and_then(|t| Platform::parse(t).ok()) {
            return Some(platform);
        }
        let (os, arch, variant) =
            (self.get("TARGETOS"), self.get("TARGETARCH"), self.get("TARGETVARIANT"));
        if os.is_none() && arch.is_none() && variant.is_none() {
            return None;
        }
        let platform = Platform {
            os: os.unwrap_or(&base.os).to_owned(),
            architecture: arch.unwrap_or(&base.architecture).to_owned(),
            variant: variant.filter(|v| !v.is_empty()).map(str::to_owned),
            os_version: None,
        };
        Some(platform.normalized())
    }
}

/// Replaces a variable in `NAME=value` lines, or adds it.
pub(super) fn set_line(lines: &mut Vec<String>, name: &str, value: &str) {
    let line = format!("{name}={value}");
    let is_named = |l: &&mut String| l.split_once('=').map_or(l.as_str(), |(n, _)| n) == name;
    match lines.iter_mut().find(is_named) {
        Some(old) => *old = line,
        None => lines.push(line),
    }
}
