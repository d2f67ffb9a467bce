//! Where servers listen, by the configuration that they come with: what an image exposes as soon as
//! somebody starts them, whatever it declares.

use super::Finding;
use crate::tree::{Node, Tree, TreeError, read_limited};

/// A larger file is no configuration.
const MAX_CONFIGURATION: usize = 1 << 20;

/// Words that begin a line about listening, in files below a place with an ending.
const PLACES: [(&str, &str, &[&str]); 5] = [
    ("/etc/apache2/", ".conf", &["Listen"]),
    ("/etc/nginx/", "", &["listen"]),
    ("/etc/ssh/sshd_config", "", &["Port", "ListenAddress"]),
    ("/etc/systemd/system/", ".socket", SOCKET),
    ("/usr/lib/systemd/system/", ".socket", SOCKET),
];
const SOCKET: &[&str] = &["ListenStream", "ListenDatagram"];

/// The words to look for in a file; none where it is no configuration of a server.
pub fn words(path: &str, size: u64) -> Option<&'static [&'static str]> {
    let found = PLACES.iter().filter(|_| size <= MAX_CONFIGURATION as u64);
    let mut found = found.filter(|(place, end, _)| path.starts_with(place) && path.ends_with(end));
    found.next().map(|(_, _, words)| *words)
}

/// Where the configuration in a file says that its server listens.
///
/// # Errors
/// When the file cannot be read.
pub fn find(tree: &dyn Tree, node: &Node, words: &[&str]) -> Result<Option<Finding>, TreeError> {
    let bytes = read_limited(tree, node, MAX_CONFIGURATION)?;
    let found = addresses(&String::from_utf8_lossy(&bytes), words);
    Ok((!found.is_empty()).then(|| finding(&node.path, &found)))
}

/// Addresses and ports, as the lines of a configuration have them. Paths of local sockets are none.
fn addresses(text: &str, words: &[&str]) -> Vec<String> {
    let mut all = Vec::new();
    for line in text.lines().map(str::trim) {
        let Some((word, rest)) = line.split_once([' ', '\t', '=']) else { continue };
        let rest = rest.trim_start_matches(['=', ' ', '\t']).trim_end_matches(';').trim();
        let is_path = rest.starts_with(['/', '@', '%']) || rest.starts_with("unix:");
        if words.contains(&word.trim()) && !rest.is_empty() && !is_path {
            all.push(rest.to_owned());
        }
    }
    all.dedup();
    all
}

/// What is told of a configuration.
fn finding(path: &str, addresses: &[String]) -> Finding {
    let message = format!("it says that its server listens on {}", addresses.join(", "));
    Finding::new("surface-listen", path, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_listening_are_read() {
        let apache = "# Listen 81\nListen 80\n<IfModule ssl_module>\n\tListen 443\n</IfModule>\n";
        assert_eq!(addresses(apache, &["Listen"]), ["80", "443"]);
        assert_eq!(
            addresses("listen [::]:80 default_server;", &["listen"]),
            ["[::]:80 default_server"]
        );
        let socket = "[Socket]\nListenStream=/run/x.sock\nListenStream = 0.0.0.0:111\n";
        assert_eq!(addresses(socket, SOCKET), ["0.0.0.0:111"]);
        assert!(addresses("#Port 22\nPorts 5\n", &["Port"]).is_empty());
    }

    #[test]
    fn only_configurations_are_looked_into() {
        assert!(words("/etc/apache2/ports.conf", 10).is_some());
        assert!(words("/etc/apache2/magic", 10).is_none());
        assert!(words("/usr/lib/systemd/system/rpcbind.socket", 10).is_some());
        assert!(words("/etc/ssh/sshd_config", MAX_CONFIGURATION as u64 + 1).is_none());
    }
}
