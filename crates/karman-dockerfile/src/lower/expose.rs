//! Port words of `EXPOSE`: `[[ip:]host:]port[-port][/protocol]`.

use std::net::IpAddr;

/// Why a port word is wrong, in BuildKit's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PortError {
    #[error("no port specified: {word}<empty>")]
    NoPort { word: String },
    #[error("invalid proto: {protocol}")]
    Protocol { protocol: String },
    #[error("invalid IP address: {address}")]
    Address { address: String },
    #[error("invalid containerPort: {port}")]
    Container { port: String },
    #[error("invalid hostPort: {port}")]
    Host { port: String },
    #[error("invalid ranges specified for container and host Ports: {container} and {host}")]
    Ranges { container: String, host: String },
}

/// The `port/protocol` keys that a word stands for.
pub(super) fn ports(word: &str) -> Result<Vec<String>, PortError> {
    let mut parts = word.rsplitn(3, ':');
    let container = parts.next().unwrap_or_default();
    let host = parts.next().unwrap_or_default();
    let address = parts.next().unwrap_or_default();
    let (port, protocol) = container.split_once('/').unwrap_or((container, ""));
    if port.is_empty() {
        return Err(PortError::NoPort { word: container.to_owned() });
    }
    let protocol = match protocol.to_lowercase() {
        p if p.is_empty() => "tcp".to_owned(),
        p if ["tcp", "udp", "sctp"].contains(&p.as_str()) => p,
        protocol => return Err(PortError::Protocol { protocol }),
    };
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).unwrap_or(address);
    if !bare.is_empty() && bare.parse::<IpAddr>().is_err() {
        return Err(PortError::Address { address: bare.to_owned() });
    }
    let bad = || PortError::Container { port: port.to_owned() };
    let (first, last) = range(port).ok_or_else(bad)?;
    if !host.is_empty() {
        let bad = || PortError::Host { port: host.to_owned() };
        let (host_first, host_last) = range(host).ok_or_else(bad)?;
        if first != last && last - first != host_last - host_first {
            return Err(PortError::Ranges { container: port.to_owned(), host: host.to_owned() });
        }
    }
    Ok((first..=last).map(|n| format!("{n}/{protocol}")).collect())
}

fn range(text: &str) -> Option<(u16, u16)> {
    let number = |t: &str| (!t.starts_with('+')).then(|| t.parse::<u16>().ok())?;
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_ports() {
        for (word, want) in [
            ("80", "80/tcp"),
            ("80/UDP", "80/udp"),
            ("8000-8002/sctp", "8000/sctp 8001/sctp 8002/sctp"),
            ("8080:80", "80/tcp"),
            ("127.0.0.1:8080:80/tcp", "80/tcp"),
            ("[::1]:8080:80", "80/tcp"),
            ("9000-9005:80", "80/tcp"),
        ] {
            assert_eq!(ports(word).map(|p| p.join(" ")).as_deref(), Ok(want), "{word}");
        }
        for (word, want) in [
            ("http", "invalid containerPort: http"),
            ("80/icmp", "invalid proto: icmp"),
            ("/tcp", "no port specified: /tcp<empty>"),
            ("90-80", "invalid containerPort: 90-80"),
            ("70000", "invalid containerPort: 70000"),
            ("nowhere:80:80", "invalid IP address: nowhere"),
            ("x:80", "invalid hostPort: x"),
            ("1-2:1-3", "invalid ranges specified for container and host Ports: 1-3 and 1-2"),
        ] {
            assert_eq!(ports(word).map_err(|e| e.to_string()), Err(want.to_owned()), "{word}");
        }
    }
}
