//! podman's `registries.conf`, version 2 (containers-registries.conf(5)): where a prefix of names really is, its mirrors,
//! and what is blocked. Names without a registry are docker.io's here, so search lists and aliases have no effect.

use std::path::{Path, PathBuf};

use karman_net::HostTls;
use karman_oci::Reference;
use serde::Deserialize;

use super::{Need, Place, RulesError, Verdict, entries, read};

/// All registries of the files.
#[derive(Clone, Debug, Default)]
pub(super) struct Registries(Vec<Entry>);

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    registry: Vec<Entry>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Entry {
    prefix: String,
    location: String,
    insecure: bool,
    blocked: bool,
    mirror_by_digest_only: bool,
    mirror: Vec<Mirror>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Mirror {
    location: String,
    insecure: bool,
    pull_from_mirror: Option<From>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum From {
    All,
    DigestOnly,
    TagOnly,
}

/// Reads the first of `files` that exists, and what is in the directories beside all of them.
pub(super) fn load(files: &[PathBuf]) -> Result<Registries, RulesError> {
    let mut all = Registries::default();
    for file in files {
        if let Some(text) = read(file)? {
            all.add(file, &text)?;
            break;
        }
    }
    for file in files.iter().rev() {
        let mut dir = file.clone().into_os_string();
        dir.push(".d");
        let files = entries(Path::new(&dir))?;
        for path in files.into_iter().filter(|path| path.extension().is_some_and(|e| e == "conf")) {
            if let Some(text) = read(&path)? {
                all.add(&path, &text)?;
            }
        }
    }
    Ok(all)
}

impl Registries {
    /// Adds what a file says; it wins over what was said of the same prefix.
    fn add(&mut self, path: &Path, text: &str) -> Result<(), RulesError> {
        let invalid = |problem: String| RulesError::Invalid { path: path.to_owned(), problem };
        let file: File = toml::from_str(text)
            .map_err(|e| invalid(e.to_string().trim_end().replace('\n', " ")))?;
        for mut entry in file.registry {
            if entry.prefix.is_empty() {
                entry.prefix.clone_from(&entry.location);
            }
            if entry.prefix.is_empty() {
                return Err(invalid("a registry has neither `prefix` nor `location`".to_owned()));
            }
            if entry.mirror.iter().any(|mirror| mirror.location.is_empty()) {
                return Err(invalid(format!("a mirror of `{}` has no `location`", entry.prefix)));
            }
            self.0.retain(|known| known.prefix != entry.prefix);
            self.0.push(entry);
        }
        Ok(())
    }

    /// Hosts that are not verified.
    pub(super) fn tls(&self) -> Vec<HostTls> {
        let mut all = Vec::new();
        for entry in &self.0 {
            let own = (
                entry.insecure,
                if entry.location.is_empty() { &entry.prefix } else { &entry.location },
            );
            let mirrors = entry.mirror.iter().map(|mirror| (mirror.insecure, &mirror.location));
            for (_, location) in
                std::iter::once(own).chain(mirrors).filter(|(insecure, _)| *insecure)
            {
                let host = location.split('/').next().unwrap_or_default();
                all.push(HostTls { host: host.to_owned(), insecure: true, ..HostTls::default() });
            }
        }
        all
    }

    pub(super) fn places(&self, reference: &Reference, need: Need) -> Verdict {
        let name = format!("{}/{}", reference.host, reference.repository);
        let matching =
            self.0.iter().filter_map(|entry| Some((matched(&entry.prefix, &name)?, entry)));
        let Some((length, entry)) = matching.max_by_key(|(length, _)| *length) else {
            return Verdict::Silent;
        };
        if entry.blocked {
            return Verdict::Blocked;
        }
        let rest = &name[length..];
        let place = |location: &str, insecure: bool| {
            let whole =
                if location.is_empty() { name.clone() } else { format!("{location}{rest}") };
            let (host, repository) = whole.split_once('/').unwrap_or((&whole, ""));
            Place::Host { host: host.to_owned(), repository: repository.to_owned(), insecure }
        };
        let mut places = Vec::new();
        for mirror in entry.mirror.iter().filter(|mirror| entry.asks(mirror, need)) {
            places.push(place(&mirror.location, mirror.insecure));
        }
        places.push(place(&entry.location, entry.insecure));
        Verdict::Places(places)
    }
}

impl Entry {
    fn asks(&self, mirror: &Mirror, need: Need) -> bool {
        let by_digest = need == Need::Pull;
        let from = match mirror.pull_from_mirror {
            _ if self.mirror_by_digest_only => From::DigestOnly,
            other => other.unwrap_or(From::All),
        };
        match (need, from) {
            (Need::Push, _) => false,
            (_, From::All) => true,
            (_, From::DigestOnly) => by_digest,
            (_, From::TagOnly) => !by_digest,
        }
    }
}

/// How much of a name a prefix matches, in bytes: `host[:port][/path]`, or `*.domain` for all hosts below it.
fn matched(prefix: &str, name: &str) -> Option<usize> {
    let length = match prefix.strip_prefix('*') {
        None => name.starts_with(prefix).then_some(prefix.len())?,
        Some(domain) => {
            let host = name.split('/').next().unwrap_or_default();
            let (tail, path) = match domain.split_once('/') {
                Some((tail, _)) => (tail, &domain[tail.len()..]),
                None => (domain, ""),
            };
            let rest = &name[host.len()..];
            let fits = host.len() > tail.len() && host.ends_with(tail) && rest.starts_with(path);
            fits.then_some(host.len() + path.len())?
        }
    };
    // A prefix ends where a part of the name does.
    let next = name.as_bytes().get(length);
    matches!(next, None | Some(b'/')).then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
unqualified-search-registries = ["example.com"]
short-name-mode = "permissive"
[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "mirror.example/hub"
[[registry.mirror]]
location = "localhost:5000"
insecure = true
pull-from-mirror = "digest-only"
[[registry]]
prefix = "old.example/team"
location = "new.example/other/team"
[[registry]]
prefix = "*.bad.example"
blocked = true
[[registry]]
prefix = "old.example/team/deep"
location = "deep.example"
mirror-by-digest-only = true
[[registry.mirror]]
location = "m.example"
"#;

    fn registries() -> Registries {
        let mut all = Registries::default();
        all.add(Path::new("r.conf"), TEXT).unwrap();
        all
    }

    fn asked(name: &str, need: Need) -> Vec<String> {
        match registries().places(&Reference::parse(name).unwrap(), need) {
            Verdict::Silent => vec!["silent".to_owned()],
            Verdict::Blocked => vec!["blocked".to_owned()],
            Verdict::Places(places) => places.into_iter().map(text).collect(),
        }
    }

    fn text(place: Place) -> String {
        let Place::Host { host, repository, insecure } = place else { panic!("{place:?}") };
        format!("{host}/{repository}{}", if insecure { " insecure" } else { "" })
    }

    #[test]
    fn mirrors_are_for_reading() {
        let local = "localhost:5000/library/a insecure";
        let (hub, own) = ("mirror.example/hub/library/a", "docker.io/library/a");
        assert_eq!(asked("a", Need::Pull), [hub, local, own]);
        assert_eq!(asked("a", Need::Resolve), [hub, own]);
        assert_eq!(asked("a", Need::Push), [own]);
    }

    #[test]
    fn the_longest_prefix_wins_and_ends_with_a_part_of_the_name() {
        assert_eq!(asked("old.example/team/x", Need::Push), ["new.example/other/team/x"]);
        assert_eq!(asked("old.example/teams/x", Need::Push), ["silent"]);
        assert_eq!(asked("old.example/team/deep/x", Need::Push), ["deep.example/x"]);
        assert_eq!(asked("old.example/team/deep/x", Need::Resolve), ["deep.example/x"]);
        assert_eq!(asked("old.example/team/deep/x", Need::Pull), ["m.example/x", "deep.example/x"]);
        assert_eq!(asked("a.b.bad.example/x", Need::Pull), ["blocked"]);
        assert_eq!(asked("bad.example/x", Need::Pull), ["silent"]);
    }

    #[test]
    fn later_files_win_and_mistakes_are_told() {
        let mut all = registries();
        all.add(Path::new("d.conf"), "[[registry]]\nlocation = \"docker.io\"\n").unwrap();
        let Verdict::Places(places) = all.places(&Reference::parse("a").unwrap(), Need::Pull)
        else {
            panic!("places")
        };
        assert_eq!(places.len(), 1);
        let told = |text: &str| all.clone().add(Path::new("d.conf"), text).unwrap_err().to_string();
        assert!(told("[[registry]]\n").contains("neither `prefix` nor `location`"));
        assert!(told("[[registry]\n").contains("line 1"));
        assert!(
            told("[[registry]]\nlocation = \"a\"\n[[registry.mirror]]\n")
                .contains("a mirror of `a`")
        );
    }

    #[test]
    fn hosts_that_are_not_verified_are_known() {
        let hosts: Vec<String> = registries().tls().into_iter().map(|tls| tls.host).collect();
        assert_eq!(hosts, ["localhost:5000"]);
    }
}
