//! Nothing of the machine the code was written on, and nothing that opens a door.

use crate::checks::Finding;
use crate::mask::line_of;
use crate::tables::{HOST_VARIABLES, KNOWN_SECRETS, PUBLIC_HOSTS, SECRET_TAIL, SECRETS};
use crate::tree::{File, Tree};

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let known = |file: &&File| !KNOWN_SECRETS.iter().any(|(path, _)| *path == file.path);
    tree.files.iter().filter(known).flat_map(check_file).collect()
}

fn check_file(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (head, tail, what) in SECRETS {
        let word = format!("{head}{tail}");
        for (at, _) in file.text.match_indices(&word) {
            // A key block ends its line; a token goes on with its random part.
            let rest = &file.text[at + word.len()..];
            let token = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
            let alone = !file.text[..at].ends_with(|c: char| c.is_ascii_alphanumeric());
            let random = alone && rest.chars().take_while(token).count() >= SECRET_TAIL;
            let block = word.ends_with("-----") && rest.starts_with(['\n', '\r']);
            if random || block {
                let message = format!("looks like {what}");
                findings.push(Finding::new(&file.path, line_of(&file.text, at), message));
            }
        }
    }
    findings
}

/// Hosts of mirrors and proxies that the environment names.
pub(crate) fn hosts_of_environment(vars: impl Iterator<Item = (String, String)>) -> Vec<String> {
    let mut hosts: Vec<String> = vars
        .filter(|(name, _)| HOST_VARIABLES.contains(&name.as_str()))
        .flat_map(|(_, value)| value.split([' ', ',', '|']).filter_map(host).collect::<Vec<_>>())
        .filter(|host| !PUBLIC_HOSTS.contains(&host.as_str()))
        .collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

/// Places in the tree that name one of `hosts`. The message does not repeat it.
pub(crate) fn check_hosts(tree: &Tree, hosts: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &tree.files {
        for host in hosts {
            for (at, _) in file.text.match_indices(host.as_str()) {
                let line = line_of(&file.text, at);
                findings.push(Finding::new(
                    &file.path,
                    line,
                    "names a mirror or proxy of this machine",
                ));
            }
        }
    }
    findings
}

fn host(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit('@').next()?;
    let host = host.split(':').next()?.to_ascii_lowercase();
    // A bare word such as `proxy` would be found in prose.
    host.contains('.').then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_tokens_are_found() {
        let token = concat!("x = gh", "p_0123456789abcdefghij");
        let key = concat!("-----BEGIN PRIVATE ", "KEY-----\nMII\n");
        let tree = Tree::of(&[
            ("a.txt", token),
            ("b.pem", key),
            ("crates/karman-net/tests/data/localhost.key", key),
        ]);
        let lines: Vec<String> = check(&tree).iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            ["a.txt:1: looks like a GitHub token", "b.pem:1: looks like a private key"]
        );
    }

    #[test]
    fn prose_about_tokens_passes() {
        let tree = Tree::of(&[("a.md", concat!("tokens begin with gh", "p_ or with AK", "IA"))]);
        assert!(check(&tree).is_empty());
    }

    #[test]
    fn hosts_of_the_machine_are_found() {
        let vars = [
            ("PIP_INDEX_URL", "https://user:pw@mirror.site.example:8443/simple"),
            ("HTTPS_PROXY", "http://proxy:3128"),
            ("GOPROXY", "https://proxy.golang.org,https://go.site.example|direct"),
            ("OTHER", "https://other.site.example"),
        ];
        let hosts =
            hosts_of_environment(vars.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(hosts, ["go.site.example", "mirror.site.example"]);
        let tree = Tree::of(&[("a.toml", "x = 1\nurl = \"https://mirror.site.example/x\"\n")]);
        assert_eq!(check_hosts(&tree, &hosts).len(), 1);
        assert_eq!(check_hosts(&tree, &[]).len(), 0);
    }
}
