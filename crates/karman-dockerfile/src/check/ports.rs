//! Port words of `EXPOSE`.

use super::{Checks, rules};

/// Reports a port that maps something, or whose protocol is not in lower case. `word` is
/// expanded.
pub(crate) fn check_port(word: &str, checks: &Checks) {
    let (mapped, container) = match word.rsplit_once(':') {
        Some((mapped, container)) => (mapped, container),
        None => ("", word),
    };
    let protocol = container.split_once('/').map_or("", |(_, protocol)| protocol);
    if protocol != protocol.to_lowercase() {
        let message =
            format!("Defined protocol '{word}' in EXPOSE instruction should be lowercase");
        checks.found_here(&rules::EXPOSE_PROTO_CASING, message);
    }
    if mapped.chars().any(|c| c != ':') {
        let message = format!(
            "EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'"
        );
        checks.found_here(&rules::EXPOSE_INVALID_FORMAT, message);
    }
}
